"""Limits that no choice of weights and widths can hold, alone or beside a density: refused before anything is trained.

What is certain is a lower bound: every width the narrowest of its rule, and the weights that a density leaves all where
they are cheapest. A file leaves out units that die, with every weight they kept, biases and whole layers: a cut of a
few weights can empty it. So of a file only its frame is certain wherever a weight may be cut; what is not is a warning.
It is ours.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from secateur.errors import SecateurWarning, TargetError
from secateur.ir.container import least_bytes
from secateur.ir.target import Target
from secateur.nn.bit_operations import bit_operations, read_by
from secateur.nn.map_sites import MapSite, float_maps_of, prepared_sites
from secateur.nn.map_widths import refuse_large_floats, refuse_wide_maps
from secateur.nn.patterns import count_of
from secateur.nn.transform import Transformed

NOISE_BITS = {"float32": 22, "float16": 9, "int8": 0}
"""Bits of a trained weight's sign and mantissa that no code makes shorter: all but two, as they are close to random."""


def refuse_impossible(model: nn.Module, target: Target) -> None:
    """TargetError for a limit that a prepared model cannot hold, whatever is learned: beside the density, or because a
    map stays float32, or because the narrowest widths of the plan's rules are not narrow enough, or because no file is
    so small. SecateurWarning for one beside a density that only units which die can hold."""
    sites, maps = prepared_sites(model)
    if target.packed_bytes is not None and target.packed_bytes < least_bytes():
        raise TargetError(f"packed_bytes {target.packed_bytes} is out of reach: no file has less than {least_bytes()}")
    if target.largest_map_bytes is not None:
        refuse_large_floats(float_maps_of(model), target.largest_map_bytes)
        refuse_wide_maps(maps, target.largest_map_bytes)
    _tell_contradiction(model, sites, target)
    _refuse_narrower(sites, maps, target)


def _refuse_narrower(sites: Sequence[Transformed], maps: Sequence[MapSite], target: Target) -> None:
    narrowest = [min(stage.widths) for site in sites if (stage := site.transform.quantize) is not None]
    limit = target.average_bits
    if limit is not None and narrowest and limit < min(narrowest):
        raise TargetError(
            f"average_bits {limit:g} is out of reach: {min(narrowest)} bits are the fewest that this plan's rules "
            "allow a weight; allow more, or narrower widths (bits=, --bits)"
        )
    if target.bit_operations is not None:
        least = _least_operations(sites, maps, target)
        if least > target.bit_operations:
            raise TargetError(
                f"bit_operations {target.bit_operations:,} is out of reach: with the narrowest widths that this plan's "
                f"rules allow, the weights that stay in any case take {least:,}; allow more, narrower widths, or fewer "
                "weights"
            )


def tell_of_room(limit: int, beside: int, *, measured: bool) -> None:
    """SecateurWarning where what a file holds beside the weights that are cut or quantized, biases, kept tensors and
    header, leaves these no room within a limit on its bytes. measured: on a file; else `beside` is an estimate."""
    if beside < limit:
        return
    how = (
        "as the model is now, its file takes" if measured else "by an estimate, as no example was given, the file takes"
    )
    then = "" if measured else ", and Budget(..., example=) and harden_(..., example=) measure it"
    warnings.warn(
        f"{how} {beside:,} bytes beside the weights that can be cut (biases, kept tensors, header), and packed_bytes "
        f"{limit:,} leaves none for these: training will cut nearly all of them, and only units that die, whose biases "
        f"go as well, make the rest smaller. Allow more{then}",
        SecateurWarning,
        stacklevel=3,
    )


def _tell_contradiction(model: nn.Module, sites: Sequence[Transformed], target: Target) -> None:
    """TargetError where the weights of a density take more multiply-accumulates or bytes than is allowed, wherever they
    lie; SecateurWarning where units may die and take some of them along. Of tensors with patterns a density is an upper
    limit, so that nothing is certain."""
    pruned = [site for site in sites if site.transform.prunes]
    if not (kept := _kept_by_density(pruned, target)):
        return
    macs = [(float(site.transform.row.reuse), site.original.numel()) for site in pruned]
    sizes = [(_least_bytes(site, target.values), site.original.numel()) for site in pruned]
    for name, prices, what in (("macs", macs, "multiply-accumulates"), ("packed_bytes", sizes, "bytes in the file")):
        limit, least = target.wishes().get(name), math.floor(_cheapest(kept, prices))
        if limit is not None and least > limit:
            told = (
                f"density {target.density:g} and {name} {limit:,} contradict each other: density leaves {kept:,} "
                f"weights, which take {least:,} {what} at least, wherever they lie"
            )
            advice = "ask for a smaller density, allow more, or leave the density to the limit"
            if _all_stay(model, pruned, kept):
                raise TargetError(f"{told}; {advice}")
            warnings.warn(
                f"{told}, unless units die and take some of them along, which only a file shows: else hardening will "
                f"refuse this after training; {advice}",
                SecateurWarning,
                stacklevel=4,
            )


def _all_stay(model: nn.Module, pruned: Sequence[Transformed], kept: int) -> bool:
    """Whether no unit can die of a cut, as nothing is cut, nor of zeros that the model has already."""
    uncut = kept == sum(site.original.numel() for site in pruned)
    read = (p for name, p in model.named_parameters() if not name.rpartition(".")[2].startswith("bias"))
    return uncut and all(p.count_nonzero() == p.numel() for p in read)


def _kept_by_density(pruned: Sequence[Transformed], target: Target) -> int:
    """Weights that stay wherever they lie; 0 where that is not certain."""
    if target.density is None or any(site.transform.prune.patterns for site in pruned):
        return 0
    return max(1, round(target.density * sum(site.original.numel() for site in pruned)))


def _least_operations(sites: Sequence[Transformed], maps: Sequence[MapSite], target: Target) -> int:
    rows = {site.name: site.transform.row for site in sites}
    map_bits, reads = {one.name: min(one.quantizer.widths) for one in maps}, read_by(rows, [one.row for one in maps])

    def price(site: Transformed) -> int:
        stage = site.transform.quantize
        bits = {} if stage is None else {site.name: min(stage.widths)}
        return bit_operations({site.name: rows[site.name].reuse}, bits, map_bits, reads)

    pruned = [site for site in sites if site.transform.prunes]
    prices = {site.name: price(site) for site in sites}
    stay = sum(prices[site.name] * _least_count(site) for site in sites)
    free = [(float(prices[site.name]), site.original.numel()) for site in pruned]
    return stay + math.floor(_cheapest(_kept_by_density(pruned, target), free))


def _least_count(site: Transformed) -> int:
    """Weights of a tensor that stay whatever a target says; of zeros nobody knows whether training leaves them."""
    if not site.transform.prunes:
        return int(site.original.count_nonzero())
    return count_of(site) if site.transform.prune.patterns else 0


def _cheapest(count: int, prices: list[tuple[float, int]]) -> float:
    """What so many weights cost together, given (price, how many there are of it), the cheapest first."""
    total = 0.0
    for price, size in sorted(prices):
        taken = min(count, size)
        total, count = total + taken * price, count - taken
    return total


def _least_bytes(site: Transformed, values: str) -> float:
    """Of one weight; 0 where nothing is certain: of codes, frozen weights, and a type with fewer bits of its own."""
    weight = site.original
    trained = weight.requires_grad and weight.dtype in (torch.float32, torch.float64)
    return NOISE_BITS[values] / 8 if trained and site.transform.quantize is None else 0.0
