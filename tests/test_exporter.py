"""The pipeline's numbers as Prometheus reads them: of a model with a history, of one without, of one unreadable."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gauntlet.bootstrap import build
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import GateReceipt, GateVerdict, PromotionDecision
from gauntlet.core.records.ledger import DrillReport, RollbackReport
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind, run_name
from gauntlet.exporter import GAUGES, PipelineCollector
from gauntlet.settings import Settings

MODEL = "credit_default"
AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SPECS = Path(__file__).parents[1] / "include" / "models"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return build(Settings(home=tmp_path, models=SPECS, mlflow_url=f"sqlite:///{tmp_path}/mlflow.db"))


def page(services: Services) -> str:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(services))
    return generate_latest(registry).decode()


def samples(services: Services) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(services))
        for sample in family.samples
    }


def number(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted({"model": MODEL, **labels}.items()))]


def version(number: int) -> ServedVersion:
    return ServedVersion(version=number, version_id=f"v_{number}", release_uri="file:///r", release_digest=f"{number}")


def write_a_night(services: Services) -> None:
    run = RunContext(
        model=MODEL,
        run="night",
        as_of=AT,
        kind=TriggerKind.SCHEDULE,
        reason="its time",
        requested_by="scheduler",
        force_retrain=False,
        spec_digest="s",
        opened_at=AT,
    )
    services.records.put(run.key, run)
    for gate, outcome in (("smoke", Outcome.PASSED), ("calibration", Outcome.FAILED)):
        verdict = GateVerdict(gate=gate, outcome=outcome, reason="so it is", mode=None, measurements=())
        receipt = GateReceipt(
            verdict=verdict,
            model=MODEL,
            run="night",
            candidate="c",
            champion=None,
            holdout="h",
            spec_digest="s",
            code_digest="d",
            started_at=AT,
            finished_at=AT,
        )
        services.records.put(run.key, receipt, gate)
    decision = PromotionDecision(
        model=MODEL,
        run="night",
        outcome=Outcome.FAILED,
        reason="calibration failed",
        candidate="c",
        champion=None,
        holdout="h",
        spec_digest="s",
        receipts={},
        version=None,
        decided_at=AT,
    )
    services.records.put(run.key, decision)
    rollback = RollbackReport(
        model=MODEL,
        key="k",
        offender=version(2),
        restored=version(1),
        champion_epoch=3,
        routing_epoch=9,
        reason="worse",
        actor="anna",
        decided_at=AT,
        applied_at=AT,
        seconds=0.25,
        servers=1,
        registry="aliases followed",
    )
    services.records.put(run.key, rollback)
    drill = DrillReport(
        model=MODEL,
        key="k",
        outcome=Outcome.PASSED,
        reason="back in time",
        champion=version(2),
        target=version(1),
        seconds=0.125,
        golden=0.0,
        servers=1,
        routing_epoch=10,
        at=AT,
    )
    services.records.put(run.key, drill)


def test_a_model_without_history_has_no_numbers_it_cannot_have(services: Services) -> None:
    found = samples(services)
    assert number(found, "gauntlet_canary_weight_ratio") == 0
    assert found["gauntlet_unreadable_models", ()] == 0
    names = {name for name, _ in found}
    assert not names & {"gauntlet_champion_info", "gauntlet_gate_satisfied", "gauntlet_recovery_seconds"}


def test_hourly_drift_checks_do_not_hide_that_the_nightly_is_missing(services: Services) -> None:
    def decided(run: str, at: datetime) -> None:
        decision = TriggerDecision(
            model=MODEL,
            run=run,
            as_of=at,
            action=TriggerAction.SKIP,
            kind=TriggerKind.SCHEDULE,
            reason="calm",
            evidence={},
            decision_id=run,
            decided_at=at,
        )
        services.records.put(f"{MODEL}/{run}", decision)

    for hour in range(3):
        name = run_name(f"{MODEL}__drift_check", f"scheduled__{hour}")
        decided(name, AT + timedelta(hours=hour))
        if hour == 0:
            assert ("gauntlet_nightly_decided_timestamp_seconds", (("model", MODEL),)) not in samples(services)
            decided(run_name(f"{MODEL}__retrain", "scheduled__night"), AT)
    assert number(samples(services), "gauntlet_nightly_decided_timestamp_seconds") == AT.timestamp()


def test_a_night_is_told_gate_by_gate(services: Services) -> None:
    write_a_night(services)
    found = samples(services)
    assert number(found, "gauntlet_gate_satisfied", gate="smoke") == 1
    assert number(found, "gauntlet_gate_satisfied", gate="calibration") == 0
    assert number(found, "gauntlet_promotion_satisfied") == 0
    assert number(found, "gauntlet_run_opened_timestamp_seconds") == AT.timestamp()
    assert number(found, "gauntlet_recovery_seconds") == pytest.approx(0.25)
    assert (number(found, "gauntlet_drill_seconds"), number(found, "gauntlet_drill_satisfied")) == (0.125, 1)


def test_an_unreadable_model_is_counted_and_told_nothing_about(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_a_night(services)

    def gone(*_: object) -> None:
        raise InfrastructureError("the control database does not answer")

    monkeypatch.setattr(type(services.ledger), "champion", gone)
    assert set(samples(services)) == {("gauntlet_unreadable_models", ())}


def test_every_family_is_documented_even_without_a_sample(services: Services) -> None:
    text = page(services)
    assert all(f"# HELP {name} " in text for name in GAUGES)


def test_promtool_has_nothing_to_complain_about(services: Services) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    write_a_night(services)
    done = subprocess.run([tool, "check", "metrics"], input=page(services), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_served_over_http(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    import gauntlet.bootstrap
    from gauntlet.exporter import serve

    monkeypatch.setattr(gauntlet.bootstrap, "services", lambda: services)
    port, server = serve("127.0.0.1", 0)
    try:
        assert "gauntlet_canary_weight_ratio" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        server.shutdown()
        server.server_close()
