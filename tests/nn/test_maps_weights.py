"""nn.maps.weights: which keys of the state dict multiply a map, and which multiply what no quantizer reaches."""

import torch
from torch import nn

from secateur.ir.rules import Quantize
from secateur.nn.planning import plan


def reads(model, *inputs):
    return {row.name: row.reads for row in plan(model, inputs, maps=Quantize()).maps}


def test_attention_with_projections_of_their_own():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=2, batch_first=True)

        def forward(self, x, k, v):
            return self.attention(x, k, value=v)[0]

    found = reads(Cross(), torch.randn(2, 5, 4), torch.randn(2, 6, 3), torch.randn(2, 6, 2))
    assert found["x"] == ("attention.q_proj_weight",)
    assert found["k"] == ("attention.k_proj_weight",)
    assert found["v"] == ("attention.v_proj_weight",)
    assert found["attention.inside"] == ("attention.out_proj.weight",)


def test_what_modules_multiply_inside():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.pair = nn.LSTM(3, 2, 2), nn.Bilinear(2, 2, 2)
            self.layer = nn.TransformerEncoderLayer(2, 1, 3, batch_first=True)
            self.norm = nn.LayerNorm((4, 2))

        def forward(self, x):
            y = self.lstm(x)[0]
            return self.norm(self.layer(self.pair(y, y)))

    found = reads(Inner(), torch.randn(2, 4, 3))
    assert set(found["lstm.inside"]) == {f"lstm.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    assert found["pair.inside"] == ("pair.weight",)
    assert set(found["layer.inside"]) == {
        "layer.self_attn.in_proj_weight",
        "layer.self_attn.out_proj.weight",
        "layer.linear1.weight",
        "layer.linear2.weight",
    }
    assert "norm.inside" not in found


def test_tied_and_transposed_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(7, 4)
            self.fc = nn.Linear(4, 7, bias=False)
            self.fc.weight = self.words.weight

        def forward(self, ids):
            y = self.words(ids).mean(1)
            return self.fc(y), torch.relu(y) @ self.words.weight.t()

    found = reads(Tied(), torch.randint(7, (2, 3)))
    assert found["words"] == ()
    assert found["mean"] == ("fc.weight", "words.weight"), "the ReLU rides on the mean"
