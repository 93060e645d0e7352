"""Kill `secateur compress` at random moments, give the same command again, compare the artifact byte for byte.

    python benchmarks/bench_resume.py --kills 20

LeNet-5 on Fashion-MNIST (resume_task.py), a short schedule. Every kill is SIGKILL to a process of its own, at a moment
drawn uniformly over the whole time the unbroken run took, starting and packing included; a run that ended before its
moment came is drawn again. One JSON line a call.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from record import record
from resume_task import WithDropout, data

HERE = Path(__file__).parent
ARTIFACT = "model.secat"
LIMIT_SECONDS = 1800


@dataclass(frozen=True)
class Command:
    """What is run and killed, in a folder with the weights of the dense network."""

    folder: Path
    epochs: int
    images: int
    save_seconds: float

    def start(self, out: str) -> subprocess.Popen[bytes]:
        """A new process."""
        code = "from secateur.cli.main import main; main()"
        options = ["--density", "0.05", "--epochs", self.epochs, "--finetune-epochs", max(1, self.epochs // 2)]
        more = ["--average", "0.95", "--save-seconds", self.save_seconds, "--threads", 1, "--on-miss", "warn"]
        words = ["compress", f"{HERE / 'resume_task.py'}:task", "-o", self.folder / out, *options, *more]
        environment = os.environ | {
            "RESUME_WEIGHTS": str(self.folder / "dense.pt"),
            "RESUME_IMAGES": str(self.images),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(self, out: str) -> str:
        """Run to the end; SHA-256 of the artifact."""
        process = self.start(out)
        _, err = process.communicate(timeout=LIMIT_SECONDS)
        if process.returncode != 0:
            raise SystemExit(f"compress ended with {process.returncode}:\n{err.decode()}")
        return hashlib.sha256((self.folder / out / ARTIFACT).read_bytes()).hexdigest()


def killed(command: Command, out: str, after_seconds: float) -> dict[str, Any] | None:
    """Kill one run and resume it; where it stood, and the hash of what came out. None where it ended before."""
    process = command.start(out)
    try:
        process.communicate(timeout=after_seconds)
        return None
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    stood = stand(command.folder / out)
    return {"after_seconds": round(after_seconds, 2), "stood": stood, "sha256": command.finish(out)}


def stand(folder: Path) -> str:
    """What the folder of a killed run holds last, in the order in which a run writes it."""
    names = {path.name for path in folder.glob("*")} if folder.exists() else set()
    order = ["result.json", "report.json", "report.html", ARTIFACT, "state-weights.json"]
    return next((name for name in order if name in names), "state" if "state-0.state" in names else "before training")


def train_dense(path: Path) -> None:
    """Two epochs, enough for a network that knows something."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train, _ = data()
    model = WithDropout()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for _ in range(2):
        for images, labels in train:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    torch.save(model.state_dict(), path)


def measure(kills: int, epochs: int, images: int, seed: int, save_seconds: float = 1.0) -> dict[str, Any]:
    """All of it; every entry of "kills" says whether its artifact equals that of the unbroken run."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        command = Command(Path(name), epochs, images, save_seconds)
        train_dense(command.folder / "dense.pt")
        begun = time.perf_counter()
        unbroken = command.finish("unbroken")
        seconds = time.perf_counter() - begun
        found: list[dict[str, Any]] = []
        tries, most = 0, seconds
        while len(found) < kills:
            moment, tries = draw.uniform(0, most), tries + 1
            row = killed(command, f"run-{tries}", moment)
            if row is None:  # the machine is faster than it was for the unbroken run
                most = moment
                continue
            row["identical"] = row.pop("sha256") == unbroken
            found.append(row)
            print(f"kill {len(found)}: {found[-1]}", file=sys.stderr, flush=True)
        size = (command.folder / "unbroken" / ARTIFACT).stat().st_size
    return {
        "network": "LeNet-5 with dropout, 431,080 parameters",
        "unbroken_seconds": round(seconds, 1),
        "ended_before_the_kill": tries - kills,
        "epochs": [epochs, max(1, epochs // 2)],
        "images": images,
        "save_seconds": save_seconds,
        "artifact_bytes": size,
        "artifact_sha256": unbroken,
        "identical": sum(row["identical"] for row in found),
        "kills": found,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6, help="of self-pruning; half as many of fine-tuning")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    found = measure(options.kills, options.epochs, options.images, options.seed)
    record("resume", **found)
    if found["identical"] != options.kills:
        raise SystemExit("an artifact differs")


if __name__ == "__main__":
    main()
