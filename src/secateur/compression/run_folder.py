"""A run's folder: what lies in it, who may work in it, and that only the same run goes on in it.

run.json         what run this is: the fingerprint of its start
plan.json        the plan
schedule.json    how long and how fast, as it was chosen
state-*.state    the state of training, last and last but one
model.secat      the artifact
report.html/json the report
result.json      the result; written last, so where it lies the run is complete
run.lock         held by the process that works here
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.compression.fingerprint import differences
from secateur.errors import DataError
from secateur.ir.storage import output_folder, write_whole

RUN_VERSION = 1
RUN, LOCK = "run.json", "run.lock"
SCHEDULE = "schedule.json"
KEPT = ("*.state", "model.secat", "result.json")
"""Where one of these lies, a run has come to something."""
PARTS = ".*.part"
"""Temporary files of `write_whole` that a process left which was killed."""


class RunFolder:
    """A folder that this process holds; made by `held`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, fingerprint: Mapping[str, Any]) -> None:
        """Note what run this is, or compare with what was noted. DataError names every difference."""
        told = self.read_json(RUN)
        if told is None:
            others = sorted(path.name for path in self.path.iterdir() if path.name != LOCK)
            if others:
                raise DataError(
                    f"{self.path} is no folder of a run and not empty ({others[0]}): name a new folder with -o"
                )
            self.write_json(RUN, {"secateur_run": RUN_VERSION, "fingerprint": fingerprint})
            return
        if told.get("secateur_run") != RUN_VERSION:
            raise DataError(f"{self.path} holds a run of another version: name a new folder with -o")
        changed = differences(told["fingerprint"], json.loads(json.dumps(fingerprint)))
        if changed and not any(any(self.path.glob(pattern)) for pattern in KEPT):
            # A run that stopped before it had anything to keep, as over a wrong option: there is nothing to go on with.
            (self.path / SCHEDULE).unlink(missing_ok=True)
            self.write_json(RUN, {"secateur_run": RUN_VERSION, "fingerprint": fingerprint})
        elif changed:
            listed = "\n  ".join(changed)
            raise DataError(
                f"the run in {self.path} began with something else, so it cannot go on exactly:\n  {listed}\n"
                "bring that back, or start anew in another folder with -o"
            )

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A file of this folder, None where it is not there. DataError where it is no JSON object."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"cannot read {path}: {error}; start anew in another folder") from None
        if not isinstance(data, dict):
            raise DataError(f"{path} holds no JSON object; start anew in another folder")
        return data

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """A file of this folder, whole or not at all."""
        self.write(name, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())

    def write(self, name: str, data: bytes) -> None:
        """The same for bytes."""
        write_whole(self.path / name, data)


@contextmanager
def held(path: str | Path) -> Iterator[RunFolder]:
    """The folder, made where it is missing, for this process alone while inside; left-over temporary files go.

    DataError unless files can be written into it, and where another process holds it.
    """
    folder = output_folder(Path(path))
    with open(folder / LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: loaders' workers would inherit that one
        except OSError:
            raise DataError(f"another process is at work in {folder}: wait for it or name another folder") from None
        for part in folder.glob(PARTS):
            part.unlink(missing_ok=True)
        yield RunFolder(folder)
