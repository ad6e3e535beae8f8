"""One run in full: its strip, every gate with what it measured, what is missing, and where to read on."""

from __future__ import annotations

from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.gates import Approval, GateReceipt, Measurement
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.spec import ModelSpec
from gauntlet.views.explanation import Sentence, sentences
from gauntlet.views.facts import Night, night
from gauntlet.views.links import (
    CONTRACT,
    DRIFT,
    Link,
    Places,
    airflow_run,
    grafana,
    mlflow_run,
    report_link,
    runbook_link,
    task_log,
)
from gauntlet.views.strips import ROLLOUTS, NightStrip, dag_of, in_a_line

APPROVAL = "approval"


class GateRow(Record):
    """One gate of a run. ``outcome`` is ``None``: the spec wants it and it has not been asked."""

    gate: str
    outcome: str | None
    reason: str
    mode: str | None
    measurements: tuple[Measurement, ...]
    seconds: float | None
    waived_until: Instant | None
    log: Link


class RunPage(Record):
    """All that is known of one run."""

    model: str
    night: NightStrip
    gates: tuple[GateRow, ...]
    gates_off: dict[str, str]
    approvals: tuple[Approval, ...]
    approval_open: bool
    """Whether the approval gate waits for a word."""
    sentences: tuple[Sentence, ...]
    links: tuple[Link, ...]
    empty: str | None


def run(services: Services, places: Places, model: str, name: str) -> RunPage:
    """A run of a model by its Airflow run id; raises MissingRecord when there is none."""
    asked = night(services, f"{model}/{name}")
    spec = services.specs.get(model)
    canaries = services.records.newest(model, RolloutState, ROLLOUTS)
    canary = next((state for state in canaries if state.source_run == name), None)
    approvals = tuple(services.records.named(asked.run.key, Approval).values())
    gates = _gates(asked, spec)
    return RunPage(
        model=model,
        night=in_a_line(asked, canary, spec),
        gates=gates,
        gates_off=spec.gates.off,
        approvals=approvals,
        approval_open=any(row.gate == APPROVAL and row.outcome not in ("passed", "waived") for row in gates),
        sentences=sentences(services, asked),
        links=_links(services, places, asked),
        empty=None if asked.receipts else _why_no_gates(asked),
    )


def _gates(asked: Night, spec: ModelSpec) -> tuple[GateRow, ...]:
    # Under another spec other gates were wanted: then only those that were asked are known.
    wanted = spec.gates.names if asked.run.spec_digest == spec.digest else ()
    receipts = {receipt.verdict.gate: receipt for receipt in asked.receipts}
    names = [*wanted, *(name for name in receipts if name not in wanted)]
    return tuple(_row(asked, name, receipts.get(name)) for name in names)


def _row(asked: Night, gate: str, receipt: GateReceipt | None) -> GateRow:
    verdict = receipt.verdict if receipt else None
    return GateRow(
        gate=gate,
        outcome=verdict.outcome if verdict else None,
        reason=verdict.reason if verdict else "not asked in this run",
        mode=verdict.mode if verdict else None,
        measurements=verdict.measurements if verdict else (),
        seconds=(receipt.finished_at - receipt.started_at).total_seconds() if receipt else None,
        waived_until=receipt.waived_until if receipt else None,
        log=task_log(dag_of(asked.run), asked.run.run, f"gates.{gate}"),
    )


def _links(services: Services, places: Places, asked: Night) -> tuple[Link, ...]:
    context = asked.run
    links = [airflow_run(dag_of(context), context.run)]
    links += mlflow_run(places, asked.trained.mlflow_run_id if asked.trained else None)
    if asked.contract and asked.contract.page_uri:
        links.append(report_link("Data Docs", context.model, context.run, CONTRACT))
    report = services.records.find(context.key, DriftReport)
    if report and report.page_uri:
        links.append(report_link("Drift report", context.model, context.run, DRIFT))
    links += grafana(places, context.model)
    links.append(runbook_link(services, context.model))
    return tuple(links)


def _why_no_gates(asked: Night) -> str:
    if asked.decision and asked.decision.action == "skip":
        return f"No gate was asked: the night was skipped. {asked.decision.reason}"
    for report in (asked.contract, asked.leakage):
        if report and not report.outcome.satisfied:
            return f"No gate was asked: the run ended at its data. {report.reason}"
    return "No gate has been asked yet in this run."
