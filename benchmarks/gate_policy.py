"""Which policy promotes what it should: years of nights with a challenger of known worth, under five policies.

Each night champion and challenger score the same holdout. Their true AUCs are known by construction (binormal scores),
the challenger being equal, worse by the margin, or better by it. A policy sees the holdout only. Counted are false
promotions (of a worse or merely equal challenger), missed promotions (of a better one), and the champion's true
AUC over a year when what is promoted stays.

The gate's verdict is that of its paired bootstrap. Only nights whose interval ends near a limit need one: where
DeLong's interval ends far from every limit (in standard errors of the difference), both agree. That is checked: on a
sample of those nights the bootstrap is made all the same, and a single disagreement ends the run.

    python benchmarks/gate_policy.py [--json FILE] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from report import Aim, arguments, at_most, print_table, write_json
from scipy.stats import norm

from gauntlet.core.comparison import Comparison, DeLong, compare, delong, judge, normal_quantile
from gauntlet.core.metrics import Sample

NIGHTS, MARGIN, POSITIVE = 365, 0.01, 0.2
YEARS = {"equal": 1, "worse by the margin": 8, "better by the margin": 1}
"""A rate near 1 % takes more nights to tell from 1 % than one near 0 or 100 %."""
CHAMPION_AUC, LIKENESS = 0.78, 0.9
ALPHA, POWER, AXES = 0.005, 0.95, 3
"""The defaults of the gate versus_champion; the axes of a binary model without a business metric."""
FIXED_GAIN = 0.001
REPLICATES, YEAR_REPLICATES = 1000, 400
CLEAR = 0.6
"""Standard errors of the difference. The ends of the two intervals differ by 0.1 or less of them, mostly by chance."""
CHECKED = 12
WORTH = {"equal": 0.0, "worse by the margin": -MARGIN, "better by the margin": MARGIN}
FRESHER, NO_FRESHER = "default, a fresher model", "default, no fresher"


def night(seed: int, n: int, worth: float, champion_auc: float = CHAMPION_AUC) -> tuple[Sample, Sample]:
    """Correlated binormal scores: the AUC is Phi(shift / sqrt 2), exactly."""
    random = np.random.default_rng([20_260_301, seed, n])
    label = (random.random(n) < POSITIVE).astype(np.float64)
    shared = np.sqrt(LIKENESS) * random.standard_normal(n)
    scores = []
    for auc in (champion_auc + worth, champion_auc):
        own = shared + np.sqrt(1 - LIKENESS) * random.standard_normal(n)
        scores.append(own + label * np.sqrt(2) * norm.ppf(auc))
    return Sample(label, scores[0]), Sample(label, scores[1])


@dataclass(frozen=True)
class Seen:
    """What a policy may look at on one night, and what the gate says of it."""

    delta: float
    se: float
    no_worse: bool
    superior: bool


Policy = Callable[[Seen], bool]
POLICIES: Mapping[str, Policy] = {
    'naive "≥"': lambda seen: seen.delta >= 0,
    f"fixed gain > {FIXED_GAIN}": lambda seen: seen.delta > FIXED_GAIN,
    "paired 95 % interval above 0": lambda seen: seen.delta - 1.96 * seen.se > 0,
    FRESHER: lambda seen: seen.no_worse,
    NO_FRESHER: lambda seen: seen.no_worse and seen.superior,
}


@dataclass
class Counts:
    """How the gate's verdicts came about."""

    bootstraps: int = 0
    clear: int = 0
    checked: int = 0


def by_normal(found: DeLong, n: int) -> Comparison:
    """The comparison with DeLong's normal interval in place of the bootstrap's."""
    delta, half = found.candidate - found.other, normal_quantile(1 - ALPHA) * found.se
    return Comparison("roc_auc", found.candidate, found.other, delta, delta - half, delta + half, found.se, n, ALPHA, 0)


def verdicts(result: Comparison) -> tuple[bool, bool]:
    """The gate's own judgement: non-inferior within the margin; superior at the level that an axis gets."""
    if result.replicates:
        axis = result.at(ALPHA / AXES)
    else:
        half = normal_quantile(1 - ALPHA / AXES) * result.se
        axis = replace(result, alpha=ALPHA / AXES, low=result.delta - half, high=result.delta + half)
    no_worse = judge(result, "non_inferiority", MARGIN, power=POWER).outcome.satisfied
    return no_worse, judge(axis, "superiority", 0.0, power=POWER, worth=MARGIN).outcome.satisfied


def is_clear(result: Comparison) -> bool:
    """Whether the ends of the interval are far from both limits."""
    ends = (
        result.delta - normal_quantile(1 - ALPHA) * result.se + MARGIN,
        result.delta - normal_quantile(1 - ALPHA / AXES) * result.se,
    )
    return min(abs(end) for end in ends) > CLEAR * result.se


def look(ours: Sample, theirs: Sample, seed: int, counts: Counts, replicates: int) -> Seen:
    """One night as policies see it."""
    found = delong(ours.label, ours.score, theirs.score)
    result = by_normal(found, len(ours))
    if is_clear(result):
        counts.clear += 1
        no_worse, superior = verdicts(result)
        if counts.clear % (NIGHTS // CHECKED) == 0:
            counts.checked += 1
            real = verdicts(
                compare(["roc_auc"], ours, theirs, seed=seed, alpha=ALPHA, replicates=replicates)["roc_auc"]
            )
            if real != (no_worse, superior):
                raise SystemExit(f"night {seed} on {len(ours)} rows: bootstrap {real}, DeLong {(no_worse, superior)}")
    else:
        counts.bootstraps += 1
        no_worse, superior = verdicts(
            compare(["roc_auc"], ours, theirs, seed=seed, alpha=ALPHA, replicates=replicates)["roc_auc"]
        )
    return Seen(result.delta, result.se, no_worse, superior)


def nights(n: int, worth: float, count: int, counts: Counts, replicates: int) -> list[Seen]:
    """Nights with a challenger that is always worth the same, against the same champion."""
    return [look(*night(index, n, worth), index, counts, replicates) for index in range(count)]


def asked_for() -> dict[str, int]:
    """Rows that the gate asks for on an inconclusive night: to be no worse, and to show a gain of the margin."""
    found = [by_normal(delong(a.label, a.score, b.score), len(a)) for a, b in (night(s, 2_000, 0.0) for s in range(60))]
    wanted = {
        FRESHER: [judge(one, "non_inferiority", MARGIN, power=POWER) for one in found],
        NO_FRESHER: [
            judge(replace(one, alpha=ALPHA / AXES), "superiority", 0.0, power=POWER, worth=MARGIN) for one in found
        ],
    }
    rows = {name: [item.required_n for item in items if item.required_n] for name, items in wanted.items()}
    return {name: round(float(np.mean(items)) / 1000) * 1000 for name, items in rows.items()}


def year(n: int, policy: Policy, count: int, counts: Counts) -> float:
    """The champion's true AUC, mean over a year of challengers whose true AUC is drawn anew each night.

    They scatter by half a margin around where the first champion is; all policies and sizes meet the same ones.
    """
    challengers = np.random.default_rng(7).normal(CHAMPION_AUC, MARGIN / 2, count)
    truth, held = CHAMPION_AUC, []
    for index, auc in enumerate(challengers):
        ours, theirs = night(10_000 + index, n, auc - truth, truth)
        if policy(look(ours, theirs, index, counts, YEAR_REPLICATES)):
            truth = float(auc)
        held.append(truth)
    return float(np.mean(held))


def main() -> None:
    """Run, print, write."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    count, replicates = (60, 400) if options.quick else (NIGHTS, REPLICATES)
    needed, counts = asked_for(), Counts()
    sizes = sorted({2_000, 5_000, *needed.values()})
    rows: list[dict[str, object]] = []
    rates: dict[tuple[str, str, int], float] = {}
    for n in sizes:
        years = {truth: 1 if options.quick else YEARS[truth] for truth in WORTH}
        seen = {truth: nights(n, WORTH[truth], years[truth] * count, counts, replicates) for truth in WORTH}
        for name, policy in POLICIES.items():
            promoted = {truth: float(np.mean([policy(one) for one in found])) for truth, found in seen.items()}
            rates |= {(name, truth, n): share for truth, share in promoted.items()}
            rows.append({
                "holdout rows": n,
                "policy": name,
                "equal promoted": f"{promoted['equal']:.1%}",
                "worse promoted": f"{promoted['worse by the margin']:.2%}",
                "better missed": f"{1 - promoted['better by the margin']:.1%}",
                "mean true AUC of the year": f"{year(n, policy, count, counts):.4f}",
            })
    asked = ", ".join(f"{rows_} ({name})" for name, rows_ in needed.items())
    print_table(
        f"Years of {count} nights; champion AUC {CHAMPION_AUC}, margin {MARGIN}; the gate asks for {asked}", rows
    )
    print("Fresher: newer data is itself the declared gain. No fresher: the gain must show in the primary metric.")
    print(f"{counts.bootstraps} nights near a limit were bootstrapped, {counts.clear} were clear; of the clear ones")
    print(f"{counts.checked} were bootstrapped too, and every verdict was the same.")
    write_json(aims(rates, sizes, needed), options.json)


def aims(rates: dict[tuple[str, str, int], float], sizes: list[int], needed: dict[str, int]) -> list[Aim]:
    """The two promises, for the default policy both ways."""
    found = []
    for name, rows in needed.items():
        worst = max(rates[name, "worse by the margin", n] for n in sizes)
        found.append(at_most(f"{name}: share of nights a model worse by the margin is promoted, any size", 0.01, worst))
        missed = 1 - rates[name, "better by the margin", rows]
        found.append(
            at_most(f"{name}: share of nights a better model is missed at the {rows} rows asked for", 0.10, missed)
        )
    return found


if __name__ == "__main__":
    main()
