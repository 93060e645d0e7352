"""The layer as callers see it: choice, accuracy, arrays that do not fit, threads of the caller, a forked child."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from kernel_cases import HERE, error, make_layer, result
from secateur.errors import KernelError
from secateur.kernels import build
from secateur.kernels.accuracy import ACCURACY
from secateur.kernels.balanced_choice import BYTES, kernel_of
from secateur.kernels.byte_maps import ByteMap, ByteMaps
from secateur.kernels.conv import Conv2dKernel, ConvOptions, compile_ahead
from secateur.kernels.direct import CLAIM, CLAIMS, DIRECT
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
TARGET = host_target()


def setting(shape=SHAPE, threads=1):
    return Setting(shape, Epilogue(), TARGET, threads)


def test_maps_of_bytes():
    """A layer with one tap, dense, between codes: as its kernel computes it."""
    shape = ConvShape(1, 3, 5, 24, 17, (1, 1))
    rng, maps = np.random.default_rng(0), ByteMaps(ByteMap(0.02), ByteMap(0.05, signed=True))
    weight = rng.standard_normal(shape.weight_shape).astype(np.float32)
    x = rng.integers(0, 256, shape.input_shape).astype(np.uint8)
    kernel = Conv2dKernel(shape, weight, options=ConvOptions(activations=BYTES, maps=maps))
    found = kernel(x)
    assert (found.dtype, kernel.choice.chosen.arithmetic) == (np.int8, BYTES)
    inner = kernel_of(setting(shape), weight, None, BYTES, maps)
    assert isinstance(inner, LinearKernel)
    np.testing.assert_array_equal(found.reshape(15, 17), inner(x.reshape(15, 24)))
    with pytest.raises(KernelError, match="x must be a uint8 array"):
        kernel(x.astype(np.float32))
    for options in (ConvOptions(maps=maps), ConvOptions(activations=BYTES, maps=maps, algorithm="direct")):
        with pytest.raises(KernelError, match="maps of bytes need"):
            Conv2dKernel(shape, weight, options=options)


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


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_thread_takes_many_tasks_at_once_even_across_images(threads):
    layer = make_layer(ConvShape(7, 90, 61, 3, 5, (3, 3), padding=(1, 1, 1, 1)))
    kernel = layer.kernel("direct", threads=threads)
    tasks = dict(zip(DIRECT.names, kernel._runnable.layer, strict=True))
    claim = tasks["all_tasks"] // (threads * CLAIMS)
    assert claim > CLAIM
    assert tasks["image_tasks"] % claim
    assert error(result(layer, kernel), layer.expected()) < ACCURACY["strict"]


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
