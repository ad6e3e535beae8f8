"""How sure the champion is of what it answers now, beside how sure it was on its holdout."""

from __future__ import annotations

from gauntlet.core.confidence import KEY, confidence_health
from gauntlet.core.errors import DataRejected
from gauntlet.core.layers.finding import Found, found
from gauntlet.core.ports import Services
from gauntlet.core.records.model import Task
from gauntlet.core.records.monitoring import Layer
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.recorded import holdout_scores


def served_confidence(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> Found:
    """Needs no labels. Only a binary model's scores say how sure it is."""
    import numpy as np
    import pyarrow.compute as pc

    section = spec.monitoring.model
    if section.confidence_shift is None or spec.task is not Task.BINARY:
        return found((), {}, looked=False)
    try:
        baseline = holdout_scores(services, run.model, champion)
    except DataRejected as error:
        return found((), {}, [f"confidence: {error}"], looked=False, unjudged=[f"{Layer.MODEL}.{KEY}"])
    table = services.journal.read(run.model, run.as_of - section.window, run.as_of)
    own = pc.and_(pc.equal(table["status"], "ok"), pc.equal(table["version_id"], champion.version_id))
    now = np.asarray(table["score"].filter(own).to_numpy(), np.float64)
    before = np.asarray(baseline["candidate_score"].to_numpy(), np.float64)
    return confidence_health(now[np.isfinite(now)], before[np.isfinite(before)], section.confidence_shift)
