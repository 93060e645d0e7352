"""Ways to leave 4 of every 16 weights in a trained transformer, with the same few steps: the first blocks of MiniLM.

python benchmarks/bench_patterns.py --data DIR    (DIR as of bench_minilm.py)

Small, so that ways can be compared in minutes: the first two blocks of all-MiniLM-L6-v2 alone, 12 linear layers, learn
to give what the dense ones give; embeddings are frozen. The error is |student - dense|^2 / |dense|^2 of the states,
mean over the blocks and over validation passages. Steps, texts in their order and rates are the same for all; a way
that learns its mask does so for the first 60 % of the steps. One seed.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import mails
import minilm
import secateur as sct
from minilm_training import LONGEST_TOKENS, Batch, Text
from record import record
from secateur.train.schedule import cosine, set_rate

BLOCKS, BATCH, LEARNING, JUDGED = 2, 8, 0.6, 200
TARGET = sct.Target(density=4 / 16)
METHODS = ("balanced", "sr_ste", "top_n")


class Beginning(nn.Module):
    """The embedding and the first blocks."""

    def __init__(self, whole: minilm.MiniLM) -> None:
        super().__init__()
        self.word, self.position, self.norm = whole.word, whole.position, whole.norm
        self.blocks = whole.blocks[:BLOCKS]
        for parameter in (self.word.weight, self.position):
            parameter.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The states behind every block, (blocks, batch, tokens, width)."""
        x, states = self.norm(self.word(ids) + self.position[: ids.shape[1]]), []
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
            states.append(x)
        return torch.stack(states)


def missed(student: nn.Module, dense: nn.Module, batch: Batch) -> Tensor:
    """Mean over the blocks of the relative squared error over real tokens."""
    with torch.no_grad():
        wanted = dense(*batch).float()[:, batch[1]]
    found = student(*batch).float()[:, batch[1]]
    return ((found - wanted).square().mean((1, 2)) / wanted.square().mean((1, 2))).mean()


def trained(student: nn.Module, dense: nn.Module, text: Text, steps: int, lr: float) -> nn.Module:
    """After all steps; hardened after LEARNING of them."""
    learning = round(LEARNING * steps)
    budget = sct.Budget(student, TARGET, steps=learning)
    optimizer = torch.optim.Adam(sct.param_groups(student, threshold_lr=2e-2), lr=lr, fused=True)
    for step, batch in enumerate(itertools.islice(text.shuffled(0, BATCH), steps)):
        set_rate(optimizer, lr * cosine(step / steps))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = missed(student, dense, batch)
        optimizer.zero_grad()
        (loss + budget() if step < learning else loss).backward()
        optimizer.step()
        if step < learning:
            budget.step()
        if step + 1 == learning:
            sct.harden_(student, TARGET)
    return student


@torch.no_grad()
def judged(student: nn.Module, dense: nn.Module, text: Text) -> float:
    """Mean error over batches of JUDGED passages."""
    errors = [float(missed(student, dense, batch)) for batch in text.in_order()]
    return sum(errors) / len(errors)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the wheel and the mail archive")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole, tokenizer = minilm.load(options.data)
    minilm.Block.attention = staticmethod(minilm.attention_in_float32)
    passages = mails.read(options.data)
    train, validation = Text(tokenizer, passages.train), Text(tokenizer, passages.validation[:JUDGED])
    dense = Beginning(whole).eval()
    example = torch.zeros(1, LONGEST_TOKENS, dtype=torch.int64), torch.ones(1, LONGEST_TOKENS, dtype=torch.bool)
    for method in options.methods:
        torch.manual_seed(0)
        student = copy.deepcopy(dense)
        sct.prepare_(student, sct.plan(student, example, prune=sct.Prune(method, n=4, m=16)))
        start = time.process_time()
        trained(student, dense, train, options.steps, options.lr)
        record(
            "minilm",
            benchmark="minilm_blocks",
            method=method,
            blocks=BLOCKS,
            error=round(judged(student, dense, validation), 5),
            steps=options.steps,
            lr=options.lr,
            judged_on=f"{JUDGED} validation passages",
            processor_seconds=round(time.process_time() - start),
        )


if __name__ == "__main__":
    main()
