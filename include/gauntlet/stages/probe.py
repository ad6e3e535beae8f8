"""Measure the release in a sacrificial process, and on a model server: load, smoke, errors, latency, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.records.evaluation import ProbeReport
from gauntlet.core.records.model import TrainedModel
from gauntlet.core.release import MODEL_TEXT
from gauntlet.stages.server_trial import try_on_server

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.evaluation import LatencyProfile
    from gauntlet.core.records.run import RunContext


def probe(services: Services, run: RunContext) -> ProbeReport:
    """What a process that may die of it found out about the candidate, beside the champion on the same machine.

    Whatever it finds is evidence, also that the process died: gates judge it, nothing is raised here. A second try
    for the same candidate and champion returns the stored report.

    Raises:
        IntegrityError: the stored release is not what was recorded.
        InfrastructureError: the trial's model server did not start.
    """
    try_on_server(services, run)
    trained = services.records.get(run.key, TrainedModel)
    champion = services.routing.read(run.model).stable
    digest = champion.release_digest if champion else None
    known = services.records.find(run.key, ProbeReport)
    if known is not None and (known.candidate, known.champion) == (trained.release.digest, digest):
        return known
    folder = services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    beside = services.blobs.fetch_folder(champion.release_uri, champion.release_digest) if champion else None
    found = services.scorers.probe(folder, beside)
    report = ProbeReport(
        candidate=trained.release.digest,
        champion=digest,
        checks=found.checks,
        candidate_latency=found.candidate_latency,
        champion_latency=found.champion_latency,
        model_bytes=(folder / MODEL_TEXT).stat().st_size,
        load_seconds=found.load_seconds,
        rss_mb=found.rss_mb,
    )
    services.records.put(run.key, report)
    services.registry.log(trained.mlflow_run_id, metrics=_metrics(report))
    return report


def _metrics(report: ProbeReport) -> dict[str, float]:
    measured = {"probe.load_seconds": report.load_seconds, "probe.rss_mb": report.rss_mb}
    measured |= _percentiles("probe.latency", report.candidate_latency)
    measured |= _percentiles("probe.champion_latency", report.champion_latency)
    held = sum(check.passed for check in report.checks)
    return {"probe.checks_held": float(held), **{name: value for name, value in measured.items() if value is not None}}


def _percentiles(name: str, latency: LatencyProfile | None) -> dict[str, float | None]:
    if latency is None:
        return {}
    return {f"{name}_p50_us": latency.p50_us, f"{name}_p99_us": latency.p99_us}
