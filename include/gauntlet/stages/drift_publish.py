"""Keep a drift report's page and data, and hang them where people look."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.run import RunContext

log = logging.getLogger(__name__)


def publish(services: Services, run: RunContext, report: DriftReport, page: str) -> DriftReport:
    """Store page and data by content, and attach both to the run in the registry."""
    folder = services.scratch / f"drift-{report.record_digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    data = report.model_dump_json(indent=1)
    stored: dict[str, str] = {}
    for kind, name, text in (("page", "drift.html", page), ("data", "drift.json", data)):
        (folder / name).write_text(text, encoding="utf-8")
        digest = sha256_file(folder / name)
        stored[f"{kind}_uri"] = services.blobs.put_file(folder / name, f"drift/{run.model}/{digest}/{name}")
        stored[f"{kind}_sha256"] = digest
    _attach(services, run, report, folder)
    shutil.rmtree(folder)
    return report.model_copy(update=stored)


def _attach(services: Services, run: RunContext, report: DriftReport, folder: Path) -> None:
    """The registry is where people look, not where the truth is: the check does not depend on it."""
    metrics = {"drift.score": report.score or 0.0, "drift.rows": float(report.rows)}
    try:
        tags = {"gauntlet.drift.action": report.action.value, "gauntlet.drift.reason": report.reason[:500]}
        run_id = services.registry.open_run(run.model, run.key, tags)
        services.registry.log(run_id, metrics=metrics, tags=tags, artifacts={"drift": folder})
    except InfrastructureError as error:
        log.warning("drift report of %s is not attached to its registry run: %s", run.key, error)
