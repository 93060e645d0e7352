"""cifar_floats: a float network is trained once; everyone gets the one that is kept."""

import torch

import cifar_floats


def test_what_is_kept_is_what_everyone_gets(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_floats, "FLOATS", tmp_path / "floats")
    monkeypatch.setattr(cifar_floats, "RUNS", tmp_path / "runs")
    trained = []

    def train(model, data, path, course):
        trained.append((path.name, course))
        with torch.no_grad():
            model[0].bias.fill_(course.seed + 0.5)

    monkeypatch.setattr(cifar_floats, "float_network", train)
    first, again = (cifar_floats.cifar_float("lenet5_cifar", 3, None, precision="float32") for _ in range(2))
    assert [name for name, _ in trained] == ["lenet5_cifar-float-30-3.pt"]
    assert trained[0][1].precision == "float32"
    assert (again[0].bias == 3.5).all()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    other = cifar_floats.cifar_float("lenet5_cifar", 4, None)
    assert len(trained) == 2
    assert not torch.equal(other[3].weight, first[3].weight), "its seed draws its own start"
