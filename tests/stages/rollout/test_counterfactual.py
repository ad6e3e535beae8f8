"""What the other version would have said, summed up over a rollout: counted by hand from the same journal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gauntlet.core.errors import MissingRecord
from gauntlet.core.records.feedback import Counterfactual
from gauntlet.core.records.rollout import RolloutState
from gauntlet.stages.counterfactual import counterfactual, counterfactual_key, keep_summed_up
from gauntlet.views import feedback

MODEL = "loans"
THRESHOLD = 0.2


def higher(x: np.ndarray) -> np.ndarray:
    return 0.07 + 0.5 * x * x


@pytest.fixture
def world(make_world: Any) -> Any:
    steps = [{"weight": 50, "hold": "2s", "requests": 20, "max_hold": "1h"}]
    made = make_world(steps=steps, labels={"maturity": "10s", "within": "1s"}, lease="600s")
    made.champion()
    made.challenger(score=higher)
    made.start()
    return made


def served(world: Any, requests: int = 1500, **kind: Any) -> list[dict[str, Any]]:
    """Traffic, with both versions named in the journal as the server does it."""
    before = len(world.journal._rows.get(MODEL, ()))
    world.clock.wait(1)
    world.traffic(requests, labels=5.0, **kind)
    row = world.server.routing
    ids = {"stable": row.stable.version_id, "canary": row.canary.version_id}
    rows: list[dict[str, Any]] = world.journal._rows[MODEL][before:]
    for one in rows:
        one["version_id"] = ids[one["arm"]]
        one["other_version_id"] = next(name for arm, name in ids.items() if arm != one["arm"])
    return rows


def sides(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    mine = [one["score"] if one["arm"] == "stable" else one["other_score"] for one in rows]
    theirs = [one["other_score"] if one["arm"] == "stable" else one["score"] for one in rows]
    return np.array(mine), np.array(theirs)


def one(world: Any, **asked: Any) -> Counterfactual:
    (found,) = counterfactual(world.services, MODEL, **asked)
    return found


def test_every_number_is_the_journals(world: Any) -> None:
    rows = served(world)
    world.clock.wait(60)
    world.look(0, wait=1)
    found = one(world)
    champion, challenger = sides(rows)
    was, would = champion >= THRESHOLD, challenger >= THRESHOLD
    whole = found.whole
    assert (found.champion, found.challenger) == (rows[0]["version_id"], rows[0]["other_version_id"]) or (
        found.challenger,
        found.champion,
    ) == (rows[0]["version_id"], rows[0]["other_version_id"])
    assert (whole.rows, whole.decided, whole.units) == (1500, 1500, 1500)
    assert whole.differ == int((was != would).sum()) > 20
    assert whole.to_positive.rows == int((~was & would).sum())
    assert whole.to_negative.rows == 0
    assert whole.difference == pytest.approx(0.02)
    low, high = whole.difference_interval
    assert low <= whole.difference <= high
    assert whole.differ_interval[0] < whole.share < whole.differ_interval[1]
    outcome = {row["customer"]: row["y"] for row in world.source.rows}
    flipped = [outcome[row["entity"]] for row, changed in zip(rows, was != would, strict=True) if changed]
    assert (whole.to_positive.labelled, whole.to_positive.positives) == (len(flipped), sum(flipped))
    y = np.array([outcome[row["entity"]] for row in rows])
    rise = np.log(champion / challenger) * y + np.log((1 - champion) / (1 - challenger)) * (1 - y)
    assert whole.loss == pytest.approx(rise.mean())
    assert whole.labelled == 1500
    apart = np.abs(challenger - champion)
    assert [abs(each.challenger_score - each.champion_score) for each in found.largest] == pytest.approx(
        np.sort(apart)[::-1][:20]
    )
    assert f"{whole.differ:,} of 1,500 decisions would differ" in found.reason


def test_labels_that_mature_later_are_counted_later_and_the_newest_summary_is_shown(world: Any) -> None:
    served(world, 300)
    world.look(0, wait=1)
    early = one(world)
    assert (early.whole.labelled, early.whole.loss) == (0, None)
    assert feedback(world.services, MODEL).counterfactuals == (early,)
    world.clock.wait(60)
    late = one(world)
    assert late.whole.labelled == 300
    assert feedback(world.services, MODEL).counterfactuals == (late,)
    assert feedback(world.services, MODEL).empty is None


def test_decisions_are_the_versions_own_and_not_the_reserves(world: Any) -> None:
    rows = served(world, 400)
    before = one(world).whole
    for row in rows[:20]:
        row |= {"decision": 1 - row["decision"], "explored": 1, "propensity": 0.005}
    after = one(world)
    assert after.whole == before
    assert after.explored == 20


def test_a_row_that_only_one_version_has_scored_is_no_comparison(world: Any) -> None:
    rows = served(world, 400)
    for row in rows[:100]:
        row |= {"other_score": float("nan")}
    found = one(world)
    assert (found.answered, found.whole.rows) == (400, 300)


def test_an_entity_that_asks_often_is_one_unit(world: Any) -> None:
    rows = served(world, 400)
    for row in rows:
        row["entity"] = f"c{int(row['entity'][1:]) % 10}"
    whole = one(world).whole
    assert (whole.rows, whole.units) == (400, 10)


def test_a_release_that_is_gone_leaves_the_scores(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = served(world, 50)
    for row in rows:
        gone = "other_version_id" if row["arm"] == "stable" else "version_id"
        row[gone] = "v-deleted"
    found = one(world)
    assert found.challenger == "v-deleted"
    assert (found.whole.rows, found.whole.decided, found.whole.share) == (50, 0, None)
    assert "threshold" in found.notes[-1]


def test_a_window_holds_every_pair_of_versions(world: Any) -> None:
    rows = served(world, 60)
    for row in rows[:20]:
        row["other_version_id" if row["arm"] == "stable" else "version_id"] = "v-earlier"
    found = counterfactual(world.services, MODEL, window=timedelta(hours=1))
    assert sorted(each.whole.rows for each in found) == [20, 40]
    stored = world.services.records.named(counterfactual_key(MODEL), Counterfactual)
    assert len(stored) == 2


def test_a_rollout_is_named_or_the_newest(world: Any) -> None:
    served(world, 30)
    (state,) = world.services.records.newest(MODEL, RolloutState)
    assert one(world, rollout=state.rollout).rollout == state.rollout
    with pytest.raises(MissingRecord, match="there is no rollout other"):
        one(world, rollout="other")


def test_housekeeping_sums_the_newest_rollout_up_until_its_labels_have_come(world: Any, make_world: Any) -> None:
    assert "was scored by two versions" in keep_summed_up(world.services, MODEL)
    served(world, 30)
    assert "on 30 requests" in keep_summed_up(world.services, MODEL)
    before = feedback(world.services, MODEL).counterfactuals
    world.clock.wait(70 * 86_400)
    assert "stays as it is" in keep_summed_up(world.services, MODEL)
    assert feedback(world.services, MODEL).counterfactuals == before
    world.store.records.newest = lambda *_: []
    assert keep_summed_up(world.services, MODEL) == "there is no rollout yet"


def test_without_traffic_or_rollout_there_is_nothing_to_sum_up(world: Any, make_world: Any) -> None:
    with pytest.raises(MissingRecord, match="was scored by two versions"):
        one(world)


def test_a_numeric_slice_column_of_the_source_makes_slices(world: Any) -> None:
    """Declared by the monitor, read beside the label: ``amount`` is 100 for all but the first ten."""
    section = world.spec.monitoring.model.model_copy(update={"by": ("amount",)})
    monitoring = world.spec.monitoring.model_copy(update={"model": section})
    world.services.specs.spec = world.spec.model_copy(update={"monitoring": monitoring})
    served(world, 200)
    for row in world.source.rows[:10]:
        row["amount"] = 50.0
    world.clock.wait(60)
    found = one(world)
    assert {part.name: part.rows for part in found.slices} == {"amount=100": 190, "amount=50": 10}
    assert sum(part.differ for part in found.slices) == found.whole.differ
