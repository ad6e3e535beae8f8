"""The one shape of every statistic: what it sees, what it measures, how it is tested.

A test never asks "is there any difference" but "is the difference beyond its practical limit, given
how many rows both windows have". It gives two p-values: of "the change is at most the limit" (small:
a relevant change) and of "the change is at least the limit" (small: shown to be irrelevant). When
neither is small the window has too few rows, and :attr:`Relevance.rows` says how many would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from gauntlet.core.axis import Floats
from gauntlet.core.profile import Column, Labels, Numbers
from gauntlet.core.statistics.cells import Cells as Cells
from gauntlet.core.statistics.cells import category_cells, pooled, quantile_cells
from gauntlet.core.statistics.gaps import Gaps, gaps, inner_ends, whole_ends

POWER = 0.9
"""Chance with which :attr:`Relevance.rows` rows settle the question, if the true change is the measured one."""
MOST_ROWS = 10**9

Kind = Literal["numeric", "categorical"]
BOTH: frozenset[Kind] = frozenset({"numeric", "categorical"})
NUMERIC: frozenset[Kind] = frozenset({"numeric"})
CATEGORICAL: frozenset[Kind] = frozenset({"categorical"})


@dataclass(frozen=True)
class Pair:
    """One feature in both windows. ``exact`` holds both columns sorted, NaN removed, when they were read whole."""

    reference: Column
    current: Column
    exact: tuple[Floats, Floats] | None = None

    @property
    def kind(self) -> Kind:
        """Whether the feature is numeric or categorical."""
        return "numeric" if isinstance(self.reference, Numbers) else "categorical"

    @property
    def numbers(self) -> tuple[Numbers, Numbers]:
        """Both windows of a numeric feature."""
        if not isinstance(self.reference, Numbers) or not isinstance(self.current, Numbers):
            raise TypeError("not a numeric feature")
        return self.reference, self.current

    @property
    def labels(self) -> tuple[Labels, Labels]:
        """Both windows of a categorical feature."""
        if not isinstance(self.reference, Labels) or not isinstance(self.current, Labels):
            raise TypeError("not a categorical feature")
        return self.reference, self.current

    @cached_property
    def valid_spread(self) -> float:
        """``1/n + 1/m`` of the rows with a value."""
        n, m = self.current.valid, self.reference.valid
        return 1 / n + 1 / m if n and m else math.inf

    @cached_property
    def gaps(self) -> Gaps:
        """How far the distribution functions of a numeric feature can be apart; both windows must have values."""
        return gaps(*self.numbers)

    @cached_property
    def ends(self) -> Floats:
        """Where the pieces of a numeric feature's axis end, in the range of both windows."""
        return whole_ends(*self.numbers)

    @cached_property
    def inner_ends(self) -> Floats:
        """The same without what only one row at either end spans."""
        return inner_ends(*self.numbers, self.ends)

    @property
    def valid_share(self) -> float:
        """Share of rows with a value, of the window that has more: a change among those moves no more rows."""
        return max(column.valid / max(column.rows, 1) for column in (self.reference, self.current))

    @cached_property
    def cells(self) -> Cells:
        """The few cells that PSI, chi-squared and their kin are taken on."""
        return pooled(quantile_cells(*self.numbers) if self.kind == "numeric" else category_cells(*self.labels))


@dataclass(frozen=True)
class Effect:
    """A measured change. ``low`` and ``high`` certify it when it was taken from counts; ``None``: not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    inner: tuple[float, float] | None = None
    """The same without what a single row at either end makes of it, for statistics that one row can carry."""
    span: tuple[float, float] = (-math.inf, math.inf)
    """Where all rows but those lie, as far as the rows themselves were looked at."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The certified interval; the value itself when it is exact."""
        value = math.nan if self.value is None else self.value
        return (value if self.low is None else self.low, value if self.high is None else self.high)


@dataclass(frozen=True)
class Relevance:
    """``more``: p-value of "at most the limit"; ``less``: p-value of "at least the limit"."""

    more: float
    less: float
    rows: Callable[[float], int | None] = lambda _alpha: None
    """Rows of the current window that would do at a level; ``None``: no number of rows (the reference is too small)."""


Consequence = Literal["drift", "quality", "note"]


@dataclass(frozen=True)
class Statistic:
    """One way to measure a change, and to test whether it matters."""

    name: str
    title: str
    unit: str
    kinds: frozenset[Kind]
    consequence: Consequence
    measure: Callable[[Pair], Effect]
    test: Callable[[Pair, Effect, float], Relevance]
    reads_rows: bool = False
    """Whether it has an exact value that counts only bound."""


def chi_squared_test(scale: float) -> Callable[[Pair, Effect, float], Relevance]:
    """The test for effects that are about ``chi^2 * (1/n + 1/m) / scale`` when nothing changed.

    With a true effect at the limit, ``scale * effect / (1/n + 1/m)`` is about non-central chi-squared with
    non-centrality ``scale * limit / (1/n + 1/m)``.
    """

    def test(pair: Pair, effect: Effect, limit: float) -> Relevance:
        from scipy.special import chdtrc, chndtr

        cells = pair.cells
        if cells.freedom < 1:
            return Relevance(1.0, 0.0)
        low, high = (max(bound, 0.0) * scale / cells.spread for bound in effect.bounds)
        center = scale * limit / cells.spread
        below = float(chndtr(low, cells.freedom, center)) if center else 1 - float(chdtrc(cells.freedom, low))
        less = float(chndtr(high, cells.freedom, center)) if center else 1.0
        return Relevance(
            _upper_tail(below, low, cells.freedom, center),
            less,
            _chi_squared_rows(pair, scale * limit, low * cells.spread),
        )

    return test


def _upper_tail(below: float, value: float, freedom: int, center: float) -> float:
    """``1 - below`` where that is accurate, else the normal tail of Sankaran's cube-root-like transform."""
    from scipy.special import ndtr

    if below < 1 - 1e-9:
        return 1 - below
    mean = freedom + center
    spread = freedom + 2 * center
    h = 1 - 2 * mean * (freedom + 3 * center) / (3 * spread**2)
    p = spread / mean**2
    m = (h - 1) * (1 - 3 * h)
    top = (value / mean) ** h - (1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p))
    return float(ndtr(-top / (h * math.sqrt(2 * p) * (1 + 0.5 * m * p))))


def _chi_squared_rows(pair: Pair, limit: float, value: float) -> Callable[[float], int | None]:
    """Rows with which a true effect like the measured one (its noise taken off) is told from the limit."""
    cells = pair.cells
    true = max(value - cells.freedom * cells.spread, 0.0)

    def rows(alpha: float) -> int | None:
        wide, narrow = 1.0, 1e-9
        if not _settled(cells.freedom, true, limit, alpha, narrow):
            return None
        for _ in range(60):
            middle = math.sqrt(wide * narrow)
            wide, narrow = (wide, middle) if _settled(cells.freedom, true, limit, alpha, middle) else (middle, narrow)
        return rows_for_spread(narrow, int(cells.reference.sum()))

    return rows


def _settled(freedom: int, true: float, limit: float, alpha: float, spread: float) -> bool:
    """Whether the test rejects with :data:`POWER` at this spread; square roots are nearly normal far out."""
    from scipy.special import chndtr, chndtrix

    if limit / spread > 5000:
        return abs(math.sqrt(limit / spread) - math.sqrt(true / spread)) > 6.0
    if true <= limit:
        likely = float(chndtrix(POWER, freedom, true / spread))
        return float(chndtr(likely, freedom, limit / spread)) <= alpha
    likely = float(chndtrix(1 - POWER, freedom, true / spread))
    return 1 - float(chndtr(likely, freedom, limit / spread)) <= alpha


def rows_for_spread(spread: float, reference_rows: int) -> int | None:
    """Rows of the current window so that ``1/n + 1/m`` is at most ``spread``; ``None`` when m alone is too small."""
    rest = spread - 1 / reference_rows if reference_rows else -1.0
    return min(math.ceil(1 / rest), MOST_ROWS) if rest > 1 / MOST_ROWS else None


def distance_to_limit(value: float, noise: float, limit: float) -> float:
    """How far the limit is from the value without its mean noise, which makes small samples look changed."""
    return abs(limit - (value if value > limit else max(value - noise, 0.0)))


def normal_test(low: float, high: float, error: float, limit: float) -> tuple[float, float]:
    """Both p-values of an effect whose absolute value is tested against a limit with a normal error."""
    from scipy.special import ndtr

    if error <= 0 or not math.isfinite(error):
        return (1.0, 1.0) if error else (float(low <= limit), float(high >= limit))
    return float(ndtr(-(low - limit) / error)), float(ndtr((high - limit) / error))


def binomial_test(hits: int, rows: int, limit: float, expected: float) -> tuple[float, float]:
    """Both p-values of a rate against ``expected + limit``, exactly; ``expected`` is the rate without change."""
    from scipy.special import bdtr, bdtrc

    rate = min(limit + expected, 1.0)
    more = float(bdtrc(hits - 1, rows, rate)) if hits else 1.0
    return more, float(bdtr(hits, rows, rate))


def binomial_rows(limit: float, expected: float) -> Callable[[float], int | None]:
    """Rows with which no hit at all shows the rate to be below ``expected + limit``."""

    def rows(alpha: float) -> int | None:
        rate = limit + expected
        return math.ceil(math.log(alpha) / math.log1p(-rate)) if 0 < rate < 1 else None

    return rows
