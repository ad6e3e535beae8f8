"""Simulated rollouts: how often a good challenger is rolled back, and how many requests meet a bad one.

Our judge and state machine against rules in common use, on the same draws: fixed thresholds per interval, as in
Flagger's `success-rate` and `request-duration` checks (5 failed checks end the analysis); Welch's t-test of the step's
data at every tick, p < 0.05; Kayenta's Mann-Whitney judge at every tick: per-tick means of the canary and of an equally
large part of the champion's requests, at 98 % confidence and its tolerance of a quarter of the estimated shift. Two of
them once more with their settings turned down until they leave a good challenger alone: thresholds of 5 % errors, and a
t-test whose 1 % is divided by all ticks and metrics.

A bad challenger that is missed becomes champion: what it answers in the next hold counts as exposed too. A rule that
wrongs more than 5 % of the first good challengers is not asked about the rest of them.
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
from gauntlet.core.live.window import Product, Window
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import RolloutPhase, RolloutState, ServedVersion
from gauntlet.core.rollout import Observation, advance
from gauntlet.core.specs.rollout import ProductMetric, RolloutSection

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
    clicks: bool = False
    """Whether a product metric, a rate of 10 %, is judged too."""


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


def dip(columns: Columns, rng: np.random.Generator) -> None:
    """Change aversion: for two ticks of each step half of the canary's clicks stay away; then all is as before."""
    new = columns["arm"] & (columns["tick"] < 2)
    columns["clicks"] *= ~(new & (rng.random(new.size) < 0.5))


def outage(columns: Columns, rng: np.random.Generator) -> None:
    """Two ticks in which a tenth of all requests fail, whoever answers."""
    hit = np.isin(columns["tick"], (3, 4)) & (rng.random(columns["arm"].size) < 0.1)
    columns["failed"] |= hit


SCENARIOS = (
    Scenario("A/A", good=True),
    Scenario("A/A, low traffic", good=True, per_tick=20),
    Scenario("A/A, outage of both arms", good=True, spoil=outage),
    Scenario("A/A, cold start", good=True, spoil=cold),
    Scenario("A/A, novelty spike", good=True, spoil=dip, clicks=True),
    Scenario("errors +2 points", good=False, spoil=more_errors(0.02)),
    Scenario("errors +10 points", good=False, spoil=more_errors(0.10)),
    Scenario("errors +10 points, low traffic", good=False, spoil=more_errors(0.10), per_tick=20),
    Scenario("every request fails", good=False, spoil=more_errors(1.0)),
    Scenario("latency +200 %", good=False, spoil=slower(2.0)),
    Scenario("score +0.8 sd", good=False, spoil=shifted(0.1)),
    Scenario("scores collapsed", good=False, spoil=collapsed),
    Scenario("AUC 0.5, seen in labels only", good=False, spoil=blind, labels=200),
)
CLICKS = {"clicks": ProductMetric(function="shop:clicks", margin=0.03, bounds=(0.0, 1.0))}


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
    said = {"steps": steps, "tick": f"{TICK_S}s", "checks": dict(scenario.checks)}
    return RolloutSection.model_validate({**said, "metrics": CLICKS if scenario.clicks else {}})


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
        "clicks": (rng.random(n) < 0.1).astype(float),
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
                products=plan.metrics,
            )
            state = advance(state, plan, Observation(analysis), now).state
            if state.step != step or state.phase is RolloutPhase.ROLLING_BACK:
                break
        else:
            return Result(True, exposed, ticks)
    return _ended(scenario, state.phase is RolloutPhase.ROLLING_BACK, exposed, ticks)


def _ended(scenario: Scenario, rolled_back: bool, exposed: int, ticks: int) -> Result:
    """Who is not rolled back answers everything from now on."""
    return Result(rolled_back, exposed if rolled_back else exposed + HOLD_TICKS * scenario.per_tick, ticks)


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
        products=_clicks(columns, seen) if scenario.clicks else {},
    )


def _clicks(columns: Columns, seen: np.ndarray) -> dict[str, Product]:
    arm, clicks = columns["arm"][seen], columns["clicks"][seen]
    return {"clicks": Product(np.where(arm, np.nan, clicks), np.where(arm, clicks, np.nan))}


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
    return _ended(scenario, False, exposed, ticks)


def fixed_thresholds(errors: float = 0.01) -> Rule:
    """Flagger: success rate of the interval, here at least 99 %, p99 at most 500 ms; the fifth failed check ends it."""
    failed = 0

    def check(columns: Columns, tick: int, _: Scenario) -> bool:
        nonlocal failed
        now = (columns["tick"] == tick) & columns["arm"]
        if now.any():
            late = float(np.quantile(columns["latency_ms"][now], 0.99)) > 500
            failed += bool(columns["failed"][now].mean() > errors or late)
        return failed >= 5

    return check


def _metrics(columns: Columns, scenario: Scenario) -> list[np.ndarray]:
    score = np.where(columns["arm"], columns["canary"], columns["stable"])
    metrics = [columns["failed"].astype(float), columns["latency_ms"], score]
    if scenario.labels:
        likely = np.clip(score, 1e-4, 1 - 1e-4)
        label = columns["label"]
        metrics.append(-(label * np.log(likely) + (1 - label) * np.log1p(-likely)))
    if scenario.clicks:
        metrics.append(columns["clicks"])
    return metrics


Sums = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one arm by tick: how many values, their sum, the sum of their squares."""


def _by_tick(values: np.ndarray, tick: np.ndarray, among: np.ndarray) -> Sums:
    rows = among & np.isfinite(values)
    cells = [np.bincount(tick[rows], weights, LONGEST_TICKS) for weights in (None, values[rows], values[rows] ** 2)]
    return cells[0], cells[1], cells[2]


def _prepared(arm: str) -> Callable[[Columns, Scenario], list[tuple[Sums, Sums]]]:
    """Both arms' sums of all metrics, made once per step."""
    known: list[Any] = [None, []]

    def sums(columns: Columns, scenario: Scenario) -> list[tuple[Sums, Sums]]:
        if known[0] is not columns:
            others = columns["control"] if arm == "control" else ~columns["arm"]
            known[:] = [
                columns,
                [
                    (_by_tick(metric, columns["tick"], columns["arm"]), _by_tick(metric, columns["tick"], others))
                    for metric in _metrics(columns, scenario)
                ],
            ]
        return list(known[1])

    return sums


def repeated_t(level: float = 0.05) -> Rule:
    """Welch's t-test between the arms, on all of the step so far, at every tick."""
    from scipy.special import stdtr

    sums = _prepared("stable")

    def moments(arm: Sums, tick: int) -> tuple[float, float, float]:
        n, total, squares = (float(each[: tick + 1].sum()) for each in arm)
        if n < 2:
            return n, 0.0, 0.0
        return n, total / n, max(0.0, squares - total * total / n) / (n - 1)

    def check(columns: Columns, tick: int, scenario: Scenario) -> bool:
        for canary, stable in sums(columns, scenario):
            (n, ours, spread), (m, theirs, other) = moments(canary, tick), moments(stable, tick)
            if min(n, m) < 2 or spread + other <= 1e-12:
                continue
            a, b = spread / n, other / m
            freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
            if 2 * stdtr(freedom, -abs(ours - theirs) / np.sqrt(a + b)) < level:
                return True
        return False

    return check


def mann_whitney() -> Rule:
    """Kayenta: the 98 % interval of the location shift lies beyond a quarter of its estimate, in the harmful direction.

    Errors and latency are harmful upwards, scores and clicks both ways, as in its `direction` option.
    """
    sums = _prepared("control")

    def check(columns: Columns, tick: int, scenario: Scenario) -> bool:
        if tick < 3:
            return False
        for place, arms in enumerate(sums(columns, scenario)):
            series = []
            for n, total, _ in arms:
                some = n[: tick + 1] > 0
                series.append(total[: tick + 1][some] / n[: tick + 1][some])
            if min(values.size for values in series) > 3 and _beyond(*series, both=place >= SCORE):
                return True
        return False

    return check


SCORE = 2
TOLERANCE = 0.25


def _beyond(canary: np.ndarray, stable: np.ndarray, *, both: bool) -> bool:
    shift, low, high = hodges_lehmann(canary, stable, 0.02)
    edge = TOLERANCE * abs(shift)
    return low > edge or (both and high < -edge)


LOOKS = 4 * HOLD_TICKS
RULES: Mapping[str, Callable[[Scenario, int], Result]] = {
    "gauntlet": ours,
    "fixed thresholds": lambda scenario, number: by_rule(fixed_thresholds, scenario, number),
    "repeated t-test": lambda scenario, number: by_rule(repeated_t, scenario, number),
    "Mann-Whitney": lambda scenario, number: by_rule(mann_whitney, scenario, number),
    "thresholds, 5 % errors": lambda scenario, number: by_rule(lambda: fixed_thresholds(0.05), scenario, number),
    "t-test, 1 % / looks": lambda scenario, number: by_rule(lambda: repeated_t(0.01 / (4 * LOOKS)), scenario, number),
}
LIMIT = 0.01
SCREENED = 20
"""Good challengers after which a rule that wrongs more than 5 % of them is not asked again."""


def measure(scenario: Scenario, rule: str, rollouts: int) -> dict[str, Any]:
    """One line of the table."""
    results: list[Result] = []
    for number in range(rollouts):
        results.append(RULES[rule](scenario, number))
        wronged = sum(result.rolled_back for result in results)
        if scenario.good and rule != "gauntlet" and number + 1 == SCREENED and wronged > 0.05 * SCREENED:
            break
    back = sum(result.rolled_back for result in results) / len(results)
    return {
        "challenger": scenario.name,
        "rule": rule,
        "rollouts": len(results),
        "wronged": sum(result.rolled_back for result in results),
        "false rollback" if scenario.good else "missed": back if scenario.good else 1 - back,
        "exposed": sum(result.exposed for result in results) / len(results),
        "ticks": sum(result.ticks for result in results) / len(results),
        "good": scenario.good,
    }


def main() -> None:
    """Simulate, print and judge."""
    options = arguments(__doc__ or "").parse_args()
    calm, bad = (10, 4) if options.quick else (120, 30)
    began, used = time.perf_counter(), time.process_time()
    lines = [
        measure(scenario, rule, (calm * (3 if scenario.name == "A/A" else 1)) if scenario.good else bad)
        for scenario in SCENARIOS
        for rule in RULES
    ]
    print_table("Good challengers", [_shown(line) for line in lines if line["good"]])
    print_table("Bad challengers", [_shown(line) for line in lines if not line["good"]])
    print(f"\n{time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of CPU")
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
    """The false-rollback rate of a rule over all good challengers."""
    mine = [line for line in lines if line["good"] and line["rule"] == rule]
    return float(max(line["false rollback"] for line in mine))


def pooled_rate(lines: list[dict[str, Any]], rule: str) -> tuple[float, int]:
    """The false-rollback rate of a rule over all good challengers together, and how many there were."""
    mine = [line for line in lines if line["good"] and line["rule"] == rule]
    rollouts = sum(line["rollouts"] for line in mine)
    return sum(line["wronged"] for line in mine) / rollouts, rollouts


def aims(lines: list[dict[str, Any]]) -> list[Aim]:
    """False rollbacks; then exposure against every rule that keeps to the same limit; then what is missed."""
    rate, rollouts = pooled_rate(lines, "gauntlet")
    fair = [rule for rule in RULES if rule != "gauntlet" and false_rate(lines, rule) <= LIMIT]
    found = [
        at_most(f"false rollback of a good challenger, {rollouts} rollouts", LIMIT, rate),
        at_most("the same, in the worst scenario", LIMIT, false_rate(lines, "gauntlet")),
    ]
    bad = [scenario.name for scenario in SCENARIOS if not scenario.good]
    exposed = {rule: {line["challenger"]: line["exposed"] for line in lines if line["rule"] == rule} for rule in RULES}
    for name in bad:
        missed = next(line["missed"] for line in lines if (line["challenger"], line["rule"]) == (name, "gauntlet"))
        found.append(at_most(f"{name}: missed", 0.05, missed))
    for rule in fair:
        for name in bad:
            found.append(
                at_most(f"{name}: exposed requests, against {rule}", exposed[rule][name], exposed["gauntlet"][name])
            )
    told = ", ".join(fair) or "none"
    print(f"\nRules that keep false rollbacks at 1 % with every good challenger: {told}.")
    return found


if __name__ == "__main__":
    main()
