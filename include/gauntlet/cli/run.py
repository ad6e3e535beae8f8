"""``gauntlet run`` and ``gauntlet canary``: the pipeline without Airflow, task for task."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, TypeVar

import typer

from gauntlet import pipeline
from gauntlet.cli.console import AsJson, exit_codes, out, show_json
from gauntlet.cli.model import Model
from gauntlet.cli.who import authorized, caller
from gauntlet.core.errors import Conflict, DeploymentHeld, GateFailed, Rejection
from gauntlet.core.records.base import Record
from gauntlet.core.records.run import RunContext, TriggerAction
from gauntlet.core.roles import Action
from gauntlet.core.specs.rollout import stage_name

T = TypeVar("T", bound=Record | None)
AsOf = Annotated[str | None, typer.Option("--as-of", help="Read data as known at this time, e.g. 2026-03-01.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; recorded.")]

Step = Callable[[RunContext], Record]
DATA: tuple[Step, ...] = (pipeline.pull_data, pipeline.check_contract, pipeline.split_data, pipeline.check_leakage)
JUDGING: tuple[Step, ...] = (pipeline.evaluate, pipeline.probe)
"""What is done with a release that is there already."""


def run(
    model: Model,
    as_of: AsOf = None,
    reason: Reason = "run from the command line",
    force: Annotated[
        bool, typer.Option("--force", help="Train even when nothing triggers it; no gate is skipped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the nightly pipeline: drift, data, contract, training, every gate, registration."""
    with exit_codes():
        context = _open(model, as_of, reason, force)
        say = _Sayer(quiet=as_json)
        say.task("check_drift", partial(pipeline.check_drift, context))
        decision = say.task("decide", partial(pipeline.decide, context))
        say.note(f"{decision.action}: {decision.reason}")
        if decision.action is TriggerAction.RETRAIN:
            _candidate(context, say, *DATA, pipeline.train, *JUDGING)
        if as_json:
            show_json({"run": context, "decision": decision, "tasks": say.facts})


def copy(
    model: Model,
    source: Annotated[str, typer.Option("--from", help="The environment it comes from, e.g. staging.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    version: Annotated[str, typer.Option("--version", help="A version there; default: its champion.")] = "champion",
    as_json: AsJson = False,
) -> None:
    """Bring a release from another environment by its digest, and judge it here; it is never trained again."""
    with exit_codes():
        actor = authorized(Action.PROMOTE, model).name
        say = _Sayer(quiet=as_json)
        bring = partial(pipeline.copy_release, model, source, version, by=actor, reason=reason)
        context = say.task("copy", bring)
        _candidate(context, say, *JUDGING)
        if as_json:
            show_json({"run": context, "tasks": say.facts})


def recalibrate(
    model: Model,
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Fit the champion's calibration anew on fresh data: same trees, a version of its own, every gate."""
    _derived(model, as_of, reason, None, as_json)


def set_threshold(
    model: Model,
    to: Annotated[float, typer.Option("--to", help="The new threshold, inside training.threshold_band.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Move the champion's decision threshold inside the approved band: a version of its own, every gate."""
    _derived(model, as_of, reason, to, as_json)


def _derived(model: str, as_of: str | None, reason: str, threshold: float | None, as_json: bool) -> None:
    with exit_codes():
        authorized(Action.PROMOTE, model)
        context = _open(model, as_of, reason, force=False)
        say = _Sayer(quiet=as_json)
        say.task("order_derivation", partial(pipeline.order_derivation, context, threshold))
        _candidate(context, say, *DATA, pipeline.derive, *JUDGING)
        if as_json:
            show_json({"run": context, "tasks": say.facts})


def canary(
    model: Model,
    reason: Reason = "canary from the command line",
    as_json: AsJson = False,
) -> None:
    """Take the newest challenger through its rollout, on the traffic of the running model server."""
    with exit_codes():
        from gauntlet.bootstrap import services

        context = _open(model, None, reason, force=False)
        say = _Sayer(quiet=as_json)
        spec = services().specs.get(model)
        try:
            state = say.task("open_rollout", partial(pipeline.open_rollout, context))
            say.task("preflight", partial(pipeline.preflight, context))
            for step in spec.rollout.stages if state.stable else ():
                say.task(stage_name(step), partial(_ramp, context, step, spec.rollout.tick.total_seconds()))
            say.task("promote", partial(_promote, context, say, spec.rollout.tick.total_seconds()))
        finally:
            say.task("close_rollout", partial(pipeline.close_rollout, context))
        if as_json:
            show_json({"run": context, "tasks": say.facts})


def _ramp(context: RunContext, step: int, tick_s: float) -> Record:
    while True:
        with suppress(Conflict):  # Somebody else has moved the routing: the next look sees what they did.
            state = pipeline.tick(context, step)
            if state.step_done(step):
                return state
        time.sleep(tick_s)


def _promote(context: RunContext, say: _Sayer, tick_s: float) -> Record:
    """Promote as soon as nothing may hold it."""
    while True:
        try:
            return pipeline.promote(context)
        except DeploymentHeld as held:
            say.note(str(held))
        with suppress(Conflict):
            pipeline.keep(context)
        time.sleep(tick_s)


def _open(model: str, as_of: str | None, reason: str, force: bool) -> RunContext:
    now = datetime.now(UTC)
    return pipeline.open_run(
        model,
        f"cli__{now.strftime('%Y%m%dT%H%M%S%fZ')}",
        run_type="manual",
        logical_date=None,
        run_after=now,
        params={"reason": reason, "as_of": as_of, "force_retrain": force},
        requested_by=caller().name,
    )


def _candidate(context: RunContext, say: _Sayer, *steps: Step) -> None:
    """The steps that make a candidate, then every gate, then its registration."""
    for step in steps:
        say.task(step.__name__, partial(step, context))
    _gates(context, say)
    say.task("register_challenger", partial(pipeline.register_challenger, context))


def _gates(context: RunContext, say: _Sayer) -> None:
    """Every gate runs, as in Airflow; the first one that does not pass is raised at the end."""
    from gauntlet.bootstrap import services

    rejected: list[Rejection] = []
    for gate in services().specs.get(context.model).gates.names:
        try:
            receipt = say.task(f"gate {gate}", partial(pipeline.run_gate, context, gate))
            say.note(receipt.verdict.reason)
        except GateFailed as error:
            rejected.append(error)
            say.note(str(error))
    if rejected:
        raise rejected[0]


class _Sayer:
    """Prints each task with its time while it works, and keeps its record."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.facts: dict[str, Record | None] = {}

    def task(self, name: str, call: Callable[[], T]) -> T:
        """Call a task and say how long it took; an error passes through after its line is printed."""
        started = time.monotonic()
        mark = "[red]x[/]"
        with nullcontext() if self.quiet else out.status(f"{name} ..."):
            try:
                fact = call()
                mark = "[green]✓[/]"
            finally:
                if not self.quiet:
                    out.print(f"{mark} {time.monotonic() - started:6.1f} s  {name}")
        self.facts[name] = fact
        return fact

    def note(self, text: str) -> None:
        """Print a sentence under the last task."""
        if not self.quiet:
            out.print(f"             {text}", markup=False)
