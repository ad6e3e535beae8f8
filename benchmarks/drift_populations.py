"""The data of ``drift_decisions.py``: columns that do not change, and a model whose inputs do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from gauntlet.core.drift import Judged
from gauntlet.core.joint import Part, contingencies
from gauntlet.core.moments import Base, Components, Moved, components, ranks
from gauntlet.core.performance import Scored
from gauntlet.core.profile import Column, Moments, Numbers, Profile, blank, numbers
from gauntlet.core.statistics.base import Cells

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
REFERENCE = 20_000
HELD_OUT = 100_000
"""Rows that the champion was evaluated on."""
POINTS = 1 << 15


# ---- columns that do not change ----------------------------------------------------------------------


class Grid:
    """A column that takes one of many values, each with a known chance: windows are drawn as counts."""

    def __init__(self, values: Floats) -> None:
        """``values`` are equally likely; those that occur several times are so much likelier."""
        self.values, self._times = np.unique(values, return_counts=True)
        self._size = len(values)
        self._of = np.repeat(np.arange(len(self.values)), self._times)
        axis = numbers(np.random.default_rng(1).choice(values, 250_000), "float").axis
        cells = axis.cells(self.values)
        self._bins = np.searchsorted(axis.edges, cells, side="right")
        atom = np.full(len(self.values), -1)
        for place, (value, cell) in enumerate(zip(axis.atoms, axis.atom_cells, strict=True)):
            atom[cells == cell] = place
            atom[(cells == cell) & (self.values > value)] = -1
        self._atom, self._axis = atom, axis
        self._equal = (atom >= 0) & (self.values == axis.atoms[np.maximum(atom, 0)]) if len(axis.atoms) else atom >= 0

    def draw(self, rng: np.random.Generator, rows: int) -> Counts:
        """How often each value occurs in a window."""
        if rows < 4 * len(self.values):
            return np.bincount(self._of[rng.integers(0, self._size, rows)], minlength=len(self.values))
        return rng.multinomial(rows, self._times / self._size)

    def column(self, counts: Counts, span: tuple[float, float] = (-np.inf, np.inf)) -> Numbers:
        """The window as the profile would have counted its rows."""
        rows = int(counts.sum())
        mean = float(counts @ self.values) / rows
        present = self.values[counts > 0]
        base = Numbers.blank(self._axis, "float", span)
        atoms = [
            np.bincount(self._atom[which], counts[which], len(self._axis.atoms)).astype(np.int64)
            for which in (self._equal, (self._atom >= 0) & ~self._equal)
        ]
        outside = (self.values < span[0]) | (self.values > span[1])
        return replace(
            base,
            rows=rows,
            moments=Moments(rows, mean, float(counts @ np.square(self.values - mean))),
            minimum=float(present[0]),
            maximum=float(present[-1]),
            counts=np.bincount(self._bins, counts, self._axis.bins).astype(np.int64),
            equal=atoms[0],
            under=atoms[1],
            outside=int(counts[outside].sum()),
        )

    def profile(self, counts: Counts, reference: Numbers | None = None) -> Profile:
        """A profile of this column alone, as reference or as the window after one."""
        span = (reference.minimum, reference.maximum) if reference is not None else (-np.inf, np.inf)
        column: Column = self.column(counts, span)
        return Profile({"x": column}, column.rows, {}, {}, {})


def _grids() -> tuple[Grid, ...]:
    chance = (np.arange(POINTS) + 0.5) / POINTS
    waiting = np.where(chance < 0.8, 0.0, scipy.stats.gamma.ppf(np.maximum(chance - 0.8, 0) / 0.2, 2, scale=3))
    return (
        Grid(scipy.stats.norm.ppf(chance)),
        Grid(scipy.stats.lognorm.ppf(chance, 1.0)),
        Grid(np.floor(chance * 12)),
        Grid(waiting),
        Grid(np.round(scipy.stats.expon.ppf(chance), 1)),
    )


GRIDS = _grids()
"""Normal, heavy-tailed, integer, zero-inflated and rounded."""


def check_counting() -> None:
    """Counts drawn are counts that rows would have given; ``SystemExit`` when not."""
    rng = np.random.default_rng(0)
    for place, grid in enumerate(GRIDS):
        counts = grid.draw(rng, 5000)
        rows = np.repeat(grid.values, counts)
        drawn = grid.column(counts, (0.0, 1.0))
        empty = Numbers.blank(drawn.axis, "float", (0.0, 1.0))
        truly = empty.counted(rng.permutation(rows))
        same = all(np.array_equal(getattr(drawn, name), getattr(truly, name)) for name in ("counts", "equal", "under"))
        same &= (drawn.rows, drawn.outside, drawn.minimum, drawn.maximum) == (
            truly.rows,
            truly.outside,
            truly.minimum,
            truly.maximum,
        )
        if not same or not np.isclose(drawn.moments.sigma, truly.moments.sigma):
            raise SystemExit(f"column {place}: drawn counts are not what counting rows gives")


def weighted(one: Judged, name: str, importance: float) -> Judged:
    """A measured column in a night of its own."""
    return replace(one, feature=name, importance=importance)


def equal_parts(rng: np.random.Generator, rows: int, features: int) -> list[Part]:
    """Unchanged features in deciles, as important as features usually are: few much, most little."""
    share = np.full(10, 0.1)
    before, after = rng.multinomial(REFERENCE, share, features), rng.multinomial(rows, share, features)
    if rows < 100:  # cells of fewer than five expected rows would be pooled
        before, after = before.reshape(features, 5, 2).sum(axis=2), after.reshape(features, 5, 2).sum(axis=2)
    weights = 1 / np.arange(1, features + 1)
    names = tuple(str(place) for place in range(before.shape[1]))
    return [Part(f"x{i}", float(weights[i]), Cells(names, before[i], after[i])) for i in range(features)]


def ranked(rng: np.random.Generator, rows: int, correlation: float) -> Components:
    """Ten unchanged features that share a factor, as components."""
    shared = np.sqrt(correlation) * rng.normal(size=(rows, 1))
    values = scipy.special.ndtr(shared + np.sqrt(1 - correlation) * rng.normal(size=(rows, 10)))
    uniform = np.sqrt(3) * (2 * values - 1)
    return components([f"x{i}" for i in range(10)], list(1 / np.arange(1, 11)), list(uniform.T))


# ---- a model whose inputs change ---------------------------------------------------------------------

WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0])
ALIKE = 0.6
"""Correlation of the first two features."""
Change = Callable[[np.random.Generator, Floats, float], tuple[Floats, Floats]]
"""True inputs to what the model sees, and the true log-odds."""


@dataclass(frozen=True)
class Shift:
    """A change of the inputs by an amount; the model, trained before, scores what it sees."""

    name: str
    change: Change
    needs: int = 5000
    """Rows of a window with which it is to be found; labels alone need more."""


@dataclass(frozen=True)
class Window:
    """Rows as the model sees them, its scores, and the labels that come later."""

    seen: Floats
    scores: Floats
    labels: Floats


@dataclass(frozen=True)
class Champion:
    """The model's profile, its scores and what it was evaluated on."""

    profile: Profile
    scores: Profile
    baseline: Scored
    columns: list[Floats]


def inputs(rng: np.random.Generator, rows: int) -> Floats:
    """Ten features; the first two are alike, the last one is not used."""
    found = rng.normal(size=(rows, len(WEIGHTS)))
    found[:, 1] = ALIKE * found[:, 0] + np.sqrt(1 - ALIKE**2) * found[:, 1]
    return found


def _odds(values: Floats) -> Floats:
    odds: Floats = values @ WEIGHTS - 2
    return odds


def _chance(odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-odds))
    return chance


def window(
    rng: np.random.Generator, rows: int, shift: Shift | None, amount: float, offset: Floats | float = 0.0
) -> Window:
    """A window after a shift; ``offset`` moves the true inputs of everybody."""
    true = inputs(rng, rows) + offset
    seen, odds = (true, _odds(true)) if shift is None else shift.change(rng, true, amount)
    labels = (rng.random(rows) < _chance(odds)).astype(float)
    return Window(seen, _chance(_odds(seen)), labels)


def counted(reference: Profile, columns: list[Floats]) -> Profile:
    """Columns counted on a profile's axes."""
    found = {
        name: blank(column).counted(values)  # type: ignore[call-arg, arg-type]
        for (name, column), values in zip(reference.columns.items(), columns, strict=True)
    }
    return Profile(dict(found), len(columns[0]), reference.importances, {}, {})


def _profile(columns: dict[str, Floats], importances: dict[str, float]) -> Profile:
    found: dict[str, Column] = {name: numbers(values, "float").counted(values) for name, values in columns.items()}
    return Profile(found, len(next(iter(columns.values()))), importances, {}, {})


@cache
def champion() -> Champion:
    """Trained on 20 000 rows, evaluated on 100 000."""
    rng = np.random.default_rng(2026)
    train = inputs(rng, REFERENCE)
    names = [f"x{i}" for i in range(len(WEIGHTS))]
    profile = _profile(dict(zip(names, train.T, strict=True)), dict(zip(names, WEIGHTS**2, strict=True)))
    held_out = window(rng, HELD_OUT, None, 0.0)
    scores = _profile({"score": held_out.scores}, {})
    return Champion(profile, scores, Scored(held_out.labels, held_out.scores), list(train.T))


def pairs(names: list[str], seen: Floats) -> Moved | None:
    """Levels, spreads and pairs of a window's features against the training rows."""
    before, known = _ranked_training(tuple(names))
    columns = [ranks(seen[:, int(name[1:])], known[name]) for name in names]
    return before.moved(components(names, _weights(names), columns))


@cache
def _ranked_training(names: tuple[str, ...]) -> tuple[Base, dict[str, Floats]]:
    known = {name: np.sort(champion().columns[int(name[1:])]) for name in names}
    columns = [ranks(champion().columns[int(name[1:])], known[name]) for name in names]
    base = Base.of(components(names, _weights(names), columns))
    assert base is not None
    return base, known


def _weights(names: tuple[str, ...] | list[str]) -> list[float]:
    return [float(WEIGHTS[int(name[1:])] ** 2) for name in names]


def alike(names: list[str]) -> Floats:
    """How alike the features are."""
    return _alike(tuple(names))


@cache
def _alike(names: tuple[str, ...]) -> Floats:
    deciles = scipy.stats.norm.ppf(np.arange(1, 10) / 10)
    codes = np.column_stack([np.searchsorted(deciles, champion().columns[int(name[1:])]) for name in names])
    return contingencies(codes, [10] * len(names))


def _frozen(rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """A feed delivers its last value for a share of the rows of the most important feature."""
    seen = true.copy()
    seen[rng.random(len(seen)) < amount, 0] = 0.31
    return seen, _odds(true)


def _takeover(rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """A share of new customers: three features shifted by one sigma, for whom the first two say little."""
    new = rng.random(len(true)) < amount
    seen = true.copy()
    seen[np.ix_(new, [0, 2, 4])] += 1.0
    odds = _odds(seen)
    odds[new] -= 0.9 * (seen[new, :2] @ WEIGHTS[:2])
    return seen, odds


def _scaled(_rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """The third feature arrives scaled down."""
    seen = true.copy()
    seen[:, 2] *= 1 - amount
    return seen, _odds(true)


def _noisier(rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """The most important feature becomes noisier; its distribution hardly changes."""
    seen = true.copy()
    seen[:, 0] += 1.5 * amount * rng.normal(size=len(seen))
    return seen, _odds(true)


def _broken_join(rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """A share of rows has the second feature of somebody else: no feature changes, only what goes with what."""
    seen = true.copy()
    hit = np.flatnonzero(rng.random(len(seen)) < amount)
    seen[hit, 1] = true[rng.permutation(hit), 1]
    return seen, _odds(true)


def _meaning(_rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    """The inputs stay; what the most important one means becomes less. Only labels can tell."""
    return true, _odds(true) - amount * true[:, 0]


SHIFTS = (
    Shift("frozen feed", _frozen),
    Shift("takeover", _takeover, needs=20_000),
    Shift("scaled feature", _scaled),
    Shift("noisier feature", _noisier),
    Shift("broken join", _broken_join),
    Shift("changed meaning", _meaning, needs=50_000),
)


def _unused(_rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    seen = true.copy()
    seen[:, -1] += amount
    return seen, _odds(true)


def _everything(_rng: np.random.Generator, true: Floats, amount: float) -> tuple[Floats, Floats]:
    return true + amount, _odds(true + amount)


HARMLESS = (
    (Shift("shift of an unused feature", _unused), 1.0, 5000),
    (Shift("tiny shift of everything", _everything), 0.02, 5000),
    (Shift("tiny shift of everything", _everything), 0.02, 1_000_000),
)
"""Shift, amount in sigma and rows."""


def cost(shift: Shift, amount: float, rows: int = 150_000) -> float:
    """The ROC AUC that this amount of a shift costs the model: the same people with and without it."""
    rng = np.random.default_rng(3)
    true = inputs(rng, rows)
    luck = rng.random(rows)
    clean = _auc(_odds(true), luck < _chance(_odds(true)))
    seen, odds = shift.change(rng, true, amount)
    return clean - _auc(_odds(seen), luck < _chance(odds))


def _auc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    ranks = scipy.stats.rankdata(scores)
    positive = int(labels.sum())
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def costing(shift: Shift, auc: float) -> float:
    """The amount of a shift that costs this much ROC AUC; ``SystemExit`` when all of it costs less."""
    low, high = 0.0, 1.0
    if cost(shift, high) < auc:
        raise SystemExit(f"{shift.name}: all of it costs {cost(shift, high):.4f} ROC AUC, less than {auc}")
    for _ in range(9):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if cost(shift, middle) >= auc else (middle, high)
    return high
