"""When a new champion is taken back without asking anybody: a function of what the monitor saw before and since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gauntlet.core.records.monitoring import Layer, LayerReport, Severity, Symptom
from gauntlet.core.specs.recovery import RecoverySection


def harm_since(
    plan: RecoverySection, promoted: datetime, reports: Mapping[Layer, Sequence[LayerReport]], now: datetime
) -> str | None:
    """What a champion is taken back for; ``None`` when there is no reason to.

    Within ``plan.watch`` of the promotion, in one of the layers that ``plan.automatic`` names, the same paging symptom
    in each of the newest ``plan.looks`` looks, all of them after the promotion. A symptom that the champion before had
    as well is not this one's fault; and if nobody looked before, or saw too little to tell, it is not known to be.

    ``reports``: by layer, in any order.
    """
    if not plan.automatic or now - promoted > plan.watch:
        return None
    for layer in plan.automatic:
        told = sorted(reports.get(layer, ()), key=lambda report: report.until)
        found = _new_symptom(plan, promoted, told)
        if found is not None:
            return f"{layer}: {found.sentence}, in {plan.looks} looks since the promotion and not in the last before it"
    return None


def _new_symptom(plan: RecoverySection, promoted: datetime, told: Sequence[LayerReport]) -> Symptom | None:
    before = [report for report in told if report.until <= promoted]
    since = [report for report in told if report.until > promoted][-plan.looks :]
    if not before or len(since) < plan.looks:
        return None
    each = [_paging(report) for report in since]
    stay = [key for key in each[-1] if _was_not(key, before) and all(key in one for one in each)]
    return each[-1][stay[0]] if stay else None


def _was_not(key: str, before: Sequence[LayerReport]) -> bool:
    """Whether the last look before that could see such a symptom did not see it; nobody could: not known."""
    able = [one for one in before if not any(key == name or key.startswith(f"{name}.") for name in one.unjudged)]
    return bool(able) and key not in _paging(able[-1])


def _paging(report: LayerReport) -> dict[str, Symptom]:
    return {symptom.key: symptom for symptom in report.failing if symptom.severity is Severity.PAGE}
