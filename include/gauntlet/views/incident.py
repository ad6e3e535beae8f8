"""An incident in the order that finds causes, for the page; the command line shows the same."""

from __future__ import annotations

from gauntlet.core.ports import Services
from gauntlet.core.records.incident import Triage as Triage


def triage(services: Services, model: str) -> Triage:
    """What was looked at, the changes beside the first symptom, and what to do. Changes nothing."""
    from gauntlet.stages.triage import triage as look

    return look(services, model)
