from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core.spec import load_spec
from gauntlet.simulation.draws import Stream, draw
from gauntlet.simulation.events import Scenario, story
from gauntlet.simulation.world import BOOLEAN, CATEGORICAL, COLUMNS, FEATURES, World, history, live_rows

SPEC = Path(__file__).parents[2] / "include/models/credit_default.yaml"


NIGHT_ONE = datetime(2026, 3, 2, 1, tzinfo=UTC)


def night(number: int) -> datetime:
    return NIGHT_ONE + timedelta(days=number - 1)


def warehouse(folder: Path) -> pd.DataFrame:
    tables = [pq.read_table(path).to_pandas() for path in sorted(folder.glob("*.parquet"))]
    frame: pd.DataFrame = pd.concat(tables).sort_values(["applied_at", "application_id"], ignore_index=True)
    return frame


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return story(NIGHT_ONE, per_day=300)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> dict[int, pd.DataFrame]:
    """The warehouse as each of the six nights sees it."""
    folder = tmp_path_factory.mktemp("world")
    world = World(folder, scenario)
    seen = {}
    for number in range(1, 7):
        world.advance(night(number))
        seen[number] = warehouse(folder)
    return seen


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """Mann–Whitney, ties counted half."""
    ranks = pd.Series(score).rank().to_numpy()
    positives = label == 1
    n = int(positives.sum())
    return float((ranks[positives].sum() - n * (n + 1) / 2) / (n * (len(label) - n)))


def log_loss(label: np.ndarray, score: np.ndarray) -> float:
    return float(-np.mean(label * np.log(score) + (1 - label) * np.log(1 - score)))


def psi(reference: pd.Series, current: pd.Series) -> float:
    names = sorted(set(reference) | set(current))
    p = reference.value_counts(normalize=True).reindex(names, fill_value=1e-6)
    q = current.value_counts(normalize=True).reindex(names, fill_value=1e-6)
    return float(((q - p) * np.log(q / p)).sum())


def inputs(frame: pd.DataFrame) -> pd.DataFrame:
    spec = load_spec(SPEC)
    x = frame[list(FEATURES)].copy()
    for name in CATEGORICAL:
        x[name] = pd.Categorical(x[name], categories=list(spec.contract.columns[name].values or ()))
    for name in set(FEATURES) - set(CATEGORICAL):
        x[name] = x[name].astype(float)
    return x


def trained(frame: pd.DataFrame) -> tuple[lgb.Booster, pd.DataFrame]:
    """A model of the older 70 % of the labelled rows, and the newest 30 %."""
    known = frame[frame["defaulted"].notna()]
    cut = int(len(known) * 0.7)
    params = {"objective": "binary", "learning_rate": 0.08, "num_leaves": 12, "min_data_in_leaf": 60, "lambda_l2": 5.0}
    older = known.iloc[:cut]
    data = lgb.Dataset(inputs(older), older["defaulted"].astype(int))
    return lgb.train(params | {"num_threads": 1, "verbose": -1}, data, 70), known.iloc[cut:]


@settings(max_examples=20, deadline=None)
@given(first=st.integers(490_000, 491_000), cuts=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_any_range_of_hours_is_drawn_identically(first: int, cuts: list[int]) -> None:
    whole = draw(3, Stream.OWN, first, first + sum(cuts), 200)
    parts, begin = [], first
    for length in cuts:
        parts.append(draw(3, Stream.OWN, begin, begin + length, 200))
        begin += length
    assert np.array_equal(whole.uniform, np.concatenate([part.uniform for part in parts]))
    assert np.array_equal(whole.hour, np.concatenate([part.hour for part in parts]))
    assert np.array_equal(whole.number, np.concatenate([part.number for part in parts]))


def test_streams_and_seeds_differ() -> None:
    one = draw(3, Stream.OWN, 490_000, 490_024, 200)
    assert not np.array_equal(one.uniform[:5], draw(4, Stream.OWN, 490_000, 490_024, 200).uniform[:5])
    assert not np.array_equal(one.uniform[:5], draw(3, Stream.PARTNER, 490_000, 490_024, 200).uniform[:5])


def test_advancing_by_night_or_at_once_ends_in_the_same_bytes(tmp_path: Path, scenario: Scenario) -> None:
    small = replace(scenario, begin=(NIGHT_ONE - timedelta(days=12)).date())
    by_night, at_once = World(tmp_path / "a", small), World(tmp_path / "b", small)
    for number in (1, 2, 3, 4, 5):
        by_night.advance(night(number))
    at_once.advance(night(5))
    files = sorted(path.name for path in (tmp_path / "a").glob("*.parquet"))
    assert files == sorted(path.name for path in (tmp_path / "b").glob("*.parquet"))
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_advancing_again_to_the_same_time_writes_nothing(tmp_path: Path, scenario: Scenario) -> None:
    small = replace(scenario, begin=(NIGHT_ONE - timedelta(days=3)).date())
    first = World(tmp_path, small).advance(night(1))
    again = World(tmp_path, small).advance(night(1))
    assert len(first.written) == 4
    assert (again.written, again.rows) == ((), first.rows)
    assert not list(tmp_path.glob("*.partial"))


def test_a_world_does_not_go_back(tmp_path: Path, scenario: Scenario) -> None:
    small = replace(scenario, begin=NIGHT_ONE.date())
    World(tmp_path, small).advance(night(2))
    with pytest.raises(ValueError, match="cannot go back"):
        World(tmp_path, small).advance(night(1))


def test_a_folder_of_another_scenario_is_refused(tmp_path: Path, scenario: Scenario) -> None:
    small = replace(scenario, begin=NIGHT_ONE.date())
    World(tmp_path, small).advance(night(1))
    with pytest.raises(ValueError, match="another scenario"):
        World(tmp_path, replace(small, seed=5)).advance(night(2))


def test_the_state_says_what_the_folder_holds(tmp_path: Path, scenario: Scenario) -> None:
    small = replace(scenario, begin=(NIGHT_ONE - timedelta(days=2)).date())
    advance = World(tmp_path, small).advance(night(1))
    state = json.loads((tmp_path / "world.json").read_text())
    assert state["now"] == night(1).isoformat()
    assert sum(file["rows"] for file in state["files"].values()) == advance.rows == len(warehouse(tmp_path))


def test_nothing_from_the_future_is_shown(nights: dict[int, pd.DataFrame]) -> None:
    for number, frame in nights.items():
        assert frame["ingested_at"].max() <= night(number)
        assert frame["label_known_at"].max() <= night(number)
        assert (frame["applied_at"] <= frame["ingested_at"]).all()
        assert (frame["defaulted"].notna() == frame["label_known_at"].notna()).all()


def test_labels_of_a_day_arrive_together_days_later(nights: dict[int, pd.DataFrame]) -> None:
    unlabelled = nights[1][nights[1]["defaulted"].isna()]
    assert unlabelled["applied_at"].min() >= pd.Timestamp(night(1).date(), tz="UTC") - timedelta(days=3)
    labelled = nights[1][nights[1]["defaulted"].notna()]
    assert labelled["applied_at"].max() < pd.Timestamp(night(1).date(), tz="UTC") - timedelta(days=3)


def test_the_calm_portfolio_looks_like_lending(nights: dict[int, pd.DataFrame]) -> None:
    frame = nights[1]
    assert tuple(frame.columns) == COLUMNS
    assert frame["application_id"].is_unique
    assert 250 < len(frame) / 64 < 350
    assert 0.09 < frame["defaulted"].mean() < 0.15
    assert 1_900 < frame["income"].median() < 2_700
    assert 0.02 < frame["customer_id"].duplicated().mean() < 0.15
    assert frame.groupby("customer_id")["gender"].nunique().max() == 1
    for name in ("bureau_score", "employment_years", "utilization", "days_since_last_loan"):
        assert 0.02 < frame[name].isna().mean() < 0.9
    assert not frame.drop(columns=["defaulted", "label_known_at"]).isna().all().any()


def test_a_booster_finds_most_of_what_can_be_found() -> None:
    frame = history(30_000).to_pandas().sort_values("applied_at")
    model, newest = trained(frame)
    label = newest["defaulted"].to_numpy(dtype=int)
    score = np.asarray(model.predict(inputs(newest)))
    assert 0.74 <= auc(label, score) <= 0.81
    naive = np.full(len(label), label.mean())
    assert log_loss(label, score) < 0.9 * log_loss(label, naive)


def test_the_takeover_shifts_inputs_and_retraining_pays(nights: dict[int, pd.DataFrame]) -> None:
    def last_day(number: int) -> pd.DataFrame:
        frame = nights[number]
        return frame[frame["applied_at"] > night(number) - timedelta(days=1)]

    before = nights[1]
    assert psi(before["region"], last_day(2)["region"]) < 0.10
    assert psi(before["region"], last_day(3)["region"]) > 0.15
    assert psi(before["channel"], last_day(3)["channel"]) > 0.15
    champion, _ = trained(nights[2])
    challenger, newest = trained(nights[3])
    label = newest["defaulted"].to_numpy(dtype=int)
    old, new = (np.asarray(model.predict(inputs(newest))) for model in (champion, challenger))
    assert log_loss(label, new) < log_loss(label, old)


def test_a_history_that_is_taken_over_was_not_known_before(nights: dict[int, pd.DataFrame]) -> None:
    partner = nights[3][nights[3]["application_id"].str.startswith("B")]
    assert partner["applied_at"].min() < night(1) - timedelta(days=60)
    assert partner["ingested_at"].min() > night(2)
    assert not nights[2]["application_id"].str.startswith("B").any()


def test_the_broken_feed_breaks_the_contract_and_is_repaired(nights: dict[int, pd.DataFrame]) -> None:
    contract = load_spec(SPEC).contract
    low, high = contract.columns["income"].mean or (0.0, 0.0)

    def complaints(frame: pd.DataFrame) -> set[str]:
        labelled = frame[frame["defaulted"].notna()]
        found = set()
        if not low <= labelled["income"].mean() <= high:
            found.add("cents")
        if labelled["amount"].isna().any():
            found.add("nulls")
        if not labelled["application_id"].is_unique:
            found.add("repeats")
        return found

    assert complaints(nights[4]) == {"cents", "nulls", "repeats"}
    assert complaints(nights[3]) == complaints(nights[5]) == complaints(nights[6]) == set()


def test_shuffled_labels_keep_their_rate_and_lose_their_meaning(nights: dict[int, pd.DataFrame]) -> None:
    shuffled, repaired = (nights[number].set_index("application_id") for number in (5, 6))
    common = shuffled.index[shuffled["defaulted"].notna()].intersection(repaired.index)
    assert shuffled.loc[common, "defaulted"].mean() == repaired.loc[common, "defaulted"].mean()
    score = -repaired.loc[common, "bureau_score"].fillna(610).to_numpy()
    assert auc(repaired.loc[common, "defaulted"].to_numpy(dtype=int), score) > 0.62
    assert auc(shuffled.loc[common, "defaulted"].to_numpy(dtype=int), score) < 0.57


def test_the_backfill_helps_offline_and_misleads_live(nights: dict[int, pd.DataFrame], scenario: Scenario) -> None:
    known = nights[6][nights[6]["defaulted"].notna()]
    assert 0.6 < auc(known["defaulted"].to_numpy(dtype=int), known["device_risk"].to_numpy()) < 0.75
    assert set(nights[4]["device_risk"]) == {0.0, 0.05}
    before, _ = trained(nights[4])
    after, newest = trained(nights[6])
    label = newest["defaulted"].to_numpy(dtype=int)
    old, new = (np.asarray(model.predict(inputs(newest))) for model in (before, after))
    assert auc(label, new) > auc(label, old)
    live = inputs(pd.DataFrame(live_rows(scenario, night(6), 3_000)))
    assert np.mean(after.predict(live)) < 0.6 * np.mean(before.predict(live))


def test_live_rows_carry_features_customer_and_json_values(scenario: Scenario) -> None:
    rows = live_rows(scenario, night(2), 400)
    assert len(rows) == 400
    assert set(rows[0]) == {"customer_id", *FEATURES}
    json.dumps(rows, allow_nan=False)
    assert {row["device_risk"] for row in rows} <= {0.0, 0.05}
    assert all(isinstance(row[name], bool) for row in rows for name in BOOLEAN)
    assert rows == live_rows(scenario, night(2), 400)
    assert rows != live_rows(scenario, night(2), 400, page=1)


def test_live_mix_follows_the_takeover_of_the_declared_volume(scenario: Scenario) -> None:
    def southern(number: int) -> float:
        return float(np.mean([row["region"] == "south" for row in live_rows(scenario, night(number), 2_000)]))

    assert southern(2) < 0.18 < 0.2 < southern(3) < 0.33


def test_the_size_of_a_history_is_a_parameter() -> None:
    for rows in (2_000, 20_000):
        assert rows * 0.9 < history(rows).num_rows < rows * 1.1


def test_the_shipped_spec_covers_the_warehouse() -> None:
    spec = load_spec(SPEC)
    assert set(spec.source.features.all) == set(FEATURES)
    assert set(spec.contract.columns) == set(COLUMNS)
    assert story().per_day * 50 > spec.contract.rows[0]
