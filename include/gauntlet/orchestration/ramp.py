"""One stage of a rollout, the shadow or a ramp step, as one Airflow task that holds no worker slot while it waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseOperator

from gauntlet import pipeline
from gauntlet.core.errors import Conflict
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.rollout import SHADOW, RolloutSection
from gauntlet.orchestration.triggers import NextTick


class RampStep(BaseOperator):
    """Looks at a stage every ``tick`` until it has passed; an abort raises and fails the run.

    All state is in the store: clearing, killing or retrying the task at any point continues the stage.
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
        """Take one look; wait for the next when the stage is not done."""
        run: RunContext = self.run_context
        try:
            state = pipeline.tick(run, self.step)
        except Conflict as beaten:
            # Somebody else has moved the routing, a person's abort for one: the next look sees what they did.
            self.log.warning("%s", beaten)
            self._wait()
        self._show(state)
        if not state.step_done(self.step):
            self._wait()
        return state.model_dump(mode="json", exclude={"analysis"})

    def _show(self, state: RolloutState) -> None:
        self.log.info("%s, %s: %s", state.rollout, state.phase.value.replace("_", " "), state.reason)
        analysis = state.analysis
        if analysis is None:
            return
        self.log.info(
            "  look %d: %d requests and %d entities of the canary, %d of the champion, %d scored by both, %d labels",
            state.looks,
            analysis.requests,
            analysis.entities,
            analysis.stable_requests,
            analysis.paired,
            analysis.labels,
        )
        for metric in analysis.metrics:
            self.log.info("  %s: %s", metric.outcome, metric.sentence)

    def _wait(self) -> NoReturn:
        moment = datetime.now(UTC) + self.tick
        self.defer(trigger=NextTick(moment.isoformat()), method_name=self.look.__name__)


def ramp_of(spec: ModelSpec, run: Any) -> list[RampStep]:
    """A task for every stage of a spec's plan, in order: ``shadow``, then ``step_1_1_percent`` and so on."""
    plan = spec.rollout
    return [
        RampStep(task_id=_task_id(plan, number), run_context=run, step=number, tick=plan.tick) for number in plan.stages
    ]


def _task_id(plan: RolloutSection, number: int) -> str:
    return "shadow" if number == SHADOW else f"step_{number + 1}_{plan.stage(number).weight:g}_percent"
