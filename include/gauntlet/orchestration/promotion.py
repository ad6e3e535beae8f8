"""The promotion as an Airflow task that waits out a freeze without a worker slot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator

from gauntlet import pipeline
from gauntlet.core.errors import Conflict, DeploymentHeld
from gauntlet.core.records.ledger import PromotionRecord
from gauntlet.orchestration.triggers import NextTick


class Promote(BaseOperator):
    """Makes the challenger champion. While that must wait it is deferred; at every tick the canary is judged on."""

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
            self._keep()
            moment = datetime.now(UTC) + self.tick
            self.defer(trigger=NextTick(moment.isoformat()), method_name=self.attempt.__name__)
        return record.model_dump(mode="json")

    def _keep(self) -> None:
        try:
            pipeline.keep(self.run_context)
        except Conflict as beaten:
            # Somebody else has moved the routing: the next look sees what they did.
            self.log.warning("%s", beaten)

    def _promoted(self) -> PromotionRecord | None:
        try:
            return pipeline.promote(self.run_context)
        except DeploymentHeld as held:
            self.log.info("%s", held)
            return None
