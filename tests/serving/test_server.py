"""The server end to end: real processes, real HTTP, real models."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.processes import wait_for
from tests.serving.control import MODEL
from tests.serving.servers import (
    CATEGORIES,
    ENTITY,
    TOKEN,
    RunningServer,
    Trained,
    routing,
    running,
)

from gauntlet.adapters.journal import JournalFiles
from gauntlet.adapters.server_http import HttpServer
from gauntlet.core.records.rollout import PPM
from gauntlet.core.routing import Splitter
from gauntlet.core.specs.serving import ServingSection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two workers, no version yet."""
    with running(tmp_path_factory.mktemp("server"), ready=False, workers=2) as started:
        yield started


EPOCH = iter(range(1, 1000))


@pytest.fixture
def alone(server: RunningServer, stable: Any) -> RunningServer:
    """Everything to the stable version."""
    answer = server.apply(routing(next(EPOCH), stable))
    assert answer.status_code == 200, answer.text
    return server


def test_without_a_stable_version_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    with running(tmp_path, ready=False) as empty:
        wait_for(lambda: empty.client.get("/livez").status_code == 200, 20)
        ready = empty.client.get("/ready")
        assert ready.status_code == 503
        assert "no stable version" in ready.json()["reasons"][MODEL]
        refused = empty.predict({})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "no stable version" in refused.json()["error"]


def test_scores_are_those_of_the_booster_bit_by_bit(alone: RunningServer, trained: Trained) -> None:
    expected = trained.scores(trained.matrix[:100])
    single = [alone.predict(row).json()["score"] for row in trained.rows[:100]]
    batch = [one["score"] for one in alone.predict_rows(trained.rows[:100]).json()["predictions"]]
    assert single == expected
    assert batch == expected


def test_an_answer_says_all_there_is_to_know(alone: RunningServer, trained: Trained) -> None:
    answer = alone.predict(trained.rows[0], entity=17, request_id="mine").json()
    score = trained.scores(trained.matrix[:1])[0]
    assert answer == {
        "model": MODEL,
        "epoch": answer["epoch"],
        "request_id": "mine",
        "score": score,
        "decision": int(score >= 0.5),
        "version": 1,
        "version_id": "v-one",
        "arm": "stable",
        "sticky": True,
    }
    assert answer["epoch"] > 0


def test_columns_are_taken_by_name_not_by_place(alone: RunningServer, trained: Trained) -> None:
    row = trained.rows[3]
    turned = dict(reversed(row.items()))
    assert alone.predict(turned).json()["score"] == alone.predict(row).json()["score"]


def test_the_split_is_the_one_of_the_core(server: RunningServer, stable: Any, canary: Any, trained: Trained) -> None:
    row = routing(next(EPOCH), stable, canary, 300_000)
    assert server.apply(row).status_code == 200
    split = Splitter(row.salt)
    for i in range(120):
        answer = server.predict({**trained.rows[i], ENTITY: f"customer-{i}"}).json()
        assert answer["arm"] == ("canary" if split.bucket(f"customer-{i}") < 300_000 else "stable")
        assert answer["version_id"] == ("v-two" if answer["arm"] == "canary" else "v-one")
        assert answer["sticky"]


def test_an_entity_stays_on_its_arm_whatever_worker_answers(
    server: RunningServer, stable: Any, canary: Any, trained: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, 500_000))
    for entity in ("a", "b", "c", 4, 5.0):
        arms = set()
        for _ in range(6):
            # A new connection may go to the other worker.
            with type(server.client)(base_url=server.client.base_url, timeout=10) as client:
                body = {"row": trained.rows[0], "entity": entity}
                arms.add(client.post(f"/v1/models/{MODEL}/predict", json=body).json()["arm"])
        assert len(arms) == 1


def test_without_entity_each_request_is_drawn_and_says_so(
    server: RunningServer, stable: Any, canary: Any, trained: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, 500_000))
    answers = [server.predict(trained.rows[0]).json() for _ in range(60)]
    assert not any(answer["sticky"] for answer in answers)
    assert set(Counter(answer["arm"] for answer in answers)) == {"stable", "canary"}


def test_both_versions_score_every_request_of_a_canary(
    server: RunningServer, stable: Any, canary: Any, trained: Trained, challenger: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, 500_000))
    began = datetime.now(UTC)
    ids = [f"pair-{i}" for i in range(40)]
    for i, name in enumerate(ids):
        server.predict({**trained.rows[i], ENTITY: f"e{i}"}, request_id=name)
    table = JournalFiles(server.config.journal).read(MODEL, began, datetime.now(UTC), "rollout-1")
    rows = {row["request_id"]: row for row in table.to_pylist()}
    assert set(ids) <= set(rows)
    assert table.schema.metadata[b"incomplete"] == b""
    ours, theirs = trained.scores(trained.matrix[:40]), challenger.scores(trained.matrix[:40])
    for i, name in enumerate(ids):
        own, other = (theirs[i], ours[i]) if rows[name]["arm"] == "canary" else (ours[i], theirs[i])
        assert (rows[name]["score"], rows[name]["other_score"]) == (own, other)


def test_the_journal_has_every_answer(alone: RunningServer, trained: Trained) -> None:
    began = datetime.now(UTC)
    answers = [alone.predict({**trained.rows[i], ENTITY: i}).json() for i in range(30)]
    batch = alone.predict_rows(trained.rows[:5], entities=["p", "q", None, "r", "s"], request_id="batch").json()
    table = JournalFiles(alone.config.journal).read(MODEL, began, datetime.now(UTC))
    rows = table.to_pylist()
    assert len(rows) == 35
    for i, answer in enumerate(answers):
        (row,) = [row for row in rows if row["request_id"] == answer["request_id"]]
        assert row["score"] == answer["score"]
        assert row["entity"] == str(i)
        assert row["version_id"] == "v-one"
        assert row["status"] == "ok"
        assert row["latency_us"] > 0
        assert row["decision"] == answer["decision"]
        assert len(row["features"]) == 8 * len(trained.features)
    of_batch = sorted((row for row in rows if row["request_id"] == "batch"), key=lambda row: row["row"])
    assert [row["score"] for row in of_batch] == [one["score"] for one in batch["predictions"]]
    assert [row["entity"] for row in of_batch] == ["p", "q", None, "r", "s"]


@pytest.mark.parametrize(
    ("change", "feature", "kind"),
    [
        ({"x0": "many"}, "x0", "wrong_type"),
        ({"x0": None}, "x0", "null"),
        ({"member": "yes"}, "member", "wrong_type"),
        ({"member": 2}, "member", "wrong_type"),
        ({"home colour": {"a": 1}}, "home colour", "wrong_type"),
    ],
)
def test_a_bad_value_is_refused_naming_the_feature(
    alone: RunningServer, trained: Trained, change: dict[str, Any], feature: str, kind: str
) -> None:
    answer = alone.predict({**trained.rows[0], **change})
    assert answer.status_code == 422
    assert (answer.json()["feature"], answer.json()["kind"]) == (feature, kind)
    batch = alone.predict_rows([trained.rows[0], {**trained.rows[1], **change}])
    assert (batch.status_code, batch.json()["row"]) == (422, 1)


def test_a_missing_column_and_a_nan_literal_are_refused(alone: RunningServer, trained: Trained) -> None:
    row = {name: value for name, value in trained.rows[0].items() if name != "x2"}
    assert alone.predict(row).json()["feature"] == "x2"
    body = b'{"row": {"x0": NaN, "x1": 1, "x2": 1, "x3": 1, "member": true, "home colour": "red"}}'
    answer = alone.client.post("/predict", content=body)
    assert (answer.status_code, answer.json()["feature"], answer.json()["kind"]) == (422, "x0", "nan")


def test_what_the_policy_counts_is_scored_and_counted(alone: RunningServer, trained: Trained) -> None:
    row = dict(trained.rows[0])
    seen = {"x0": 1e9, "home colour": "octarine", "more": 1}
    assert alone.predict({**row, **seen}).status_code == 200
    page = alone.client.get("/metrics").text
    for feature, kind in (("x0", "out_of_range"), ("home colour", "unseen_category"), ("*", "extra")):
        assert f'model="{MODEL}",feature="{feature}",kind="{kind}"' in page


@pytest.mark.parametrize("value", [*CATEGORIES, None])
def test_categories_and_nulls_score_as_in_training(alone: RunningServer, trained: Trained, value: str | None) -> None:
    row = {**trained.rows[0], "home colour": value, "x1": None}
    vector = trained.matrix[0].copy()
    vector[1] = float("nan")
    vector[-1] = float("nan") if value is None else CATEGORIES.index(value)
    assert alone.predict(row).json()["score"] == trained.scores(vector[None, :])[0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"row": []}', 400),
        (b'{"rows": [1]}', 400),
        (b'{"row": {}, "rows": []}', 400),
        (b'{"nothing": 1}', 400),
        (b'{"row": {}}', 422),
        (b'{"rows": []}', 200),
        (b'{"row": {}, "model": "another"}', 404),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
    ],
)
def test_malformed_bodies_get_an_answer_not_an_error(alone: RunningServer, body: bytes, status: int) -> None:
    answer = alone.client.post("/predict", content=body)
    assert answer.status_code == status
    assert answer.json()


def test_paths_and_methods_that_are_not_there(alone: RunningServer) -> None:
    assert alone.client.get("/nothing").status_code == 404
    assert alone.client.get("/predict").status_code == 405


def test_too_many_rows_and_too_large_a_body(tmp_path: Path, stable: Any, trained: Trained) -> None:
    small = ServingSection(max_rows=3)
    with running(tmp_path, ready=False, serving=small, max_body_bytes=5000) as server:
        server.apply(routing(1, stable))
        assert server.predict_rows(trained.rows[:3]).status_code == 200
        assert server.predict_rows(trained.rows[:4]).status_code == 413
        answer = server.client.post("/predict", content=b" " * 200_000)
        assert answer.status_code == 413
        assert "5000 bytes" in answer.json()["error"]
        assert server.predict(trained.rows[0]).status_code == 200


def test_metrics_are_summed_over_workers(server: RunningServer, stable: Any, trained: Trained) -> None:
    server.apply(routing(next(EPOCH), stable))

    def answered() -> int:
        name = f'ml_prediction_requests_total{{model="{MODEL}",version="v-one",arm="stable",status="ok"}}'
        lines = server.client.get("/metrics").text.splitlines()
        return sum(int(line.split()[-1]) for line in lines if line.startswith(name))

    before = answered()
    for _ in range(40):
        with type(server.client)(base_url=server.client.base_url, timeout=10) as client:
            client.post("/predict", json={"row": trained.rows[0]})
    assert answered() == before + 40


def test_admin_wants_its_token(server: RunningServer) -> None:
    assert (
        server.admin.post("/admin/reports", json={"model": MODEL}, headers={"authorization": "Bearer no"}).status_code
        == 401
    )
    assert server.client.post("/admin/reports", json={"model": MODEL}).status_code == 404
    assert server.config.admin_socket.stat().st_mode & 0o077 == 0


def test_the_admin_token_is_rotated_by_replacing_its_file(tmp_path: Path, stable: Any) -> None:
    secret = tmp_path / "admin.token"
    secret.write_text(TOKEN + "\n")
    with running(tmp_path, ready=False, admin_token="", admin_token_file=secret) as server:
        address = f"unix:{server.config.admin_socket}"
        client = HttpServer(address, lambda: secret.read_text().strip())
        server.apply(routing(1, stable))
        assert client.reports(MODEL)[0].epoch == 1
        (tmp_path / "new").write_text("another")
        (tmp_path / "new").replace(secret)
        assert client.reports(MODEL)[0].epoch == 1
        assert server.admin.post("/admin/reports", json={"model": MODEL}).status_code == 401
        secret.unlink()
        assert server.admin.post("/admin/reports", json={"model": MODEL}).status_code == 401


def test_predict_with_version_scores_outside_traffic(
    server: RunningServer, stable: Any, canary: Any, trained: Trained, challenger: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, 0))
    body = {"model": MODEL, "rows": trained.rows[:10], "version_id": "v-two"}
    assert server.admin.post("/admin/predict", json=body).json() == challenger.scores(trained.matrix[:10])
    unknown = server.admin.post("/admin/predict", json={**body, "version_id": "v-nine"})
    assert unknown.status_code == 422
    assert "v-nine is not loaded" in unknown.json()["error"]


def test_the_lease_ends_and_the_weight_falls_by_itself(
    server: RunningServer, stable: Any, canary: Any, trained: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, PPM))  # Loading it is no part of the lease.
    row = routing(next(EPOCH), stable, canary, PPM, lease_s=2)
    assert server.apply(row).status_code == 200
    assert row.lease_until is not None
    assert server.predict(trained.rows[0], entity="a").json()["arm"] == "canary"
    wait_for(lambda: server.predict(trained.rows[0], entity="a").json()["arm"] == "stable", 10)
    assert datetime.now(UTC) >= row.lease_until, "not before its end"
    wait_for(lambda: server.database.events("lease_expired"), 5)
    assert all(report["weight_ppm"] == 0 for report in server.reports())


def test_an_old_epoch_changes_nothing(server: RunningServer, stable: Any, canary: Any) -> None:
    server.apply(routing(next(EPOCH), stable))
    new = server.reports()[0]["epoch"]
    reports = server.apply(routing(1, canary)).json()
    assert {report["epoch"] for report in reports} == {new}
    assert {report["stable"] for report in reports} == {"v-one"}


def test_a_row_written_to_the_database_is_followed_without_a_push(server: RunningServer, stable: Any) -> None:
    row = routing(next(EPOCH), stable)
    server.database.write(row)
    wait_for(lambda: all(report["epoch"] == row.epoch for report in server.reports()), 5)


def test_a_rollback_is_seen_by_the_next_request_of_every_worker(
    server: RunningServer, stable: Any, canary: Any, trained: Trained
) -> None:
    server.apply(routing(next(EPOCH), stable, canary, PPM))
    clients = [type(server.client)(base_url=server.client.base_url, timeout=10) for _ in range(8)]
    body = {"row": trained.rows[0], "entity": "someone"}
    try:
        assert {client.post("/predict", json=body).json()["arm"] for client in clients} == {"canary"}
        began = time.perf_counter()
        server.apply(routing(next(EPOCH), stable))
        took = time.perf_counter() - began
        assert {client.post("/predict", json=body).json()["arm"] for client in clients} == {"stable"}
    finally:
        for client in clients:
            client.close()
    assert took < 1.0  # The benchmark measures it; here it must only not wait for a poll or a load.


def test_a_version_in_traffic_cannot_be_unloaded(server: RunningServer, stable: Any, canary: Any) -> None:
    server.apply(routing(next(EPOCH), stable, canary, 0))
    for name in ("v-one", "v-two"):
        answer = server.admin.post("/admin/unload", json={"model": MODEL, "version_id": name})
        assert answer.status_code == 422
    server.apply(routing(next(EPOCH), stable))
    assert server.admin.post("/admin/unload", json={"model": MODEL, "version_id": "v-two"}).status_code == 200
    assert all(report["loaded"] == ["v-one"] for report in server.reports())


def test_windows_far_away_hold_nothing(alone: RunningServer) -> None:
    past = datetime.now(UTC) - timedelta(days=40)
    table = JournalFiles(alone.config.journal).read(MODEL, past, past + timedelta(hours=1))
    assert table.num_rows == 0
