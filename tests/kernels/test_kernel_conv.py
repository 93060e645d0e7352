"""The layer as callers see it: choice, accuracy, arrays that do not fit, threads of the caller, a forked child."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import HERE, error, make_layer, result
from secateur.errors import KernelError
from secateur.kernels import build
from secateur.kernels import choice as choices
from secateur.kernels.accuracy import ACCURACY, accuracy_limit, expected_error, measured_error, sample_shape
from secateur.kernels.algorithms import Tiling
from secateur.kernels.choice import Candidate, Choice, choose, forget_choices, tilings
from secateur.kernels.choice import _ranked as ranked
from secateur.kernels.conv import Conv2dKernel, ConvOptions, compile_ahead
from secateur.kernels.cost import best_blocking, blockings, cycles
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import Blocking
from secateur.kernels.machine import l2_bytes, machine_name
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
TARGET = host_target()


def setting(shape=SHAPE, threads=1):
    return Setting(shape, Epilogue(), TARGET, threads)


def test_the_fastest_measured_is_chosen_and_kept(monkeypatch):
    kernel = make_layer(SHAPE).kernel(None)
    found = kernel.choice
    assert found.candidates[0] == found.chosen
    assert {one.algorithm for one in found.candidates} >= {"direct", found.chosen.algorithm}
    assert all(one.microseconds for one in found.candidates)
    assert all(one.error is not None and one.error <= found.limit for one in found.candidates)
    monkeypatch.setattr(choices, "_timed", lambda *_: pytest.fail("measured again"))
    assert choose(setting(), "default") == found
    lines = kernel.explain().splitlines()
    assert len(lines) == 1 + len(found.candidates)
    assert found.chosen.algorithm in lines[0]
    assert "1.5e-05" in lines[0]


def test_choices_say_when_they_were_made_and_can_be_forgotten(monkeypatch):
    found = choose(setting(), "default")
    assert f"measurement of {found.measured}" in found.explain()
    assert found.measured.endswith("UTC")
    monkeypatch.setattr(choices, "now", lambda: "later")
    assert choose(setting(), "default") == found
    assert forget_choices() > 0
    assert choose(setting(), "default").measured == "later"


def test_what_a_layer_needs_is_compiled_ahead(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "_loaded", {})
    layer, options = make_layer(SHAPE), ConvOptions(accuracy="fast")  # whose limit no guess misses
    request = (SHAPE, Epilogue("leaky_relu", slope=0.3), options)
    assert compile_ahead([request, request], processes=2) > 4
    assert compile_ahead([request], processes=2) == 0
    compiled, compile_now = [], build._compiled
    monkeypatch.setattr(build, "_compiled", lambda unit, target: compiled.append(unit) or compile_now(unit, target))
    kernel = Conv2dKernel(SHAPE, layer.weight, epilogue=request[1], options=options)
    assert compiled == []
    assert kernel.choice.chosen.error is not None


def test_a_looser_class_also_tries_what_won_in_a_stricter_one(monkeypatch):
    """Its own few candidates by estimate may leave it out; here its estimate ranks the other way round."""

    def timed(_, found):
        return [replace(one, microseconds=2.0 if one.outputs is None else 1.0) for one in found]

    forget_choices()
    monkeypatch.setattr(choices, "FAST_CANDIDATES", 1)
    monkeypatch.setattr(choices, "_timed", timed)
    monkeypatch.setattr(choices, "_ranked", lambda given, limit: ranked(given, limit)[:: 1 if limit < 1e-5 else -1])
    alone = {one.algorithm for one in choose(setting(), "fast").candidates}
    forget_choices()
    winner = choose(setting(), "strict").chosen.algorithm
    assert winner not in alone
    assert alone | {winner} == {one.algorithm for one in choose(setting(), "fast").candidates}
    forget_choices()


def test_a_choice_as_a_file():
    fast = Candidate("F(4x4,3x3)", (4, 4), Blocking(14, 1, True), 12.5, 1e-6)
    found = Choice(fast, (fast, Candidate("direct", None, None, None, None)), "strict", 3e-6, "measurement")
    assert Choice.from_json(found.to_json()) == found
    assert "shared by the threads: 12" in found.explain()


def test_strict_is_stricter():
    wide = replace(SHAPE, in_channels=64)
    for name, limit in ACCURACY.items():
        for one in choose(setting(wide), name).candidates:
            assert one.error is not None
            assert one.error <= limit or one.algorithm == "direct"
    assert measured_error(setting(wide), Tiling((8, 8), (3, 3))) > ACCURACY["strict"]
    with pytest.raises(KernelError, match="sloppy"):
        accuracy_limit("sloppy")


@pytest.mark.parametrize("outputs", [(2, 2), (4, 4), (6, 6)])
def test_the_guess_of_an_error_is_near_the_measured_one(outputs):
    algorithm = Tiling(outputs, (3, 3))
    ratio = measured_error(setting(), algorithm) / expected_error(algorithm, SHAPE.in_channels)
    assert 0.2 < ratio < 4


def test_the_sample_is_part_of_the_layer():
    large = ConvShape(8, 224, 200, 64, 512, (3, 3), (2, 1), (1, 1, 1, 1))
    sample = sample_shape(large)
    assert (sample.batch, sample.in_channels, sample.taps) == (1, 64, (3, 3))
    assert sample.macs < large.macs / 100
    assert sample_shape(SHAPE).height == SHAPE.height


def test_the_cost_model_knows_tile_waste_and_gain():
    def estimate(shape, outputs):
        algorithm = Tiling(outputs, (3, 3))
        return cycles(shape, algorithm, TARGET, best_blocking(shape, algorithm, TARGET, 1), 1)

    even = replace(SHAPE, height=56, width=56, in_channels=64, out_channels=64)
    assert estimate(even, (4, 4)) < estimate(even, (2, 2))
    small = replace(even, height=7, width=7, in_channels=32, out_channels=32)
    assert estimate(small, (7, 7)) < estimate(small, (6, 6))
    assert l2_bytes() >= 1 << 17
    assert "cores" in machine_name()


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_cover_the_tiles(threads):
    algorithm = Tiling((4, 4), (3, 3))
    for shape in (SHAPE, replace(SHAPE, batch=0), replace(SHAPE, in_channels=2048, out_channels=2048)):
        found = blockings(shape, algorithm, TARGET, threads)
        assert found
        assert all(one.block_tiles >= 1 and one.chunk_panels >= 1 for one in found)
        assert any(one.shared for one in found) == (threads > 1)


def test_layers_no_fast_algorithm_computes():
    assert tilings(setting(replace(SHAPE, stride=(2, 2)))) == []
    assert tilings(setting(replace(SHAPE, groups=2))) == []
    assert make_layer(replace(SHAPE, stride=(2, 2))).kernel(None).choice.chosen.algorithm == "direct"
    with pytest.raises(KernelError, match="none of this layer's"):
        make_layer(replace(SHAPE, dilation=(2, 2))).kernel("F(4x4,3x3)")
    with pytest.raises(KernelError, match=r"F\(99x99"):
        make_layer(SHAPE).kernel("F(99x99,3x3)")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 12, 12, 16)), "float32"),
        (np.zeros((1, 16, 12, 12), np.float32), "shape"),
        (np.zeros((1, 12, 16, 12), np.float32).transpose(0, 1, 3, 2), "dense"),
        ([1.0], "list"),
    ],
)
def test_arrays_that_do_not_fit(array, message):
    kernel = make_layer(SHAPE).kernel("direct")
    with pytest.raises(KernelError, match=message):
        kernel(array)


def test_calls_that_do_not_fit():
    layer = make_layer(SHAPE)
    kernel = layer.kernel("direct")
    with pytest.raises(KernelError, match="apart from x"):
        kernel(layer.x, out=layer.x)
    with pytest.raises(KernelError, match="residual"):
        kernel(layer.x, layer.x)
    locked = np.zeros(SHAPE.output_shape, np.float32)
    locked.flags.writeable = False
    with pytest.raises(KernelError, match="writable"):
        kernel(layer.x, out=locked)
    with pytest.raises(KernelError, match="threads=0"):
        layer.kernel("direct", threads=0)
    with pytest.raises(KernelError, match="bias"):
        Conv2dKernel(SHAPE, layer.weight, layer.bias[:3])


def test_the_residual_may_be_the_output():
    layer = make_layer(SHAPE, Epilogue("relu", residual=True))
    for algorithm in ("direct", "F(4x4,3x3)"):
        out = layer.residual.copy()
        layer.kernel(algorithm)(layer.x, out, out=out)
        assert error(out, layer.expected()) < 1e-5


def test_several_python_threads_share_a_kernel():
    layers = [make_layer(SHAPE, seed=seed) for seed in range(3)]
    layers = [replace(layer, weight=layers[0].weight, bias=layers[0].bias) for layer in layers]
    kernel = layers[0].kernel("F(4x4,3x3)", threads=2)
    wanted = [result(layer, kernel).copy() for layer in layers]
    wrong = []

    def work(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(kernel(layers[number].x), wanted[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_computes_the_same():
    layer = make_layer(SHAPE)
    kernel = layer.kernel("F(4x4,3x3)", threads=2)
    wanted = result(layer, kernel)
    child = os.fork()
    if child == 0:
        same = np.array_equal(kernel(layer.x), wanted)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("target", HERE)
def test_a_target_can_be_asked_for(target):
    layer = make_layer(SHAPE)
    assert error(result(layer, layer.kernel(None, target=target)), layer.expected()) < ACCURACY["default"]


@pytest.mark.parametrize("algorithm", ["direct", "F(4x4,3x3)"])
def test_other_weights_for_the_same_code(algorithm):
    layer, other = make_layer(SHAPE), make_layer(SHAPE, seed=1)
    kernel = layer.kernel(algorithm)
    changed = kernel.with_weights(other.weight, other.bias)
    assert changed.choice is kernel.choice
    assert error(result(other, changed), other.expected()) < 1e-5
    assert error(result(layer, kernel), layer.expected()) < 1e-5
    with pytest.raises(KernelError, match="weight"):
        kernel.with_weights(other.weight[:3])
