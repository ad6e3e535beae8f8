"""Did the data contract hold, on this very snapshot, with something evaluated?"""

from __future__ import annotations

from pydantic import Field

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.verdict import check, conclude, measurement, rows
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict

NAME = "data_contract"


class DataContractConfig(GateConfig):
    """The contract itself is the spec's ``contract`` section."""

    minimum_expectations: int = Field(ge=1, default=1)
    """Fewer evaluated expectations are no contract."""


def evaluate(evidence: Evidence, config: DataContractConfig) -> GateVerdict:
    """The contract's outcome is taken over; a contract of another snapshot or of nothing does not count."""
    report, dataset = need(evidence.contract, "contract report"), need(evidence.dataset, "snapshot record")
    if report.dataset != dataset.sha256:
        text = f"the contract was checked on snapshot {report.dataset[:12]}, not on {dataset.sha256[:12]}"
        return conclude(NAME, [measurement("contract", Outcome.ERROR, text, n=dataset.rows)])
    sentence = (
        f"{len(report.failed)} failed {'>' if report.failed else '≤'} 0 of {report.evaluated} expectations"
        f"{rows(dataset.rows)}: {report.reason}"
    )
    taken = measurement("failed_expectations", report.outcome, sentence, len(report.failed), 0, "≤", n=dataset.rows)
    counted = check("expectations", report.evaluated, "≥", config.minimum_expectations, n=dataset.rows)
    failed = check("failed_expectations", len(report.failed), "≤", 0, n=dataset.rows)
    return conclude(NAME, [taken, counted, failed])
