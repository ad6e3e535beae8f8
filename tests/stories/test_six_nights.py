"""The demo's six nights without Airflow: each ends as it should, and the champion changes only when it may.

The tests of this module are one story and run in order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from gauntlet import views
from gauntlet.core.audit import verify
from gauntlet.core.errors import ContractFailed, PromotionRefused, RolloutAborted
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import ContractReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.rollout import Quarantine, RolloutPhase, RolloutState
from gauntlet.core.records.run import TriggerAction, TriggerDecision, TriggerKind

MODEL = "credit_default"
# Third parties warn; what is ours is tested with warnings as errors elsewhere.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("six_nights"), pytest.mark.timeout(600)]


def answer(lender) -> dict[str, object]:
    """What the live server says to one application."""
    from gauntlet.simulation.world import live_rows

    row = live_rows(lender.world.scenario, lender.services.clock.now(), 1)[0]
    request = urllib.request.Request(
        f"{lender.settings.server_url}/v1/models/{MODEL}/predict",
        json.dumps({"row": row}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def test_night_1_the_first_model_comes_in_by_the_bootstrap_path(lender) -> None:
    run = lender.night(1, reason="on schedule")
    decision = lender.decide(run)
    assert (decision.action, decision.kind) == (TriggerAction.RETRAIN, TriggerKind.BOOTSTRAP)
    assert lender.champion is None
    assert lender.retrain(run) == []
    receipts = lender.services.records.named(run.key, GateReceipt)
    assert receipts["absolute_performance"].satisfied
    assert receipts["beats_naive"].satisfied
    state = lender.canary(1)
    assert state.phase is RolloutPhase.PROMOTED
    assert state.stable is None
    assert lender.champion == 1
    assert lender.services.registry.aliases(MODEL)["champion"] == 1
    assert answer(lender)["version"] == lender.services.routing.read(MODEL).stable.version


def test_night_2_a_calm_night_is_skipped_with_a_reason(lender) -> None:
    run = lender.night(2, reason="on schedule")
    decision = lender.decide(run)
    assert decision.action is TriggerAction.SKIP
    assert decision.reason
    assert lender.services.records.get(run.key, TriggerDecision) == decision
    assert lender.champion == 1


def test_night_3_a_covariate_shift_retrains_and_the_challenger_wins_on_live_traffic(lender) -> None:
    run = lender.night(3, reason="on schedule")
    decision = lender.decide(run)
    assert decision.action is TriggerAction.RETRAIN
    assert decision.kind in (TriggerKind.DRIFT, TriggerKind.PERFORMANCE)
    assert lender.retrain(run) == []
    assert lender.services.registry.aliases(MODEL)["challenger"] == 2
    state = lender.canary(3)
    assert state.phase is RolloutPhase.PROMOTED
    assert lender.champion == 2
    aliases = lender.services.registry.aliases(MODEL)
    assert aliases == {"champion": 2, "previous": 1}
    assert lender.services.routing.read(MODEL).previous.version == 1


def test_night_4_a_broken_feed_fails_the_contract_and_nothing_is_trained(lender) -> None:
    run = lender.night(4, reason="nightly on the broken feed", force=True)
    lender.decide(run)
    with pytest.raises(ContractFailed) as refused:
        lender.retrain(run)
    report = lender.services.records.get(run.key, ContractReport)
    assert report.outcome is Outcome.FAILED
    assert {"income", "application_id"} & {result.column for result in report.failed}
    assert "income" in str(refused.value)
    assert "female" not in str(refused.value)
    assert lender.services.records.named(run.key, GateReceipt) == {}
    assert lender.champion == 2


def test_night_5_shuffled_labels_fail_a_named_gate(lender) -> None:
    from gauntlet.stages.register import register_challenger

    run = lender.night(5, reason="labels were loaded again", force=True)
    lender.decide(run)
    failed = lender.retrain(run)
    assert "absolute_performance" in failed
    with pytest.raises(PromotionRefused, match="absolute_performance"):
        register_challenger(lender.services, run)
    assert lender.services.records.get(run.key, PromotionDecision).outcome is not Outcome.PASSED
    assert lender.champion == 2
    assert set(lender.services.registry.aliases(MODEL)) == {"champion", "previous"}


def test_night_6_what_breaks_live_is_taken_out_at_a_low_weight_and_quarantined(lender) -> None:
    run = lender.night(6, reason="the vendor has filled device_risk", force=True)
    lender.decide(run)
    assert lender.retrain(run) == []
    with pytest.raises(RolloutAborted, match="taken out"):
        lender.canary(6)
    state = lender.services.records.newest(MODEL, RolloutState)[0]
    assert state.phase is RolloutPhase.ROLLED_BACK
    assert state.weight_ppm == 0
    assert state.step <= 1
    assert state.withdraw_seconds is not None
    assert state.withdraw_seconds < 1
    assert lender.champion == 2
    offenders = lender.services.records.newest(MODEL, Quarantine)
    assert offenders[0].version_id == state.candidate.version_id
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert answer(lender)["version"] == lender.services.routing.read(MODEL).stable.version


def test_the_morning_after_everything_is_explained_and_agrees(lender) -> None:
    from gauntlet.stages.reconcile import reconcile

    assert reconcile(lender.services, MODEL, repair=False).outcome is Outcome.PASSED
    assert not verify(lender.services.audit.entries())
    explanation = views.explain(lender.services, "champion", MODEL)
    topics = {sentence.topic for sentence in explanation.sentences}
    assert {"trigger", "data", "contract", "training", "promotion", "rollout", "audit"} <= topics
    assert any("night_3" in sentence.text for sentence in explanation.sentences)
    nights = {night.run.run: night for night in views.nights(lender.services, MODEL)}
    assert nights["night_5"].failed
    assert nights["night_4"].trained is None


def test_a_rollback_returns_to_the_recorded_previous_champion(lender) -> None:
    from gauntlet.stages.rollback import rollback

    rollback(lender.services, MODEL, reason="the story ends where it began", actor="story")
    assert lender.champion == 1
    assert answer(lender)["version"] == lender.services.routing.read(MODEL).stable.version


def test_the_server_still_refuses_what_it_should(lender) -> None:
    request = urllib.request.Request(
        f"{lender.settings.server_url}/v1/models/{MODEL}/predict", b'{"row": {"amount": "many"}}'
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value:  # An error is an answer too, with a connection that nobody else closes.
        assert refused.value.code == 422


def test_no_log_and_no_record_names_a_customer_or_a_secret(lender) -> None:
    home = lender.settings.home
    told = subprocess.run(
        [sys.executable, "-m", "gauntlet.cli", "explain", "champion", "--model", MODEL],
        env={
            **os.environ,
            "GAUNTLET_HOME": str(home),
            "GAUNTLET_MODELS": str(lender.settings.models),
            "GAUNTLET_MLFLOW_URL": lender.settings.mlflow_url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    texts = {path.name: path.read_text(errors="replace") for path in home.parent.glob("*.log")}
    texts["audit"] = (home / "model_deployments.jsonl").read_text()
    texts["explain"] = told.stdout + told.stderr
    assert {"server.log", "traffic.log", "audit", "explain"} <= set(texts)
    assert len(texts["audit"]) > 1000
    assert "credit_default: champion" in texts["explain"]
    token = (home / "server" / "admin.token").read_text()
    people = re.compile(r"\bC\d{5,}\b|\b[AB]\d{6,}\b")
    for name, text in texts.items():
        assert token not in text, name
        assert not people.search(text), f"{name} names {people.search(text)}"
