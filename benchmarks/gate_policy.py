"""Which policy promotes what it should: 365 nights with a challenger of known worth, under four policies.

Each night champion and challenger score the same holdout. Their true AUCs are known by construction (binormal scores),
the challenger being equal, worse by the margin, or better by it. A policy sees the holdout only. Counted are false
promotions (of a worse or merely equal challenger), missed promotions (of a better one), and the champion's true
AUC over the year when what is promoted stays.

    python benchmarks/gate_policy.py [--json FILE] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from report import Aim, arguments, at_most, print_table, write_json
from scipy.stats import norm

from gauntlet.core.comparison import Comparison, compare, judge
from gauntlet.core.metrics import Sample

NIGHTS, MARGIN, POSITIVE = 365, 0.01, 0.2
CHAMPION_AUC, LIKENESS = 0.78, 0.9
ALPHA, POWER = 0.005, 0.95
FIXED_GAIN = 0.001
YEAR_REPLICATES = 300
WORTH = {"equal": 0.0, "worse by the margin": -MARGIN, "better by the margin": MARGIN}


def night(seed: int, n: int, worth: float, champion_auc: float = CHAMPION_AUC) -> tuple[Sample, Sample]:
    """Correlated binormal scores: the AUC is Phi(shift / sqrt 2), exactly."""
    random = np.random.default_rng([20_260_301, seed, n])
    label = (random.random(n) < POSITIVE).astype(np.float64)
    shared = random.standard_normal(n)
    scores = []
    for auc in (champion_auc + worth, champion_auc):
        own = np.sqrt(LIKENESS) * shared + np.sqrt(1 - LIKENESS) * random.standard_normal(n)
        scores.append(own + label * np.sqrt(2) * norm.ppf(auc))
    return Sample(label, scores[0]), Sample(label, scores[1])


def no_worse(result: Comparison) -> bool:
    """The default on the primary metric: non-inferior within the margin."""
    return judge(result, "non_inferiority", MARGIN, power=POWER).outcome.satisfied


def superior(result: Comparison) -> bool:
    """The axis that counts here: nothing but the primary metric tells these models apart."""
    return judge(result, "superiority", 0.0, power=POWER).outcome.satisfied


POLICIES: dict[str, Callable[[Comparison], bool]] = {
    'naive "≥"': lambda result: result.delta >= 0,
    f"fixed gain > {FIXED_GAIN}": lambda result: result.delta > FIXED_GAIN,
    "paired 95 % interval above 0": lambda result: result.delta - 1.96 * result.se > 0,
    "default, a fresher model": no_worse,
    "default, no fresher": lambda result: no_worse(result) and superior(result),
}


def nights(n: int, worth: float, count: int, replicates: int) -> list[Comparison]:
    """One comparison per night, as the gate makes it."""
    found = []
    for index in range(count):
        ours, theirs = night(index, n, worth)
        found.append(compare(["roc_auc"], ours, theirs, seed=index, alpha=ALPHA, replicates=replicates)["roc_auc"])
    return found


def asked_for(replicates: int) -> int:
    """The rows that the gate asks for on an inconclusive night, averaged over pilot nights."""
    pilots = nights(2_000, 0.0, 40, replicates)
    asked = [judge(result, "non_inferiority", MARGIN, power=POWER).required_n for result in pilots]
    return round(float(np.mean([rows for rows in asked if rows])) / 1000) * 1000


def year(n: int, policy: Callable[[Comparison], bool], count: int) -> float:
    """The champion's true AUC, mean over a year of challengers whose true AUC is drawn anew each night.

    They scatter by half a margin around where the first champion is; all policies and sizes meet the same ones.
    """
    challengers = np.random.default_rng(7).normal(CHAMPION_AUC, MARGIN / 2, count)
    truth, held = CHAMPION_AUC, []
    for index, auc in enumerate(challengers):
        ours, theirs = night(10_000 + index, n, auc - truth, truth)
        if policy(compare(["roc_auc"], ours, theirs, seed=index, alpha=ALPHA, replicates=YEAR_REPLICATES)["roc_auc"]):
            truth = float(auc)
        held.append(truth)
    return float(np.mean(held))


def main() -> None:
    """Run, print, write."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    count, replicates = (60, 400) if options.quick else (NIGHTS, 1000)
    needed = asked_for(replicates)
    sizes = sorted({2_000, 10_000, needed})
    rows: list[dict[str, object]] = []
    rates: dict[tuple[str, str, int], float] = {}
    for n in sizes:
        seen = {truth: nights(n, worth, count, replicates) for truth, worth in WORTH.items()}
        for name, policy in POLICIES.items():
            promoted = {truth: float(np.mean([policy(result) for result in found])) for truth, found in seen.items()}
            rates |= {(name, truth, n): share for truth, share in promoted.items()}
            rows.append({
                "holdout rows": n,
                "policy": name,
                "equal promoted": f"{promoted['equal']:.1%}",
                "worse promoted": f"{promoted['worse by the margin']:.1%}",
                "better missed": f"{1 - promoted['better by the margin']:.1%}",
                "mean true AUC of the year": f"{year(n, policy, count):.4f}",
            })
    print_table(f"{count} nights; champion AUC {CHAMPION_AUC}, margin {MARGIN}; the gate asks for {needed} rows", rows)
    print("Fresher: newer data is itself the declared gain. No fresher: the gain must show in the primary metric.")
    write_json(aims(rates, sizes, needed), options.json)


def aims(rates: dict[tuple[str, str, int], float], sizes: list[int], needed: int) -> list[Aim]:
    """The two promises, for the default policy both ways."""
    found = []
    for name in list(POLICIES)[3:]:
        worst = max(rates[name, "worse by the margin", n] for n in sizes)
        found.append(at_most(f"{name}: share of nights a model worse by the margin is promoted, any size", 0.01, worst))
        missed = 1 - rates[name, "better by the margin", needed]
        found.append(
            at_most(f"{name}: share of nights a better model is missed at the {needed} rows asked for", 0.10, missed)
        )
    return found


if __name__ == "__main__":
    main()
