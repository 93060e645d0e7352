"""Distilling a pruned MiniLM from the dense one: texts, loss, and a student in training that can be interrupted."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import minilm
import secateur as sct
from secateur.train.schedule import cosine, set_rate

LONGEST_TOKENS, BATCH, SORTED_BATCHES = 64, 32, 16
HIDDEN_WEIGHT = 1.0
KEPT_EVERY = 20
"""Steps between two states on disk."""


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

    def shuffled(self, seed: int, batch: int = BATCH) -> Iterator[Batch]:
        """Endless batches of so many; neighbours in length share one, so that little is computed on padding."""
        order = random.Random(seed)
        while True:
            rows = order.sample(range(len(self.ids)), len(self.ids))
            for start in range(0, len(rows), batch * SORTED_BATCHES):
                chunk = sorted(rows[start : start + batch * SORTED_BATCHES], key=lambda row: int(self.mask[row].sum()))
                batches = [chunk[i : i + batch] for i in range(0, len(chunk), batch)]
                yield from map(self.batch, order.sample(batches, len(batches)))

    def in_order(self) -> Iterator[Batch]:
        """Every text once, by length."""
        rows = self.mask.sum(1).argsort(stable=True).tolist()
        for start in range(0, len(rows), BATCH):
            yield self.batch(rows[start : start + BATCH])


class Texts(NamedTuple):
    """What a student learns from, and what it is judged on along the way."""

    train: Text
    validation: Text


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
    """A student in training: one optimizer and one cosine of the learning rate over all steps, hard or soft.

    kept     where its state is, every KEPT_EVERY steps; a student whose state is there goes on
    details  what is to be recorded of it, once it is hardened
    """

    def __init__(
        self,
        student: minilm.MiniLM,
        teacher: minilm.MiniLM,
        run: Run,
        kept: Path,
        budget: sct.Budget | None = None,
    ) -> None:
        self.student, self.teacher, self.run, self.kept, self.budget = student, teacher, run, kept, budget
        self.taken, self.seconds, self.details = 0, 0.0, {}
        groups = sct.param_groups(student, threshold_lr=run.threshold_lr)
        self.optimizer = torch.optim.Adam(groups, lr=run.lr, fused=True)
        if kept.exists():
            self._load(torch.load(kept, weights_only=True))

    def train(self, text: Text, steps: int) -> None:
        """Until so many steps are taken, in place; the budget is in the loss until there are details."""
        batches = itertools.islice(text.shuffled(self.run.seed), self.taken, None)
        budget = None if self.details else self.budget
        self.student.train()
        while self.taken < steps:
            start = time.process_time()
            set_rate(self.optimizer, self.run.lr * cosine(self.taken / self.run.steps))
            loss = distillation(self.student, self.teacher, next(batches))
            self.optimizer.zero_grad()
            (loss + budget() if budget else loss).backward()
            self.optimizer.step()
            if budget:
                budget.step()
            if self.taken % 50 == 0:
                print(f"step {self.taken:5d}  loss {float(loss.detach()):.4f}  {time.strftime('%H:%M:%S')}", flush=True)
            self.taken, self.seconds = self.taken + 1, self.seconds + time.process_time() - start
            if self.taken % KEPT_EVERY == 0:
                self.keep()

    def keep(self) -> None:
        """Whole or not at all."""
        state = {
            "run": vars(self.run),
            "taken": self.taken,
            "seconds": self.seconds,
            "details": self.details,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "budget": self.budget.state_dict() if self.budget else None,
        }
        part = self.kept.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.kept)

    def _load(self, state: dict[str, Any]) -> None:
        if state["run"] != vars(self.run):
            raise SystemExit(f"{self.kept} is of another run, {state['run']}: finish that one or remove the file")
        self.taken, self.seconds, self.details = state["taken"], state["seconds"], state["details"]
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.budget:
            self.budget.load_state_dict(state["budget"])
