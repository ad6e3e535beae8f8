"""Slices nobody has declared in which the model is off: bins of one feature, and pairs of them.

A search over many slices finds one by chance, so it is honest about it: half of the entities propose, the other half
decide, and the level is shared by what was proposed. After Chung et al., "Automated Data Slicing for Model Validation",
IEEE TKDE 32 (2020), with the residual (label minus score) in place of the loss: a group that is rarer or harder has
another loss, but of a sound model not another mean residual (Hébert-Johnson et al., "Multicalibration", ICML 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BINS = 5
"""Parts of equal size that a number is cut into."""
CATEGORIES = 20
"""Of a text column, its most frequent values."""
SEEDS = 12
"""How many of the most conspicuous bins are joined with every bin of the other features."""
WORTH_MEASURING = 3.0
"""Standard errors by which a slice must be off to be proposed: some of thousands are off by two."""
ALIKE = 0.5
"""Slices that share more of their rows (Jaccard) are told once."""


@dataclass(frozen=True)
class Bin:
    """A slice in words, the features it is about, and its rows."""

    name: str
    features: tuple[str, ...]
    mask: Mask


def bins_of(columns: Mapping[str, pa.ChunkedArray | pa.Array], *, most: int = CATEGORIES) -> list[Bin]:
    """Every bin of every column: quantile bins of numbers, values of text and booleans, and what is missing."""
    return [one for name, column in columns.items() for one in _bins(name, column, most)]


def proposed(bins: Sequence[Bin], residual: Floats, among: Mask, *, least: int, effect: float, most: int) -> list[Bin]:
    """The most conspicuous slices by the rows ``among``, at most ``most``, no two nearly the same.

    ``least``: rows a slice must have among them; ``effect``: how far its mean residual must be from the others'.
    """
    known = residual[among]
    singles = [one for bin_ in bins if (one := _tried((bin_,), bin_.mask[among], known, least)) is not None]
    singles.sort(key=lambda one: (-one.z, one.name))
    pairs = (_pair(first, other, known, least) for first in singles[:SEEDS] for other in singles)
    wanted = (one for one in (*singles, *pairs) if one is not None and abs(one.difference) >= effect)
    found = {one.name: one for one in wanted if one.z >= WORTH_MEASURING}
    chosen: list[_Tried] = []
    for one in sorted(found.values(), key=lambda each: (-each.z, len(each.parts), each.name)):
        if len(chosen) < most and all(_overlap(one.mask, other.mask) <= ALIKE for other in chosen):
            chosen.append(one)
    return [_joined(one.parts) for one in chosen]


@dataclass(frozen=True)
class _Tried:
    """A slice on the rows that propose: ``z`` is how many standard errors it is off."""

    parts: tuple[Bin, ...]
    mask: Mask
    difference: float
    z: float

    @property
    def name(self) -> str:
        return " and ".join(part.name for part in self.parts)


def _tried(parts: tuple[Bin, ...], mask: Mask, known: Floats, least: int) -> _Tried | None:
    if not least <= int(mask.sum()) <= mask.size - least:
        return None
    difference, error = apart(mask, known)
    return _Tried(parts, mask, difference, abs(difference) / error if error > 0 else 0.0)


def _pair(first: _Tried, other: _Tried, known: Floats, least: int) -> _Tried | None:
    if first.parts[0].features == other.parts[0].features:
        return None
    one, two = sorted((first, other), key=lambda each: each.name)
    return _tried((*one.parts, *two.parts), one.mask & two.mask, known, least)


def _joined(parts: Sequence[Bin]) -> Bin:
    features = tuple(sorted({name for part in parts for name in part.features}))
    mask = np.logical_and.reduce([part.mask for part in parts])
    return Bin(" and ".join(part.name for part in parts), features, mask)


def apart(mask: Mask, residual: Floats) -> tuple[float, float]:
    """Difference of the mean residual inside and outside, and its standard error (Welch); both sides have two rows."""
    inside, outside = residual[mask], residual[~mask]
    error = math.sqrt(float(inside.var(ddof=1)) / inside.size + float(outside.var(ddof=1)) / outside.size)
    return float(inside.mean() - outside.mean()), error


def _overlap(first: Mask, second: Mask) -> float:
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def _bins(name: str, column: Any, most: int) -> Iterator[Bin]:
    import pyarrow as pa
    import pyarrow.types as types

    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    missing = np.asarray(chunked.is_null().to_numpy())
    if missing.any():
        yield Bin(f"{name} missing", (name,), missing)
    if types.is_floating(chunked.type) or types.is_integer(chunked.type):
        yield from _ranges(name, np.asarray(chunked.cast("float64").fill_null(math.nan).to_numpy(), dtype=np.float64))
    elif types.is_boolean(chunked.type) or types.is_string(chunked.type) or types.is_dictionary(chunked.type):
        values = np.asarray(chunked.cast("string").fill_null("").to_pylist(), dtype=object)
        yield from _values(name, values, ~missing, most)


def _values(name: str, values: NDArray[Any], known: Mask, most: int) -> Iterator[Bin]:
    found, counts = np.unique(values[known].astype(str), return_counts=True)
    for place in np.argsort(-counts, kind="stable")[:most]:
        yield Bin(f"{name}={found[place]}", (name,), known & (values == found[place]))


def _ranges(name: str, values: Floats) -> Iterator[Bin]:
    known = np.isfinite(values)
    if not known.any():
        return
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    # Of few distinct values an edge may be the smallest: nothing lies below it.
    edges = edges[edges > values[known].min()]
    if not edges.size:
        return
    yield Bin(f"{name} < {edges[0]:g}", (name,), known & (values < edges[0]))
    for low, high in pairwise(edges.tolist()):
        yield Bin(f"{low:g} ≤ {name} < {high:g}", (name,), known & (values >= low) & (values < high))
    yield Bin(f"{name} ≥ {edges[-1]:g}", (name,), known & (values >= edges[-1]))
