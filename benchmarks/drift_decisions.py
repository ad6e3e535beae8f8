"""Are the alarms right? False alarms on data that does not change, detection of changes that cost the model, a year.

Two scripts beside this one hold what is measured against: ``drift_populations.py`` the data, ``drift_rules.py`` what
the usual tools do by default, computed on the very same windows. Every column of the stationary data takes values of
a finite grid, so a window of a million rows is drawn as its counts: exact, and checked against counting rows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "include")]

import drift_populations as world  # noqa: E402
import numpy as np  # noqa: E402
from drift_rules import RULES, of_counts, of_rows  # noqa: E402
from report import Aim, arguments, at_least, at_most, print_table, write_json  # noqa: E402
from scipy.stats import beta  # noqa: E402

from gauntlet.core.drift import Judged, conclude, measure, parts_of  # noqa: E402
from gauntlet.core.drift_action import Evidence, Suggestion, suggest  # noqa: E402
from gauntlet.core.joint import Past, heaviest, joint_drift, with_score_change  # noqa: E402
from gauntlet.core.moments import Base, Moved  # noqa: E402
from gauntlet.core.outcome import Outcome  # noqa: E402
from gauntlet.core.performance import LEVEL, Scored, compare_performance  # noqa: E402
from gauntlet.core.profile import Profile  # noqa: E402
from gauntlet.core.promise import PROMISED, against_promise  # noqa: E402
from gauntlet.core.records.drift import DriftAction, DriftReport, FeatureDrift, PerformanceDrift  # noqa: E402
from gauntlet.core.records.model import Task  # noqa: E402
from gauntlet.core.specs.drift import DriftSection, PerformanceSection  # noqa: E402

LABELS = PerformanceSection(drop=0.002)
SECTION = DriftSection(window="1d", minimum_rows=1, performance=LABELS)
START = datetime(2026, 1, 1, 2, tzinfo=UTC)
Floats = world.Floats


# ---- one check -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """What one window came to."""

    found: Suggestion
    evidence: Evidence
    pairs: Moved | None = None

    @property
    def alarm(self) -> bool:
        """Whether anybody is asked to do anything."""
        return self.found.action is not DriftAction.NONE

    @property
    def open(self) -> bool:
        """Whether it says of itself that it cannot know, at all or at this size."""
        return self.found.outcome is Outcome.INCONCLUSIVE or bool(self.found.not_judged)

    def report(self, moment: datetime, rows: int) -> DriftReport:
        """What later checks are told of this one."""
        return DriftReport(
            model="m",
            run=f"{moment:%m-%d}",
            as_of=moment,
            spec_digest="",
            champion="c",
            profile="p",
            profile_as_of=START,
            mode="profile",
            window_start=moment - SECTION.window,
            window_end=moment,
            rows=rows,
            reference_rows=0,
            features=tuple(self.evidence.features),
            prediction=self.evidence.prediction,
            performance=self.evidence.performance,
            joint=self.evidence.joint,
            means=self.pairs.means if self.pairs else {},
            means_rows=self.pairs.together.rows if self.pairs else 0,
            page_uri=None,
            page_sha256=None,
            data_uri=None,
            data_sha256=None,
            **vars(self.found),
        )


def scores_apart(before: Profile, after: Profile, past: Past) -> FeatureDrift:
    """The check of the champion's scores."""
    judged = measure(before, after, SECTION)
    (found,) = conclude(judged, SECTION, after.rows)
    return with_score_change(found, judged[0].pair.cells, SECTION, past)


def concluded(
    judged: Sequence[Judged],
    rows: int,
    prediction: FeatureDrift | None,
    performance: PerformanceDrift | None = None,
    past: Past | None = None,
    alike: Floats | None = None,
    pairs: Moved | None = None,
) -> Check:
    """Everything that was measured, and the decision on it."""
    past = past or Past()
    evidence = Evidence(
        conclude(judged, SECTION, rows),
        prediction=prediction,
        performance=performance,
        joint=joint_drift(heaviest(parts_of(judged)), SECTION, past, alike, pairs),
        history=past.history,
    )
    return Check(suggest(evidence, SECTION), evidence, pairs)


# ---- false alarms --------------------------------------------------------------------------------------

SIZES = (50, 200, 1000, 10_000, 100_000, 1_000_000)
FEATURES = (10, 100, 500)


@dataclass(frozen=True)
class Measured:
    """One column that did not change: our measurement, its score-like finding, and the rules' statistics."""

    judged: Judged
    score: FeatureDrift | None
    rules: dict[str, float]


SMALL = 200
AGAIN = 4
"""Windows drawn against each reference where windows are small: there chance has most to say."""


def stationary(rows: int, columns: int) -> list[Measured]:
    """Independent columns, every one with a reference of its own."""
    rng = np.random.default_rng(rows)
    found = []
    for place in range(columns):
        grid = world.GRIDS[place % len(world.GRIDS)]
        before = grid.draw(rng, world.REFERENCE)
        for turn in range(AGAIN if rows <= SMALL else 1):
            after = grid.draw(rng, rows)
            pair = grid.profile(before), grid.profile(after, grid.column(before))
            (judged,) = measure(*pair, SECTION)
            scored = turn == 0 and place % len(world.GRIDS) == 0 and place < columns // 2
            found.append(
                Measured(judged, scores_apart(*pair, Past()) if scored else None, of_counts(grid.values, before, after))
            )
    return found


def nights(pool: Sequence[Measured], features: int, count: int, rows: int) -> tuple[dict[str, float], int]:
    """Share of nights with any action, per rule; how many nights had a window that was told to be inconclusive."""
    rng = np.random.default_rng(features)
    scores = [one.score for one in pool if one.score is not None]
    alarms = dict.fromkeys(("gauntlet", *RULES), 0)
    for _ in range(count):
        chosen = [pool[place] for place in rng.choice(len(pool), features, replace=False)]
        judged = [world.weighted(one.judged, f"x{i}", 1 / len(chosen)) for i, one in enumerate(chosen)]
        alarms["gauntlet"] += concluded(judged, rows, scores[int(rng.integers(len(scores)))]).alarm
        for name, rule in RULES.items():
            alarms[name] += rule.alarms([one.rules for one in chosen])
    return {name: hits / count for name, hits in alarms.items()}, count


def at_worst(hits: int, nights: int) -> float:
    """The 95 % upper bound of a rate (Clopper and Pearson 1934)."""
    return 1.0 if hits >= nights else float(beta.ppf(0.95, hits + 1, nights - hits))


def quiet(quick: bool) -> list[Aim]:
    """False alarms at every size."""
    rows, aims = [], []
    for size in SIZES:
        pool = stationary(size, 150 if quick else 1500)
        for features in (one for one in FEATURES if one <= len(pool)):
            apart = max(len(pool) // features, 1)
            rates, count = nights(pool, features, max(min(apart * 2, 300), 20) // (4 if quick else 1), size)
            bound = at_worst(round(rates["gauntlet"] * min(apart, count)), min(apart, count))
            rows.append(
                {"rows": size, "features": features, "nights": count, "independent": min(apart, count)}
                | {name: f"{rates[name]:.1%}" for name in ("gauntlet", *RULES)}
                | {"at worst": f"{bound:.1%}"}
            )
            aims.append(at_most(f"false alarms per night, {size} rows x {features} features", 0.01, rates["gauntlet"]))
    print_table("Stationary nights that alarm (nights are drawn from a pool of independent columns)", rows)
    aims += [*together(quick), *in_pairs(quick)]
    return aims


def together(quick: bool) -> list[Aim]:
    """The test of all features together is where false alarms can come from: many more nights of it alone."""
    rows, aims = [], []
    for size in SIZES:
        for features, count in ((10, 3000), (100, 400), (500, 100)):
            count = count // 20 if quick else count
            rng = np.random.default_rng(size + features)
            hits = sum(
                (found := joint_drift(world.equal_parts(rng, size, features), SECTION)) is not None
                and found.outcome is Outcome.FAILED
                for _ in range(count)
            )
            rows.append(
                {"rows": size, "features": features, "nights": count, "alarms": hits}
                | {"rate": f"{hits / count:.2%}", "at worst": f"{at_worst(hits, count):.2%}"}
            )
    total = [int(row["alarms"]) for row in rows], [int(row["nights"]) for row in rows]  # type: ignore[call-overload]
    print_table("The test of all features together, alone", rows)
    aims.append(at_most("false alarms of that test, over all nights", SECTION.alpha, sum(total[0]) / sum(total[1])))
    return aims


def in_pairs(quick: bool) -> list[Aim]:
    """The test of levels, spreads and pairs needs rows: independent and very alike features, drawn as ranks."""
    rows, aims, hits, nights_in_all = [], [], 0, 0
    for size, count in ((50, 800), (200, 600), (1000, 400), (10_000, 80)):
        for share in (0.0, 0.8):
            many = max(count // 20, 5) if quick else count
            rng = np.random.default_rng(size)
            reference = Base.of(world.ranked(rng, world.REFERENCE, share))
            alarms = 0
            for night in range(many):
                if night % 50 == 49:
                    reference = Base.of(world.ranked(rng, world.REFERENCE, share))
                found = reference.moved(world.ranked(rng, size, share)) if reference else None
                parts = world.equal_parts(rng, size, 10)
                finding = joint_drift(parts, SECTION, pairs=found)
                alarms += finding is not None and finding.outcome is Outcome.FAILED
            hits, nights_in_all = hits + alarms, nights_in_all + many
            rows.append(
                {"rows": size, "correlation": share, "nights": many, "alarms": alarms}
                | {"rate": f"{alarms / many:.2%}", "at worst": f"{at_worst(alarms, many):.2%}"}
            )
    print_table("The test of everything together with pairs, 10 features", rows)
    aims.append(at_most("false alarms of that test with pairs, over all nights", SECTION.alpha, hits / nights_in_all))
    return aims


# ---- power ---------------------------------------------------------------------------------------------

COST = 0.01
WINDOWS = (1000, 5000, 20_000, 50_000)
RULED = 5000
"""Rows of the windows on which the rules of the field are computed too."""


def checked(reference: world.Champion, window: world.Window, past: Past | None = None, *, labels: bool = True) -> Check:
    """One window of the world with a model: features, pairs, scores, and labels as if they had matured."""
    past = past or Past()
    counted = world.counted(reference.profile, list(window.seen.T))
    scores = world.counted(reference.scores, [window.scores])
    prediction = scores_apart(reference.scores, scores, past)
    performance = None
    if labels:
        matured = Scored(window.labels, window.scores)
        alpha = SECTION.alpha * LEVEL
        found = compare_performance(Task.BINARY, reference.baseline, matured, LABELS, alpha)
        before = next((report.performance for report in past.apart()), None)
        performance = against_promise(found, reference.baseline, matured, LABELS, SECTION.alpha * PROMISED, before)
    judged = measure(reference.profile, counted, SECTION)
    names = [part.name for part in heaviest(parts_of(judged))]
    alike, pairs = world.alike(names), world.pairs(names, window.seen)
    return concluded(judged, len(window.seen), prediction, performance, past, alike, pairs)


@dataclass
class Tally:
    """Trials of one shift at one size."""

    trials: int = 0
    found: int = 0
    by_inputs: int = 0
    passed: int = 0
    rules: dict[str, int] | None = None
    rows: int | None = None


def detection(reference: world.Champion, shift: world.Shift, amount: float, rows: int, trials: int) -> Tally:
    """Alarms within two windows; of silent windows, how many claimed that nothing was left open."""
    rng = np.random.default_rng(rows)
    tally = Tally(rules=dict.fromkeys(RULES, 0))
    for _ in range(trials):
        tally.trials += 1
        hits: set[str] = set()
        past = Past()
        for _night in range(2):
            window = world.window(rng, rows, shift, amount)
            check = checked(reference, window, past)
            past = Past((check.report(START, rows),), START, SECTION.window)
            if rows == RULED and tally.rules is not None:
                found = of_rows(reference.columns, list(window.seen.T))
                hits |= {name for name, rule in RULES.items() if rule.alarms(found)}
            if check.alarm:
                tally.found += 1
                break
            tally.passed += not check.open
            if check.evidence.joint is not None:
                tally.rows = check.evidence.joint.required_rows or tally.rows
        for name in hits:
            tally.rules[name] += 1  # type: ignore[index]
    return tally


def sharp(quick: bool) -> list[Aim]:
    """Detection of shifts that cost, silence on shifts that do not."""
    rows, aims = [], []
    reference = world.champion()
    claimed = silent = 0
    for shift in world.SHIFTS:
        amount = world.costing(shift, COST)
        row: dict[str, object] = {"shift": shift.name, "amount": f"{amount:.3f}"}
        rates: dict[int, float] = {}
        for size in WINDOWS:
            trials = (8 if quick else 60) if size <= 5000 else (4 if quick else 20)
            tally = detection(reference, shift, amount, size, trials)
            rates[size] = tally.found / tally.trials
            row[f"{size} rows"] = f"{rates[size]:.0%}"
            claimed += tally.passed
            silent += tally.trials - tally.found
            if size == RULED and tally.rules is not None:
                row |= {f"{name}, 5000 rows": f"{hits / tally.trials:.0%}" for name, hits in tally.rules.items()}
        enough = next((size for size in WINDOWS if rates[size] >= 0.95), None)
        row["95 % from"] = enough or f"more than {WINDOWS[-1]}"
        rows.append(row)
        text = f"detected within two windows of {shift.needs} rows, a {shift.name} that costs {COST} AUC"
        aims.append(at_least(text, 0.95, rates[shift.needs]))
    print_table(f"Detection within two windows of a shift that costs {COST} AUC", rows)
    aims.append(at_most(f"silent windows ({silent} trials) that left nothing open", 0.0, float(claimed)))
    aims += [*whole(quick), *harmless(reference, quick)]
    return aims


def whole(quick: bool) -> list[Aim]:
    """Stationary nights of the champion with all that a check looks at: features, pairs, scores and labels."""
    rows, aims = [], []
    for size, count in ((200, 200), (1000, 200), (5000, 200), (20_000, 100)):
        many = max(count // 20, 5) if quick else count
        rng = np.random.default_rng(size + 7)
        reference = world.champion()
        hits: dict[str, int] = {}
        for night in range(many):
            if night % 25 == 0:
                held_out = world.window(rng, world.HELD_OUT, None, 0.0)
                reference = replace(reference, baseline=Scored(held_out.labels, held_out.scores))
            check = checked(reference, world.window(rng, size, None, 0.0))
            if check.alarm:
                by = "labels" if check.found.reason.startswith("performance") else "inputs and scores"
                hits[by] = hits.get(by, 0) + 1
        total = sum(hits.values())
        rows.append(
            {"rows": size, "nights": many, "by labels": hits.get("labels", 0)}
            | {"by inputs and scores": hits.get("inputs and scores", 0), "rate": f"{total / many:.2%}"}
            | {"at worst": f"{at_worst(total, many):.2%}"}
        )
        aims.append(at_most(f"false alarms per night, {size} rows with scores and labels", 0.01, total / many))
    print_table("Stationary nights of a champion, all channels", rows)
    return aims


def harmless(reference: world.Champion, quick: bool) -> list[Aim]:
    """Shifts that cost the model nothing."""
    rows, aims = [], []
    trials = 8 if quick else 40
    for shift, amount, size in world.HARMLESS:
        rng = np.random.default_rng(size)
        asked: list[DriftAction] = []
        rules = dict.fromkeys(RULES, 0)
        count = trials if size <= 5000 else max(trials // 8, 2)
        for _ in range(count):
            window = world.window(rng, size, shift, amount)
            asked.append(checked(reference, window).found.action)
            found = of_rows(reference.columns, list(window.seen.T))
            for name, rule in RULES.items():
                rules[name] += rule.alarms(found)
        alarms = sum(one is not DriftAction.NONE for one in asked) / count
        rows.append(
            {"shift": shift.name, "amount": amount, "rows": size, "windows": count, "gauntlet": f"{alarms:.0%}"}
            | {name: f"{hits / count:.0%}" for name, hits in rules.items()}
        )
        aims.append(at_most(f"windows of {size} rows that alarm for a {shift.name}", 0.01, alarms))
    print_table("Shifts that cost the model nothing", rows)
    return aims


# ---- a year ------------------------------------------------------------------------------------------

INCIDENTS = {60: ("takeover", 0.35), 150: ("frozen feed", 0.4), 240: ("scaled feature", 0.6), 310: ("takeover", 0.5)}
LASTS = 12


SEEDS = (11, 21, 22)
"""Years that are replayed: the rule was made while looking at the first, so the others are there too."""
CONFIRMED = 2
"""Nights in a row that make a page of ours: ``drift.persistence`` of 2 in 2. One night alone is a ticket."""


def year(rows: int, last: int, seed: int) -> tuple[dict[str, int], dict[str, set[int]]]:
    """Pages and incidents found; a page is a night that alarms after one that did not.

    The year has a season of 0.08 sigma in every feature and weekends 0.1 sigma off in one: neither costs anything.
    """
    rng = np.random.default_rng(seed)
    reference = world.champion()
    shifts = {shift.name: shift for shift in world.SHIFTS}
    names = (OURS, SINGLE, *RULES)
    pages, found, alarmed = dict.fromkeys(names, 0), {name: set[int]() for name in names}, dict.fromkeys(names, False)
    history: list[DriftReport] = []
    running = 0
    for night in range(last):
        incident = next((start for start in INCIDENTS if start <= night < start + LASTS), None)
        name, amount = INCIDENTS[incident] if incident is not None else ("", 0.0)
        window = world.window(rng, rows, shifts.get(name), amount, offset=season(night))
        moment = START + timedelta(days=night)
        past = Past(tuple(history[:50]), moment - SECTION.window, SECTION.window)
        check = checked(reference, window, past, labels=False)
        history.insert(0, check.report(moment, rows))
        running = running + 1 if check.alarm else 0
        measured = of_rows(reference.columns, list(window.seen.T))
        ours = {OURS: running >= CONFIRMED, SINGLE: check.alarm}
        now = ours | {name: rule.alarms(measured) for name, rule in RULES.items()}
        for name, alarm in now.items():
            pages[name] += alarm and not alarmed[name]
            if alarm and incident is not None:
                found[name].add(incident)
        alarmed = now
    return pages, found


OURS, SINGLE = "gauntlet, two nights in a row", "gauntlet, any single night"


def season(night: int) -> Floats:
    """What the time of the year and of the week adds to the inputs."""
    offset = np.full(len(world.WEIGHTS), 0.08 * np.sin(2 * np.pi * night / 365))
    offset[3] += 0.1 * (night % 7 >= 5)
    return offset


def replay(quick: bool) -> list[Aim]:
    """Years of nights."""
    last, seeds = (75, SEEDS[:1]) if quick else (365, SEEDS)
    due = sum(start < last for start in INCIDENTS) * len(seeds)
    pages, found = dict.fromkeys((OURS, SINGLE, *RULES), 0), dict.fromkeys((OURS, SINGLE, *RULES), 0)
    for seed in seeds:
        paged, seen = year(1700, last, seed)
        pages = {name: count + paged[name] for name, count in pages.items()}
        found = {name: count + len(seen[name]) for name, count in found.items()}
    print_table(
        f"{len(seeds)} x {last} nights with 1700 rows, {due} incidents",
        [{"rule": name, "found": found[name], "pages": count} for name, count in pages.items()],
    )
    return [
        at_most("pages per real incident, over the years", 1.0, pages[OURS] / due),
        at_least("share of the years' incidents found", 1.0, found[OURS] / due),
    ]


def main() -> None:
    """Measure, print, write."""
    chosen = arguments(__doc__ or "").parse_args()
    world.check_counting()
    aims = [*quiet(chosen.quick), *sharp(chosen.quick), *replay(chosen.quick)]
    write_json(aims, chosen.json)


if __name__ == "__main__":
    main()
