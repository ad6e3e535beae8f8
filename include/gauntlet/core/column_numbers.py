"""A numeric column, counted on an axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import CHUNK, Axis, Counts, Floats, Scratch, pack, unpack
from gauntlet.core.axis_choice import choose_axis
from gauntlet.core.dtypes import joined


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations; two of them add up (Chan, Golub, LeVeque 1983)."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        delta = other.mean - self.mean
        if not math.isfinite(delta):
            return Moments(n, math.nan, math.nan)
        mean = self.mean + delta * (other.n / n)
        return Moments(n, mean, self.m2 + other.m2 + delta * delta * (self.n * other.n / n))

    @property
    def sigma(self) -> float:
        """Population standard deviation; 0 without rows."""
        return math.sqrt(self.m2 / self.n) if self.n else 0.0

    @staticmethod
    def of(values: Floats, buffer: Floats | None = None) -> Moments:
        """The moments of finite values; infinite or NaN themselves where the squares overflow."""
        if not len(values):
            return Moments()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            apart = np.subtract(values, mean, out=None if buffer is None else buffer[: len(values)])
            return Moments(len(values), mean, float(np.einsum("i,i->", apart, apart)))


@dataclass(frozen=True)
class Numbers:
    """A numeric column, counted on an axis. Times are numbers too: seconds since 1970."""

    axis: Axis
    dtype: str
    rows: int
    missing: int
    infinite: int
    moments: Moments
    minimum: float
    maximum: float
    counts: NDArray[np.int64]
    """Rows per bin, infinities included; shape ``(axis.bins,)``."""
    equal: NDArray[np.int64]
    """Rows equal to each atom; shape ``(len(axis.atoms),)``."""
    under: NDArray[np.int64]
    """Rows in each atom's bin that are less than it."""
    span: tuple[float, float] = (-math.inf, math.inf)
    """The range against which ``outside`` is counted: the reference's."""
    outside: int = 0

    kind: ClassVar = "numeric"

    @staticmethod
    def blank(axis: Axis, dtype: str, span: tuple[float, float] = (-math.inf, math.inf)) -> Numbers:
        """Nothing counted yet."""
        bins, equal, under = (np.zeros(size, np.int64) for size in (axis.bins, len(axis.atoms), len(axis.atoms)))
        return Numbers(axis, dtype, 0, 0, 0, Moments(), math.inf, -math.inf, bins, equal, under, span)

    def counted(self, values: Floats, missing: int = 0) -> Numbers:
        """With further values; ``NaN`` and ``missing`` more rows count as missing."""
        tally = Tally(self)
        tally.add(values, missing)
        return tally.result()

    def __add__(self, other: Numbers) -> Numbers:
        if not _same_axis(self.axis, other.axis):
            raise ValueError("profiles add up only when they were counted on the same axes: use Profile.blank()")
        return replace(
            self,
            dtype=joined(self.dtype, self.rows, other.dtype, other.rows),
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            moments=self.moments + other.moments,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            outside=self.outside + other.outside,
            counts=self.counts + other.counts,
            equal=self.equal + other.equal,
            under=self.under + other.under,
        )

    @property
    def valid(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @cached_property
    def pieces(self) -> NDArray[np.int64]:
        """Rows per piece of the axis."""
        if not len(self.axis.atoms):
            return self.counts
        pieces = self.counts[self.axis.piece_bins]
        atoms = self.axis.atom_pieces
        pieces[atoms - 1] = self.under
        pieces[atoms] = self.equal
        pieces[atoms + 1] -= self.under + self.equal
        return pieces

    @cached_property
    def below(self) -> NDArray[np.int64]:
        """Rows before each piece, and all at the end; shape ``(pieces + 1,)``."""
        return np.concatenate(([0], np.cumsum(self.pieces)))

    def quantile(self, share: float) -> float:
        """An approximate quantile, within its piece; NaN without rows."""
        if not self.valid:
            return math.nan
        index = int(np.searchsorted(self.below[1:], share * self.valid, side="left"))
        ends = self.axis.piece_ends(self.minimum, self.maximum)
        index = min(index, len(ends) - 2)
        return float(0.5 * ends[index] + 0.5 * ends[index + 1])

    def to_json(self) -> dict[str, Any]:
        """A JSON form."""
        return {
            "kind": self.kind,
            "dtype": self.dtype,
            "rows": self.rows,
            "missing": self.missing,
            "infinite": self.infinite,
            "mean": repr(self.moments.mean),
            "m2": repr(self.moments.m2),
            "finite": self.moments.n,
            "range": [repr(self.minimum), repr(self.maximum)],
            "axis": self.axis.to_json(),
            "counts": pack(self.counts),
            "equal": pack(self.equal),
            "under": pack(self.under),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Numbers:
        """The inverse of :meth:`to_json`."""
        return Numbers(
            axis=Axis.from_json(value["axis"]),
            dtype=value["dtype"],
            rows=value["rows"],
            missing=value["missing"],
            infinite=value["infinite"],
            moments=Moments(value["finite"], float(value["mean"]), float(value["m2"])),
            minimum=float(value["range"][0]),
            maximum=float(value["range"][1]),
            counts=unpack(value["counts"]),
            equal=unpack(value["equal"]),
            under=unpack(value["under"]),
        )


class Tally:
    """A numeric column being counted, chunk by chunk; only :meth:`result` costs more than the rows do."""

    def __init__(self, column: Numbers, scratch: Scratch | None = None) -> None:
        self._column = column
        self._scratch = scratch or Scratch()
        self._counts = Counts(column.axis, self._scratch)
        self._rows = self._missing = self._infinite = self._outside = 0
        self._moments = column.moments
        self._minimum, self._maximum = column.minimum, column.maximum

    def add(self, values: Floats, missing: int = 0) -> None:
        """Count values; ``NaN`` and ``missing`` more rows count as missing."""
        self._rows += len(values) + missing
        self._missing += missing
        for start in range(0, len(values), CHUNK):
            self._add_chunk(values[start : start + CHUNK])

    def _add_chunk(self, chunk: Floats) -> None:
        moments = Moments.of(chunk, self._scratch.floats)
        if not math.isfinite(moments.m2):
            whole = len(chunk)
            chunk = chunk[~np.isnan(chunk)]
            self._missing += whole - len(chunk)
            finite = chunk[np.isfinite(chunk)]
            self._infinite += len(chunk) - len(finite)
            moments = Moments.of(finite, self._scratch.floats)
        if not len(chunk):
            return
        self._moments += moments
        self._counts.add(chunk)
        lowest, highest = float(chunk.min()), float(chunk.max())
        low, high = self._column.span
        if lowest < low or highest > high:
            self._outside += int(np.count_nonzero((chunk < low) | (chunk > high)))
        self._minimum, self._maximum = min(self._minimum, lowest), max(self._maximum, highest)

    def result(self) -> Numbers:
        """The column with all that was counted."""
        column, counts = self._column, self._counts
        return replace(
            column,
            rows=column.rows + self._rows,
            missing=column.missing + self._missing,
            infinite=column.infinite + self._infinite,
            outside=column.outside + self._outside,
            moments=self._moments,
            minimum=self._minimum,
            maximum=self._maximum,
            counts=column.counts + column.axis.by_bin(counts.fine),
            equal=column.equal + counts.equal,
            under=column.under + counts.under,
        )


def numbers(sample: Floats, dtype: str) -> Numbers:
    """An empty numeric column whose axis suits values like ``sample`` (NaN and infinities are ignored)."""
    return Numbers.blank(choose_axis(sample[np.isfinite(sample)]), dtype)


def _same_axis(one: Axis, other: Axis) -> bool:
    return one is other or (
        (one.form, one.low, one.scale, one.center, one.unit)
        == (other.form, other.low, other.scale, other.center, other.unit)
        and np.array_equal(one.edges, other.edges)
        and np.array_equal(one.atoms, other.atoms)
    )
