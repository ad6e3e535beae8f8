"""What was measured of a feature, in a sentence that is readable at 3 a.m."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gauntlet.core.outcome import Outcome
from gauntlet.core.specs.drift import DriftSection

if TYPE_CHECKING:
    from gauntlet.core.drift import Judged, Measured


def measured_sentence(item: Measured, one: Judged) -> str:
    """One statistic with its limit and the rows behind it."""
    value, note = item.effect.value, item.effect.note
    if value is None:
        return f"{item.statistic.title}: not defined ({note})"
    unit = f" {item.statistic.unit}" if item.statistic.unit else ""
    shown = f"{item.statistic.title} {value:.4g}{unit}"
    if item.limit is not None and item.test is not None:
        shown += f" {'>' if value > item.limit else '≤'} {item.limit:g}{unit}"
    rows = f" on {_rows(one.pair.current.rows)} rows"
    extra = f" ({note})" if note and item.statistic.name != "dtype" else ""
    return shown + extra + rows


def carrier(one: Judged, outcome: Outcome, alpha: float) -> Measured | None:
    """The deciding statistic that says most.

    The surest when the feature failed, the one that is left open when it is, else the nearest to its limit.
    """
    if not one.deciding:
        return None
    if outcome is Outcome.FAILED:
        surest = min(item.test.more for item in one.deciding if item.test)
        return max((item for item in one.deciding if item.test and item.test.more <= max(surest, 1e-6)), key=_units)
    open_ones = [item for item in one.deciding if item.test and item.test.less > alpha]
    if outcome is Outcome.INCONCLUSIVE and open_ones:
        return max(open_ones, key=lambda item: (item.test.less if item.test else 0.0, item.units))
    return max(one.deciding, key=_units)


def _units(item: Measured) -> float:
    return item.units


def sentence(
    one: Judged, outcome: Outcome, leading: Measured | None, section: DriftSection, enough: bool, required: int | None
) -> str:
    """The verdict on one feature; ``leading`` is what is told of it, ``required`` the rows that would decide."""
    name = one.feature if one.segment is None else f"{one.feature} [{one.segment}]"
    if one.fault:
        return f"{name}: {one.fault}"
    if not enough:
        return f"{name}: {_rows(one.pair.current.rows)} rows; {_rows(section.minimum_rows)} are needed for a verdict"
    absent = not one.pair.reference.valid or not one.pair.current.valid
    if leading is None or (absent and outcome is not Outcome.FAILED):
        return f"{name}: no values in {'the reference' if not one.pair.reference.valid else 'the window'} to compare"
    text = f"{name}: {measured_sentence(leading, one)}"
    if outcome is Outcome.FAILED:
        return f"{text}, {_chance(one.p_value)}{_where(one)}"
    if outcome is Outcome.INCONCLUSIVE:
        would = f"about {_rows(required)} would do" if required else "and the reference too, or it is at its limit"
        return f"{text}; too few rows to tell, {would}"
    return text


def _chance(p: float) -> str:
    return f"p {p:.2g}" if p >= 1e-100 else "p < 1e-100"


def _where(one: Judged) -> str:
    """The cells that changed most, in words."""
    cells = one.pair.cells
    if len(cells.names) < 2 or not cells.reference.sum() or not cells.current.sum():
        return ""
    before, after = cells.reference / cells.reference.sum(), cells.current / cells.current.sum()
    top = np.argsort(-np.abs(after - before))[:2]
    return "; " + ", ".join(f"{cells.names[i]}: {before[i]:.0%} → {after[i]:.0%}" for i in top)


def _rows(count: int) -> str:
    return f"{count:,}".replace(",", " ")
