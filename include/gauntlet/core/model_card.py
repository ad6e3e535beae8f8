"""The model card: what a release is, what it was judged by, and where it must not be trusted; Markdown, pure.

After Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019: details, training data, metrics, evaluation,
caveats. All of it comes from records, none from memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.records.run import RunContext


def model_card(
    run: RunContext,
    trained: TrainedModel,
    decision: PromotionDecision,
    receipts: Mapping[str, GateReceipt],
    dataset: DatasetRef | None,
) -> str:
    """The card of a candidate that was let through, or was not: the decision says which."""
    lines = [
        *_details(run, trained, decision),
        *_data(trained, dataset),
        *_metrics(trained),
        *_gates(receipts),
        *_caveats(receipts),
    ]
    return "\n".join(lines) + "\n"


def _details(run: RunContext, trained: TrainedModel, decision: PromotionDecision) -> Iterator[str]:
    release = trained.release
    yield f"# {run.model} {release.version_id}"
    yield ""
    yield f"{decision.reason[:1].upper()}{decision.reason[1:]} ({decision.outcome})."
    yield ""
    yield f"- trained for run {run.run}: {run.reason} (asked for by {run.requested_by})"
    yield f"- data as known at {run.as_of:%Y-%m-%d %H:%M} UTC"
    yield f"- judged against {decision.champion[:12] if decision.champion else 'nobody: a first model'}"
    yield f"- release {release.digest}"
    yield f"- trees {release.tree_digest}, {trained.best_iteration} of at most {trained.iterations_cap}"
    yield f"- spec {decision.spec_digest}, MLflow run {trained.mlflow_run_id}"


def _data(trained: TrainedModel, dataset: DatasetRef | None) -> Iterator[str]:
    yield from ("", "## Training data", "")
    yield f"- snapshot {trained.dataset}, split {trained.split}"
    yield f"- {trained.train_rows} rows in training"
    if dataset is not None and dataset.first_event is not None and dataset.last_event is not None:
        span = f"{dataset.first_event:%Y-%m-%d} to {dataset.last_event:%Y-%m-%d}"
        yield f"- {dataset.rows} rows in all, events of {span}"


def _metrics(trained: TrainedModel) -> Iterator[str]:
    if trained.metrics:
        yield from ("", "## Metrics at training", "", "| part | metric | value |", "|---|---|---|")
    for name, value in sorted(trained.metrics.items()):
        part, _, metric = name.partition(".")
        yield f"| {part} | {metric} | {value:.6g} |"


def _gates(receipts: Mapping[str, GateReceipt]) -> Iterator[str]:
    yield from ("", "## Gates", "", "| gate | outcome | why |", "|---|---|---|")
    for gate, receipt in sorted(receipts.items()):
        yield f"| {gate} | {receipt.verdict.outcome} | {_cell(receipt.verdict.reason)} |"


def _caveats(receipts: Mapping[str, GateReceipt]) -> Iterator[str]:
    """Whatever was let through without a plain pass."""
    yield from ("", "## Caveats", "")
    doubted = [
        f"- {gate} is {receipt.verdict.outcome}: {receipt.verdict.reason}"
        for gate, receipt in sorted(receipts.items())
        if receipt.verdict.outcome is not Outcome.PASSED
    ]
    yield from doubted or ["- every gate has passed; none was waived"]


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|")
