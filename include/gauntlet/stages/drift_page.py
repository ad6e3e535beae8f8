"""A drift report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftReport, FeatureDrift

if TYPE_CHECKING:
    from gauntlet.core.profile import Profile

TEMPLATE = Path(__file__).parent / "templates" / "drift.html"
HEIGHT = 108.0
OPEN = 3
"""Features shown unfolded."""
MOST_BARS = 14
MOST_SEGMENTS = 60
MOST_PAST = 30
IMPORTANCES = {"gain": "Importance (gain)", "shap": "Importance (mean |SHAP|)"}


def render(
    report: DriftReport,
    reference: Profile,
    current: Profile,
    history: Sequence[DriftReport] = (),
    *,
    alpha: float,
    title: str = "",
    subtitle: str = "",
) -> str:
    """The page of a report; ``history`` is of the same champion, newest first."""
    import jinja2

    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    whole = [one for one in report.features if one.segment is None]
    past = {report.as_of: {one.feature: one for one in report.features if one.segment is None} for report in history}
    rows = [_row(one, reference, current, past, place < OPEN) for place, one in enumerate(whole)]
    differing = [one for one in report.features if one.segment is not None and one.outcome is not Outcome.PASSED]
    return template.render(
        report=report,
        rows=rows,
        segments=differing[:MOST_SEGMENTS],
        apart=_apart(report),
        title=title or f"{report.model}, {report.as_of:%Y-%m-%d %H:%M} UTC",
        subtitle=subtitle or _subtitle(report),
        alpha=f"{alpha:g}",
        importance=IMPORTANCES[reference.about.get("importance", "gain")],
    )


def _subtitle(report: DriftReport) -> str:
    since = f"{report.window_start:%Y-%m-%d %H:%M}" if report.window_start else "the beginning"
    return f"run {report.run}; rows from {since} to {report.window_end:%Y-%m-%d %H:%M} UTC"


def _apart(report: DriftReport) -> list[tuple[str, str, str]]:
    """What is not covariate drift."""
    named = {
        "scores": report.prediction,
        "labels": report.label,
        "all features together": report.joint,
        "all features together, by a classifier": report.domain,
        "performance": report.performance,
        "performance (estimate, without labels)": report.estimate,
    }
    return [
        (name, found.outcome.value if found.judged else "not judged", found.sentence)
        for name, found in named.items()
        if found is not None
    ]


def _row(
    one: FeatureDrift, reference: Profile, current: Profile, past: dict[Any, dict[str, FeatureDrift]], unfolded: bool
) -> dict[str, Any]:
    bars = _bars(one, reference, current)
    return {
        "one": one,
        "open": unfolded and one.outcome is not Outcome.PASSED,
        "bars": bars,
        "width": 400,
        "strip": _strip(one.feature, past),
        "titles": {item.statistic: _title(item.statistic) for item in one.statistics},
    }


def _title(name: str) -> str:
    from gauntlet.core.statistics.registry import STATISTICS

    title = STATISTICS[name].title
    return title[:1].upper() + title[1:]


def _bars(one: FeatureDrift, reference: Profile, current: Profile) -> list[dict[str, Any]]:
    from gauntlet.core.statistics.base import Pair

    if one.feature not in current.columns:
        return []
    cells = Pair(reference.columns[one.feature], current.columns[one.feature]).cells
    if not cells.reference.sum() or not cells.current.sum():
        return []
    before, after = cells.reference / cells.reference.sum(), cells.current / cells.current.sum()
    shown = sorted(range(len(cells.names)), key=lambda cell: -max(before[cell], after[cell]))[:MOST_BARS]
    top = max(float(before.max()), float(after.max()))
    step = 400 / max(len(shown), 1)
    return [
        {
            "x": round(place * step, 1),
            "w": round(step * 0.42, 1),
            "r": round(112 - HEIGHT * float(before[cell]) / top, 1),
            "c": round(112 - HEIGHT * float(after[cell]) / top, 1),
            "name": cells.names[cell],
            "label": _short(_from(cells.names[cell]), int(step / 5.5)),
            "tip": f"{before[cell]:.1%} then, {after[cell]:.1%} now",
        }
        for place, cell in enumerate(sorted(shown))
    ]


def _from(name: str) -> str:
    """An interval by where it begins: the next bar says where it ends."""
    if name.startswith("[") and name.endswith(")"):
        return name[1:].partition(", ")[0]
    return "below" if name.startswith("< ") else name.removeprefix(">= ")


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: max(most - 1, 1)] + "…"


def _strip(feature: str, past: dict[Any, dict[str, FeatureDrift]]) -> list[dict[str, Any]]:
    found = [(moment, features.get(feature)) for moment, features in sorted(past.items())[-MOST_PAST:]]
    return [
        {
            "outcome": one.outcome.value if one else "absent",
            "h": round(min(max(8.0 * (one.effect or 0.0), 2.0), 24.0), 1) if one else 2,
            "tip": f"{moment:%Y-%m-%d %H:%M}: {one.outcome.value if one else 'not checked'}",
        }
        for moment, one in found
    ]
