"""Asking gates on two real nights: evidence, receipts, waivers, the holdout's budget, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.stages.gates.nights import LAST

from gauntlet.core.errors import GateFailed, InfrastructureError, MissingRecord, SpecError
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.records.evaluation import EvaluationRef, ProbeReport
from gauntlet.core.records.gates import Approval, GateReceipt, Waiver
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.observation import GateMeasurements, HoldoutRead
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.gate_report import page
from gauntlet.stages.line import set_line
from gauntlet.stages.run_gate import code_digest, run_gate


def ask(nights, gate, run=None):
    """The receipt, whether the gate lets the candidate through or not."""
    run = run or nights.second
    try:
        return run_gate(nights.lending.services, run, gate)
    except GateFailed:
        return nights.lending.services.records.get(run.key, GateReceipt, gate)


def approve(nights, run, **changes):
    word = Approval(
        model=run.model,
        run=run.run,
        approver="ann",
        approved=True,
        reason="looked at it",
        at=nights.lending.clock.now(),
    )
    nights.lending.services.records.put(run.key, word.model_copy(update=changes), "ann")


def respecified(nights, **gates):
    """The spec with other gates, and the run under it."""
    specs = nights.lending.specs
    document = specs.spec.model_dump(mode="json")
    document["gates"] |= gates
    specs.spec = ModelSpec.model_validate(document)
    run = nights.second.model_copy(update={"spec_digest": specs.spec.digest})
    records = nights.lending.services.records
    records.put(run.key, records.get(run.key, EvaluationRef).model_copy(update={"spec_digest": specs.spec.digest}))
    return run


@pytest.mark.parametrize("gate", GATES)
def test_a_good_night_passes_every_gate(nights, gate):
    if gate == "approval":
        approve(nights, nights.second)
    receipt = run_gate(nights.lending.services, nights.second, gate)
    assert receipt.verdict.outcome == "passed", receipt.verdict.reason
    trained = nights.lending.services.records.get(nights.second.key, TrainedModel)
    assert receipt.candidate == trained.release.digest
    assert receipt.champion == nights.lending.routing.stable.release_digest
    assert receipt.spec_digest == nights.second.spec_digest
    assert receipt.code_digest == code_digest()


@pytest.mark.parametrize("gate", ["versus_champion", "leakage", "slices", "latency", "deployment_checklist"])
def test_the_first_night_has_no_champion_and_says_so(nights, gate):
    nights.lending.routing.stable = None
    receipt = run_gate(nights.lending.services, nights.first, gate)
    assert receipt.champion is None
    assert receipt.verdict.outcome == "passed", receipt.verdict.reason
    if gate == "versus_champion":
        assert "no champion: bootstrap" in receipt.verdict.reason
        assert "rollout.bootstrap: approval" in receipt.verdict.reason


def test_asking_twice_is_one_answer(nights):
    first = ask(nights, "versus_champion")
    nights.lending.clock.time += timedelta(hours=5)
    entries = len(nights.lending.services.audit.entries())
    assert ask(nights, "versus_champion") == first
    assert len(nights.lending.services.audit.entries()) == entries


def test_the_receipt_is_stored_and_logged_before_the_refusal(nights):
    run = respecified(nights, latency={"p50_us": 0.001})
    with pytest.raises(GateFailed, match=r"latency failed: latency_p50_us \d+\.?\d* > 0\.001 on"):
        run_gate(nights.lending.services, run, "latency")
    receipt = nights.lending.services.records.get(run.key, GateReceipt, "latency")
    assert receipt.verdict.outcome == "failed"
    logged = nights.lending.registry.runs[nights.lending.services.records.get(run.key, TrainedModel).mlflow_run_id]
    assert not logged.metrics["gate.latency.satisfied"]
    assert logged.tags["gauntlet.gate.latency"].startswith("failed: latency_p50_us")
    assert sorted(logged.artifacts["gates/latency"]) == ["receipt.html", "receipt.json"]


def test_a_registry_that_is_down_is_no_verdict(nights):
    class Down:
        def log(self, *_, **__):
            raise InfrastructureError("the registry does not answer")

    services = replace(nights.lending.services, registry=Down())
    with pytest.raises(InfrastructureError):
        run_gate(services, nights.second, "size_memory")
    assert services.records.get(nights.second.key, GateReceipt, "size_memory").satisfied
    assert run_gate(nights.lending.services, nights.second, "size_memory").satisfied


def test_a_gate_that_is_off_or_does_not_exist_is_refused(nights):
    run = respecified(nights, fairness="off: nobody is judged here")
    with pytest.raises(SpecError, match="fairness"):
        run_gate(nights.lending.services, run, "fairness")
    with pytest.raises(SpecError, match="did you mean 'latency'"):
        run_gate(nights.lending.services, run, "latancy")


def test_a_changed_spec_is_an_error(nights):
    run = respecified(nights, golden={"minimum_rows": 11})
    receipt = ask(nights, "golden", run.model_copy(update={"spec_digest": nights.second.spec_digest}))
    assert receipt.verdict.outcome == "error"
    assert "the spec has changed" in receipt.verdict.reason


def test_another_champion_makes_the_evaluation_stale(nights):
    stable = nights.lending.routing.stable
    assert stable is not None
    release = nights.lending.services.records.get(nights.second.key, TrainedModel).release
    nights.lending.routing.stable = stable.model_copy(
        update={"release_digest": release.digest, "release_uri": release.uri}
    )
    receipt = ask(nights, "versus_champion")
    assert receipt.verdict.outcome == "error"
    assert "evaluate again" in receipt.verdict.reason
    assert ask(nights, "latency").verdict.outcome == "error"


def test_a_champion_that_saw_the_holdout_is_found_by_its_rows(nights):
    """The champion's training rows are looked up by key: here it is the run's own training, moved into the holdout."""
    records = nights.lending.services.records
    first, second = (records.get(run.key, TrainedModel) for run in (nights.first, nights.second))
    records.put(nights.first.key, first.model_copy(update={"dataset": second.dataset, "split": second.split}))
    assert ask(nights, "leakage").verdict.outcome == "passed"
    from gauntlet.core.gates.contamination import contaminated
    from gauntlet.stages import gate_evidence

    about = gate_evidence.subject(nights.lending.services, nights.second)
    frame = gate_evidence.gather(nights.lending.services, about, "leakage", GATES["leakage"], None)
    assert frame.frame is not None
    assert frame.frame.seen is not None
    assert not contaminated(frame, frame.frame).any()
    original = gate_evidence.TRAINING_PARTS
    try:
        gate_evidence.TRAINING_PARTS = (*original, "holdout")
        receipt = ask(nights, "leakage")
    finally:
        gate_evidence.TRAINING_PARTS = original
    assert receipt.verdict.outcome == "failed"
    assert "holdout_rows_in_champion_training" in receipt.verdict.reason


def test_missing_records_are_said(nights):
    run = nights.second.model_copy(update={"run": "night-9"})
    with pytest.raises(MissingRecord, match="night-9"):
        run_gate(nights.lending.services, run, "latency")


def test_a_report_that_is_missing_is_an_error_and_not_a_pass(nights):
    services = nights.lending.services

    class Without:
        def __getattr__(self, name):
            return getattr(services.records, name)

        def find(self, key, kind, name=""):
            return None if kind is ProbeReport else services.records.find(key, kind, name)

    with pytest.raises(GateFailed, match="no probe report"):
        run_gate(replace(services, records=Without()), nights.second, "smoke")


# ---- the holdout's budget --------------------------------------------------------------------------


def test_every_reading_of_the_holdout_is_counted_once(nights):
    for _ in range(2):
        for gate in ("beats_naive", "calibration", "latency"):
            ask(nights, gate)
    reads = nights.lending.services.records.newest(nights.second.model, HoldoutRead, limit=100)
    assert sorted(read.gate for read in reads) == ["beats_naive", "calibration"]


def test_beyond_the_budget_nothing_is_believed(nights):
    run = respecified(nights, holdout_reads=2)
    assert ask(nights, "beats_naive", run).satisfied
    assert ask(nights, "calibration", run).satisfied
    receipt = ask(nights, "absolute_performance", run)
    assert receipt.verdict.outcome == "inconclusive"
    assert "holdout read 3 times > budget 2" in receipt.verdict.reason
    assert ask(nights, "beats_naive", run).satisfied
    assert ask(nights, "smoke", run).satisfied


# ---- waivers ---------------------------------------------------------------------------------------


def waive(nights, run, gate, /, **changes):
    now = nights.lending.clock.now()
    waiver = Waiver(
        model=run.model,
        run=run.run,
        gate=gate,
        reason="the host was busy with a backup",
        approver="ann",
        at=now,
        expires_at=now + timedelta(hours=24),
    )
    nights.lending.services.records.put(run.key, waiver.model_copy(update=changes), gate)


def test_a_waiver_satisfies_and_is_told(nights):
    run = respecified(nights, latency={"p50_us": 0.001})
    waive(nights, run, "latency")
    receipt = run_gate(nights.lending.services, run, "latency")
    assert receipt.verdict.outcome == "waived"
    assert receipt.waived_until is not None
    assert "waived by ann" in receipt.verdict.reason
    assert "latency_p50_us" in receipt.verdict.reason


def test_an_expired_waiver_does_not_count(nights):
    run = respecified(nights, latency={"p50_us": 0.001})
    waive(nights, run, "latency")
    nights.lending.clock.time += timedelta(hours=25)
    with pytest.raises(GateFailed, match="a waiver does not count: it has expired"):
        run_gate(nights.lending.services, run, "latency")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"approver": "carol"}, "has asked for the run"),
        ({"approver": " Carol"}, "has asked for the run"),
        ({"reason": "because"}, "reason has less"),
        ({"run": "x"}, "of run"),
    ],
)
def test_a_waiver_that_breaks_the_rules_does_not_count(nights, changes, why):
    run = respecified(nights, latency={"p50_us": 0.001})
    waive(nights, run, "latency", **changes)
    with pytest.raises(GateFailed, match=why):
        run_gate(nights.lending.services, run, "latency")


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if not gate.waivable])
def test_some_gates_are_never_waived(nights, gate):
    assert {"smoke", "golden", "data_contract", "leakage"} <= {name for name in GATES if not GATES[name].waivable}
    if gate != "golden":
        return
    run = respecified(nights, golden={"minimum_rows": 10_000})
    waive(nights, run, gate)
    with pytest.raises(GateFailed, match="can never be waived"):
        run_gate(nights.lending.services, run, gate)


def test_a_pass_needs_no_waiver(nights):
    waive(nights, nights.second, "latency")
    assert run_gate(nights.lending.services, nights.second, "latency").verdict.outcome == "passed"


# ---- people and freezes ----------------------------------------------------------------------------


def test_silence_is_a_reject(nights):
    with pytest.raises(GateFailed, match="silence is a reject"):
        run_gate(nights.lending.services, nights.second, "approval")


@pytest.mark.parametrize("name", ["carol", "Carol "])
def test_who_asked_cannot_approve(nights, name):
    run = respecified(nights, approval={"approvers": ["ann", "carol", "Carol "]})
    approve(nights, run, approver=name)
    with pytest.raises(GateFailed, match="has asked for the run"):
        run_gate(nights.lending.services, run, "approval")


def test_a_freeze_by_hand_stops_and_an_unfreeze_lets_go(nights):
    services, model = nights.lending.services, nights.second.model
    set_line(services, model, stopped=True, by="ann", reason="year-end close")
    with pytest.raises(GateFailed, match="ann: year-end close"):
        run_gate(services, nights.second, "freeze_window")
    set_line(services, model, stopped=False, by="ann", reason="closed")
    assert run_gate(services, nights.second, "freeze_window").satisfied


# ---- measurements and the page ---------------------------------------------------------------------


def test_measurements_are_taken_once(nights):
    ask(nights, "robustness")
    records = nights.lending.services.records
    found = records.get(nights.second.key, GateMeasurements, "robustness")
    services = replace(nights.lending.services, scorers=None)
    assert run_gate(services, nights.second, "robustness").satisfied
    assert records.get(nights.second.key, GateMeasurements, "robustness") == found
    assert len(found.observations) == 2 * 13 + 4 + 2 * 5 + 2


def test_retraining_from_the_manifest_gives_the_same_trees(nights):
    run = respecified(nights, determinism={"retrain": True})
    receipt = run_gate(nights.lending.services, run, "determinism")
    retrained = receipt.verdict.measurements[-1]
    assert retrained.metric == "tree_digests_differing_retrained"
    assert not retrained.observed
    assert retrained.outcome == "passed"


def test_the_page_stands_alone_and_escapes(nights):
    receipt = ask(nights, "slices")
    evil = receipt.verdict.model_copy(update={"reason": "<script>alert(1)</script>"})
    text = page(receipt.model_copy(update={"verdict": evil}))
    assert "<script>" not in text
    assert "http" not in text
    assert all(item.metric in text for item in receipt.verdict.measurements)
    assert json.loads(receipt.model_dump_json())["verdict"]["gate"] == "slices"


def test_the_clock_of_the_run_is_not_the_clock_of_the_data(nights):
    """A freeze window is about now; the run's as-of time may be long past."""
    run = respecified(nights, freeze_window={"frozen": [{"days": ["mon"], "since": "03:00", "until": "05:00"}]})
    assert nights.second.as_of == LAST
    nights.lending.clock.time = LAST + timedelta(hours=2)
    with pytest.raises(GateFailed, match="in 1 > 0 of 1 frozen windows"):
        run_gate(nights.lending.services, run, "freeze_window")
    nights.lending.clock.time += timedelta(hours=2)
    assert run_gate(nights.lending.services, run, "freeze_window").satisfied
