"""all-MiniLM-L6-v2 with 4 of 16 weights in all linear layers, in 8 bits through accelerate: how near to the dense
model, and how fast.

python benchmarks/bench_minilm_int8.py --data DIR --time       (DIR as of bench_minilm.py)
python benchmarks/bench_minilm_int8.py --data DIR --judge      (after bench_minilm.py --student balanced)

Times: one text of 128 tokens, one thread, the whole model from token numbers to embedding; all take turns in one
process, and a ratio is the median over the rounds of the two times in the same round. Weights are the largest 4 of
every 16 here: times do not depend on what training makes of them. Linear layers alone, against other runtimes:
python benchmarks/bench_linear.py --shapes 384x384 1536x384 384x1536 --batch 128
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mails
import minilm
import secateur as sct
from bench_minilm import summary
from minilm_training import BATCH, LONGEST_TOKENS, Text, embeddings
from record import record
from secateur.ir.pattern import Pattern
from secateur.nn.grouping import Grouping

TOKENS = 128
PATTERN = Pattern(4, 16)
FASTEST = "accelerate int8 4:16"


def pruned(teacher: minilm.MiniLM) -> minilm.MiniLM:
    """The 4 largest of every 16 weights of all linear layers."""
    student = copy.deepcopy(teacher)
    for module in student.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight.data
            weight *= Grouping.of(tuple(weight.shape), 0, PATTERN).project(weight.abs(), PATTERN)
    return student


@torch.no_grad()
def timed(teacher: minilm.MiniLM, rounds: int) -> None:
    """Record processor times of a text through every way to run the model, and of each linear layer."""
    ids, mask = torch.arange(1000, 1000 + TOKENS)[None], torch.ones(1, TOKENS, dtype=torch.bool)
    student = pruned(teacher)
    by_bytes = sct.accelerate(student, (ids, mask), accuracy="int8", threads=1)
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        FASTEST: by_bytes,
        "accelerate float32 4:16": sct.accelerate(student, (ids, mask), threads=1),
        f"{FASTEST}, compiled": torch.compile(by_bytes),
        "torch.compile float32": torch.compile(teacher),
        "eager float32": teacher,
    }
    print(by_bytes.report)
    for _ in range(3):
        for way in ways.values():
            way(ids, mask)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = process_time()
            way(ids, mask)
            times[name].append(process_time() - start)
    rows = json.loads(by_bytes.report.to_json())["layers"]
    record(
        "minilm",
        benchmark="minilm_int8_time",
        tokens=TOKENS,
        processor_ms={name: round(1e3 * statistics.median(found), 3) for name, found in times.items()},
        ratios={name: _ratio(times[name], times[FASTEST]) for name in ways if name != FASTEST},
        rounds=rounds,
        algorithms={row["name"]: row["algorithm"] for row in rows},
        layers_us={name: round(sum(row[name] or 0 for row in rows)) for name in ("before_us", "after_us")},
        difference=by_bytes.report.difference,
    )


def _ratio(over: list[float], under: list[float]) -> list[float]:
    """Quartiles of the ratios of two times in the same round."""
    found = statistics.quantiles((a / b for a, b in zip(over, under, strict=True)), n=4)
    return [round(value, 3) for value in found]


@torch.no_grad()
def judged(data: Path, teacher: minilm.MiniLM, tokenizer: object, seed: int) -> None:
    """Record the cosine to the dense embeddings of held-out passages, in float32 and with linear layers in 8 bits."""
    student = minilm.MiniLM().eval()
    student.load_state_dict(torch.load(data / f"minilm_balanced_{seed}.pt", weights_only=True))
    text = Text(tokenizer, mails.read(data).held_out)
    wanted = embeddings(teacher, text)
    example = torch.zeros(BATCH, LONGEST_TOKENS, dtype=torch.int64), torch.ones(BATCH, LONGEST_TOKENS, dtype=torch.bool)
    fast = sct.accelerate(student, example, accuracy="int8", threads=1, measure=False)
    in_bytes = sum((row.algorithm or "").endswith("int8") for row in fast.report.layers)
    found = torch.cat([fast(*_filled(batch))[: len(batch[0])] for batch in text.in_order()])
    record(
        "minilm",
        benchmark="minilm_int8",
        judged_on=f"{len(text.ids)} held-out passages",
        cosine_float32=summary(F.cosine_similarity(embeddings(student, text), wanted)),
        cosine_int8=summary(F.cosine_similarity(found, wanted)),
        layers_in_8_bits=in_bytes,
    )


def _filled(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """To the batch and number of tokens that kernels are for; what is added is masked, and repeats the first text."""
    more = LONGEST_TOKENS - batch[0].shape[1], BATCH - len(batch[0])
    ids, mask = F.pad(batch[0], (0, more[0])), F.pad(batch[1], (0, more[0]))
    return torch.cat([ids, ids[:1].expand(more[1], -1)]), torch.cat([mask, mask[:1].expand(more[1], -1)])


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher, tokenizer = minilm.load(options.data)
    if options.time:
        timed(teacher, options.rounds)
    if options.judge:
        judged(options.data, teacher, tokenizer, options.seed)


if __name__ == "__main__":
    main()
