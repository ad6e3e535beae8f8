"""Are the alarms right? False alarms on data that does not change, detection of changes that cost the model, a year.

The rules of thumb are what the usual tools do by default, computed on the same windows: alarm when any feature has a
KS p-value below 0.05, when any has a PSI above 0.1 (ten reference deciles), and Evidently's data set rule (half of
the columns drifted, by KS p < 0.05 up to 1000 rows and by normed Wasserstein > 0.1 above).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "include")]

import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from report import Aim, arguments, at_least, at_most, print_table, write_json  # noqa: E402

from gauntlet.core.drift import compare  # noqa: E402
from gauntlet.core.drift_action import Evidence, suggest  # noqa: E402
from gauntlet.core.profile import Profile, blank, numbers  # noqa: E402
from gauntlet.core.records.drift import DriftAction  # noqa: E402
from gauntlet.core.specs.drift import DriftSection  # noqa: E402

Floats = NDArray[np.float64]
REFERENCE = 20_000
SECTION = DriftSection(window="1d", minimum_rows=1)
SHAPES: tuple[Callable[[np.random.Generator, int], Floats], ...] = (
    lambda rng, n: rng.normal(size=n),
    lambda rng, n: rng.lognormal(size=n),
    lambda rng, n: rng.integers(0, 12, n).astype(float),
    lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.gamma(2, 3, n)),
    lambda rng, n: np.round(rng.exponential(size=n), 1),
)


def profile(columns: list[Floats], importances: list[float]) -> Profile:
    """The profile of a training set."""
    counted = {f"x{i}": numbers(values, "float").counted(values) for i, values in enumerate(columns)}
    weights = {f"x{i}": weight for i, weight in enumerate(importances)}
    return Profile(dict(counted), len(columns[0]), weights, {}, {})


def window(reference: Profile, columns: list[Floats]) -> Profile:
    """A window counted on a profile's axes."""
    counted = {
        name: blank(column).counted(values)  # type: ignore[call-arg, arg-type]
        for (name, column), values in zip(reference.columns.items(), columns, strict=True)
    }
    return Profile(dict(counted), len(columns[0]), {}, {}, {})


def action(reference: Profile, columns: list[Floats]) -> DriftAction:
    """What ours suggests for a window."""
    return suggest(Evidence(compare(reference, window(reference, columns), SECTION)), SECTION).action


# ---- the rules of thumb --------------------------------------------------------------------------------


def any_ks(before: list[Floats], after: list[Floats]) -> bool:
    """KS p below 0.05 in any column."""
    return any(_ks_p(one, other) < 0.05 for one, other in zip(before, after, strict=True))


def _ks_p(one: Floats, other: Floats) -> float:
    """The limiting distribution; SciPy's exact one takes longer than the whole benchmark."""
    places = np.concatenate((one, other))
    one, other = np.sort(one), np.sort(other)
    apart = np.searchsorted(one, places, "right") / len(one) - np.searchsorted(other, places, "right") / len(other)
    return float(scipy.stats.kstwobign.sf(np.abs(apart).max() / np.sqrt(1 / len(one) + 1 / len(other))))


def any_psi(before: list[Floats], after: list[Floats]) -> bool:
    """PSI above 0.1 in any column, cells without rows as 0.0001."""
    return any(_psi(one, other) > 0.1 for one, other in zip(before, after, strict=True))


def _psi(one: Floats, other: Floats) -> float:
    edges = np.unique(np.quantile(one, np.linspace(0, 1, 11))[1:-1])
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1) / len(values), 1e-4)
        for values in (one, other)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def half_drifted(before: list[Floats], after: list[Floats]) -> bool:
    """Evidently's data set rule with its default tests."""
    drifted = [
        _ks_p(one, other) < 0.05
        if len(one) <= 1000
        else scipy.stats.wasserstein_distance(one, other) / max(one.std(), 1e-3) > 0.1
        for one, other in zip(before, after, strict=True)
    ]
    return sum(drifted) >= 0.5 * len(drifted)


RULES = {"any KS p < 0.05": any_ks, "any PSI > 0.1": any_psi, "half of the columns": half_drifted}


# ---- false alarms --------------------------------------------------------------------------------------


def false_alarms(rows: int, features: int, nights: int, *, rules: bool) -> dict[str, float]:
    """Share of stationary nights with any suggestion but none."""
    rng = np.random.default_rng(rows * 1000 + features)
    kinds = [SHAPES[i % len(SHAPES)] for i in range(features)]
    alarms: dict[str, float] = dict.fromkeys(("gauntlet", *(RULES if rules else ())), 0.0)
    before: list[Floats] = []
    for night in range(nights):
        if night % 25 == 0:
            before = [kind(rng, REFERENCE) for kind in kinds]
            reference = profile(before, [1.0] * features)
        after = [kind(rng, rows) for kind in kinds]
        alarms["gauntlet"] += action(reference, after) is not DriftAction.NONE
        for name, rule in RULES.items() if rules else ():
            alarms[name] += rule(before, after)
    return {name: count / nights for name, count in alarms.items()}


# ---- power ---------------------------------------------------------------------------------------------

WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01])


@dataclass(frozen=True)
class Shift:
    """A change of the inputs by an amount; the model, trained before, scores what it sees."""

    name: str
    change: Callable[[np.random.Generator, Floats, float], tuple[Floats, Floats]]
    """True inputs to what the model sees, and the true log-odds."""


def _odds(inputs: Floats) -> Floats:
    odds: Floats = inputs @ WEIGHTS - 2
    return odds


def _frozen(rng: np.random.Generator, inputs: Floats, amount: float) -> tuple[Floats, Floats]:
    """A feed delivers its last value for a share of the rows of the most important feature."""
    seen = inputs.copy()
    seen[rng.random(len(seen)) < amount, 0] = 0.31
    return seen, _odds(inputs)


def _takeover(rng: np.random.Generator, inputs: Floats, amount: float) -> tuple[Floats, Floats]:
    """A share of new customers: three features shifted by one sigma, for whom the first two say little."""
    new = rng.random(len(inputs)) < amount
    seen = inputs.copy()
    seen[np.ix_(new, [0, 2, 4])] += 1.0
    odds = _odds(seen)
    odds[new] -= 0.9 * (seen[new, :2] @ WEIGHTS[:2])
    return seen, odds


def _units(_rng: np.random.Generator, inputs: Floats, amount: float) -> tuple[Floats, Floats]:
    """The second feature arrives scaled down."""
    seen = inputs.copy()
    seen[:, 1] *= 1 - amount
    return seen, _odds(inputs)


def _noise(rng: np.random.Generator, inputs: Floats, amount: float) -> tuple[Floats, Floats]:
    """The most important feature becomes noisier; its distribution hardly changes."""
    seen = inputs.copy()
    seen[:, 0] += 1.5 * amount * rng.normal(size=len(seen))
    return seen, _odds(inputs)


SHIFTS = (
    Shift("frozen feed", _frozen),
    Shift("takeover", _takeover),
    Shift("scaled feature", _units),
    Shift("noisier feature", _noise),
)


def cost(shift: Shift, amount: float, rows: int = 60_000) -> float:
    """The ROC AUC that this amount of a shift costs the model."""
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(rows, len(WEIGHTS)))
    clean = _auc(_odds(inputs), rng.random(rows) < _chance(_odds(inputs)))
    seen, odds = shift.change(rng, inputs, amount)
    return clean - _auc(_odds(seen), rng.random(rows) < _chance(odds))


def _chance(odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-odds))
    return chance


def _auc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    ranks = scipy.stats.rankdata(scores)
    positive = int(labels.sum())
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def costing(shift: Shift, auc: float) -> float:
    """The amount of a shift that costs this much ROC AUC; 1 when even all of it costs less."""
    low, high = 0.0, 1.0
    for _ in range(9):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if cost(shift, middle) >= auc else (middle, high)
    return high


def detection(shift: Shift, amount: float, rows: int, trials: int) -> float:
    """Share of trials in which one of the first two windows has a suggestion."""
    rng = np.random.default_rng(rows)
    train = rng.normal(size=(REFERENCE, len(WEIGHTS)))
    reference = profile(list(train.T), list(WEIGHTS**2))
    return sum(any(_alarms(shift, amount, rows, rng, reference)) for _ in range(trials)) / trials


def _alarms(shift: Shift, amount: float, rows: int, rng: np.random.Generator, reference: Profile) -> Iterator[bool]:
    for _ in range(2):
        seen, _ = shift.change(rng, rng.normal(size=(rows, len(WEIGHTS))), amount)
        yield action(reference, list(seen.T)) is not DriftAction.NONE


def harmless(rows: int, trials: int) -> float:
    """Share of windows that ask for a retrain when only the least important feature has shifted by one sigma."""
    rng = np.random.default_rng(rows + 1)
    reference = profile(list(rng.normal(size=(REFERENCE, len(WEIGHTS))).T), list(WEIGHTS**2))
    wanted = 0
    for _ in range(trials):
        inputs = rng.normal(size=(rows, len(WEIGHTS)))
        inputs[:, -1] += 1.0
        wanted += action(reference, list(inputs.T)) is DriftAction.RETRAIN
    return wanted / trials


# ---- a year ------------------------------------------------------------------------------------------

INCIDENTS = {60: ("takeover", 0.35), 150: ("frozen feed", 0.4), 240: ("scaled feature", 0.6), 310: ("takeover", 0.5)}
LASTS = 12


def year(rows: int) -> tuple[int, int]:
    """Pages of a year with four incidents, each of twelve nights; a page is a night that alarms after a quiet one."""
    rng = np.random.default_rng(11)
    reference = profile(list(rng.normal(size=(REFERENCE, len(WEIGHTS))).T), list(WEIGHTS**2))
    shifts = {shift.name: shift for shift in SHIFTS}
    pages, found, alarmed = 0, set(), False
    for night in range(365):
        inputs = rng.normal(size=(rows, len(WEIGHTS))) + 0.08 * np.sin(2 * np.pi * night / 365)
        inputs[:, 3] += 0.1 * (night % 7 >= 5)
        incident = next((start for start in INCIDENTS if start <= night < start + LASTS), None)
        if incident is not None:
            name, amount = INCIDENTS[incident]
            inputs, _ = shifts[name].change(rng, inputs, amount)
        alarm = action(reference, list(inputs.T)) is not DriftAction.NONE
        pages += alarm and not alarmed
        if alarm and incident is not None:
            found.add(incident)
        alarmed = alarm
    return pages, len(found)


def main() -> None:
    """Measure, print, write."""
    chosen = arguments(__doc__ or "").parse_args()
    aims = [*_quiet(chosen.quick), *_sharp(chosen.quick)]
    pages, found = year(1700)
    print_table("A year of nights with 1700 rows", [{"incidents": len(INCIDENTS), "found": found, "pages": pages}])
    aims.append(at_most("pages per real incident in a year", 1.0, pages / len(INCIDENTS)))
    aims.append(at_least("share of a year's incidents found", 1.0, found / len(INCIDENTS)))
    write_json(aims, chosen.json)


def _quiet(quick: bool) -> list[Aim]:
    plan = [(50, 10, 400), (50, 500, 40), (200, 100, 100), (1000, 10, 400), (1000, 100, 100), (10_000, 10, 200)]
    plan += [(10_000, 500, 25), (100_000, 100, 25), (1_000_000, 10, 25)]
    rows, aims = [], []
    for size, features, nights in plan[:5] if quick else plan:
        nights = max(nights // 8, 5) if quick else nights
        rates = false_alarms(size, features, nights, rules=size <= 10_000)
        rows.append(
            {"rows": size, "features": features, "nights": nights}
            | {name: f"{rates[name]:.1%}" if name in rates else "" for name in ("gauntlet", *RULES)}
        )
        aims.append(at_most(f"false alarms per night, {size} rows x {features} features", 0.01, rates["gauntlet"]))
    print_table("Stationary nights that alarm", rows)
    return aims


def _sharp(quick: bool) -> list[Aim]:
    rows, aims = [], []
    trials = 10 if quick else 100
    for shift in SHIFTS:
        for place, auc in enumerate((0.01, 0.03)):
            amount = costing(shift, auc)
            rates = {size: detection(shift, amount, size, trials) for size in (1000, 5000, 20_000)}
            rows.append(
                {"shift": shift.name, "costs AUC": auc, "amount": f"{amount:.2f}"}
                | {f"{size} rows": f"{rate:.0%}" for size, rate in rates.items()}
            )
            if place == 0:
                text = f"detected within two windows of 5000 rows, a {shift.name} that costs 0.01 AUC"
                aims.append(at_least(text, 0.95, rates[5000]))
    print_table("Detection within two windows", rows)
    aims.append(at_most("retrains for a shift of a feature the model hardly uses", 0.01, harmless(5000, trials)))
    return aims


if __name__ == "__main__":
    main()
