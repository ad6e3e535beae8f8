"""Levels, spreads and pairs of what the model uses: changes that no single column shows, without training anything.

Every feature becomes its rank among the reference's rows, from -1 to 1. The components are the first two Legendre
polynomials of every rank (level and spread, Neyman's smooth test of 1937) and the product of every two ranks (what
goes with what). A component counts by the importance of its features. Ranks are bounded, so the sums are normal
from few rows on; how alike the components are is measured on the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gauntlet.core.axis import Floats
from gauntlet.core.joint_sum import Combined

USUAL = 5
"""Quiet windows from which what is usual is known."""
FAR = 0.25
"""In sigma: a mean shift beyond this is never usual."""
MOST_FEATURES = 20
"""Features whose pairs are looked at: 20 have 230 components."""
LEAST_OWN = 0.5
"""In sigma: what a component says of its own is not measured finer than this."""
RIDGE = 1e-6
SPREAD = 1e-6
"""In sigma of a uniform rank: what wanders less is constant."""


@dataclass(frozen=True)
class Components:
    """Names, weights (they sum to 1) and values of all components of some rows, shape ``(rows, components)``."""

    names: tuple[str, ...]
    weights: Floats
    values: Floats
    beside: tuple[tuple[int, ...], ...] = ()
    """For every component the places of those that are taken off it; none where it is empty."""


def ranks(values: Floats, reference: Floats) -> Floats:
    """Mid-ranks among the sorted reference, scaled to variance 1 when uniform; a missing value is in the middle.

    >>> ranks(np.array([1.0, 9.0, np.nan]), np.array([1.0, 2.0, 3.0, 4.0])).round(3).tolist()
    [-1.299, 1.732, 0.0]
    """
    if not len(reference):
        return np.zeros(len(values))
    known = ~np.isnan(values)
    low, high = (np.searchsorted(reference, values[known], side) for side in ("left", "right"))
    found = np.zeros(len(values))
    found[known] = math.sqrt(3) * ((low + high) / len(reference) - 1)
    return found


def components(names: Sequence[str], weights: Sequence[float], columns: Sequence[Floats]) -> Components:
    """All components of ranked columns."""
    share = np.asarray(weights, dtype=float) / max(float(np.sum(weights)), 1e-300)
    ranked = np.column_stack(columns)
    one, other = np.triu_indices(len(names), 1)
    spreads = (np.square(ranked) - 1) * (math.sqrt(5) / 2)
    told = [f"level of {name}" for name in names] + [f"spread of {name}" for name in names]
    told += [f"{names[i]} with {names[j]}" for i, j in zip(one.tolist(), other.tolist(), strict=True)]
    weight = np.concatenate((share, share, np.sqrt(share[one] * share[other])))
    return Components(
        tuple(told),
        weight / max(float(weight.sum()), 1e-300),
        np.hstack((ranked, spreads, ranked[:, one] * ranked[:, other])),
        _beside(len(names), one, other),
    )


def _beside(features: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
    """Levels and spreads of a pair's own features are taken off their product."""
    alone: list[tuple[int, ...]] = [() for _ in range(2 * features)]
    return (*alone, *((i, j, features + i, features + j) for i, j in zip(one.tolist(), other.tolist(), strict=True)))


@dataclass(frozen=True)
class Moved:
    """How far every component's mean has moved, in standard errors, and their weighted sum of squares."""

    names: tuple[str, ...]
    weights: Floats
    shift: Floats
    """Of every component's mean, in sigma of the reference."""
    together: Combined

    @property
    def apart(self) -> Floats:
        """The shifts in standard errors."""
        found: Floats = self.shift / math.sqrt(self.together.spread)
        return found

    @property
    def means(self) -> dict[str, float]:
        """The shifts by name: what a later window is pooled with."""
        return {name: round(float(one), 6) for name, one in zip(self.names, self.shift, strict=True)}

    def largest(self, limit: float) -> tuple[float, str]:
        """P-value of "no component moved by more than ``limit`` sigma", by weighted Bonferroni, and the surest.

        For each the chance at the limit itself, on either side: the most that such a component can reach by chance.
        """
        from scipy.special import ndtr

        apart, margin = np.abs(self.apart), limit / math.sqrt(self.together.spread)
        p = (ndtr(margin - apart) + ndtr(-margin - apart)) / np.maximum(self.weights, 1e-12)
        place = int(np.argmin(p))
        return min(float(p[place]), 1.0), self.names[place]

    def pooled(self, earlier: Mapping[str, float], rows: int) -> Moved | None:
        """This window and an earlier one as one; ``None`` when the earlier one had other components."""
        if not rows or set(earlier) != set(self.names):
            return None
        n = self.together.rows
        before = np.array([earlier[name] for name in self.names])
        shift = (n * self.shift + rows * before) / (n + rows)
        return replace(self, shift=shift, together=_summed(self.names, self.weights, shift, self.together, n + rows))

    def beyond_usual(self, quiet: Sequence[tuple[Mapping[str, float], int]]) -> Moved:
        """What is left when the usual is taken off: where quiet windows are on average, and how far they wander.

        ``quiet``: shifts and rows of earlier windows. A component wanders when they differ by more than their rows
        explain (1 % level of the chi-squared of their variance); up to two sigma of that is usual. The average is
        taken off up to :data:`FAR`, so that a slow change does not go unseen for ever.
        """
        known = [(shifts, rows) for shifts, rows in quiet if rows and set(shifts) == set(self.names)]
        if len(known) < USUAL:
            return self
        from scipy.special import chdtri

        found = np.array([[shifts[name] for name in self.names] for shifts, _ in known])
        noise = float(np.mean([1 / rows for _, rows in known]))
        spread = found.var(axis=0, ddof=1)
        sure = float(chdtri(len(known) - 1, 0.01)) / (len(known) - 1)
        wander = np.sqrt(np.where(spread > sure * noise, spread - noise, 0.0))
        apart = self.shift - np.clip(found.mean(axis=0), -FAR, FAR)
        left = np.sign(apart) * np.maximum(np.abs(apart) - 2 * wander, 0.0)
        wider = self.together.spread + noise / len(known)
        together = _summed(self.names, self.weights, left, self.together, self.together.rows, wider)
        return replace(self, shift=left, together=together)


def _summed(
    names: Sequence[str], weights: Floats, shift: Floats, like: Combined, rows: int, spread: float = 0.0
) -> Combined:
    """The weighted sum of squared shifts in standard errors."""
    spread = spread or 1 / rows + 1 / like.reference_rows
    squares = np.square(shift) / spread
    return replace(
        like,
        value=float(weights @ squares),
        spread=spread,
        rows=rows,
        shares={name: float(w * (s - 1)) for name, w, s in zip(names, weights, squares, strict=True)},
    )


@dataclass(frozen=True)
class Base:
    """The reference's components: their means, spreads, and how alike they are.

    A product of two ranks moves with their spreads, and most of its noise is theirs. What it says of its own is
    what is left of it when its features' levels and spreads are taken off, by least squares on the reference: the
    same change stands out of half the noise where the two are alike.
    """

    names: tuple[str, ...]
    weights: Floats
    places: NDArray[np.int64]
    """Of the components that have a spread and a weight, among all."""
    mean: Floats
    sigma: Floats
    own: Floats
    """Shifts of components in sigma to shifts of what is their own; shape ``(components, components)``."""
    blank: Combined

    @staticmethod
    def of(*before: Components) -> Base | None:
        """``None`` without rows, weight or spread. Costs ``components^2`` times the rows."""
        return Base.gathered(before)

    @staticmethod
    def gathered(blocks: Iterable[Components]) -> Base | None:
        """The same from blocks of rows, one of which is held at a time. Components are bounded, so sums are exact."""
        m, total, products = 0, np.zeros(1), np.zeros((1, 1))
        like: Components | None = None
        for block in blocks:
            like = block
            m += len(block.values)
            total = total + block.values.sum(axis=0)
            products = products + block.values.T @ block.values
        if like is None or m < 2:
            return None
        center = total / m
        spread = products / m - np.outer(center, center)
        sigma = np.sqrt(np.maximum(spread.diagonal(), 0.0))
        used = np.flatnonzero((sigma > SPREAD) & (like.weights > 0))
        if not len(used):
            return None
        weights = like.weights[used] / like.weights[used].sum()
        together = spread[np.ix_(used, used)] / np.outer(sigma[used], sigma[used])
        own = _own(together, used.tolist(), like.beside)
        covariance = own @ together @ own.T
        alike = np.square(covariance)
        variance, reach = float(2 * weights @ alike @ weights), float((alike @ weights).max())
        blank = Combined(0.0, float(weights @ covariance.diagonal()), variance, reach, 1.0, m, 0, {})
        names = tuple(like.names[place] for place in used)
        return Base(names, weights, used, center[used], sigma[used], own, blank)

    def moved(self, *after: Components) -> Moved | None:
        """How far a window has moved; ``None`` without rows."""
        return self.moved_to(after)

    def moved_to(self, blocks: Iterable[Components]) -> Moved | None:
        """The same from blocks of rows, one of which is held at a time."""
        n, total = 0, np.zeros(len(self.names))
        for block in blocks:
            n += len(block.values)
            total += block.values.sum(axis=0)[self.places]
        if not n:
            return None
        shift = self.own @ ((total / n - self.mean) / self.sigma)
        return Moved(self.names, self.weights, shift, _summed(self.names, self.weights, shift, self.blank, n))


def _own(together: Floats, used: Sequence[int], beside: Sequence[Sequence[int]]) -> Floats:
    """What is left of every component without those beside it, in sigma of it, never finer than :data:`LEAST_OWN`."""
    own, row_of = np.eye(len(used)), {place: row for row, place in enumerate(used)}
    for place, row in row_of.items():
        others = [row_of[other] for other in beside[place] if other in row_of] if beside else []
        if not others:
            continue
        with_it = together[others, row]
        taken = np.linalg.solve(together[np.ix_(others, others)] + RIDGE * np.eye(len(others)), with_it)
        own[row, others] = -taken
        own[row] /= max(math.sqrt(max(1 - float(taken @ with_it), 0.0)), LEAST_OWN)
    return own
