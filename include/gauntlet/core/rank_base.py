"""What goes with what in a champion's training rows, kept in its profile: a few kilobytes, and no row of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats, pack, unpack
from gauntlet.core.column_labels import Labels
from gauntlet.core.column_numbers import Numbers
from gauntlet.core.joint_sum import Combined
from gauntlet.core.moments import Base, Components, Moved, components

BLOCK = 1 << 13


def ranks_of_numbers(column: Numbers, values: Floats) -> Floats:
    """Mid-ranks among the rows that a profile counted, variance 1 when uniform; ``NaN`` is in the middle.

    All values of one piece of the axis have one rank, which is within 2.5e-4 of their own.

    >>> from gauntlet.core.column_numbers import numbers
    >>> known = np.arange(1000.0)
    >>> ranks_of_numbers(numbers(known, "float").counted(known), np.array([-9.0, 500.0, np.nan])).round(2).tolist()
    [-1.73, 0.0, 0.0]
    """
    found, known = np.zeros(len(values)), ~np.isnan(values)
    if not column.valid or not known.any():
        return found
    axis, inside = column.axis, values[known]
    bins = np.searchsorted(axis.edges, axis.cells(inside), side="right")
    place = np.searchsorted(axis.piece_bins, bins, side="left")
    atoms = np.full(axis.bins, np.nan)
    atoms[axis.atom_bins] = axis.atoms
    # Below its atom, the atom itself, beyond it; a bin without an atom is one piece.
    place += np.where(inside == atoms[bins], 1, 0) + np.where(inside > atoms[bins], 2, 0)
    middle = 0.5 * (column.below[place] + column.below[place + 1]) / column.valid
    found[known] = math.sqrt(3) * (2 * middle - 1)
    return found


def ranks_of_labels(column: Labels, codes: NDArray[np.int64], names: Sequence[str | None]) -> Floats:
    """Mid-ranks of categories, most frequent first; what the profile does not name comes last, a missing one is 0.

    ``codes`` index ``names``; -1 and names that are ``None`` are missing.
    """
    ordered = sorted(column.counts, key=lambda name: (-column.counts[name], name))
    total = max(column.valid, 1)
    ends = np.cumsum([0, *(column.counts[name] for name in ordered)]) / total
    middle = dict(zip(ordered, (0.5 * (ends[:-1] + ends[1:])).tolist(), strict=True))
    last = 0.5 * (float(ends[-1]) + 1.0)
    table = [0.0 if name is None else math.sqrt(3) * (2 * middle.get(name, last) - 1) for name in names]
    return np.array([*table, 0.0])[codes]


def _blocks(features: Sequence[str], weights: Sequence[float], ranked: Sequence[Floats]) -> Iterator[Components]:
    """Components of some rows at a time: those of a hundred thousand would be more than all that was read."""
    for start in range(0, len(ranked[0]), BLOCK):
        yield components(features, weights, [one[start : start + BLOCK] for one in ranked])


@dataclass(frozen=True)
class RankBase:
    """The heaviest features with their weights, and the components of their ranks."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    base: Base

    @staticmethod
    def of(features: Sequence[str], weights: Sequence[float], ranked: Sequence[Floats]) -> RankBase | None:
        """From the ranks of training rows; ``None`` when nothing in them has a spread."""
        base = Base.gathered(_blocks(features, weights, ranked)) if features else None
        return None if base is None else RankBase(tuple(features), tuple(weights), base)

    def moved(self, ranked: Sequence[Floats]) -> Moved | None:
        """How far a window has moved, from the ranks of the same features in the same order."""
        return self.base.moved_to(_blocks(self.features, self.weights, ranked))

    def to_json(self) -> dict[str, Any]:
        """A JSON form; arrays are packed."""
        base = self.base
        arrays = {"weights": base.weights, "places": base.places, "mean": base.mean, "sigma": base.sigma}
        return {
            "features": list(self.features),
            "importances": list(self.weights),
            "names": list(base.names),
            "own": pack(base.own.ravel()),
            "blank": [base.blank.mean, base.blank.variance, base.blank.reach, base.blank.reference_rows],
        } | {name: pack(array) for name, array in arrays.items()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> RankBase:
        """The inverse of :meth:`to_json`."""
        mean, variance, reach, rows = value["blank"]
        names = tuple(value["names"])
        base = Base(
            names,
            unpack(value["weights"]),
            unpack(value["places"]),
            unpack(value["mean"]),
            unpack(value["sigma"]),
            unpack(value["own"]).reshape(len(names), len(names)),
            Combined(0.0, mean, variance, reach, 1.0, rows, 0, {}),
        )
        return RankBase(tuple(value["features"]), tuple(value["importances"]), base)
