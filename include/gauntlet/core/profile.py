"""What a champion was trained on, in kilobytes: counts, not rows.

A profile holds one :class:`Numbers` or :class:`Labels` per column. Counting another window on the same
axes (:meth:`Profile.blank`) gives a profile that can be compared with this one and added to its
like: hours add up to a day, files to a data set.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import CHUNK, Axis, Counts, Floats, choose_axis, pack, unpack

FORMAT = 1
KEPT = 2000
"""Most frequent categories that are kept by name; the rest is a tail with its size."""


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
            np.multiply(apart, apart, out=apart)
            return Moments(len(values), mean, float(apart.sum()))


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

    def __init__(self, column: Numbers) -> None:
        self._column = column
        self._counts = Counts(column.axis)
        self._buffer = np.empty(CHUNK)
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
        moments = Moments.of(chunk, self._buffer)
        if not math.isfinite(moments.m2):
            whole = len(chunk)
            chunk = chunk[~np.isnan(chunk)]
            self._missing += whole - len(chunk)
            finite = chunk[np.isfinite(chunk)]
            self._infinite += len(chunk) - len(finite)
            moments = Moments.of(finite, self._buffer)
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
        atoms = column.axis.atom_cells
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
            equal=column.equal + counts.equal[atoms],
            under=column.under + counts.under[atoms],
        )


@dataclass(frozen=True)
class Labels:
    """A categorical or boolean column: rows per category; rare ones beyond :data:`KEPT` are a tail."""

    dtype: str
    rows: int
    missing: int
    counts: dict[str, int]
    tail_rows: int = 0
    tail_categories: int = 0
    singletons: int = 0
    """Categories with exactly one row: they announce how many are still unseen (Good 1953)."""

    kind: ClassVar = "categorical"

    @staticmethod
    def blank(dtype: str) -> Labels:
        """Nothing counted yet."""
        return Labels(dtype, 0, 0, {})

    def counted(self, codes: NDArray[np.integer[Any]], names: Sequence[str], missing: int = 0) -> Labels:
        """With further rows, given as indices into ``names``; negative indices are missing."""
        found = np.bincount(codes[codes >= 0] if len(codes) and codes.min() < 0 else codes, minlength=len(names))
        counts = dict(self.counts)
        for index in np.flatnonzero(found).tolist():
            counts[names[index]] = counts.get(names[index], 0) + int(found[index])
        rows = len(codes) + missing
        return replace(self, rows=self.rows + rows, missing=self.missing + rows - int(found.sum()), counts=counts)

    def __add__(self, other: Labels) -> Labels:
        counts = dict(self.counts)
        for name, n in other.counts.items():
            counts[name] = counts.get(name, 0) + n
        return replace(
            self,
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            counts=counts,
            tail_rows=self.tail_rows + other.tail_rows,
            tail_categories=max(self.tail_categories, other.tail_categories),
            singletons=self.singletons + other.singletons,
        )

    @property
    def valid(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def rare(self) -> int:
        """Categories seen once, in the tail or out of it."""
        return self.singletons + sum(1 for n in self.counts.values() if n == 1)

    def trimmed(self, kept: int = KEPT) -> Labels:
        """With only the ``kept`` most frequent categories by name."""
        if len(self.counts) <= kept:
            return self
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        tail = ranked[kept:]
        return replace(
            self,
            counts=dict(ranked[:kept]),
            tail_rows=self.tail_rows + sum(n for _, n in tail),
            tail_categories=self.tail_categories + len(tail),
            singletons=self.singletons + sum(1 for _, n in tail if n == 1),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON form."""
        return {
            "kind": self.kind,
            "dtype": self.dtype,
            "rows": self.rows,
            "missing": self.missing,
            "counts": self.counts,
            "tail_rows": self.tail_rows,
            "tail_categories": self.tail_categories,
            "singletons": self.singletons,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Labels:
        """The inverse of :meth:`to_json`."""
        return Labels(**{key: item for key, item in value.items() if key != "kind"})


Column = Numbers | Labels


@dataclass(frozen=True)
class Profile:
    """All columns of a window or a training set, with the champion's importance of each."""

    columns: dict[str, Column]
    rows: int
    importances: dict[str, float]
    segments: dict[str, dict[str, Profile]]
    """Profiles of single segments: segment column, then value."""
    about: dict[str, str]
    """Where the rows came from: model, data set digest, as-of time."""

    def weights(self) -> dict[str, float]:
        """Importances as shares that sum to 1; equal shares when none is known."""
        known = {name: max(self.importances.get(name, 0.0), 0.0) for name in self.columns}
        total = sum(known.values())
        if total <= 0:
            return {name: 1.0 / len(known) for name in known}
        return {name: value / total for name, value in known.items()}

    def blank(self) -> Profile:
        """The same axes with nothing counted: what a window is counted on."""
        columns: dict[str, Column] = {name: blank(column) for name, column in self.columns.items()}
        return Profile(columns, 0, {}, {}, {})

    def __add__(self, other: Profile) -> Profile:
        if self.columns.keys() != other.columns.keys():
            raise ValueError("profiles add up only when they have the same columns")
        columns: dict[str, Column] = {}
        for name, mine in self.columns.items():
            theirs = other.columns[name]
            columns[name] = _sum(name, mine, theirs)
        return Profile(columns, self.rows + other.rows, self.importances, _joined(self, other), self.about)

    def to_bytes(self) -> bytes:
        """Canonical JSON of the profile."""
        return json.dumps(self._to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "rows": self.rows,
            "importances": self.importances,
            "about": self.about,
            "columns": {name: _trimmed(column).to_json() for name, column in self.columns.items()},
            "segments": {
                column: {value: part._to_json() for value, part in parts.items()}
                for column, parts in self.segments.items()
            },
        }

    @staticmethod
    def from_bytes(content: bytes) -> Profile:
        """The inverse of :meth:`to_bytes`; ``ValueError`` when it is no profile of this format."""
        try:
            return _from_json(json.loads(content))
        except (KeyError, TypeError, AttributeError, zlib.error) as error:
            raise ValueError(f"not a profile: {error!r}") from error


def _from_json(value: Mapping[str, Any]) -> Profile:
    if value["format"] != FORMAT:
        raise ValueError(f"profile format {value['format']!r}; this version reads {FORMAT}")
    columns: dict[str, Column] = {
        name: Numbers.from_json(column) if column["kind"] == "numeric" else Labels.from_json(column)
        for name, column in value["columns"].items()
    }
    segments = {
        column: {name: _from_json(part) for name, part in parts.items()} for column, parts in value["segments"].items()
    }
    return Profile(columns, value["rows"], value["importances"], segments, value["about"])


def _joined(one: Profile, other: Profile) -> dict[str, dict[str, Profile]]:
    joined: dict[str, dict[str, Profile]] = {}
    for column in one.segments.keys() & other.segments.keys():
        mine, theirs = one.segments[column], other.segments[column]
        joined[column] = {
            value: mine[value] + theirs[value] if value in mine and value in theirs else (mine | theirs)[value]
            for value in sorted(mine.keys() | theirs.keys())
        }
    return joined


def blank(column: Column) -> Column:
    """The same column with nothing counted; rows outside its range will be counted on their own."""
    if isinstance(column, Labels):
        return Labels.blank(column.dtype)
    return Numbers.blank(column.axis, column.dtype, (column.minimum, column.maximum))


def _trimmed(column: Column) -> Column:
    return column.trimmed() if isinstance(column, Labels) else column


def _sum(name: str, one: Column, other: Column) -> Column:
    if isinstance(one, Labels):
        if isinstance(other, Labels):
            return one + other
    elif isinstance(other, Numbers):
        return one + other
    raise ValueError(f"column {name!r} is numeric in one profile and categorical in the other")


def _same_axis(one: Axis, other: Axis) -> bool:
    return one is other or (
        (one.form, one.low, one.scale, one.center, one.unit)
        == (other.form, other.low, other.scale, other.center, other.unit)
        and np.array_equal(one.edges, other.edges)
        and np.array_equal(one.atoms, other.atoms)
    )


def numbers(sample: Floats, dtype: str) -> Numbers:
    """An empty numeric column whose axis suits values like ``sample`` (NaN and infinities are ignored)."""
    return Numbers.blank(choose_axis(sample[np.isfinite(sample)]), dtype)
