"""A monotone map from numbers to cells, so that counting a column costs one pass and no sort.

The reference chooses the axis; every later window is counted on the same axis, so counts add up
over row groups, files and hours. A cell is a half-open range of values; cells are grouped to bins of
about equal reference mass, which is what bounds every statistic that is taken from the counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CELLS = 1 << 16
"""Cell 0 lies below the axis, the last cell above it."""
CHUNK = 1 << 17
"""Rows counted at a time: a chunk and its temporaries stay in the cache."""
FEW_ATOMS = 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Form = Literal["linear", "log", "bilog", "grid"]
FORMS: tuple[Form, ...] = ("linear", "log", "bilog")
"""Forms that are computed, cheapest first; a grid is searched, and is for what none of them resolves."""


def order_key(values: Floats) -> Floats:
    """Signed integer keys of floats, in the order of the floats, as float64; about linear in the logarithm.

    Both zeros have key 0. Rounding of the 64-bit key to float64 keeps the order.
    """
    bits = values.view(np.int64)
    if bits.min(initial=0) >= 0:
        return bits.astype(np.float64)
    magnitude = bits & np.int64(0x7FFF_FFFF_FFFF_FFFF)
    return np.where(bits < 0, -magnitude, magnitude).astype(np.float64)


def from_order_key(keys: Floats) -> Floats:
    """The floats of :func:`order_key` keys, up to the rounding of the key."""
    magnitude = np.minimum(np.abs(keys), INFINITY).astype(np.int64)
    return np.copysign(magnitude.view(np.float64), keys)


ONE = float(np.float64(1.0).view(np.int64))
"""Order key of 1."""
INFINITY = float(np.float64(np.inf).view(np.int64))
"""Order key of infinity; what lies beyond would be read as NaN."""


@dataclass(frozen=True)
class Axis:
    """``cell(x) = floor((f(x) - low) * scale) + 1``, clipped; ``f`` is monotone.

    Forms: ``linear`` the identity, for most columns; ``log`` the order key, for positive columns over many
    decades; ``bilog`` the order key of ``1 + |x - center| / unit`` with the sign of ``x - center``, for heavy
    tails on both sides; ``grid``: cell k begins at ``knots[k - 1]``, for anything else. ``edges``: first cell of
    every bin but the first, rising. ``atoms``: values with much mass, rising, one per cell.
    """

    form: Form
    low: float
    scale: float
    edges: Ints
    atoms: Floats
    center: float = 0.0
    unit: float = 1.0
    knots: Floats = field(default_factory=lambda: np.empty(0))

    def image(self, values: Floats) -> Floats:
        """``f`` of every value; a new array unless the form is linear."""
        if self.form == "linear":
            return values
        if self.form == "log":
            return order_key(values)
        apart = values - self.center
        apart /= self.unit
        return np.copysign(order_key(np.abs(apart) + 1.0) - ONE, apart)

    def preimage(self, images: Floats) -> Floats:
        """The inverse of :meth:`image`, up to rounding."""
        if self.form == "linear":
            return images
        if self.form == "log":
            return from_order_key(images)
        return np.copysign((from_order_key(np.abs(images) + ONE) - 1.0) * self.unit, images) + self.center

    def cells(self, values: Floats, scratch: Scratch | None = None) -> Ints:
        """The cell of every value; NaN must have been removed. Infinities fall in the outer cells.

        The result is a part of ``scratch`` where that is given.
        """
        if self.form == "grid":
            return np.searchsorted(self.knots, values, side="right")
        scratch = scratch or Scratch(len(values))
        image, cells = scratch.floats[: len(values)], scratch.integers[: len(values)]
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(self.image(values), self.low, out=image)
            image *= self.scale
        image += 1.0
        image.clip(0.0, CELLS - 1, out=image)
        np.copyto(cells, image, casting="unsafe")
        return cells

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1

    @cached_property
    def bounds(self) -> Floats:
        """The value at which each bin but the first begins, up to rounding; shape ``(bins - 1,)``."""
        if self.form == "grid":
            return self.knots[self.edges - 1]
        with np.errstate(over="ignore"):
            return self.preimage((self.edges - 1) / self.scale + self.low)

    @cached_property
    def atom_cells(self) -> Ints:
        """The cell of every atom; rising, one atom per cell."""
        return self.cells(self.atoms)

    @cached_property
    def atom_bins(self) -> Ints:
        """The bin of every atom."""
        return np.searchsorted(self.edges, self.atom_cells, side="right")

    @cached_property
    def value_of_cell(self) -> Floats:
        """The atom in each cell; NaN where there is none."""
        table = np.full(CELLS, np.nan)
        table[self.atom_cells] = self.atoms
        return table

    def count(self, values: Floats) -> tuple[Ints, Ints, Ints]:
        """Values per cell, values equal to each atom, and values in an atom's cell that are less than it."""
        counts = Counts(self)
        for start in range(0, len(values), CHUNK):
            counts.add(values[start : start + CHUNK])
        return counts.fine, counts.equal, counts.under

    @cached_property
    def piece_bins(self) -> Ints:
        """The bin of every piece: a bin is one piece, or three where it has an atom: below it, the atom, above it."""
        times = np.ones(self.bins, np.int64)
        times[self.atom_bins] = 3
        return np.repeat(np.arange(self.bins), times)

    @cached_property
    def atom_pieces(self) -> Ints:
        """The piece of every atom."""
        return self.atom_bins + 2 * np.arange(len(self.atoms)) + 1

    def piece_ends(self, lowest: float, highest: float) -> Floats:
        """Where pieces begin and end in a range of values, up to rounding; shape ``(pieces + 1,)``."""
        return self._rising_starts.clip(lowest, highest)

    @cached_property
    def _rising_starts(self) -> Floats:
        """Where every piece begins, and an end; the outermost two are open."""
        starts = np.concatenate(([-np.inf], self.bounds))[self.piece_bins]
        starts[self.atom_pieces] = self.atoms
        starts[self.atom_pieces + 1] = self.atoms
        return np.maximum.accumulate(np.append(starts, np.inf))

    def by_bin(self, fine: Ints) -> Ints:
        """Counts per cell as counts per bin."""
        return np.add.reduceat(fine, np.concatenate(([0], self.edges)))

    def to_json(self) -> dict[str, Any]:
        """A JSON form; arrays are packed."""
        return {
            "form": self.form,
            "low": self.low,
            "scale": self.scale,
            "edges": pack(np.diff(self.edges, prepend=0)),
            "atoms": pack(self.atoms),
            "center": self.center,
            "unit": self.unit,
        } | ({"knots": pack(self.knots)} if self.form == "grid" else {})

    @staticmethod
    def from_json(value: dict[str, Any]) -> Axis:
        """The inverse of :meth:`to_json`."""
        edges, atoms = np.cumsum(unpack(value["edges"])), unpack(value["atoms"])
        knots = unpack(value["knots"]) if value["form"] == "grid" else np.empty(0)
        if value["form"] not in (*FORMS, "grid"):
            raise ValueError(f"unknown form of axis {value['form']!r}")
        return Axis(value["form"], value["low"], value["scale"], edges, atoms, value["center"], value["unit"], knots)


class Scratch:
    """Memory for the cells of a chunk, used again for the next one."""

    def __init__(self, size: int = CHUNK) -> None:
        self.floats, self.integers = np.empty(size), np.empty(size, np.int64)


class Counts:
    """Counts per cell in the making; chunks of at most :data:`CHUNK` values, so that temporaries stay in the cache."""

    def __init__(self, axis: Axis, scratch: Scratch | None = None) -> None:
        self.axis = axis
        self._fine: Ints | None = None
        self.equal, self.under = (np.zeros(len(axis.atoms), np.int64) for _ in range(2))
        self._scratch = scratch or Scratch()

    def add(self, chunk: Floats) -> None:
        """Count values without NaN."""
        cells = self.axis.cells(chunk, self._scratch)
        found = np.bincount(cells, minlength=CELLS)
        self._fine = found if self._fine is None else np.add(self._fine, found, out=self._fine)
        if len(self.axis.atoms) > FEW_ATOMS:
            self._add_by_table(chunk, cells, found)
        elif len(self.axis.atoms):
            self._add_by_atom(chunk, found)

    @property
    def fine(self) -> Ints:
        """Rows per cell; shape ``(CELLS,)``."""
        return np.zeros(CELLS, np.int64) if self._fine is None else self._fine

    def _add_by_atom(self, chunk: Floats, found: Ints) -> None:
        for place, (atom, cell) in enumerate(zip(self.axis.atoms, self.axis.atom_cells, strict=True)):
            inside = int(found[cell])
            same = int(np.count_nonzero(chunk == atom)) if inside else 0
            self.equal[place] += same
            if same != inside:
                self.under[place] += int(np.count_nonzero(chunk < atom)) - int(found[:cell].sum())

    def _add_by_table(self, chunk: Floats, cells: Ints, found: Ints) -> None:
        atoms, places = self.axis.value_of_cell[cells], self.axis.atom_cells
        same = atoms == chunk
        if same.all():
            self.equal += found[places]
            return
        self.equal += np.bincount(cells[same], minlength=CELLS)[places]
        self.under += np.bincount(cells[chunk < atoms], minlength=CELLS)[places]


def pack(array: NDArray[Any]) -> str:
    """An array of integers or floats as text: smallest little-endian type, zlib, base 64."""
    import base64
    import zlib

    if array.dtype.kind == "f":
        code, raw = "f8", array.astype("<f8")
    else:
        top = int(array.max(initial=0))
        code = "u1" if top < 1 << 8 else "u2" if top < 1 << 16 else "u4" if top < 1 << 32 else "u8"
        raw = array.astype("<" + code)
    return f"{code}:" + base64.b64encode(zlib.compress(raw.tobytes(), 6)).decode()


def unpack(text: str) -> NDArray[Any]:
    """The inverse of :func:`pack`: int64 or float64."""
    import base64
    import zlib

    code, packed = text.split(":", 1)
    if code not in {"u1", "u2", "u4", "u8", "f8"}:
        raise ValueError(f"unknown array code {code!r}")
    array = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype="<" + code)
    return array.astype(np.float64 if code == "f8" else np.int64)
