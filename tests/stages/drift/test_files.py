"""Two files against each other, whatever is in them; and two real data sets."""

from __future__ import annotations

import functools
import html.parser
import itertools
import operator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gauntlet.core.drift import compare
from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftReport
from gauntlet.core.specs.drift import DriftSection
from gauntlet.stages.arrow_columns import kinds_of
from gauntlet.stages.drift_files import compare_files
from gauntlet.stages.windows import Window, counted, profile_of


def every_type(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    start = datetime(2026, 1, 1)
    return pa.table({
        "bool": rng.random(rows) < 0.3,
        "small": rng.integers(0, 5, rows).astype(np.int8),
        "large": rng.integers(-(2**62), 2**62, rows),
        "nullable": pa.array(rng.integers(0, 9, rows), mask=rng.random(rows) < 0.2),
        "single": rng.normal(size=rows).astype(np.float32),
        "decimal": pa.array([Decimal(int(x)) / 100 for x in rng.integers(0, 9999, rows)], pa.decimal128(8, 2)),
        "moment": pa.array([start + timedelta(seconds=int(x)) for x in rng.integers(0, 9**6, rows)]),
        "day": pa.array([date(2026, 1, 1) + timedelta(days=int(x)) for x in rng.integers(0, 60, rows)]),
        "text": rng.choice(["a", "b", "c"], rows),
        "id": [f"{seed}-{i}" for i in range(rows)],
        "nothing": pa.nulls(rows),
        "empty": pa.nulls(rows, pa.float64()),
        "list": pa.array([[1]] * rows),
    })


def stored(table: pa.Table, path: Path, **options: int) -> Path:
    pq.write_table(table, path, **options)
    return path


def verdicts(report: DriftReport) -> dict[str, Outcome]:
    return {one.feature: one.outcome for one in report.features}


@pytest.mark.parametrize("mode", ["profile", "exact"])
def test_every_type_has_an_answer(tmp_path: Path, mode: str) -> None:
    one = stored(every_type(4000, 1), tmp_path / "one.parquet", row_group_size=1500)
    other = stored(every_type(3000, 2), tmp_path / "other.parquet", row_group_size=700)
    found = compare_files(one, other, mode=mode)
    outcomes = verdicts(found.report)
    unknown = {"id", "nothing", "empty"}
    assert {name for name, outcome in outcomes.items() if outcome is Outcome.INCONCLUSIVE} == unknown
    assert all(outcome is Outcome.PASSED for name, outcome in outcomes.items() if name not in unknown)
    assert "list" not in outcomes
    assert found.report.action is DriftAction.NONE


def test_a_file_against_itself_is_calm_to_the_last_digit(tmp_path: Path) -> None:
    path = stored(every_type(3000, 1), tmp_path / "one.parquet")
    for one in compare_files(path, path, mode="exact").report.features:
        values = {result.statistic: result.value for result in one.statistics if result.value is not None}
        assert values.get("ks", 0.0) == pytest.approx(0)
        assert values.get("psi", 0.0) == pytest.approx(0)
        assert values.get("wasserstein", 0.0) == pytest.approx(0)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_or_one_row_file_is_never_calm(tmp_path: Path, rows: int) -> None:
    one = stored(every_type(2000, 1), tmp_path / "one.parquet")
    other = stored(every_type(2000, 2).slice(0, rows), tmp_path / "other.parquet")
    report = compare_files(one, other).report
    assert report.outcome is not Outcome.PASSED


def test_a_column_that_is_gone_or_changed_its_type_is_named(tmp_path: Path) -> None:
    one = every_type(2000, 1)
    texts = pa.array([f"{x}" for x in one["small"].to_pylist()])
    other = one.drop_columns(["bool"]).set_column(0, "small", texts)
    report = compare_files(stored(one, tmp_path / "1.parquet"), stored(other, tmp_path / "2.parquet")).report
    assert report.blocked
    broken = {one.feature: one.sentence for one in report.features if one.quality}
    assert broken == {
        "bool": "bool: the column is not there",
        "small": "small: integer became string",
    }


def test_csv_and_parquet_give_the_same_verdicts(tmp_path: Path) -> None:
    table = every_type(2000, 1).select(["small", "single", "text"])
    path = tmp_path / "one.csv"
    pa.csv.write_csv(table, path)
    shifted = table.set_column(1, "single", pc.add(table["single"], 1.0))
    other = stored(shifted, tmp_path / "two.parquet")
    seen: list[str] = []
    found = compare_files(path, other, progress=lambda done, total, what: seen.append(f"{done}/{total} {what}"))
    assert verdicts(found.report) == {"single": Outcome.FAILED, "small": Outcome.PASSED, "text": Outcome.PASSED}
    assert seen[0] == "0/6 small"
    assert seen[-1] == "6/6 "


@pytest.mark.parametrize("content", [None, b"PAR1 no parquet", b""])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataRejected, match=r"broken\.parquet: (no such file|not a readable)"):
        compare_files(path, path)


class Page(html.parser.HTMLParser):
    """Counts charts and collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.charts, self.addresses, self.scripts = 0, [], 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.charts += tag == "svg"
        self.scripts += tag == "script"
        self.addresses += [value for name, value in attrs if name in {"src", "href"}]


def test_the_page_of_fifty_features_is_small_and_needs_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    names = {f"<feature {i}>": rng.normal(size=1500) for i in range(40)}
    names |= {f"label & {i}": rng.choice([f"{c}<b>" for c in "abcdefghij"], 1500) for i in range(10)}
    path = stored(pa.table(names), tmp_path / "wide.parquet")
    page = compare_files(path, path).page
    assert len(page.encode()) < 500_000
    parser = Page()
    parser.feed(page)
    assert parser.charts == 50
    assert parser.addresses == []
    assert parser.scripts == 0
    assert "<feature" not in page
    assert "<b>" not in page.replace("<b>none</b>", "")


# ---- real data -----------------------------------------------------------------------------------------


def test_random_orderings_of_adult_are_silent(example_data: Path, tmp_path: Path) -> None:
    table = pq.read_table(example_data / "adult.parquet")
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(table.num_rows)
        halves = [table.take(pa.array(part)) for part in (order[:30_000], order[30_000 : 30_000 + 1500 * (seed + 1)])]
        paths = [stored(half, tmp_path / f"{place}.parquet") for place, half in enumerate(halves)]
        report = compare_files(*paths).report
        assert report.action is DriftAction.NONE, report.reason
        assert not [one.sentence for one in report.features if one.outcome is Outcome.FAILED]


def test_random_orderings_of_adult_are_silent_together_too(example_data: Path, tmp_path: Path) -> None:
    """Real columns are alike, skewed and categorical: what the tests of everything together must bear."""
    from gauntlet.core.drift import measure, parts_of
    from gauntlet.core.joint import heaviest, joint_drift
    from gauntlet.stages.arrow_columns import kinds_of
    from gauntlet.stages.joint_drift import dependence, pairs_moved, rank_base
    from gauntlet.stages.windows import Window, counted, profile_of

    table = pq.read_table(example_data / "adult.parquet")
    kinds = kinds_of(table.schema)
    p_values: list[float] = []
    for seed in range(5):
        order = np.random.default_rng(100 + seed).permutation(table.num_rows)
        parts = order[:30_000], order[30_000 : 30_000 + 900 * (seed + 1)]
        windows = [
            Window(stored(table.take(pa.array(part)), tmp_path / f"{place}.parquet"))
            for place, part in enumerate(parts)
        ]
        reference = profile_of(windows[0], kinds)
        current = counted(reference.blank(), windows[1], kinds)
        used = heaviest(parts_of(measure(reference, current, SECTION)))
        found = joint_drift(
            used,
            SECTION.model_copy(update={"joint": 1e-9, "joint_pairs": 1e-9}),
            dependence=dependence(windows[1], [part.name for part in used]),
            pairs=pairs_moved(replace(reference, pairs=rank_base(windows[0], reference)), windows[1]),
        )
        assert found is not None
        assert found.outcome is not Outcome.FAILED, found.sentence
        p_values += [one.p_value for one in found.statistics if one.p_value is not None]
    assert len(p_values) == 10
    assert min(p_values) > 0.001


def bikes(path: Path, tmp_path: Path, name: str, months: range, year: int) -> Path:
    table = pyarrow.csv.read_csv(path / "bike_hour.csv")
    month, which = table["mnth"].to_numpy(), table["yr"].to_numpy()
    inside = np.isin(month, list(months)) & (which == year)
    keep = ["season", "hr", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed", "cnt"]
    return stored(table.filter(pa.array(inside)).select(keep), tmp_path / f"{name}.parquet")


SECTION = DriftSection(window="90d", minimum_rows=100)


def test_bike_seasons_are_found_and_named(example_data: Path, tmp_path: Path) -> None:
    winter = bikes(example_data, tmp_path, "winter", range(1, 4), 0)
    summer = bikes(example_data, tmp_path, "summer", range(6, 9), 0)
    report = compare_files(winter, summer, section=SECTION, exclude=("cnt",)).report
    assert report.action is DriftAction.RETRAIN
    assert set(report.carried_by) <= {"season", "temp", "atemp"}
    assert "temp" in report.reason
    calm = verdicts(report)
    assert calm["hr"] is Outcome.PASSED
    assert calm["weekday"] is Outcome.PASSED


def test_bike_growth_is_a_change_of_the_label_and_not_of_the_calendar(example_data: Path, tmp_path: Path) -> None:
    before = bikes(example_data, tmp_path, "2011", range(5, 11), 0)
    after = bikes(example_data, tmp_path, "2012", range(5, 11), 1)
    everything = compare_files(before, after, section=SECTION).report
    label = next(one for one in everything.features if one.feature == "cnt")
    assert label.outcome is Outcome.FAILED
    inputs = compare_files(before, after, section=SECTION, exclude=("cnt",)).report
    assert inputs.action is DriftAction.NONE, inputs.reason


# ---- parts add up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[1000], [0, 1, 2999], [700, 700, 2000, 2900]])
def test_a_window_in_partitions_is_the_window(tmp_path: Path, cuts: list[int]) -> None:
    """Files of any size and with any row groups, counted on the reference's axes, add up to the one file."""
    table = every_type(3000, 2).drop_columns(["list"])
    kinds = kinds_of(table.schema)
    reference = profile_of(Window(stored(every_type(4000, 1), tmp_path / "reference.parquet")), kinds)
    whole = counted(reference.blank(), Window(stored(table, tmp_path / "whole.parquet")), kinds)
    ends = [0, *cuts, table.num_rows]
    parts = [
        counted(
            reference.blank(),
            Window(stored(table.slice(start, end - start), tmp_path / f"{end}.parquet", row_group_size=1 + 97 * place)),
            kinds,
        )
        for place, (start, end) in enumerate(itertools.pairwise(ends))
    ]
    day = functools.reduce(operator.add, parts)
    assert day.rows == whole.rows == 3000
    section = DriftSection(window="1d", minimum_rows=1)
    for mine, theirs in zip(compare(reference, day, section), compare(reference, whole, section), strict=True):
        assert (mine.feature, mine.outcome) == (theirs.feature, theirs.outcome)
        for one, other in zip(mine.statistics, theirs.statistics, strict=True):
            assert one.statistic == other.statistic
            wanted = None if other.value is None else pytest.approx(other.value, rel=1e-9, abs=1e-12)
            assert one.value == wanted, one.sentence


def test_an_hour_of_another_type_is_seen_in_the_day(tmp_path: Path) -> None:
    reference = profile_of(
        Window(stored(every_type(4000, 1).select(["single"]), tmp_path / "r.parquet")), {"single": "numeric"}
    )
    table = every_type(2000, 2).select(["single"])
    texts = pa.table({"single": pa.array([f"{x}" for x in table["single"].to_pylist()])})
    day = functools.reduce(
        operator.add,
        [
            counted(reference.blank(), Window(stored(hour, tmp_path / f"{place}.parquet")), {"single": "numeric"})
            for place, hour in enumerate((table.slice(0, 0), table, texts))
        ],
    )
    (found,) = compare(reference, day, DriftSection(window="1d", minimum_rows=1))
    assert found.quality
    assert found.sentence == "single: float became float and string"
