"""Who may do what from the page, from where, and what is left of it in the audit log."""

from __future__ import annotations

import pytest
from tests.web.conftest import MODEL, NIGHTS, House

from gauntlet.core.ledger import Change
from gauntlet.core.records.ledger import CandidateState, QuarantineCleared, Transition
from gauntlet.core.records.rollout import CommandKind, RolloutCommand
from gauntlet.simulation.history import run_name, served

WHY = "customers have complained"
PAUSE = {"action": "pause", "reason": WHY}
SAFE = {"X-Gauntlet": "act"}


def clear(house: House) -> dict[str, str]:
    return {"action": "clear_quarantine", "reason": WHY, "digest": served(house.past, NIGHTS - 2).release_digest}


def test_nobody_is_shown_nothing(house: House) -> None:
    for path in ("/", "/api/models", f"/api/models/{MODEL}", f"/api/models/{MODEL}/audit"):
        assert house.opened(None).get(path).status_code == 401


def test_a_command_is_recorded_in_the_persons_name(house: House) -> None:
    done = house.act("uma", PAUSE)
    assert done.status_code == 200, done.text
    assert done.json()["by"] == "uma"
    [command] = house.services.records.newest(MODEL, RolloutCommand)
    assert (command.kind, command.by, command.reason) == (CommandKind.PAUSE, "uma", WHY)
    entry = house.services.audit.newest(MODEL, 1)[0]
    assert entry.actor == "uma"


@pytest.mark.parametrize(
    ("who", "action", "may"),
    [
        ("vera", "pause", False),
        ("vera", "rollback", False),
        ("uma", "clear_quarantine", False),
        ("uma", "approve", False),
        ("ola", "clear_quarantine", False),
        ("ola", "approve", True),
        ("ada", "clear_quarantine", True),
    ],
)
def test_only_the_roles_that_may_act(house: House, who: str, action: str, may: bool) -> None:
    order = {"action": action, "reason": WHY, "run": run_name(0), "digest": clear(house)["digest"]}
    done = house.act(who, order)
    assert done.status_code == (200 if may else 403), done.text
    newest = house.services.audit.newest(MODEL, 1)[0]
    assert newest.actor == who
    assert (newest.action == "refused") is not may


def test_the_page_knows_beforehand_what_a_person_may_do(house: House) -> None:
    for who in ("vera", "uma", "ola", "ada"):
        allowed = {one["action"]: one["permitted"] for one in house.get("", who).json()["allowed"]}
        for action in ("pause", "approve", "clear_quarantine"):
            order = {"action": action, "reason": WHY, "run": run_name(0), "digest": clear(house)["digest"]}
            refused = house.act(who, order).status_code == 403
            assert allowed[action] is not refused


def test_a_cleared_quarantine_is_gone_from_the_page_and_in_the_log(house: House) -> None:
    assert house.act("ada", clear(house)).status_code == 200
    assert house.get("").json()["quarantined"] == []
    newest = house.get("/audit").json()["entries"][0]
    assert (newest["actor"], newest["action"]) == ("ada", "record.QuarantineCleared")
    [word] = house.services.records.newest(MODEL, QuarantineCleared)
    assert (word.by, word.reason) == ("ada", WHY)


@pytest.mark.parametrize(
    "headers",
    [{}, {**SAFE, "Sec-Fetch-Site": "cross-site"}, {**SAFE, "Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil"}],
)
def test_another_site_cannot_act_with_the_persons_cookie(house: House, headers: dict[str, str]) -> None:
    assert house.act("ada", PAUSE, headers).status_code == 403
    assert house.services.records.newest(MODEL, RolloutCommand) == []


def test_a_form_of_another_site_is_no_order(house: House) -> None:
    done = house.opened("ada").post(f"/api/models/{MODEL}/actions", data=PAUSE, headers=SAFE)
    assert done.status_code == 422


def test_an_action_cannot_be_got(house: House) -> None:
    assert house.opened("ada").get(f"/api/models/{MODEL}/actions").status_code == 405


@pytest.mark.parametrize("reason", ["", "no", "     "])
def test_an_action_wants_a_reason(house: House, reason: str) -> None:
    assert house.act("ada", {"action": "pause", "reason": reason}).status_code in (404, 422)
    assert house.services.records.newest(MODEL, RolloutCommand) == []


def test_what_cannot_be_done_says_why_and_changes_nothing(empty_house: House) -> None:
    refused = empty_house.act("ada", {"action": "rollback", "reason": WHY})
    assert refused.status_code == 409
    assert "no champion" in refused.text
    nothing = empty_house.act("ada", PAUSE)
    assert nothing.status_code == 404
    assert "no rollout is under way" in nothing.text


def test_a_report_may_not_run_anything(house: House, monkeypatch, tmp_path) -> None:
    from gauntlet.core.records.drift import DriftReport

    page = tmp_path / "drift.html"
    page.write_text("<script>alert(1)</script>")
    key = f"{MODEL}/{run_name(0)}"
    report = house.services.records.get(key, DriftReport)
    house.services.records.put(key, report.model_copy(update={"page_uri": "u", "page_sha256": "s"}))
    monkeypatch.setattr(house.services.blobs, "fetch", lambda uri, sha256: page)
    found = house.get(f"/runs/{run_name(0)}/reports/drift")
    policy = found.headers["content-security-policy"]
    assert found.status_code == 200
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert house.get(f"/runs/{run_name(0)}/reports/contract").status_code == 404


@pytest.mark.parametrize("where", ["../../etc/passwd", "/etc/hostname", "docs/../.env", "docs/no-such.md"])
def test_only_documents_are_ever_served_as_a_runbook(house: House, monkeypatch, where: str) -> None:
    spec = house.services.specs.get(MODEL)
    owner = spec.owner.model_copy(update={"runbook": where})
    told = spec.model_copy(update={"owner": owner})
    monkeypatch.setattr(house.services.specs, "get", lambda model: told)
    assert house.get("/runbook").status_code == 404


def test_the_page_loads_nothing_from_elsewhere(house: House) -> None:
    page = house.opened("vera").get("/")
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert "script-src 'unsafe-inline'" not in page.headers["content-security-policy"]
    assert "://" not in page.text
    assert "<script>" not in page.text


def test_a_rollback_from_the_page_moves_traffic_in_the_persons_name(house: House, monkeypatch) -> None:
    ledger, routing = house.services.ledger, house.services.routing.read(MODEL)
    promoted = routing.model_copy(
        update={
            "stable": routing.canary,
            "previous": routing.stable,
            "canary": None,
            "weight_ppm": 0,
            "rollout": None,
            "lease_until": None,
        }
    )
    begun = Transition(
        model=MODEL,
        candidate=routing.canary.release_digest,
        version=routing.canary,
        before=CandidateState.CANARY,
        after=CandidateState.PROMOTING,
        reason="the ramp has passed",
        actor="promotion",
    )
    crowned = begun.model_copy(update={"before": CandidateState.PROMOTING, "after": CandidateState.CHAMPION})
    ledger.commit(
        Change(
            model=MODEL,
            actor="promotion",
            action="promotion.routing",
            reason="the ramp has passed",
            routing=promoted,
            routing_epoch=routing.epoch,
            champion_epoch=ledger.champion(MODEL).epoch,
            transitions=(begun, crowned),
        )
    )
    house.services.server.apply(house.services.routing.read(MODEL), 1.0)
    monkeypatch.setattr(house.services.blobs, "fetch_folder", lambda uri, digest: None, raising=False)
    done = house.act("uma", {"action": "rollback", "reason": WHY})
    assert done.status_code == 200, done.text
    head = house.get("").json()
    assert head["champion"]["version"] == routing.stable.version
    assert NIGHTS in [one["version"] for one in head["quarantined"]]
    assert f"v{NIGHTS}" in [f"v{mark['version']}" for mark in house.get("/trend").json()["marks"]]
    assert any(entry.actor == "uma" and entry.action.startswith("rollback") for entry in house.services.audit.entries())


def test_an_approval_is_the_persons_word(house: House) -> None:
    done = house.act("ola", {"action": "approve", "reason": WHY, "run": run_name(3)})
    assert done.status_code == 200
    page = house.get(f"/runs/{run_name(3)}").json()
    assert [(one["approver"], one["approved"]) for one in page["approvals"]] == [("ola", True)]
    nowhere = house.act("ola", {"action": "approve", "reason": WHY, "run": "no_such_run"})
    assert nowhere.status_code == 404
