"""nn.traced_arguments: what is part of a graph is refused in another value, by name; everything else passes."""

import enum
import pickle

import pytest
import torch
from torch import nn

from secateur.errors import KernelError
from secateur.nn.traced_arguments import Arguments, settings_of

X, Y = torch.ones(2), torch.zeros(2)
INF = float("inf")


class Mode(enum.Enum):
    A = "a"
    B = "b"


class Net(nn.Module):
    def forward(self, x, mask=None, size=(1.0, 2), limit=INF, shift=X, *, mode=Mode.A):
        raise AssertionError("only its signature is read")


class Stars(nn.Module):
    def forward(self, x, *more, **settings):
        raise AssertionError("only its signature is read")


class Starless(nn.Module):
    def forward(self, x, y=2):
        raise AssertionError("only its signature is read")


def taken(model, inputs, *args, **kwargs):
    return Arguments.of(model, inputs).inputs_of(args, kwargs, KernelError)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, {}),
        ({"mask": None, "size": (1.0, 2), "limit": INF, "mode": Mode.A}, {}),
        ({"size": (1, 2.0)}, {}),
        ({"shift": X.clone()}, {}),
        ({"mask": X}, "mask was None"),
        ({"mask": False}, "mask was None"),
        ({"size": (1.0, 3)}, r"size was \(1.0, 2\)"),
        ({"size": [1.0, 2]}, r"size was \(1.0, 2\)"),
        ({"limit": 1.0}, "limit was inf"),
        ({"shift": Y}, "shift was a tensor of shape"),
        ({"mode": Mode.B}, "mode was <Mode.A: 'a'>"),
        ({"mode": "a"}, "mode was <Mode.A: 'a'>"),
    ],
)
def test_what_was_left_out_keeps_its_default(given, named):
    if not named:
        assert taken(Net(), (X,), Y, **given) == taken(Net(), (X,), x=Y, **given) == (Y,)
        return
    with pytest.raises(KernelError, match=f"the argument {named}.*give it in the example"):
        taken(Net(), (X,), Y, **given)


def test_by_position():
    assert taken(Net(), (X,), Y, None, (1.0, 2)) == (Y,)
    with pytest.raises(
        KernelError, match=r"mask was None when the model was traced, and cannot be a tensor of shape \(2,\)"
    ):
        taken(Net(), (X,), Y, X)


def test_of_what_was_given_settings_stay_and_tensors_and_numbers_are_free():
    example = (X, Mode.A)
    assert settings_of((*example, None, True, 2, "a", (True,))) == {1: Mode.A, 2: None, 3: True, 5: "a"}
    assert taken(Starless(), example, Y, y=Mode.A) == (Y, Mode.A)
    for other in (Mode.B, 2, None, X):
        with pytest.raises(KernelError, match=r"y was <Mode\.A: 'a'>"):
            taken(Starless(), example, Y, other)
    assert taken(Starless(), (X, 3), Y, 5.0) == (Y, 5.0)
    assert taken(Starless(), (X, 3), Y) == (Y, 2)
    with pytest.raises(KernelError, match="y was a value of another kind"):
        taken(Starless(), (X, 3), Y, None)
    inside = {"x": X, "mode": Mode.A}
    assert taken(Starless(), (X, inside), Y, {"x": Y, "mode": Mode.A})[1]["x"] is Y
    with pytest.raises(KernelError, match=r"y was <Mode\.A: 'a'>"):
        taken(Starless(), (X, inside), Y, {"x": Y, "mode": Mode.B})


def test_as_many_as_the_graph_takes():
    assert taken(Stars(), (X, Y), Y, X) == (Y, X)
    for args in ((Y,), (Y, X, X)):
        with pytest.raises(KernelError, match=f"traced with 2 arguments, and this call has {len(args)}"):
            taken(Stars(), (X, Y), *args)
    with pytest.raises(KernelError, match="without an argument 'scale'"):
        taken(Stars(), (X,), Y, scale=2)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((X,) * 3, {}), ((X,), {"x": X}), ((X,), {"z": X})])
def test_what_python_refuses_it_refuses_in_the_same_way(args, kwargs):
    with pytest.raises(TypeError, match="argument"):
        taken(Starless(), (X,), *args, **kwargs)


def test_in_words_and_on_disk():
    arguments = Arguments.of(Net(), (X, None))
    expected = f"mask=None, size=(1.0, 2), limit=inf, shift=a tensor of shape (2,), mode={Mode.A!r}"
    assert pickle.loads(pickle.dumps(arguments)).parts_of_the_graph == arguments.parts_of_the_graph == expected
    assert Arguments.of(Stars(), (X,)).parts_of_the_graph == ""
