"""The six nights: what each does, what must come of it, and how that is checked.

A night is data; :mod:`gauntlet.demo.story` plays it through the real scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import RolloutPhase, RolloutState
from gauntlet.core.records.run import TriggerAction, TriggerKind
from gauntlet.demo.airflow_api import DagRun
from gauntlet.demo.facts import RetrainFacts

LOW_WEIGHT_PPM = 250_000
"""An abort above this weight would have shown the offender to too many people."""
BACK_SECONDS = 1.0
"""From the decision to roll back to the last server without the offender."""


@dataclass(frozen=True)
class Evidence:
    """All that happened in a night."""

    champion_before: int | None
    champion_after: int | None
    retrain: DagRun
    tasks: dict[str, str]
    facts: RetrainFacts
    drift: RetrainFacts | None = None
    canary: DagRun | None = None
    canary_tasks: dict[str, str] | None = None
    rollout: RolloutState | None = None
    quarantined: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Claim:
    """One thing that must be so; ``task`` is where to look when it is not, as ``<kind>/<task>``."""

    holds: bool
    sentence: str
    task: str = "retrain/decide"


Check = Callable[[Evidence], list[Claim]]


@dataclass(frozen=True)
class Night:
    """One night, started by hand; with ``drift_first`` its retrain is started by the drift check, through the asset."""

    number: int
    title: str
    expectation: str
    reason: str
    check: Check
    drift_first: bool = False
    force: bool = False
    canary: bool = False


def _gates_passed(seen: Evidence) -> list[Claim]:
    facts = seen.facts
    failed = ", ".join(facts.failed_gates) or "none was asked"
    return [
        Claim(seen.retrain.state == "success", f"the retrain run is {seen.retrain.state}, not success", _culprit(seen)),
        Claim(bool(facts.receipts) and not facts.failed_gates, f"gates not passed: {failed}", _culprit(seen)),
        Claim(
            facts.registered is not None and facts.registered.version is not None,
            "no version was registered",
            "retrain/register_challenger",
        ),
    ]


def _champion_stays(seen: Evidence) -> Claim:
    return Claim(
        seen.champion_after is not None and seen.champion_after == seen.champion_before,
        f"the champion was version {seen.champion_before} and is now {seen.champion_after}",
        "canary/close_rollout",
    )


def _culprit(seen: Evidence) -> str:
    return next((f"retrain/{task}" for task, state in seen.tasks.items() if state == "failed"), "retrain/decide")


def _promoted(seen: Evidence) -> list[Claim]:
    version = seen.facts.registered.version if seen.facts.registered else None
    state = seen.canary.state if seen.canary else "missing"
    failed = (task for task, result in (seen.canary_tasks or {}).items() if result == "failed")
    where = f"canary/{next(failed, 'promote')}"
    return [
        Claim(state == "success", f"the canary run is {state}, not success", where),
        Claim(
            seen.champion_after == version and version is not None,
            f"version {version} should be champion, {seen.champion_after} is",
            where,
        ),
        Claim(seen.champion_after != seen.champion_before, "the champion did not change", where),
    ]


def check_first(seen: Evidence) -> list[Claim]:
    """Nothing to compare with: the first model comes in by the bootstrap path."""
    return [Claim(seen.champion_before is None, "there was a champion already"), *_gates_passed(seen), *_promoted(seen)]


def check_calm(seen: Evidence) -> list[Claim]:
    """Skipping is a recorded decision with a reason, and green."""
    decision = seen.facts.decision
    return [
        Claim(seen.retrain.state == "success", f"the run is {seen.retrain.state}, not success", _culprit(seen)),
        Claim(
            decision is not None and decision.action is TriggerAction.SKIP and bool(decision.reason),
            f"the decision should be to skip: {decision.reason if decision else 'none was recorded'}",
        ),
        Claim(seen.tasks.get("train") != "success", "a model was trained although nothing asked for it"),
        _champion_stays(seen),
    ]


def check_shift(seen: Evidence) -> list[Claim]:
    """Drift starts the retrain by its asset, and the challenger wins on live traffic."""
    decision = seen.drift.decision if seen.drift else None
    rollout = seen.rollout
    return [
        Claim(
            decision is not None
            and decision.action is TriggerAction.RETRAIN
            and decision.kind in (TriggerKind.DRIFT, TriggerKind.PERFORMANCE),
            f"drift should have asked for a retrain: {decision.reason if decision else 'no decision was recorded'}",
            "drift_check/decide",
        ),
        Claim(seen.retrain.run_type == "asset_triggered", f"the retrain was started by {seen.retrain.run_type}"),
        *_gates_passed(seen),
        *_promoted(seen),
        Claim(
            rollout is not None and rollout.phase is RolloutPhase.PROMOTED,
            f"the rollout ended as {rollout.phase if rollout else 'nothing'}",
            "canary/promote",
        ),
    ]


def check_broken_feed(seen: Evidence) -> list[Claim]:
    """The contract stops the run before anything is trained."""
    contract = seen.facts.contract
    return [
        Claim(seen.retrain.state == "failed", f"the run is {seen.retrain.state}, not failed", "retrain/check_contract"),
        Claim(
            seen.tasks.get("check_contract") == "failed",
            f"check_contract is {seen.tasks.get('check_contract')}, not failed",
            _culprit(seen),
        ),
        Claim(
            contract is not None and contract.outcome is Outcome.FAILED and bool(contract.failed),
            "no contract report names what failed",
            "retrain/check_contract",
        ),
        Claim(seen.tasks.get("train") != "success", "a model was trained on a broken feed", "retrain/train"),
        _champion_stays(seen),
    ]


def check_bad_challenger(seen: Evidence) -> list[Claim]:
    """A named gate stops the run; nothing is registered."""
    failed = [name for name in seen.facts.failed_gates if _gate_state(seen, name) == "failed"]
    return [
        Claim(seen.retrain.state == "failed", f"the run is {seen.retrain.state}, not failed"),
        Claim(bool(failed), "no gate's own task failed", _culprit(seen)),
        Claim(
            seen.facts.registered is None or seen.facts.registered.version is None,
            "the bad challenger was registered",
            "retrain/register_challenger",
        ),
        _champion_stays(seen),
    ]


def _gate_state(seen: Evidence, gate: str) -> str | None:
    return next((state for task, state in seen.tasks.items() if task.rsplit(".", 1)[-1] == gate), None)


def check_live_failure(seen: Evidence) -> list[Claim]:
    """Fine offline, wrong live: out at a low weight, within a second, and never again."""
    rollout, canary = seen.rollout, seen.canary
    state = canary.state if canary else "missing"
    phase = rollout.phase if rollout else None
    seconds = rollout.withdraw_seconds if rollout else None
    weight = rollout.analysis.weight_ppm if rollout and rollout.analysis else None
    return [
        *_gates_passed(seen),
        Claim(state == "failed", f"the canary run is {state}, not failed", "canary/promote"),
        Claim(phase is RolloutPhase.ROLLED_BACK, f"the rollout ended as {phase}", "canary/close_rollout"),
        Claim(
            weight is not None and weight <= LOW_WEIGHT_PPM,
            f"the canary was judged last at {weight} ppm, more than {LOW_WEIGHT_PPM}",
            "canary/promote",
        ),
        Claim(
            seconds is not None and seconds <= BACK_SECONDS,
            f"traffic took {seconds} s to be back, more than {BACK_SECONDS}",
            "canary/close_rollout",
        ),
        Claim(
            rollout is not None and rollout.candidate.version in seen.quarantined,
            "the offender is not quarantined",
            "canary/close_rollout",
        ),
        _champion_stays(seen),
    ]


NIGHTS = (
    Night(
        1,
        "first model",
        "no champion yet: floors and the naive baseline must be beaten, then bootstrap",
        "first model of the portfolio",
        check_first,
        canary=True,
    ),
    Night(
        2,
        "calm",
        "nothing has changed: the decision to skip is recorded, the run is green",
        "nightly run",
        check_calm,
    ),
    Night(
        3,
        "portfolio takeover",
        "inputs shift: drift starts a retrain by its asset, the challenger ramps up and becomes champion",
        "nightly drift check",
        check_shift,
        drift_first=True,
        canary=True,
    ),
    Night(
        4,
        "broken feed",
        "income in cents, lost amounts, repeated rows: the data contract fails the run",
        "nightly run on the broken feed",
        check_broken_feed,
        force=True,
    ),
    Night(
        5,
        "shuffled labels",
        "outcomes joined to the wrong rows: a named gate fails the run",
        "labels were loaded again",
        check_bad_challenger,
        force=True,
    ),
    Night(
        6,
        "fine offline, wrong live",
        "a feature that requests never carry: gates pass, the canary is taken out at a low weight",
        "the vendor has filled device_risk",
        check_live_failure,
        force=True,
        canary=True,
    ),
)
