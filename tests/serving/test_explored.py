"""The exploration reserve in the server: every protocol gives the same decision, and the journal says how it came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import ENTITY, RunningServer, Trained, routing, running, served, train, write_release
from tests.serving.test_model import Bench

from gauntlet.adapters.journal import JournalFiles
from gauntlet.core.exploration import Explorer
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import PPM
from gauntlet.core.specs.serving import ExplorationSection, ServingSection
from gauntlet.serving.metrics import page

SECTION = ExplorationSection(share=0.05, decide="random", seed="s")
SERVING = ServingSection(exploration=SECTION)
EXPLORER = Explorer(SECTION, MODEL, 2)
PEOPLE = [f"person-{number}" for number in range(400)]


def own(trained: Trained, number: int) -> int:
    return int(trained.scores(trained.matrix[number : number + 1])[0] >= 0.5)


def told(bench: Bench) -> list[tuple[Any, ...]]:
    return [(row["entity"], row["decision"], row["explored"], row["propensity"]) for row in bench.journaled()]


@pytest.fixture
def bench(tmp_path: Path, releases: Any, stable: Any, canary: Any) -> Iterator[Bench]:
    made = Bench(tmp_path, SERVING)
    made.add(releases[0], stable)
    made.add(releases[1], canary)
    yield made
    made.model.close()


def test_the_decision_is_the_reserves_and_the_score_the_models(bench: Bench, stable: Any, trained: Trained) -> None:
    bench.route(routing(1, stable))
    answers = [bench.answer(trained.rows[place], who) for place, who in enumerate(PEOPLE)]
    wanted = [EXPLORER.draw(who, own(trained, place)) for place, who in enumerate(PEOPLE)]
    assert told(bench) == [(who, d.decision, d.explored, d.propensity) for who, d in zip(PEOPLE, wanted, strict=True)]
    assert [one.prediction.score for one in answers] == trained.scores(trained.matrix[: len(PEOPLE)])
    changed = sum(draw.decision != own(trained, place) for place, draw in enumerate(wanted))
    assert 0 < changed < sum(draw.explored for draw in wanted)


def test_both_arms_and_the_waiting_rows_are_drawn_alike(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    """Who meets the canary and who is drawn have nothing to do with each other."""
    bench.route(routing(1, stable, canary, PPM // 2))
    for place, who in enumerate(PEOPLE):
        bench.answer(trained.rows[place], who)
    bench.model.score_others(all_of_them=True)
    rows = bench.journaled()
    assert {row["arm"] for row in rows if row["explored"]} == {"stable", "canary"}
    assert {row["entity"] for row in rows if row["explored"]} == {w for w in PEOPLE if EXPLORER.draw(w, 0).explored}


def test_a_challenger_that_fails_is_answered_for_within_the_reserve_too(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    from dataclasses import replace

    from gauntlet.native.lightgbm import ScoringError

    def broken(_: Any) -> Any:
        raise ScoringError("no")

    bench.route(routing(1, stable, canary, PPM))
    route = bench.model.current()
    assert route.canary is not None
    route.canary = replace(route.canary, predict=broken)
    drawn = next(who for who in PEOPLE if EXPLORER.draw(who, 0).explored)
    bench.answer(trained.rows[0], drawn)
    (row,) = bench.journaled()
    assert (row["status"], row["explored"]) == ("fallback", 1)


def test_reading_the_routing_again_changes_nobodys_draw(bench: Bench, stable: Any, trained: Trained) -> None:
    bench.route(routing(1, stable))
    for place, who in enumerate(PEOPLE[:100]):
        bench.answer(trained.rows[place], who)
    bench.route(routing(2, stable))
    for place, who in enumerate(PEOPLE[:100]):
        bench.answer(trained.rows[place], who)
    rows = told(bench)
    assert rows[:100] == rows[100:]


def test_without_an_entity_each_row_is_drawn_for_itself(bench: Bench, stable: Any, trained: Trained) -> None:
    bench.route(routing(1, stable))
    route = bench.model.current()
    answers = [bench.model.answer(route, None, trained.rows[0], None, "same", place, 1) for place in range(400)]
    assert {one.explored for one in answers} == {True, False}
    again = [bench.model.answer(route, None, trained.rows[0], None, "same", place, 1) for place in range(400)]
    assert [one.prediction.decision for one in answers] == [one.prediction.decision for one in again]


@pytest.mark.parametrize("serving", [ServingSection(), SERVING])
def test_it_is_counted_and_off_by_default(
    tmp_path: Path, releases: Any, stable: Any, trained: Trained, serving: ServingSection
) -> None:
    bench = Bench(tmp_path, serving)
    bench.add(releases[0], stable)
    bench.route(routing(1, stable))
    for place, who in enumerate(PEOPLE):
        bench.answer(trained.rows[place], who)
    drawn = sum(row["explored"] for row in bench.journaled())
    lines = [line for line in page(tmp_path).splitlines() if line.startswith("gauntlet_explored_total{")]
    assert sum(int(line.split()[-1]) for line in lines) == drawn
    assert (drawn > 0) is (serving is SERVING)
    if serving is not SERVING:
        assert {row["propensity"] for row in bench.journaled()} == {1.0}
    bench.model.close()


@pytest.mark.parametrize(("task", "share"), [(Task.MULTICLASS, True), (Task.REGRESSION, False)])
def test_only_a_task_with_decisions_has_a_reserve(tmp_path: Path, task: Task, share: bool) -> None:
    """A spec is refused that asks it of a regression; the server gives none even so."""
    model = train(3, task=task, rows=400)
    release = write_release(tmp_path / "release", model, "v-one")
    bench = Bench(tmp_path, SERVING)
    bench.add(release, served(release, 1))
    bench.route(routing(1, served(release, 1)))
    for place, who in enumerate(PEOPLE):
        bench.answer(model.rows[place], who)
    rows = bench.journaled()
    assert any(row["explored"] for row in rows) is share
    if share:
        scores = model.scores(model.matrix[: len(PEOPLE)])
        assert {row["decision"] for row in rows if row["explored"]} == {0, 1, 2}
        assert [row["score"] for row in rows] == [max(each) for each in scores]
    bench.model.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stable: Any, canary: Any) -> Iterator[RunningServer]:
    """Two workers."""
    folder = tmp_path_factory.mktemp("explored")
    with running(folder, serving=SERVING, workers=2, ready=False) as started:
        assert started.apply(routing(1, stable, canary, PPM // 2)).status_code == 200
        yield started


def infer(server: RunningServer, rows: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    kinds = {bool: "BOOL", str: "BYTES", float: "FP64"}
    known = {name: next(type(row[name]) for row in rows if row[name] is not None) for name in names}
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": kinds[known[name]], "data": [row[name] for row in rows]}
        for name in names
    ]
    people = {"name": ENTITY, "shape": [len(rows)], "datatype": "BYTES", "data": [row[ENTITY] for row in rows]}
    answer = server.client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [*inputs, people]})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_every_protocol_and_worker_gives_the_same_decision(server: RunningServer, trained: Trained) -> None:
    rows = [{**row, ENTITY: who} for row, who in zip(trained.rows, PEOPLE, strict=False)]
    batch = server.predict_rows(rows).json()["predictions"]
    wanted = [(one["decision"], one.get("explored", False), one["propensity"]) for one in batch]
    assert [explored for _, explored, _ in wanted] == [EXPLORER.draw(who, 0).explored for who in PEOPLE]
    # One by one, over new connections, so that both workers are met; drawn ones and some that are not.
    some = [place for place, (_, explored, _) in enumerate(wanted) if explored or place % 40 == 0]
    for place in [*some, *some]:
        with server.client.stream(
            "POST", f"/v1/models/{MODEL}/predict", json={"row": rows[place]}, headers={"connection": "close"}
        ) as answer:
            answer.read()
            one = answer.json()
        assert (one["decision"], one.get("explored", False), one["propensity"]) == wanted[place]
    mlflow = server.client.post("/invocations", json={"dataframe_records": rows}).json()
    assert list(zip(mlflow["decisions"], mlflow["explored"], mlflow["propensities"], strict=True)) == wanted
    assert mlflow["predictions"] == [one["score"] for one in batch]
    names = [feature.name for feature in trained.features]
    v2 = infer(server, rows, names)
    (decision,) = [one["data"] for one in v2["outputs"] if one["name"] == "decision"]
    drawn = v2["parameters"]
    assert list(zip(decision, drawn["explored"], drawn["propensities"], strict=True)) == wanted


def test_the_short_way_says_it_too(server: RunningServer, trained: Trained) -> None:
    """A request in one piece is answered from bytes that are kept; a drawn decision is not answered with another's."""
    drawn = [place for place, who in enumerate(PEOPLE) if EXPLORER.draw(who, 0).explored][:5]
    for place in (*drawn, 0, 1, *drawn):
        one = server.predict(trained.rows[place], entity=PEOPLE[place]).json()
        assert one.get("explored", False) is EXPLORER.draw(PEOPLE[place], 0).explored
        assert 0 < one["propensity"] < 1


def test_the_journal_of_all_workers_has_it(server: RunningServer, trained: Trained) -> None:
    from datetime import UTC, datetime, timedelta

    for place, who in enumerate(PEOPLE[:200]):
        server.predict(trained.rows[place], entity=who, request_id=f"mine-{place}")
    now = datetime.now(UTC)
    table = JournalFiles(server.config.journal).read(MODEL, now - timedelta(minutes=5), now)
    rows = [row for row in table.to_pylist() if row["request_id"].startswith("mine-")]
    assert len(rows) == 200
    for row in rows:
        draw = EXPLORER.draw(row["entity"], 0)
        assert row["explored"] == draw.explored
        assert 0 < row["propensity"] < 1
