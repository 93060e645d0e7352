"""Small networks of every kind whose feature maps are quantized: which maps those are, and the same forward with
quantizers written in by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

torch.set_num_threads(1)
Quantizer = Callable[[str, Tensor], Tensor]
"""(name of a map, value) -> the quantized value."""


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(32, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.features(x), 1))


def vgg_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    f, h = m.features, m.head
    x = q("features.2", f[2](f[1](f[0](q("x", x)))))
    x = q("features.7", f[7](f[6](q("features.5", f[5](f[4](f[3](x)))))))
    return h[4](q("head.2", h[2](h[1](x.flatten(1)))))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """Functional ReLUs and sums, a mean over space, a shortcut by projection."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 6, 2))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def resnet_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = q("relu", F.relu(m.bn1(m.conv1(q("x", x)))))
    for name, block in (("layer1.0", m.layer1[0]), ("layer2.0", m.layer2[0])):
        y = q(f"{name}.relu", F.relu(block.bn1(block.conv1(x))))
        y = q(f"{name}.bn2", block.bn2(block.conv2(y)))
        x = q(f"{name}.shortcut.1", block.shortcut(x)) if len(block.shortcut) else x
        x = q(f"{name}.relu_1", F.relu(y + x))
    return m.fc(q("mean", x.mean((2, 3))))


class Inception(nn.Module):
    """A concatenation whose inputs nobody else reads, and one of an input that another layer reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.one, self.three = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.last = nn.Conv2d(5, 3, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = torch.cat([F.relu(self.one(x)), torch.relu(self.three(x))], 1)
        z = torch.cat((self.last(y).relu(), y), dim=1)
        return self.head(F.adaptive_avg_pool2d(z, 1).view(z.size(0), -1))


def inception_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = q("relu", F.relu(m.stem(q("x", x))))
    y = q("cat", torch.cat([F.relu(m.one(x)), F.relu(m.three(x))], 1))
    z = q("cat_1", torch.cat([F.relu(m.last(y)), y], 1))
    return m.head(q("adaptive_avg_pool2d", F.adaptive_avg_pool2d(z, 1)).flatten(1))


class Bottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU6(inplace=True)),
            *(nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width, bias=False), nn.BatchNorm2d(2 * width)),
            *(nn.ReLU6(inplace=True), nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class MobileNet(nn.Module):
    """Depthwise convolutions, ReLU6, linear bottlenecks, a sum of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.blocks = nn.Sequential(Bottleneck(4), Bottleneck(4))
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Conv2d(4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(F.relu6(self.stem(x))))).squeeze(-1).squeeze(-1)


def mobilenet_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = q("relu6", F.relu6(m.stem(q("x", x))))
    for number, block in enumerate(m.blocks):
        c, name = block.conv, f"blocks.{number}"
        y = q(f"{name}.conv.2", c[2](c[1](c[0](x))))
        y = q(f"{name}.conv.5", c[5](c[4](c[3](y))))
        x = q(f"{name}.add", x + q(f"{name}.conv.7", c[7](c[6](y))))
    return m.head(q("pool", m.pool(x)))[:, :, 0, 0]


class Transformer(nn.Module):
    """nn.MultiheadAttention, whose inside nothing reaches, between sums and layer norms; learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.places = nn.Parameter(torch.randn(6, 8) / 4)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


def transformer_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = q("add", q("embed", m.embed(q("x", x))) + q("places", m.places))
    y = q("norm1", m.norm1(x))
    x = q("add_1", x + q("attention.0", m.attention(y, y, y, need_weights=False)[0]))
    y = q("mlp.1", m.mlp[1](m.mlp[0](q("norm2", m.norm2(x)))))
    x = q("add_2", x + q("mlp.2", m.mlp[2](y)))
    return m.head(q("mean", x.mean(1)))


class Attention(nn.Module):
    """Attention written out: two products, a softmax between them; heads cut out of one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(x.shape[0], -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * 3**-0.5).softmax(-1)
        return self.out(torch.matmul(weights, v).transpose(1, 2).flatten(2))


def attention_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    query, key, value = q("qkv", m.qkv(q("x", x))).reshape(len(x), -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
    weights = q("softmax", (query @ key.transpose(-2, -1) * 3**-0.5).softmax(-1))
    return m.out(q("matmul_1", weights @ value).transpose(1, 2).flatten(2))


class Reader(nn.Module):
    """An LSTM, which computes inside what nothing reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(ids))[0][:, -1])


def reader_by_hand(m: Any, ids: Tensor, q: Quantizer) -> Tensor:
    return m.head(q("lstm.0", m.lstm(m.words(ids))[0])[:, -1])


class Twice(nn.Module):
    """A module that runs twice, F.dropout that knows the mode, a value that four layers read, and ReLUs that ride."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(6, 6), nn.ReLU()
        self.a, self.b, self.c = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.act(self.fc(x)), 0.25, self.training)
        x = self.act(self.fc(x))
        y = self.fc(x)  # read by a sum and, behind a ReLU, by a layer
        return self.a(x) * self.b(x) + self.c(x) * self.c(torch.relu(y)) + self.a(y + x)


def twice_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = q("act", F.relu(m.fc(q("x", x))))
    x = q("act_1", F.relu(m.fc(x)))
    y = q("fc_2", m.fc(x))
    first = q("add", q("mul", m.a(x) * m.b(x)) + q("mul_1", m.c(x) * m.c(F.relu(y))))
    return first + q("a_1", m.a(q("add_1", y + x)))


class UNet(nn.Module):
    """Skips into concatenations, of values that other layers read too; a transposed convolution, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.middle = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.last = nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect")
        self.out = nn.Conv2d(10, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        b = self.middle(a)
        c = F.relu(self.last(torch.cat([a, self.up(b)], 1)))
        return self.out(torch.cat([c, F.interpolate(b, scale_factor=2, mode="nearest")], 1))


def unet_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    a = q("down.2", m.down(q("x", x)))
    b = q("middle.2", m.middle(a))
    c = F.relu(m.last(q("cat", torch.cat([a, m.up(b)], 1))))
    return m.out(q("cat_1", torch.cat([c, F.interpolate(b, scale_factor=2)], 1)))


class VisionTransformer(nn.Module):
    """A learned token beside those of an image, learned positions, one call of attention, a learned gain."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 5, 6))
        self.norm, self.gain = nn.LayerNorm(6), nn.Parameter(torch.rand(6))
        self.qkv, self.out, self.head = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        q, k, v = (part.unsqueeze(1) for part in self.qkv(self.norm(x)).chunk(3, -1))
        x = x + self.gain * self.out(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return self.head(x[:, 0])


def vision_by_hand(m: Any, x: Tensor, q: Quantizer) -> Tensor:
    x = m.patches(q("x", x)).flatten(2).transpose(1, 2)
    x = q("cat", torch.cat([m.token.expand(len(x), -1, -1), x], 1))
    x = q("add", x + q("places", m.places))
    query, key, value = (part.unsqueeze(1) for part in q("qkv", m.qkv(q("norm", m.norm(x)))).chunk(3, -1))
    y = q("scaled_dot_product_attention", F.scaled_dot_product_attention(query, key, value)).squeeze(1)
    return m.head(q("add_1", x + q("mul", m.gain * m.out(y)))[:, 0])


class Branching(nn.Module):
    """What depends on data: no graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@dataclass(frozen=True)
class Net:
    """One of them. `floats`: maps that are listed with a reason, and words of it."""

    build: Callable[[], nn.Module]
    example: Callable[[], Tensor]
    by_hand: Callable[[Any, Tensor, Quantizer], Tensor]
    floats: dict[str, str]


def _images() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _vectors(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(1))


OUTPUT, INSIDE = "an output", "in one call"
NETS = {
    "vgg": Net(Vgg, _images, vgg_by_hand, {"head.4": OUTPUT}),
    "resnet": Net(ResNet, _images, resnet_by_hand, {"fc": OUTPUT}),
    "inception": Net(Inception, _images, inception_by_hand, {"head": OUTPUT}),
    "mobilenet": Net(MobileNet, _images, mobilenet_by_hand, {"head": OUTPUT}),
    "transformer": Net(
        Transformer, _vectors(3, 6, 5), transformer_by_hand, {"attention.inside": INSIDE, "head": OUTPUT}
    ),
    "attention": Net(
        Attention, _vectors(3, 4, 6), attention_by_hand, {"mul": "softmax reads it in floating point", "out": OUTPUT}
    ),
    "reader": Net(
        Reader,
        lambda: torch.randint(9, (3, 7), generator=torch.Generator().manual_seed(1)),
        reader_by_hand,
        {"ids": "whole numbers", "words": "LSTM reads it", "lstm.inside": INSIDE, "head": OUTPUT},
    ),
    "unet": Net(UNet, _images, unet_by_hand, {"out": OUTPUT}),
    "vision": Net(
        VisionTransformer, _images, vision_by_hand, {"scaled_dot_product_attention.inside": INSIDE, "head": OUTPUT}
    ),
    "twice": Net(
        Twice, _vectors(3, 6), twice_by_hand, {**dict.fromkeys(("a", "b", "c", "c_1"), "mul reads it"), "add_2": OUTPUT}
    ),
}


def settled(net: Net, seed: int = 0) -> nn.Module:
    """The network with seeded weights and statistics of norms, in evaluation mode."""
    torch.manual_seed(seed)
    model = net.build()
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model.eval()
