"""What the newest slice audit means for the alerts. Pure: an audit in, symptoms out.

The monitor looks every hour and the audit is made once a week: what it found stands until the next one has looked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gauntlet.core.duration import words
from gauntlet.core.layers.finding import Found, found, symptom
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.feedback import AuditedSlice, SliceAudit
from gauntlet.core.records.monitoring import Layer, Severity, Symptom
from gauntlet.core.specs.monitoring import SliceAuditSection

KEY = f"{Layer.MODEL}.slice"
SEARCHED = f"{KEY}.found"
OVERDUE = f"{Layer.MODEL}.slice_audit"
PATIENCE = timedelta(days=1)
"""How much later than twice its time an audit may be: the DAG that makes it runs once a day."""


def slice_symptoms(audit: SliceAudit | None, section: SliceAuditSection, now: datetime) -> Found:
    """The slices that are worse off, as warnings; before the first audit nothing is known of any."""
    if audit is None:
        return found((), {}, looked=False, unjudged=[KEY])
    age = now - audit.at
    if age > 2 * section.every + PATIENCE:
        late = f"the newest slice audit is {words(age.total_seconds())} old; is the DAG housekeeping running?"
        return found([_symptom(OVERDUE, late)], {}, unjudged=[KEY])
    symptoms = {key_of(one): _of_slice(one) for one in reversed(audit.failing)}
    open_ones = [key_of(one) for one in audit.slices if one.outcome is Outcome.INCONCLUSIVE]
    nothing = [] if audit.slices else [KEY]
    unsearched = [] if audit.searched else [SEARCHED]
    return found(symptoms.values(), {}, looked=bool(audit.slices), unjudged=[*open_ones, *nothing, *unsearched])


def key_of(one: AuditedSlice) -> str:
    """A slice's symptom. A found one goes by its features: the next search cuts them a little differently."""
    return f"{SEARCHED}.{'+'.join(one.features)}" if one.found else f"{KEY}.{one.name}"


def _of_slice(one: AuditedSlice) -> Symptom:
    worse = None if one.gap is None else abs(one.gap - (one.usual or 0.0))
    return _symptom(
        key_of(one),
        one.sentence,
        observed=one.gap,
        limit=one.limit,
        n=one.labelled,
        beyond=worse / one.limit if worse is not None and one.limit else None,
    )


def _symptom(key: str, sentence: str, **facts: Any) -> Symptom:
    """A warning; unlike :func:`symptom`, it takes the whole key, as alerts and unjudged keys have it."""
    return symptom(Layer.MODEL, key.removeprefix(f"{Layer.MODEL}."), Severity.WARNING, sentence, **facts)
