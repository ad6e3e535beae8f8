"""Compare the current window with the champion's profile, and suggest an action."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import PulledData, Services
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.write_profile import PROFILE, kinds_in

if TYPE_CHECKING:
    from gauntlet.core.profile import Profile

HISTORY = 50


def check_drift(services: Services, run: RunContext) -> DriftReport:
    """One check: pull the window, count it on the profile's axes, judge, store the report and its pages."""
    spec = services.specs.get(run.model)
    champion = services.routing.read(run.model).stable
    report = _no_champion(run, spec) if champion is None else _checked(services, run, spec, champion)
    services.records.put(run.key, report)
    return report


def _no_champion(run: RunContext, spec: ModelSpec) -> DriftReport:
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
    pulled = pull_window(services, run, spec, run.as_of)
    try:
        current = count_window(pulled.path, profile, spec)
    finally:
        pulled.path.unlink(missing_ok=True)
    features = compare(profile, current, spec.drift)
    history = earlier_reports(services, run, champion.release_digest)
    found = suggest(Evidence(features, history=history), spec.drift)
    return DriftReport(
        model=run.model,
        run=run.run,
        as_of=run.as_of,
        spec_digest=spec.digest,
        champion=champion.release_digest,
        profile=digest,
        profile_as_of=_as_of(profile),
        mode=spec.drift.mode,
        window_start=window_start(spec, run.as_of),
        window_end=run.as_of,
        rows=current.rows,
        reference_rows=profile.rows,
        outcome=found.outcome,
        action=found.action,
        pattern=found.pattern,
        reason=found.reason,
        score=found.score,
        carried_by=found.carried_by,
        blocked=found.blocked,
        violated=found.violated,
        features=features,
        prediction=None,
        performance=None,
        page_uri=None,
        page_sha256=None,
        data_uri=None,
        data_sha256=None,
    )


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
