"""Compare the current window with the champion's profile, and suggest an action."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_bytes, sha256_file
from gauntlet.core.errors import DataRejected, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import PulledData, Services
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.drift_page import render
from gauntlet.stages.write_profile import PROFILE, kinds_in

if TYPE_CHECKING:
    from gauntlet.core.profile import Profile

HISTORY = 50
log = logging.getLogger(__name__)


def check_drift(services: Services, run: RunContext) -> DriftReport:
    """One check: pull the window, count it on the profile's axes, judge, store the report and its pages."""
    spec = services.specs.get(run.model)
    champion = services.routing.read(run.model).stable
    report = _blank_report(run, spec) if champion is None else _checked(services, run, spec, champion)
    services.records.put(run.key, report)
    return report


def _blank_report(run: RunContext, spec: ModelSpec) -> DriftReport:
    """What a check starts from: no champion, nothing compared."""
    return DriftReport(
        model=run.model,
        run=run.run,
        as_of=run.as_of,
        spec_digest=spec.digest,
        champion=None,
        profile=None,
        profile_as_of=None,
        mode=spec.drift.mode,
        window_start=None,
        window_end=run.as_of,
        rows=0,
        reference_rows=0,
        outcome=Outcome.INCONCLUSIVE,
        action=DriftAction.NONE,
        pattern=DriftPattern.NONE,
        reason="there is no champion to compare with",
        score=None,
        carried_by=(),
        blocked=False,
        violated=False,
        features=(),
        prediction=None,
        performance=None,
        page_uri=None,
        page_sha256=None,
        data_uri=None,
        data_sha256=None,
    )


def read_profile(services: Services, champion: ServedVersion) -> tuple[Profile, str]:
    """The champion's profile and its SHA-256."""
    from gauntlet.core.profile import Profile

    path = services.blobs.fetch_folder(champion.release_uri, champion.release_digest) / PROFILE
    if not path.is_file():
        raise DataRejected(f"release {champion.release_digest[:12]} has no {PROFILE}: retrain to get one")
    content = path.read_bytes()
    return Profile.from_bytes(content), sha256_bytes(content)


def _checked(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> DriftReport:
    from gauntlet.core.drift import compare
    from gauntlet.core.drift_action import Evidence, suggest

    profile, digest = read_profile(services, champion)
    start = _blank_report(run, spec).model_copy(
        update={
            "champion": champion.release_digest,
            "profile": digest,
            "profile_as_of": _as_of(profile),
            "window_start": window_start(spec, run.as_of),
            "reference_rows": profile.rows,
        }
    )
    try:
        pulled = pull_window(services, run, spec, run.as_of)
    except DataRejected as error:
        return start.model_copy(update=_unreadable(error))
    with _removed(pulled.path):
        current = count_window(pulled.path, profile, spec)
    features = compare(profile, current, spec.drift)
    history = earlier_reports(services, run, champion.release_digest)
    found = suggest(Evidence(features, history=history), spec.drift)
    report = start.model_copy(update={"rows": current.rows, "features": features} | vars(found))
    page = render(report, profile, current, history, alpha=spec.drift.alpha)
    return publish(services, run, report, page)


def _unreadable(error: DataRejected) -> dict[str, object]:
    """A window that cannot be read is no calm window."""
    return {
        "outcome": Outcome.ERROR,
        "action": DriftAction.INVESTIGATE,
        "reason": f"data quality: {error}",
        "blocked": True,
    }


@contextmanager
def _removed(path: Path) -> Generator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


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


def _as_of(profile: Profile) -> datetime | None:
    text = profile.about.get("as_of")
    return datetime.fromisoformat(text) if text else None


def window_start(spec: ModelSpec, until: datetime) -> datetime | None:
    """Where the current window begins; ``None`` for a source without time."""
    return until - spec.drift.window if spec.source.columns.event_time else None


def pull_window(services: Services, run: RunContext, spec: ModelSpec, until: datetime) -> PulledData:
    """The unlabelled rows of the window that ends at ``until``."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    to = services.scratch / f"drift-{run.model}-{sha256_bytes(f'{run.key}{until}'.encode())[:12]}.parquet"
    source = services.sources[spec.source.kind]
    return source.pull(spec, window_start(spec, until), until, labelled=False, to=to)


def count_window(path: Path, profile: Profile, spec: ModelSpec) -> Profile:
    """The window on the profile's axes, with the segments that the profile has."""
    from gauntlet.stages.windows import Window, counted

    kinds = {name: kind for name, kind in kinds_in(spec).items() if name in profile.columns}
    segments: dict[str, Sequence[str]] = {column: tuple(parts) for column, parts in profile.segments.items()}
    return counted(profile.blank(), Window(path, verified=True), kinds, segments)


def earlier_reports(services: Services, run: RunContext, champion: str) -> list[DriftReport]:
    """Earlier checks of the same champion, newest first; one per as-of time."""
    seen: set[datetime] = set()
    kept: list[DriftReport] = []
    found = services.records.newest(run.model, DriftReport, limit=HISTORY)
    for report in sorted(found, key=lambda one: one.as_of, reverse=True):
        if report.champion == champion and report.as_of < run.as_of and report.as_of not in seen:
            seen.add(report.as_of)
            kept.append(report)
    return kept
