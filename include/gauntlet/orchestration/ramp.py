"""One ramp step of a canary as one Airflow task that holds no worker slot while it waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator

from gauntlet import pipeline
from gauntlet.core.records.run import RunContext
from gauntlet.orchestration.triggers import NextTick


class RampStep(BaseOperator):
    """Looks at a step every ``tick`` until it has passed; an abort raises and fails the run.

    All state is in the store: clearing, killing or retrying the task at any point continues the step.
    """

    template_fields = ("run_context",)

    def __init__(self, *, run_context: Any, step: int, tick: timedelta, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.run_context = run_context
        self.step = step
        self.tick = tick

    def execute(self, context: Any) -> dict[str, Any]:
        """Take the first look."""
        return self.look(context)

    def look(self, context: Any, event: Any = None) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Take one look; wait for the next when the step is not done."""
        run: RunContext = self.run_context
        state = pipeline.tick(run, self.step)
        self.log.info("%s: %s", state.rollout, state.reason)
        for metric in state.analysis.metrics if state.analysis else ():
            self.log.info("  %s: %s", metric.outcome, metric.sentence)
        if not state.step_done(self.step):
            moment = datetime.now(UTC) + self.tick
            self.defer(trigger=NextTick(moment.isoformat()), method_name=self.look.__name__)
        return state.model_dump(mode="json", exclude={"analysis"})
