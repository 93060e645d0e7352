"""Constraints in data-parallel training: two processes are what one process is that adds up halves."""

import subprocess
import sys
from pathlib import Path

import norm_replica
import torch


def test_two_processes_average_gradients_of_weights_and_multipliers(tmp_path):
    command = [sys.executable, str(Path(norm_replica.__file__)), str(tmp_path)]
    runs = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE) for rank in range(norm_replica.PARTS)]
    for run in runs:
        _, said = run.communicate(timeout=300)
        assert run.returncode == 0, said.decode()
    model = norm_replica.network()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = norm_replica.optimizer_of(model)
    for step in range(norm_replica.STEPS):
        optimizer.zero_grad()
        for rank in range(norm_replica.PARTS):
            (norm_replica.loss_of(model, step, rank) / norm_replica.PARTS).backward()
        optimizer.step()
    first, second = (torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    for name, tensor in model.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, msg=lambda text, name=name: f"{name}: {text}")
    moved = [float((first[name] - start[name]).abs().max()) for name in start if "multipliers" in name]
    assert len(moved) == 2
    assert min(moved) > 1e-3
