"""Which way a layer is computed: the cost model narrows to a few, a short measurement decides, the result is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from time import gmtime, perf_counter, strftime

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.accuracy import (
    ACCURACY,
    accuracy_limit,
    expected_error,
    measured_error,
    sample_shape,
)
from secateur.kernels.algorithms import Tiling, catalogue
from secateur.kernels.build import CodeUnit
from secateur.kernels.cost import best_blocking, blockings, cycles
from secateur.kernels.emitters import emitters
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import Blocking, blocks_of, has_fast
from secateur.kernels.machine import machine_name
from secateur.kernels.memory import aligned
from secateur.kernels.object_cache import drop_objects, read_object, write_object
from secateur.kernels.regions import flattened
from secateur.kernels.runnable import (
    Runnable,
    Runs,
    Setting,
    direct_runnable,
    direct_unit,
    fast_runnable,
    fast_units,
    padded_bias,
)
from secateur.kernels.shape import is_square
from secateur.kernels.sparse_cut import SparseCut

FAST_CANDIDATES = 3
"""Tilings that are measured."""
GUESS_MARGIN = 2.0
"""The guess of an error is this far off at most; what is guessed beyond the limit by more is not tried."""
CLOSE = 1.06
"""Tilings that take at most so many times as long as the fastest are measured again, in all their blockings and in the
same turns: whoever has a turn alone finds its weights in the cache, and the best blocking of one differs by as much."""
KEPT_CHOICES = "choice-"
"""Names of files with what was measured begin so."""
CHOICE_NAMES = ("accuracy", "limit", "how", "measured", "zeros")
"""Of a Choice, what is neither chosen nor candidate."""
ROUNDS, MOST_ROUNDS, SHORT_SECONDS, ROUNDS_SECONDS = 3, 25, 0.03, 0.2
"""Candidates take turns, so often at least and at most; between them for SHORT_SECONDS, as short calls are disturbed
more, and never beyond ROUNDS_SECONDS. Each counts by its fastest run: on a busy machine that picked ways at most 3 %
off the best with one thread, medians of as many runs, or of their ratios, up to 40 %."""
RUNS = 3
"""Of a turn: the first one finds input and workspace where the candidate before left them, which made whoever followed
the direct convolution up to 80 % slower."""


@dataclass(frozen=True)
class Candidate:
    """One way to compute a layer, and what was measured of it.

    algorithm      "direct", "sparse", "balanced ...", "dense int8", or a fast one by name
    tiling         that one; None for the others
    blocking       how a fast one cuts the layer up; None for the others
    cut            how the sparse one does; None for the others
    microseconds   the fastest of a few runs on random data; None where the cost model alone decided
    error          max|y - y64| / max|y64|; None where it was not measured
    arithmetic     of a kernel for balanced matrices or on bytes, a row of balanced_choice.ACTIVATIONS; None for others
    """

    algorithm: str
    tiling: Tiling | None
    blocking: Blocking | None
    microseconds: float | None
    error: float | None
    cut: SparseCut | None = None
    arithmetic: str | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen among what, and when; `limit` is the error the class of accuracy allows, `zeros` the part of the
    weights that are zero, to `sparse_choice.STEP`, where these were enough for the sparse way to be measured."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    accuracy: str
    limit: float
    how: str
    measured: str = ""
    zeros: float = 0.0

    def to_json(self) -> str:
        """For the file it is kept in."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Choice:
        """The other way."""
        found = json.loads(text)
        given = [_candidate(one) for one in (found["chosen"], *found["candidates"])]
        return Choice(given[0], tuple(given[1:]), *(found[name] for name in CHOICE_NAMES))

    def explain(self) -> str:
        """What a person wants to know, a line a candidate."""
        how = f"{self.how} of {self.measured}" if self.measured else self.how
        zeros = f" for weights with {self.zeros:.0%} zeros" if self.zeros else ""
        lines = [f"{self.chosen.algorithm}, chosen by {how}{zeros}; accuracy {self.accuracy} allows {self.limit:.1e}"]
        for one in self.candidates:
            time = "-" if one.microseconds is None else f"{one.microseconds:.0f} us"
            error = "-" if one.error is None else f"{one.error:.1e}"
            blocks = "" if one.blocking is None else f" in blocks of {one.blocking.block_tiles} tiles"
            shared = ", shared by the threads" if one.blocking and one.blocking.shared else ""
            patches = "" if one.cut is None else " in patches of {}x{}".format(*one.cut.patch)
            lines.append(f"  {one.algorithm}{blocks}{shared}{patches}: {time}, error {error}")
        return "\n".join(lines)


def _candidate(found: dict) -> Candidate:
    tiling, blocking, cut = found["tiling"], found["blocking"], found["cut"]
    return Candidate(
        found["algorithm"],
        None if tiling is None else Tiling(*(tuple(tiling[name]) for name in ("outputs", "taps", "beside"))),
        None if blocking is None else Blocking(**blocking),
        found["microseconds"],
        found["error"],
        None if cut is None else SparseCut(tuple(cut["patch"]), tuple(cut["tile"]), cut["channels"]),
        found["arithmetic"],
    )


DIRECT = Candidate("direct", None, None, None, None)


def forced(setting: Setting, name: str, accuracy: str) -> Choice:
    """The way a caller names, whatever it costs; KernelError where the layer cannot take it."""
    limit = accuracy_limit(accuracy)
    if name == "direct":
        return Choice(DIRECT, (DIRECT,), accuracy, limit, "the caller")
    named = {tiling.name: tiling for tiling in tilings(setting)}
    if name not in named:
        raise KernelError(
            f"algorithm {name!r} is none of this layer's: direct, sparse, balanced, "
            f"{', '.join(named) or 'nothing else'}"
        )
    algorithm = named[name]
    blocking = best_blocking(setting.shape, algorithm, setting.target, setting.threads)
    one = Candidate(name, algorithm, blocking, None, measured_error(setting, algorithm))
    return Choice(one, (one,), accuracy, limit, "the caller")


def tilings(setting: Setting) -> list[Tiling]:
    """The fast algorithms that compute the layer, those with tiles far beyond the output left out."""
    shape = setting.shape
    if not has_fast(shape):
        return []
    most = shape.out_height + 1, shape.out_width + 1
    return [one for one in catalogue(shape.taps) if one.outputs[0] <= most[0] and one.outputs[1] <= most[1]]


def choose(setting: Setting, accuracy: str) -> Choice:
    """The fastest way within the class of accuracy, from the file of an earlier measurement where there is one."""
    limit, kept = accuracy_limit(accuracy), _kept(setting, accuracy)
    if kept is not None:
        return kept
    found = [Candidate("direct", None, None, None, measured_error(setting, None)), *_fast_candidates(setting, limit)]
    found += [one for one in _stricter_winners(setting, limit) if one not in found]
    done = _timed(setting, found)
    best = min(done, key=time_of)
    if best.tiling is not None:
        close = [one for one in done if one.tiling is not None and time_of(one) <= CLOSE * time_of(best)]
        again = _timed(setting, list(dict.fromkeys(way for one in close for way in _blocked(setting, one))))
        done = [one for one in done if one not in close] + again
    best = min(done, key=time_of)
    choice = Choice(best, tuple(sorted(done, key=time_of)), accuracy, limit, "measurement", now())
    write_object(_key(setting, accuracy), choice.to_json().encode())
    return choice


def _key(setting: Setting, accuracy: str) -> str:
    made_for = f"{emitters()} {machine_name()} {setting} {accuracy}"
    return KEPT_CHOICES + hashlib.sha256(made_for.encode()).hexdigest()


def _kept(setting: Setting, accuracy: str) -> Choice | None:
    found = read_object(_key(setting, accuracy))
    return None if found is None else Choice.from_json(found.decode())


def _stricter_winners(setting: Setting, limit: float) -> list[Candidate]:
    """What was chosen for stricter classes, so that asking for less accuracy never costs time."""
    kept = [_kept(setting, name) for name, allowed in ACCURACY.items() if allowed < limit]
    return [replace(one.chosen, microseconds=None) for one in kept if one is not None and one.chosen.tiling]


def likely_code(setting: Setting, accuracy: str) -> list[CodeUnit]:
    """What `choose` and whoever follows it are likely to need, for `ahead.build_ahead`."""
    limit, kept = accuracy_limit(accuracy), _kept(setting, accuracy)
    target, shape, plain = setting.target, setting.shape, Epilogue()
    if kept is None:
        tiled = [tiling for _, tiling, _ in ranked(setting, limit)[:FAST_CANDIDATES]]
        units = [direct_unit(flattened(shape), setting.epilogue, target)]
        units.append(direct_unit(flattened(sample_shape(shape)), plain, target))
    else:
        tiled = [kept.chosen.tiling] if kept.chosen.tiling else []
        units = [] if tiled else [direct_unit(flattened(shape), setting.epilogue, target)]
    epilogues = (setting.epilogue,) if kept else (setting.epilogue, plain)
    for tiling in tiled:
        for epilogue in epilogues:
            units += fast_units(tiling, epilogue, target)
    return units


def now() -> str:
    """The time of a measurement, to the minute."""
    return strftime("%Y-%m-%d %H:%M UTC", gmtime())


def forget_choices() -> int:
    """Drop what was measured on this machine, so that layers are measured anew: how many measurements there were.

    A choice made while other programs ran may not be the best; it holds until it is forgotten. Layers that are in use
    keep theirs: accelerate a model again, or call `FastConv2d.repack()`. Compiled code stays.
    """
    return drop_objects(KEPT_CHOICES)


def time_of(candidate: Candidate) -> float:
    """Microseconds; infinite where none were measured."""
    return float("inf") if candidate.microseconds is None else candidate.microseconds


def _fast_candidates(setting: Setting, limit: float) -> list[Candidate]:
    """The tilings of least estimated cost whose measured error the limit allows.

    Measuring one takes compiling it: what is guessed to be no better than one that failed is left out.
    """
    found: list[Candidate] = []
    too_much = float("inf")
    for _, algorithm, blocking in ranked(setting, limit):
        guess = expected_error(algorithm, setting.shape.in_channels)
        if len(found) == FAST_CANDIDATES:
            break
        if guess >= too_much:
            continue
        error = measured_error(setting, algorithm, limit)
        if error <= limit:
            found.append(Candidate(algorithm.name, algorithm, blocking, None, error))
        else:
            too_much = guess
    return found


def ranked(setting: Setting, limit: float) -> list[tuple[float, Tiling, Blocking]]:
    """Tilings with an estimate of their cost, the least first, without those whose error is far beyond the limit; on
    square layers only one of a tiling and its transpose, which takes as long."""
    shape, found = setting.shape, []
    for algorithm in tilings(setting):
        mirrored = is_square(setting.shape) and algorithm.sides > algorithm.sides[::-1]
        if not mirrored and expected_error(algorithm, shape.in_channels) <= GUESS_MARGIN * limit:
            blocking = best_blocking(shape, algorithm, setting.target, setting.threads)
            found.append((cycles(shape, algorithm, setting.target, blocking, setting.threads), algorithm, blocking))
    return sorted(found, key=lambda one: one[0])


def _blocked(setting: Setting, one: Candidate) -> list[Candidate]:
    """The same tiling in every blocking, its own first."""
    assert one.tiling is not None
    ways = (one.blocking, *blockings(setting.shape, one.tiling, setting.target, setting.threads))
    return [Candidate(one.algorithm, one.tiling, way, None, one.error) for way in dict.fromkeys(ways)]


def _timed(setting: Setting, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates with the time of each, measured in turns; those with the same tiling share their weights."""
    weights = {one.tiling: _any_weights(setting, one) for one in candidates}
    return timed(setting, [(one, _ready(setting, one, weights[one.tiling])) for one in candidates])


def timed(setting: Setting, candidates: Sequence[tuple[Candidate, Runs]]) -> list[Candidate]:
    """The same for candidates that are ready to run."""
    shape = setting.shape
    x, y, residual = aligned(shape.input_shape), aligned(shape.output_shape), aligned(shape.output_shape)
    x[:] = np.random.default_rng(0).standard_normal(x.shape[1:], np.float32)
    runs = [_runner(made, x, y, residual) for _, made in candidates]
    fastest = [float("inf")] * len(runs)
    for run in runs:
        run()
    start = perf_counter()
    for turn in range(MOST_ROUNDS):
        for number, run in [pair for pair in enumerate(runs) for _ in range(RUNS)]:
            before = perf_counter()
            run()
            fastest[number] = min(fastest[number], perf_counter() - before)
        if turn and perf_counter() - start > (SHORT_SECONDS if turn + 1 >= ROUNDS else ROUNDS_SECONDS):
            break
    return [replace(one, microseconds=1e6 * seconds) for (one, _), seconds in zip(candidates, fastest, strict=True)]


def _runner(made: Runs, x: np.ndarray, y: np.ndarray, residual: np.ndarray) -> Callable[[], None]:
    return lambda: made.run(x.ctypes.data, y.ctypes.data, residual.ctypes.data)


def with_any_weights(setting: Setting, one: Candidate) -> Runnable:
    """A candidate with weights of the right size only: their values do not matter for its time."""
    return _ready(setting, one, _any_weights(setting, one))


def _any_weights(setting: Setting, one: Candidate) -> np.ndarray:
    shape, target = setting.shape, setting.target
    if one.tiling is None:
        size = shape.taps[0] * shape.taps[1] * (shape.in_channels // shape.groups) * target.panel
        panels = shape.groups * blocks_of(shape.out_channels // shape.groups, target.panel)
        weights = aligned((panels, size))
    else:
        size = blocks_of(shape.in_channels, target.lanes) * target.lanes * target.panel
        weights = aligned((one.tiling.products, blocks_of(shape.out_channels, target.panel), size))
    weights.fill(0.01)  # untouched zeros would be one page of memory, again and again
    return weights


def _ready(setting: Setting, one: Candidate, weights: np.ndarray) -> Runnable:
    bias = padded_bias(None, setting.shape, setting.target)
    if one.tiling is None or one.blocking is None:
        return direct_runnable(setting, weights, bias)
    return fast_runnable(setting, one.tiling, one.blocking, weights, bias)
