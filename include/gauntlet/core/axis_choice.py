"""The choice of an axis: what form, which bins, which values count on their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gauntlet.core.axis import CELLS, FORMS, Axis, Floats, Form, Ints

INNER = CELLS - 2
BINS = 8192
"""Reference mass of a bin is at most about 1/BINS, unless a single cell holds more."""
HEAVY = 1.0 / (2 * BINS)
"""A value with more reference mass is an atom: its rows are counted on their own."""
LOOSE = 2e-4
"""Most reference mass of a piece that is no atom. A certified Kolmogorov-Smirnov interval is no wider than the
heaviest such piece; 2.5e-4 is promised, the rest is for axes that were chosen from a sample."""


def choose_axis(sample: Floats) -> Axis:
    """The axis for values like these (NaN and infinities already removed; any order; copied).

    The first form on which no piece holds more than :data:`LOOSE` of the sample, atoms aside.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _choose(np.sort(sample))


def _choose(ordered: Floats) -> Axis:
    if not len(ordered):
        return Axis("linear", 0.0, 1.0, np.empty(0, np.int64), np.empty(0))
    most = int(LOOSE * len(ordered))
    atoms = _atoms(ordered, every=not most)
    if len(atoms) and _integral(ordered) and ordered[-1] - ordered[0] < INNER:
        return _grouped(Axis("linear", float(ordered[0]), 1.0, np.empty(0, np.int64), atoms), ordered)
    for form in FORMS:
        axis = _divided(_spanning(form, ordered, atoms), ordered, most)
        if _heaviest(axis, ordered) <= most:
            return _grouped(axis, ordered)
    return _grid(ordered, atoms)


def _integral(ordered: Floats) -> bool:
    return bool(np.all(ordered == np.floor(ordered)))


def _atoms(ordered: Floats, every: bool) -> Floats:
    """Values with much mass; all values where there are few, or where each row has much."""
    starts = _first_of_each(ordered)
    counts = np.diff(np.append(starts, len(ordered)))
    heavy = counts >= max(2.0, HEAVY * len(ordered))
    if every or (len(starts) <= BINS and len(starts) < len(ordered) / 2):
        heavy[:] = True
    return ordered[starts[heavy]] + 0.0


def _first_of_each(ordered: Floats) -> Ints:
    """Where each distinct value begins."""
    return np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))


def _spanning(form: Form, ordered: Floats, atoms: Floats) -> Axis:
    """Inner cells over all but a little of the mass at either end."""
    tail = len(ordered) // (4 * BINS)
    quartiles = ordered[len(ordered) // 4], ordered[len(ordered) // 2], ordered[(3 * len(ordered)) // 4]
    unit = float(quartiles[2] - quartiles[0])
    bare = Axis(form, 0.0, 1.0, np.empty(0, np.int64), atoms, float(quartiles[1]), unit if 0 < unit < np.inf else 1.0)
    with np.errstate(over="ignore"):
        low, high = bare.image(ordered[[tail, len(ordered) - 1 - tail]])
        scale = (INNER - 1) / (high - low) if high > low else np.float64(1.0)
    axis = replace(bare, low=float(low), scale=float(scale) if np.isfinite(scale) and scale > 0.0 else 1.0)
    cells = axis.cells(atoms)
    first = np.concatenate((np.ones(min(len(cells), 1), bool), cells[1:] != cells[:-1]))
    return replace(axis, atoms=atoms[first])


def _grouped(axis: Axis, ordered: Floats) -> Axis:
    """The axis with bins of at most ``1 / BINS`` of the mass; a cell with an atom is a bin of its own."""
    fine = np.bincount(axis.cells(ordered), minlength=CELLS)
    target = (np.cumsum(fine) - fine) * BINS // len(ordered)
    begins = np.concatenate(([False], target[1:] != target[:-1]))
    begins[1] = begins[CELLS - 1] = True
    begins[axis.atom_cells] = True
    begins[np.minimum(axis.atom_cells + 1, CELLS - 1)] = True
    begins[0] = False
    return replace(axis, edges=np.flatnonzero(begins))


def _divided(axis: Axis, ordered: Floats, most: int) -> Axis:
    """The axis with one more atom, their median, in every cell where chance has put too many rows."""
    fine = np.bincount(axis.cells(ordered), minlength=CELLS)
    crowded = fine > most
    crowded[axis.atom_cells] = False
    middle = (np.cumsum(fine) - fine + fine // 2)[crowded]
    return replace(axis, atoms=np.sort(np.concatenate((axis.atoms, ordered[middle] + 0.0)))) if len(middle) else axis


def _heaviest(axis: Axis, ordered: Floats) -> int:
    """Most rows in one cell on one side of its atom."""
    fine, equal, under = axis.count(ordered)
    above = fine[axis.atom_cells] - equal - under
    fine[axis.atom_cells] = np.maximum(under, above)
    return int(fine.max())


def _grid(ordered: Floats, atoms: Floats) -> Axis:
    """Bins of at most ``1 / BINS`` of the mass between values of the sample; an atom is followed by a bin's begin."""
    starts = _first_of_each(ordered)
    group = starts * BINS // len(ordered)
    heavy = np.isin(ordered[starts], atoms)
    begins = heavy | np.append(True, heavy[:-1] | (group[1:] != group[:-1]))
    knots = ordered[starts[begins]] + 0.0
    return Axis("grid", 0.0, 1.0, np.arange(1, len(knots) + 1), atoms, knots=knots)
