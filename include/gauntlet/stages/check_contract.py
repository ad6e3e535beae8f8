"""Evaluate the data contract on the run's snapshot."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import ContractFailed
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import ContractReport, DatasetRef

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext
    from gauntlet.core.spec import ModelSpec


def check_contract(services: Services, run: RunContext) -> ContractReport:
    """Evaluate every expectation; the report and its page are stored before it raises.

    A verdict on this snapshot that is already in the store is final and is not taken again.

    Raises:
        ContractFailed: naming at most ten expectations that do not hold, or could not be evaluated.
    """
    spec = services.specs.get(run.model)
    dataset = services.records.get(run.key, DatasetRef)
    known = services.records.find(run.key, ContractReport)
    if known is not None and known.dataset == dataset.sha256 and known.outcome is not Outcome.ERROR:
        report = known
    else:
        report = _evaluate(services, spec, dataset)
        services.records.put(run.key, report)
    if not report.outcome.satisfied:
        raise ContractFailed(f"{spec.model}: the data contract is broken: {report.reason}. Page: {report.page_uri}")
    return report


def _evaluate(services: Services, spec: ModelSpec, dataset: DatasetRef) -> ContractReport:
    path = services.blobs.fetch(dataset.uri, dataset.sha256)
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="contract-") as folder:
        page = Path(folder) / "contract.html"
        report = services.contract.check(spec, dataset, path, page)
        uri = services.blobs.put_file(page, f"contracts/{spec.model}/{sha256_file(page)}.html")
        suite = page.with_suffix(".suite.json")
        if suite.exists():
            services.blobs.put_file(suite, f"contracts/{spec.model}/{sha256_file(suite)}.suite.json")
    return report.model_copy(update={"page_uri": uri})
