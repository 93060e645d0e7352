"""Coverage-guided fuzzing of `Artifact.load` with atheris (libFuzzer), which is no dependency of anything here.

    python -m pip install atheris
    python benchmarks/fuzz_atheris.py seeds DIR                       # inputs to begin with; needs torch
    python benchmarks/fuzz_atheris.py DIR -max_total_time=600         # other options are libFuzzer's
    python benchmarks/fuzz_atheris.py keep DIR                        # writes tests/golden/fuzz-corpus.hex

An input is two bytes that say how long the header is, the header as JSON, and the body. Lengths and checksums are made
by the container's own code, so that every change reaches the decoders. What is loaded is used as in fuzz_trial.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

LENGTH_BYTES = 2
MAX_BYTES = 2**20
KEPT_BYTES = 90_000  # of corpus, as files
CORPUS = Path(__file__).resolve().parents[1] / "tests" / "golden" / "fuzz-corpus.hex"


def file_of(data: bytes) -> bytes:
    """The artifact file that an input stands for."""
    from fuzz_file import sealed

    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    return sealed(data[LENGTH_BYTES:end], data[end:])


def input_of(data: bytes) -> bytes:
    """The input that stands for an honest file."""
    from fuzz_file import Honest

    honest = Honest("", data)
    return len(honest.text).to_bytes(LENGTH_BYTES, "little") + honest.text + honest.body


def seeds(folder: Path) -> None:
    """Honest files as inputs, but for those that are large."""
    from fuzz_seeds import honest_files

    folder.mkdir(exist_ok=True)
    for name, data in honest_files().items():
        if len(data) < 2**12:
            (folder / name.replace(" ", "-")).write_bytes(input_of(data))


def run() -> None:
    """Never returns: libFuzzer, to which the arguments belong, ends the process."""
    import atheris

    with atheris.instrument_imports(include=["secateur"]):
        from fuzz_trial import examine

    def one_input(data: bytes) -> None:
        examine(file_of(data), MAX_BYTES)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def keep(folder: Path) -> None:
    """The smallest inputs that libFuzzer kept, since each reached something new: a line each, as files."""
    lines, total = [], 0
    for data in sorted({file_of(path.read_bytes()) for path in folder.iterdir()}, key=lambda data: (len(data), data)):
        total += 2 * len(data) + 1
        if total <= KEPT_BYTES:
            lines.append(data.hex())
    CORPUS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1] in ("seeds", "keep"):
        {"seeds": seeds, "keep": keep}[sys.argv[1]](Path(sys.argv[2]))
    else:
        run()
