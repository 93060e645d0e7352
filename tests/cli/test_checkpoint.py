"""A checkpoint's state dict is found where training scripts put it."""

import zipfile

import pytest
import torch
from torch import nn

import secateur as sct
from secateur.cli.checkpoint import NESTED, is_prepared, load_into, state_of
from secateur.errors import DataError


@pytest.mark.parametrize("key", [None, *NESTED])
def test_state_is_found_bare_or_nested(key, tmp_path):
    layer = nn.Linear(3, 2)
    state = layer.state_dict()
    torch.save(state if key is None else {"epoch": 3, key: state}, tmp_path / "ck.pt")
    found = state_of(tmp_path / "ck.pt")
    assert list(found) == ["weight", "bias"]
    other = nn.Linear(3, 2)
    load_into(other, found, tmp_path / "ck.pt")
    assert torch.equal(other.weight, layer.weight)


def test_prepared_models_are_told_apart():
    for model in (nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))):
        assert not is_prepared(model.state_dict())
        sct.prepare_(model, sct.plan(model, torch.randn(1, 3), prune=sct.Prune()))
        assert is_prepared(model.state_dict())


def test_misfits_name_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"(?s)does not fit the task's model.*bias"):
        load_into(nn.Linear(3, 2), {"weight": torch.zeros(2, 3)}, tmp_path / "ck.pt")


def test_what_is_no_state_dict_is_refused(tmp_path):
    for number, content in enumerate(({1: torch.zeros(2)}, [torch.zeros(2)], 3, {"model": {None: 1}})):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(DataError, match=r"not a state dict"):
            state_of(tmp_path / f"{number}.pt")


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x02}(}K\x01u.",  # a dict as the key of a dict: TypeError in torch's reader
        b"\x80\x02t.",  # a tuple without a mark: IndexError
        b"\x80\x02N}b.",  # state for None: AttributeError or UnpicklingError
    ],
)
def test_damaged_pickles_are_refused_whatever_torch_raises(stream, tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "ck.pt", "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, stream if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(DataError, match="no checkpoint of tensors alone"):
        state_of(tmp_path / "ck.pt")


def test_entries_that_are_no_tensors_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not fit"):
        load_into(nn.Linear(3, 2), {"weight": "x", "bias": 3}, tmp_path / "ck.pt")


def test_compressed_members_are_not_unfolded(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "whole.pt")
    assert list(state_of(tmp_path / "whole.pt")) == ["a"]
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "ck.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(DataError, match="no checkpoint of tensors alone"):
        state_of(tmp_path / "ck.pt")
