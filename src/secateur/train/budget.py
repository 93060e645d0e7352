"""Budget: the pressure that makes thresholds grow until a Target is met, one multiplier a wish.

Each wish is a constraint c = log(cost / reference) <= 0 of an augmented Lagrangian: the loss gains m c + p max(c, 0)^2
and after every step m <- max(0, m + rate c), gradient ascent in the multiplier (methods of US20190180184A1; constraint
handling ours). The reference moves from the cost at the start to the target, so that the multiplier never winds up
against a target the network cannot have reached yet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.exporting import Example
from secateur.nn.map_sites import prepared_sites
from secateur.nn.packing import Packing
from secateur.nn.patterns import refuse_other_density
from secateur.nn.quantize import WidthQuantize
from secateur.train.balance import Balance
from secateur.train.contradictions import refuse_impossible, tell_of_room
from secateur.train.costs import COSTS, Layers, coded, fixed_bytes
from secateur.train.ownership import Ownership
from secateur.train.phases import BEGIN, advance_, learning_from
from secateur.train.quantization_loss import QuantizationLoss

ARRIVAL = 0.7
"""Fraction of the steps after which the moving reference has reached the target; the rest settles."""
OF_WIDTHS = ("average_bits", "largest_map_bytes", "bit_operations")
"""Wishes that cannot be followed before widths learn; bit operations can where weights are pruned."""
WIDTHS_ARRIVE = 0.9
"""Fraction after which the references of these have reached the target; half of what is left where widths begin to
learn late."""
MEASURED = tuple(part / 20 for part in range(6, 20))
"""Fractions at which the estimate of bytes is set right by what a file would really take. Otherwise hardening has room
for weights that training did without: on LeNet-5 for half as many again, and the error went from 1.7 to 45 %."""
BATCH = 128
"""Examples a step where nobody says how many."""
ASCENT = 16.0
"""Multiplier gained over a whole run per unit of constraint."""
PENALTY = 0.1
LEAST = 1e-6
"""Of a cost over its reference: hard masks can leave nothing, and log 0 has no gradient."""
SHARPNESS = (6.0, 30.0)
"""Floor of k = alpha beta at the first and at the last step, geometric in between."""


class Budget:
    """The added loss of a prepared model under a Target; call it in the loss, `step` it after the optimizer.

    model, target  a prepared model and what must hold
    steps          optimizer steps until `harden_`: the target is approached and the gates sharpen over them
    quantize_at    fraction of the steps after which what is pruned is quantized as well, and feature maps are. 1: only
                   pruned, `harden_` quantizes; 0: quantized from the first step
    example, sort  as for `harden_`: with an example, packed_bytes are those of the file that `pack` would write,
                   without, an estimate that knows of no dead units (`nn.measure` says how near)
    """

    def __init__(
        self,
        model: nn.Module,
        target: Target,
        *,
        steps: int,
        quantize_at: float = BEGIN,
        example: Example | None = None,
        sort: bool = False,
    ) -> None:
        self._sites, self._maps = prepared_sites(model)
        if not 0 <= quantize_at <= 1:
            raise TargetError(f"quantize_at is a fraction of the steps, 0 to 1, got {quantize_at}")
        self._quantize_at = quantize_at
        if steps < 1:
            raise TargetError(f"steps is the number of optimizer steps until harden_, got {steps}")
        if not isinstance(target, Target):
            raise TargetError(f"a Budget holds a network to a Target, as in Target(density=0.1), not {target!r}")
        target.refuse_without_size()
        self._refuse_without_effect(target)
        refuse_other_density(self._sites, target)
        refuse_impossible(model, target)
        self.target, self.steps, self.taken = target, steps, 0
        self._fixed_bytes = fixed_bytes(model, target)
        self._model, self._example, self._sort = model, example, sort
        self._coded, self._quantization = 1.0, QuantizationLoss(self._sites, self._maps)
        self.balance = Balance(self._sites, steps)
        """Of tensors in a balanced pattern: what makes the counts of their groups equal."""
        if target.packed_bytes is not None and target.packed_bytes <= self._fixed_bytes:
            self._look_for_room(target.packed_bytes)
        with torch.no_grad():
            self._start = {name: float(cost) for name, cost in self.costs().items()}
        self.multipliers = dict.fromkeys(self._start, 0.0)
        self._ownership = Ownership(self._thresholds())

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.taken / self.steps)

    def costs(self) -> dict[str, Tensor]:
        """The present expected cost of every wish, in its own unit; differentiable."""
        layers = Layers.of(self._sites, self._fixed_bytes, self.target.value_bits, self._coded, self._maps)
        return {name: COSTS[name](layers) for name in self.target.wishes()}

    def references(self) -> dict[str, float]:
        """Where each cost should be by now: start (target/start)^done, done rising from 0 to 1 over the wish's part of
        the run."""
        found = {}
        for name, limit in self.target.wishes().items():
            begin, end = self._window(name)
            done = min(1.0, max(0.0, (self.fraction - begin) / (end - begin)))
            found[name] = self._start[name] * (limit / self._start[name]) ** done
        return found

    def _window(self, name: str) -> tuple[float, float]:
        learn = learning_from(self._quantize_at)
        if name not in OF_WIDTHS or learn == 1:
            return 0.0, ARRIVAL
        begin = 0.0 if self._prunes and name == "bit_operations" else learn
        return begin, max(WIDTHS_ARRIVE, (1 + learn) / 2)

    @property
    def _prunes(self) -> bool:
        return any(site.transform.prunes for site in self._sites)

    def _refuse_without_effect(self, target: Target) -> None:
        if target.density is not None and not self._prunes:
            raise TargetError("a density is of the weights in pruned tensors, and this plan prunes none")
        if target.average_bits is not None and not any(site.transform.quantize for site in self._sites):
            raise TargetError("average_bits is of the weights in quantized tensors, and this plan quantizes none")
        if target.largest_map_bytes is not None and not self._maps:
            raise TargetError(
                "largest_map_bytes is of quantized feature maps, and this plan quantizes none: plan with maps= "
                "(--map-bits)"
            )
        for name in ("macs", "bit_operations"):
            if name in target.wishes() and not any(site.transform.row.reuse for site in self._sites):
                raise TargetError(
                    f"no tensor of this plan has a known number of multiply-accumulates, so a target of {name} does "
                    "nothing"
                )

    def __call__(self) -> Tensor:
        """The term to add to the loss, a scalar."""
        total = self.quantization_loss() + self.balance(self.fraction)
        self._last: dict[str, float] = {}
        for name, constraint in self._constraints().items():
            total = total + self.multipliers[name] * constraint + PENALTY * constraint.clamp_min(0).square()
            self._last[name] = float(constraint.detach())
        return total

    @property
    def learns_widths(self) -> bool:
        """Whether any tensor or feature map has several widths to choose from."""
        stages = (*self._stages(), *(site.quantizer for site in self._maps))
        return any(stage is not None and stage.theta is not None for stage in stages)

    def quantization_loss(self) -> Tensor:
        """The part of the term that is not a constraint: how much the task is expected to lose by the widths as they
        are now, in units of the loss (`train.quantization_loss`)."""
        return self._quantization()

    def rounding(self) -> dict[str, float]:
        """The same by tensor and feature map: which of them rounding hurts most."""
        return self._quantization.by_name()

    def step(self, batch: int = BATCH) -> None:
        """Multipliers ascend, gates sharpen, and quantizing goes on to its next phase (`train.phases`). Call it once
        after every `optimizer.step()`, while weights still have their gradients.

        batch  examples whose mean loss the step was for: what tells how much widths matter
        """
        if not hasattr(self, "_last"):
            raise TargetError("budget() was not part of the loss: add it before budget.step()")
        self._ownership.refuse_forgotten()
        for name, constraint in self._last.items():
            self.multipliers[name] = max(0.0, self.multipliers[name] + ASCENT / self.steps * constraint)
        self.balance.step()
        before, self.taken = self.fraction, self.taken + 1
        low, high = SHARPNESS
        for site in self._sites:
            if site.transform.prunes:
                site.transform.prune.sharpen_(low * (high / low) ** self.fraction)
        self.balance.narrow_(self.fraction)
        self._quantization.look(batch)
        advance_(self._sites, self.fraction, self._maps, quantize_at=self._quantize_at)
        if self._measures and any(before < point <= self.fraction for point in MEASURED):
            self._measure()

    def _look_for_room(self, limit: int) -> None:
        """Where an estimate finds none for weights, a file decides, if there can be one; nothing is refused for it."""
        measured = self._example is not None and self._measures
        if measured:
            self._measure()
        tell_of_room(limit, self._fixed_bytes, measured=measured)

    def _stages(self) -> list[WidthQuantize | None]:
        return [site.transform.quantize for site in self._sites]

    @property
    def _measures(self) -> bool:
        soft = any(not site.transform.is_hard for site in self._sites)
        return soft and self.target.packed_bytes is not None

    def _measure(self) -> None:
        packing = None
        if self._example is not None:
            packing = Packing(self._model, self._example, self.target.values, sort=self._sort)
        self._fixed_bytes, self._coded = coded(self._model, self._sites, self._fixed_bytes, self.target, packing)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly: plain numbers."""
        return {
            "taken": self.taken,
            "steps": self.steps,
            "multipliers": dict(self.multipliers),
            "start": dict(self._start),
            "coded": self._coded,
            "fixed_bytes": self._fixed_bytes,
            "quantization": self._quantization.state_dict(),
            "balance": self.balance.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; TargetError if it belongs to another target or another Secateur."""
        if differing := sorted(state.keys() ^ self.state_dict().keys()):
            raise TargetError(
                f"this state is of a Budget of another version of Secateur: only one of the two has {differing}. "
                "Go on with the version it was saved by, or begin anew"
            )
        if set(state["multipliers"]) != set(self.multipliers) or state["steps"] != self.steps:
            raise TargetError(
                f"this state is of a budget over {sorted(state['multipliers'])} in {state['steps']} steps"
            )
        self.taken, self.multipliers, self._start = state["taken"], dict(state["multipliers"]), dict(state["start"])
        self._coded, self._fixed_bytes = state["coded"], state["fixed_bytes"]
        self._quantization.load_state_dict(state["quantization"])
        self.balance.load_state_dict(state["balance"])
        self.balance.narrow_(self.fraction)

    def _constraints(self) -> dict[str, Tensor]:
        references = self.references()
        return {name: (cost / references[name]).clamp_min(LEAST).log() for name, cost in self.costs().items()}

    def _thresholds(self) -> list[nn.Parameter]:
        owners = (*(site.transform for site in self._sites), *(site.quantizer for site in self._maps))
        return [p for owner in owners for p in owner.parameters()]
