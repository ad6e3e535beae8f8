"""What each view of the page says, of a past that is known and of none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.web.conftest import FEATURES, GATES, MODEL, NIGHTS, House

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftShares, FeatureShares
from gauntlet.core.records.feedback import SliceAudit
from gauntlet.core.records.monitoring import Alert, Layer, Severity
from gauntlet.simulation.history import run_name, served
from gauntlet.stages.audit_slices import slices_key

EMPTY = ("", "/nights", "/drift", "/trend", "/rollouts", "/live", "/alerts", "/feedback", "/audit")


def test_the_head_names_champion_challenger_and_previous_with_digest_and_age(house: House) -> None:
    head = house.get("").json()
    stable = served(house.past, NIGHTS - 3)
    assert head["champion"]["version"] == stable.version
    assert head["champion"]["digest"] == stable.release_digest
    assert head["challenger"]["version"] == NIGHTS
    assert head["weight_ppm"] == 50_000
    assert head["previous"]["version"] == 1
    assert head["champion"]["links"][0]["href"].endswith("/#/runs/" + head["champion"]["links"][0]["href"][-32:])
    assert [one["version"] for one in head["quarantined"]] == [NIGHTS - 1]
    assert head["rollout"]["phase"] == "step"


@pytest.mark.parametrize("path", EMPTY)
def test_where_there_is_nothing_yet_an_explanation_is_shown(empty_house: House, path: str) -> None:
    found = empty_house.get(path)
    assert found.status_code == 200
    assert len(found.json()["empty"]) > 15


@pytest.mark.parametrize("path", EMPTY)
def test_where_there_is_something_no_explanation_stands_in_for_it(house: House, path: str) -> None:
    if path not in ("/live", "/alerts", "/feedback"):
        assert house.get(path).json()["empty"] is None


def test_a_night_is_a_strip_of_six_stages_with_their_verdicts(house: House) -> None:
    found = house.get("/nights").json()
    newest, failed = found["nights"][0], found["nights"][NIGHTS - 1 - 4]
    assert [stage["stage"] for stage in newest["stages"]] == [
        "trigger",
        "data",
        "training",
        "gates",
        "promotion",
        "canary",
    ]
    assert [stage["state"] for stage in newest["stages"]] == [*["passed"] * 5, "running"]
    assert failed["stages"][3]["state"] == "failed"
    assert failed["gates_passed"] == GATES - 1
    assert failed["version"] is None
    assert len(found["nights"]) == NIGHTS
    assert not found["more"]


def test_nights_come_in_pages(house: House) -> None:
    first = house.get("/nights?limit=5").json()
    last = house.get("/nights?limit=5&skip=10").json()
    assert (len(first["nights"]), first["more"]) == (5, True)
    assert (len(last["nights"]), last["more"]) == (2, False)
    assert last["nights"][-1]["run"] == run_name(0)


def test_hourly_checks_and_canaries_are_no_nights(house: House) -> None:
    records = house.services.records
    night = records.newest(MODEL, type(records.newest(MODEL, _context())[0]))[0]
    for hour in range(30):
        other = night.model_copy(update={"run": f"hourly_{hour}", "dag": f"{MODEL}__drift_check"})
        records.put(other.key, other)
    assert len(house.get("/nights").json()["nights"]) == NIGHTS


def _context():
    from gauntlet.core.records.run import RunContext

    return RunContext


def test_the_gates_of_a_run_have_observed_limit_interval_and_reason(house: House) -> None:
    page = house.get(f"/runs/{run_name(4)}").json()
    failed = [row for row in page["gates"] if row["outcome"] == "failed"]
    assert len(failed) == 1
    item = failed[0]["measurements"][0]
    assert (item["observed"], item["limit"], item["comparator"]) == (0.6, 0.66, "≥")
    assert item["interval"] == [pytest.approx(0.59), pytest.approx(0.61)]
    assert "roc_auc" in failed[0]["reason"]
    assert "tasks/gates." in failed[0]["log"]["href"]


def test_a_gate_that_was_not_asked_is_shown_as_such_and_not_left_out(house: House) -> None:
    page = house.get(f"/runs/{run_name(NIGHTS - 1)}").json()
    wanted = house.services.specs.get(MODEL).gates.names
    rows = {row["gate"]: row["outcome"] for row in page["gates"]}
    assert set(rows) == set(wanted)
    assert [rows[gate] for gate in wanted] == ["passed"] * GATES + [None] * (len(wanted) - GATES)


def test_links_lead_to_airflow_mlflow_and_the_runbook(house: House) -> None:
    links = {one["label"]: one["href"] for one in house.get(f"/runs/{run_name(0)}").json()["links"]}
    assert links["Airflow run"].startswith(f"../dags/{MODEL}__retrain/runs/made_up__2026-01-01T02%3A00")
    assert "/#/runs/" in links["MLflow run"]
    assert links["Runbook"] == f"api/models/{MODEL}/runbook"
    text = house.opened("vera").get(f"/{links['Runbook']}").text
    assert "rollback" in text


def test_the_drift_map_has_features_by_importance_and_nights_in_order(house: House) -> None:
    found = house.get("/drift").json()
    assert found["features"] == [f"feature_{place:03}" for place in range(FEATURES)]
    assert found["importances"] == sorted(found["importances"], reverse=True)
    assert [check["as_of"] for check in found["checks"]] == sorted(check["as_of"] for check in found["checks"])
    assert {len(row) for row in found["effects"]} == {NIGHTS}
    over = [(f, c) for f, row in enumerate(found["effects"]) for c, effect in enumerate(row) if effect > 1]
    assert all(found["outcomes"][f][c] == "f" for f, c in over)


def test_a_feature_has_its_statistics_its_past_and_both_windows(house: House, monkeypatch, tmp_path) -> None:
    from gauntlet.core.records.drift import DriftSummary

    run = run_name(NIGHTS - 1)
    without = house.get(f"/runs/{run}/features/feature_001").json()
    assert len(without["statistics"]) == 3
    assert len(without["past"]) == NIGHTS
    assert without["shares"] is None
    assert "kept no distributions" in without["no_shares"]
    bars = FeatureShares(feature="feature_001", cells=("low", "high"), reference=(0.5, 0.5), current=(0.2, 0.8))
    path = tmp_path / "shares.json"
    path.write_text(DriftShares(model=MODEL, run=run, features=(bars,)).model_dump_json())
    key = f"{MODEL}/{run}"
    summary = house.services.records.get(key, DriftSummary)
    house.services.records.put(key, summary.model_copy(update={"shares_uri": "u", "shares_sha256": "s"}))
    monkeypatch.setattr(house.services.blobs, "fetch", lambda uri, sha256: path)
    found = house.get(f"/runs/{run}/features/feature_001").json()
    assert found["shares"]["current"] == [0.2, 0.8]
    missing = house.get(f"/runs/{run}/features/featur_001")
    assert missing.status_code == 404
    assert "did you mean" in missing.text


def test_the_trend_has_candidate_champion_and_limits(house: House) -> None:
    found = house.get("/trend").json()
    one = found["series"][0]
    assert one["metric"] == "roc_auc"
    assert len(one["points"]) == NIGHTS
    assert one["minimum"] == pytest.approx(0.66)
    assert all(isinstance(point["candidate"], float) for point in one["points"])


def test_a_canary_has_its_weights_and_every_look_of_the_judge(house: House) -> None:
    name = house.get("/rollouts").json()["rollouts"][0]["rollout"]
    page = house.get(f"/rollouts/{name}").json()
    assert [one["weight_ppm"] for one in page["weights"]] == [50_000]
    assert len(page["ticks"]) == house.past.ticks
    judged = [tick for tick in page["ticks"] if tick["outcome"]]
    assert len(judged) == house.past.ticks - 1
    assert {item["metric"] for item in judged[0]["metrics"]} == {"error_rate", "latency_p99", "score_psi"}
    assert all(item["stable"] is not None and item["canary"] is not None for item in judged[0]["metrics"])


def test_live_traffic_is_counted_by_moment_and_arm(house: House) -> None:
    now = house.clock.moment
    rows = [
        {
            "at": now - timedelta(seconds=10 + number),
            "arm": "canary" if number % 10 == 0 else "stable",
            "version_id": "v",
            "score": number / 200,
            "latency_us": 1000 + 10 * number,
            "status": "ok" if number % 20 else "error",
            "explored": int(number % 25 == 0),
        }
        for number in range(200)
    ]
    house.services.journal.append(MODEL, sorted(rows, key=lambda row: row["at"]))
    found = house.get("/live?minutes=5").json()
    assert (found["rows"], found["explored"]) == (200, 8)
    assert sum(one["per_second"] for one in found["moments"]) * found["seconds"] == pytest.approx(200, rel=0.01)
    assert (found["p50_ms"], found["p99_ms"]) == (pytest.approx(2.0, abs=0.02), pytest.approx(2.97, abs=0.02))
    arms = {one["arm"]: one for one in found["arms"]}
    assert (arms["stable"]["rows"], arms["canary"]["rows"]) == (180, 20)
    assert sum(arms["stable"]["shares"]) == pytest.approx(1, abs=1e-3)
    failed = sum((one["error_rate"] or 0) * one["per_second"] * found["seconds"] for one in found["moments"])
    assert failed == pytest.approx(10, rel=0.02)


def test_open_alerts_come_first(house: House) -> None:
    at = house.clock.moment
    facts = {"model": MODEL, "layer": Layer.DATA, "severity": Severity.PAGE, "looks": 1, "seen_at": at}
    over = Alert(**facts, key="b", sentence="was late", since=at, resolved_at=at)
    stands = Alert(**facts, key="a", sentence="nulls", since=at - timedelta(days=1))
    for one in (stands, over):
        house.services.records.put(f"{MODEL}/alerts", one, one.key)
    found = house.get("/alerts").json()
    assert [one["name"] for one in found["alerts"]] == ["a", "b"]
    assert found["empty"] is None


def test_an_alert_leads_to_its_section_of_the_runbook_and_to_a_dashboard(house: House, monkeypatch) -> None:
    from gauntlet import views
    from gauntlet.core.runbook import KINDS
    from gauntlet.web import app

    there = views.Places(mlflow="http://m", grafana="http://g/d/serving", documents=app.DOCUMENTS)
    monkeypatch.setattr(app, "places", lambda: there)

    at = house.clock.moment
    facts = {"model": MODEL, "layer": Layer.DATA, "severity": Severity.PAGE, "looks": 1, "seen_at": at, "since": at}
    for kind in KINDS:
        key = kind if kind != "unseen" else "data.unseen"
        house.services.records.put(f"{MODEL}/alerts", Alert(**facts, key=key, sentence="so"), key)
    found = house.get("/alerts").json()
    assert found["links"][0]["href"] == f"http://g/d/serving?var-model={MODEL}"
    page = house.opened("vera").get(f"/{found['links'][1]['href']}")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for line in found["alerts"]:
        address, _, section = line["runbook"]["href"].partition("#")
        assert address == found["links"][1]["href"]
        assert f'id="{section}"' in page.text, f"{line['name']}: the runbook has no section {section}"


def test_an_alert_that_nobody_could_be_told_of_is_shown_as_such(house: House) -> None:
    from gauntlet.core.records.monitoring import AlertRound, Message, MessageKind

    at = house.clock.moment
    facts = {"model": MODEL, "layer": Layer.DATA, "severity": Severity.PAGE}
    for key in ("data.volume", "data.freshness"):
        alert = Alert(**facts, key=key, sentence="so", since=at, seen_at=at, looks=1, sent_at=at)
        house.services.records.put(f"{MODEL}/alerts", alert, key)
    message = Message(**facts, kind=MessageKind.RAISED, subject="s", body="b", keys=("data.volume",), at=at)
    outcome = {"outcome": Outcome.ERROR, "reason": "1 that nobody has taken yet", "open": ("data.volume",)}
    look = AlertRound(model=MODEL, run="look", **outcome, sent=(message,), owed=(message,), at=at)
    house.services.records.put(look.model + "/look", look)
    assert {one["name"]: one["owed"] for one in house.get("/alerts").json()["alerts"]} == {
        "data.volume": True,
        "data.freshness": False,
    }


def test_a_runbook_is_shown_and_not_run() -> None:
    from gauntlet.views.runbooks import page

    shown = page(
        "<t>", "# A & B\n<script>alert(1)</script> [file](x.md) [js](javascript:alert(1)) [ok](https://a.example)"
    )
    assert "<script>" not in shown
    assert "<title>&lt;t&gt;</title>" in shown
    assert shown.count("href=") == 1


def test_the_audit_trail_can_leave_out_what_the_pipeline_only_wrote_down(house: House) -> None:
    clear = {
        "action": "clear_quarantine",
        "reason": "looked at it",
        "digest": served(house.past, NIGHTS - 2).release_digest,
    }
    assert house.act("ada", clear).status_code == 200
    every = house.get("/audit").json()["entries"]
    decisions = house.get("/audit?kind=decisions").json()
    assert {entry["action"] for entry in every} >= {"record.QuarantineCleared", "record.RolloutState"}
    assert decisions["entries"][0]["actor"] == "ada"
    assert not any(
        entry["actor"] == "pipeline" and entry["action"].startswith("record.") for entry in decisions["entries"]
    )
    assert {entry["action"] for entry in decisions["entries"]} >= {"record.QuarantineCleared", "rollout.entered"}
    assert decisions["before"] is None


def test_slices_are_shown_as_they_were_audited_last(house: House) -> None:
    at = house.clock.moment
    facts = {"model": MODEL, "outcome": Outcome.PASSED, "since": at, "until": at, "rows": 9, "labelled": 4}
    facts |= {"explored": 1, "versions": ("v",), "slices": (), "searched": True}
    for days, reason in ((7, "earlier"), (0, "newest")):
        audit = SliceAudit(**facts, at=at - timedelta(days=days), reason=reason)
        house.services.records.put(slices_key(MODEL), audit)
    found = house.get("/feedback").json()
    assert (found["audit"]["reason"], found["reserve"], found["empty"]) == ("newest", None, None)


def test_the_audit_log_is_paged_newest_first(house: House) -> None:
    first = house.get("/audit?limit=50").json()
    second = house.get(f"/audit?limit=50&before={first['before']}").json()
    numbers = [one["sequence"] for one in (*first["entries"], *second["entries"])]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 100


def test_the_registry_that_is_down_is_said_to_be_and_not_guessed(house: House) -> None:
    found = house.get("/registry").json()
    assert found["aliases"] is None
    assert "does not answer" in found["silence"]


def test_an_alias_that_names_another_version_is_a_disagreement(house: House, monkeypatch) -> None:
    monkeypatch.setattr(house.services.registry, "aliases", lambda model: {"champion": 3, "previous": 1})
    found = house.get("/registry").json()
    assert found["disagreements"] == [f"champion is version 3, should be version {NIGHTS - 2}"]


def test_outcomes_of_the_strip_agree_with_the_gates(house: House) -> None:
    for night in house.get("/nights").json()["nights"]:
        rows = house.get(f"/runs/{night['run']}").json()["gates"]
        asked = [row["outcome"] for row in rows if row["outcome"]]
        worst = "failed" if "failed" in asked else "passed"
        assert night["stages"][3]["state"] == Outcome(worst)
