"""Simulated rollouts: how often a good challenger is rolled back, and how many requests meet a bad one.

Our judge and state machine against rules in common use, on the same draws: fixed thresholds per interval, as in
Flagger's `success-rate` and `request-duration` checks (5 failed checks end the analysis); Welch's t-test of the step's
data at every tick, p < 0.05; Kayenta's Mann-Whitney judge at every tick: per-tick means of the canary and of an equally
large part of the champion's requests, at 98 % confidence and its tolerance of a quarter of the estimated shift.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "include"))

from report import Aim, arguments, at_most, print_table, write_json

from gauntlet.core.ab import hodges_lehmann
from gauntlet.core.judge import case_for, judge
from gauntlet.core.live.window import Window
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import RolloutPhase, RolloutState, ServedVersion
from gauntlet.core.rollout import Observation, advance
from gauntlet.core.specs.rollout import RolloutSection

TICK_S = 30
HOLD_TICKS = 10
LONGEST_TICKS = 60
BASE_ERRORS = 0.01
THRESHOLD = 0.3
T0 = datetime(2026, 3, 1, tzinfo=UTC)
NOBODY = ServedVersion(version=2, version_id="v2", release_uri="u", release_digest="d")

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """What is wrong with the challenger, if anything. ``spoil`` changes the canary arm's columns in place."""

    name: str
    good: bool
    spoil: Callable[[Columns, np.random.Generator], None] | None = None
    per_tick: int = 400
    checks: Mapping[str, Any] = field(default_factory=dict)
    labels: int = 0


def more_errors(by: float) -> Callable[[Columns, np.random.Generator], None]:
    """The canary fails ``by`` more of its requests."""

    def spoil(columns: Columns, rng: np.random.Generator) -> None:
        columns["failed"] |= columns["arm"] & (rng.random(columns["arm"].size) < by)

    return spoil


def slower(by: float) -> Callable[[Columns, np.random.Generator], None]:
    """The canary's latency is ``1 + by`` times the champion's."""

    def spoil(columns: Columns, _: np.random.Generator) -> None:
        columns["latency_ms"] *= np.where(columns["arm"], 1 + by, 1.0)

    return spoil


def shifted(by: float) -> Callable[[Columns, np.random.Generator], None]:
    """The challenger scores everybody higher by ``by``."""

    def spoil(columns: Columns, _: np.random.Generator) -> None:
        columns["canary"] = np.clip(columns["canary"] + by, 0, 1)

    return spoil


def blind(columns: Columns, rng: np.random.Generator) -> None:
    """The challenger's scores have the right distribution and nothing to do with the request."""
    columns["canary"] = rng.permutation(columns["canary"])


def collapsed(columns: Columns, _: np.random.Generator) -> None:
    """The challenger gives everybody the same score."""
    columns["canary"] = np.full(columns["canary"].size, 0.2)


def cold(columns: Columns, _: np.random.Generator) -> None:
    """The first tick of a step is five times as slow: caches."""
    columns["latency_ms"] *= np.where(columns["arm"] & (columns["tick"] == 0), 5.0, 1.0)


def outage(columns: Columns, rng: np.random.Generator) -> None:
    """Two ticks in which a tenth of all requests fail, whoever answers."""
    hit = np.isin(columns["tick"], (3, 4)) & (rng.random(columns["arm"].size) < 0.1)
    columns["failed"] |= hit


SCENARIOS = (
    Scenario("A/A", good=True),
    Scenario("A/A, low traffic", good=True, per_tick=20),
    Scenario("A/A, outage of both arms", good=True, spoil=outage),
    Scenario("A/A, cold start", good=True, spoil=cold),
    Scenario("errors +2 points", good=False, spoil=more_errors(0.02)),
    Scenario("errors +10 points", good=False, spoil=more_errors(0.10)),
    Scenario("errors +10 points, low traffic", good=False, spoil=more_errors(0.10), per_tick=20),
    Scenario("every request fails", good=False, spoil=more_errors(1.0)),
    Scenario("latency +200 %", good=False, spoil=slower(2.0)),
    Scenario("score +0.8 sd", good=False, spoil=shifted(0.1)),
    Scenario("scores collapsed", good=False, spoil=collapsed),
    Scenario("AUC 0.5, seen in labels only", good=False, spoil=blind, labels=200),
)


def plan_of(scenario: Scenario) -> RolloutSection:
    """The default limits on a shorter ramp."""
    few = max(5, scenario.per_tick // 20)
    steps = [
        {
            "weight": weight,
            "hold": f"{(HOLD_TICKS - 1) * TICK_S}s",
            "warm_up": f"{TICK_S}s",
            "requests": few,
            "labels": scenario.labels and few,
            "max_hold": f"{LONGEST_TICKS * TICK_S}s",
        }
        for weight in (1, 5, 25, 50)
    ]
    return RolloutSection.model_validate({"steps": steps, "tick": f"{TICK_S}s", "checks": dict(scenario.checks)})


def draw(scenario: Scenario, number: int, step: int, share: float) -> Columns:
    """All requests of a step, however long it may take; the same for every rule."""
    rng = np.random.default_rng([SCENARIOS.index(scenario), number, step])
    n = scenario.per_tick * LONGEST_TICKS
    stable = rng.beta(2, 8, n)
    columns: Columns = {
        "tick": np.repeat(np.arange(LONGEST_TICKS), scenario.per_tick),
        "arm": rng.random(n) < share,
        "control": np.zeros(n, dtype=bool),
        "stable": stable,
        "canary": np.clip(stable + rng.normal(0, 0.02, n), 0, 1),
        "failed": rng.random(n) < BASE_ERRORS,
        "latency_ms": rng.lognormal(0.5, 0.6, n),
        "label": np.where(rng.random(n) < 0.5, (rng.random(n) < stable).astype(float), np.nan),
    }
    columns["control"] = ~columns["arm"] & (rng.random(n) < share / (1 - share))
    if scenario.spoil is not None:
        scenario.spoil(columns, rng)
    return columns


@dataclass(frozen=True)
class Result:
    """How one rollout ended, how many requests the challenger answered until then, and after how many ticks."""

    rolled_back: bool
    exposed: int
    ticks: int


def ours(scenario: Scenario, number: int) -> Result:
    """The shipped judge and state machine; a step may take longer than its hold."""
    plan = plan_of(scenario)
    state = _start()
    now, exposed, ticks = T0, 0, 0
    state = advance(state, plan, Observation(), now).state
    while not state.ready and state.phase is not RolloutPhase.ROLLING_BACK:
        step = state.step
        columns = draw(scenario, number, step, plan.steps[step].weight / 100)
        for tick in range(LONGEST_TICKS):
            now += timedelta(seconds=TICK_S)
            ticks += 1
            seen = columns["tick"] <= tick
            exposed += int(columns["arm"][columns["tick"] == tick].sum())
            window = _window(columns, seen, plan.steps[step].weight / 100, scenario)
            case = case_for(
                plan, Task.BINARY, look=state.looks + 1, stable_threshold=THRESHOLD, canary_threshold=THRESHOLD
            )
            analysis = judge(
                window,
                case,
                task=Task.BINARY,
                rollout="r",
                step=step,
                plan=plan.steps[step],
                since=state.step_started_at,
                until=now,
            )
            state = advance(state, plan, Observation(analysis), now).state
            if state.step != step or state.phase is RolloutPhase.ROLLING_BACK:
                break
        else:
            return Result(True, exposed, ticks)
    return Result(state.phase is RolloutPhase.ROLLING_BACK, exposed, ticks)


def _start() -> RolloutState:
    return RolloutState(
        rollout="r",
        model="m",
        run="c",
        phase=RolloutPhase.PREFLIGHT,
        step=0,
        weight_ppm=0,
        candidate=NOBODY,
        stable=NOBODY,
        reason="",
        started_at=T0,
        step_started_at=T0,
        updated_at=T0,
    )


def _window(columns: Columns, seen: np.ndarray, share: float, scenario: Scenario) -> Window:
    n = int(seen.sum())
    nothing = np.zeros(n, dtype=bool)
    return Window(
        share=share,
        arm=columns["arm"][seen],
        unit=np.arange(n),
        stable=columns["stable"][seen],
        canary=columns["canary"][seen],
        failed=columns["failed"][seen],
        fell_back=nothing,
        invalid=nothing,
        latency_ms=columns["latency_ms"][seen],
        settled=columns["tick"][seen] >= 1,
        label=columns["label"][seen] if scenario.labels else np.full(n, np.nan),
        complete=True,
    )


Rule = Callable[[Columns, int, Scenario], bool]


def by_rule(rule: Callable[[], Rule], scenario: Scenario, number: int) -> Result:
    """Another rule on the same draws: every step takes its hold, the rule looks at every tick."""
    check = rule()
    exposed, ticks = 0, 0
    for step, section in enumerate(plan_of(scenario).steps):
        columns = draw(scenario, number, step, section.weight / 100)
        for tick in range(HOLD_TICKS):
            ticks += 1
            exposed += int(columns["arm"][columns["tick"] == tick].sum())
            if check(columns, tick, scenario):
                return Result(True, exposed, ticks)
    return Result(False, exposed, ticks)


def fixed_thresholds() -> Rule:
    """Flagger: success rate of the interval at least 99 %, p99 at most 500 ms; the fifth failed check ends it."""
    failed = 0

    def check(columns: Columns, tick: int, _: Scenario) -> bool:
        nonlocal failed
        now = (columns["tick"] == tick) & columns["arm"]
        if now.any():
            late = float(np.quantile(columns["latency_ms"][now], 0.99)) > 500
            failed += bool(columns["failed"][now].mean() > 0.01 or late)
        return failed >= 5

    return check


def _metrics(columns: Columns, scenario: Scenario) -> list[np.ndarray]:
    score = np.where(columns["arm"], columns["canary"], columns["stable"])
    metrics = [columns["failed"].astype(float), columns["latency_ms"], score]
    if scenario.labels:
        likely = np.clip(score, 1e-4, 1 - 1e-4)
        label = columns["label"]
        metrics.append(-(label * np.log(likely) + (1 - label) * np.log1p(-likely)))
    return metrics


def repeated_t() -> Rule:
    """Welch's t-test between the arms, on all of the step so far, at every tick."""
    from scipy.stats import t as student

    def p_value(canary: np.ndarray, stable: np.ndarray) -> float:
        a, b = canary.var(ddof=1) / canary.size, stable.var(ddof=1) / stable.size
        if a + b <= 0:
            return 1.0
        freedom = (a + b) ** 2 / (a**2 / (canary.size - 1) + b**2 / (stable.size - 1))
        return float(2 * student.sf(abs(canary.mean() - stable.mean()) / np.sqrt(a + b), freedom))

    def check(columns: Columns, tick: int, scenario: Scenario) -> bool:
        seen = columns["tick"] <= tick
        for metric in _metrics(columns, scenario):
            known = seen & np.isfinite(metric)
            canary, stable = metric[known & columns["arm"]], metric[known & ~columns["arm"]]
            if min(canary.size, stable.size) > 1 and p_value(canary, stable) < 0.05:
                return True
        return False

    return check


def mann_whitney() -> Rule:
    """Kayenta: the 98 % interval of the location shift lies beyond a quarter of its estimate, in the harmful direction.

    Errors and latency are harmful upwards, scores both ways, as in its `direction` option.
    """

    def check(columns: Columns, tick: int, scenario: Scenario) -> bool:
        if tick < 3:
            return False
        for place, metric in enumerate(_metrics(columns, scenario)):
            series = []
            for arm in (columns["arm"], columns["control"]):
                cells = [metric[(columns["tick"] == t) & arm & np.isfinite(metric)] for t in range(tick + 1)]
                series.append(np.array([float(cell.mean()) for cell in cells if cell.size]))
            if min(values.size for values in series) > 3 and _beyond(*series, both=place == SCORE):
                return True
        return False

    return check


SCORE = 2
TOLERANCE = 0.25


def _beyond(canary: np.ndarray, stable: np.ndarray, *, both: bool) -> bool:
    shift, low, high = hodges_lehmann(canary, stable, 0.02)
    edge = TOLERANCE * abs(shift)
    return low > edge or (both and high < -edge)


RULES: Mapping[str, Callable[[Scenario, int], Result]] = {
    "gauntlet": ours,
    "fixed thresholds": lambda scenario, number: by_rule(fixed_thresholds, scenario, number),
    "repeated t-test": lambda scenario, number: by_rule(repeated_t, scenario, number),
    "Mann-Whitney": lambda scenario, number: by_rule(mann_whitney, scenario, number),
}
LIMIT = 0.01


def measure(scenario: Scenario, rule: str, rollouts: int) -> dict[str, Any]:
    """One line of the table."""
    results = [RULES[rule](scenario, number) for number in range(rollouts)]
    back = sum(result.rolled_back for result in results) / rollouts
    return {
        "challenger": scenario.name,
        "rule": rule,
        "rollouts": rollouts,
        "false rollback" if scenario.good else "missed": back if scenario.good else 1 - back,
        "exposed": sum(result.exposed for result in results) / rollouts,
        "ticks": sum(result.ticks for result in results) / rollouts,
        "good": scenario.good,
    }


def main() -> None:
    """Simulate, print and judge."""
    options = arguments(__doc__ or "").parse_args()
    calm, bad = (10, 4) if options.quick else (150, 30)
    began = time.perf_counter()
    lines = [
        measure(scenario, rule, (calm * (3 if scenario.name == "A/A" else 1)) if scenario.good else bad)
        for scenario in SCENARIOS
        for rule in RULES
    ]
    print_table("Good challengers", [_shown(line) for line in lines if line["good"]])
    print_table("Bad challengers", [_shown(line) for line in lines if not line["good"]])
    print(f"\n{time.perf_counter() - began:.0f} s")
    write_json(aims(lines), options.json)


def _shown(line: dict[str, Any]) -> dict[str, object]:
    rate = "false rollback" if line["good"] else "missed"
    return {
        "challenger": line["challenger"],
        "rule": line["rule"],
        "rollouts": line["rollouts"],
        rate: f"{line[rate] * 100:.1f} %",
        "exposed requests": f"{line['exposed']:.0f}",
        "ticks": f"{line['ticks']:.1f}",
    }


def false_rate(lines: list[dict[str, Any]], rule: str) -> float:
    """The worst false-rollback rate of a rule over all good challengers."""
    return float(max(line["false rollback"] for line in lines if line["good"] and line["rule"] == rule))


def aims(lines: list[dict[str, Any]]) -> list[Aim]:
    """False rollbacks; then exposure against every rule that keeps to the same limit; then what is missed."""
    fair = [rule for rule in RULES if rule != "gauntlet" and false_rate(lines, rule) <= LIMIT]
    found = [
        at_most(
            "false rollback of a good challenger, worst scenario, per rollout", LIMIT, false_rate(lines, "gauntlet")
        )
    ]
    for scenario in (scenario for scenario in SCENARIOS if not scenario.good):
        exposed = {line["rule"]: line["exposed"] for line in lines if line["challenger"] == scenario.name}
        missed = {line["rule"]: line["missed"] for line in lines if line["challenger"] == scenario.name}
        found.append(at_most(f"{scenario.name}: missed", 0.05, missed["gauntlet"]))
        rivals = {rule: exposed[rule] for rule in fair}
        if rivals:
            best = min(rivals, key=lambda rule: rivals[rule])
            found.append(
                at_most(f"{scenario.name}: exposed requests, against {best}", rivals[best], exposed["gauntlet"])
            )
    if not fair:
        print("\nNo other rule keeps false rollbacks at 1 % with every good challenger: there is no rival on exposure.")
    return found


if __name__ == "__main__":
    main()
