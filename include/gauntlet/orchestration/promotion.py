"""The promotion as an Airflow task that waits out a freeze without a worker slot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator

from gauntlet import pipeline
from gauntlet.core.errors import DeploymentHeld
from gauntlet.core.records.ledger import PromotionRecord
from gauntlet.orchestration.triggers import NextTick


class Promote(BaseOperator):
    """Makes the challenger champion. While nothing may be deployed it is deferred, and the canary kept as it is."""

    template_fields = ("run_context",)

    def __init__(self, *, run_context: Any, tick: timedelta, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.run_context = run_context
        self.tick = tick

    def execute(self, context: Any) -> dict[str, Any]:
        """Promote, if it may be now."""
        return self.attempt(context)

    def attempt(self, context: Any, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Try once; wait for the next tick while a freeze or a stopped line holds."""
        record = self._promoted()
        if record is None:
            pipeline.keep(self.run_context)
            moment = datetime.now(UTC) + self.tick
            self.defer(trigger=NextTick(moment.isoformat()), method_name=self.attempt.__name__)
        return record.model_dump(mode="json")

    def _promoted(self) -> PromotionRecord | None:
        try:
            return pipeline.promote(self.run_context)
        except DeploymentHeld as held:
            self.log.info("%s", held)
            return None
