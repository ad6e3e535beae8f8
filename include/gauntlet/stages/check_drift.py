"""Compare the current window with the champion's profile, and suggest an action."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.core.errors import DataRejected, InfrastructureError, IntegrityError, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport, FeatureDrift
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.core.specs.drift import DriftSection
from gauntlet.stages.domain_drift import check_domain
from gauntlet.stages.drift_page import render
from gauntlet.stages.drift_publish import publish
from gauntlet.stages.drift_summary import shares, store_shares, summary
from gauntlet.stages.drift_window import (
    count_window,
    exact_columns,
    pull_window,
    read_profile,
    removed,
    training_window,
    window_start,
)
from gauntlet.stages.score_drift import check_scores

if TYPE_CHECKING:
    from gauntlet.core.drift import Judged
    from gauntlet.core.joint import Past
    from gauntlet.core.moments import Moved
    from gauntlet.core.profile import Profile
    from gauntlet.stages.windows import Window

HISTORY = 50
log = logging.getLogger(__name__)


def check_drift(services: Services, run: RunContext) -> DriftReport:
    """One check: pull the window, count it on the profile's axes, judge, store the report and its pages."""
    spec = services.specs.get(run.model)
    champion = services.routing.read(run.model).stable
    kept: dict[str, str] = {}
    if champion is None:
        report = _blank_report(run, spec)
    else:
        report, kept = _checked(services, run, spec, champion)
    services.records.put(run.key, report)
    services.records.put(run.key, summary(report).model_copy(update=kept))
    return report


def consult_drift(services: Services, run: RunContext) -> DriftReport:
    """The newest report on this champion where it is fresh enough, entered for this run too; else a new check.

    Fresh: not older than ``drift.fresh``, not newer than the run, by the same spec, and of a window that was read.
    """
    spec = services.specs.get(run.model)
    champion = services.routing.read(run.model).stable
    found = [
        report
        for report in services.records.newest(run.model, DriftReport, limit=HISTORY)
        if champion is not None
        and report.champion == champion.release_digest
        and report.spec_digest == spec.digest
        and run.as_of - spec.drift.fresh <= report.as_of <= run.as_of
        and report.outcome is not Outcome.ERROR
    ]
    if not found:
        return check_drift(services, run)
    newest = max(found, key=lambda report: (report.as_of, report.run == run.run))
    if services.records.find(run.key, DriftReport) is None:
        services.records.put(run.key, newest)
    return newest


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


def _checked(
    services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion
) -> tuple[DriftReport, dict[str, str]]:
    """The report, and where the bars of its features are kept."""
    from gauntlet.core.drift_action import Evidence, suggest
    from gauntlet.core.joint import Past

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
        return start.model_copy(update=_unreadable(error)), {}
    history = earlier_reports(services, run, champion.release_digest)
    with removed(pulled.path):
        current = count_window(pulled.path, profile, spec)
        past = Past(history, run.as_of - spec.drift.window, spec.drift.window)
        features, joint, pairs = _compared(services, run, spec, profile, current, pulled.path, past)
        scores = check_scores(services, run, spec, champion, pulled.path, past, profile.scores)
        domain = _domain(services, run, spec, profile, pulled.path)
    evidence = Evidence(
        features,
        prediction=scores.prediction,
        performance=scores.performance,
        estimate=scores.estimate,
        joint=joint,
        domain=domain,
        recurs=_recurring(services, run, spec, profile, current, features),
        history=history,
        young=_young(services, run, spec, champion),
    )
    found = suggest(evidence, spec.drift)
    report = start.model_copy(
        update={
            "rows": current.rows,
            "last_event": pulled.last_event,
            "features": features,
            "joint": joint,
            "domain": domain,
        }
        | ({"means": pairs.means, "means_rows": pairs.together.rows} if pairs is not None else {})
        | vars(scores)
        | vars(found)
    )
    page = render(report, profile, current, history, alpha=spec.drift.alpha)
    kept = store_shares(services, shares(report, profile, current))
    return publish(services, run, report, page), kept


def _compared(
    services: Services, run: RunContext, spec: ModelSpec, profile: Profile, current: Profile, window: Path, past: Past
) -> tuple[tuple[FeatureDrift, ...], FeatureDrift | None, Moved | None]:
    """The verdicts on single features and on all together.

    Where a certified interval leaves one open, or the spec wants it, from the columns themselves.
    """
    from gauntlet.core.drift import conclude, measure, straddles

    section = spec.drift
    if section.mode == "exact":
        trained = training_window(services, run, profile)
        judged = measure(profile, current, section, exact_columns(trained, window))
        return conclude(judged, section, current.rows), *_joint(section, judged, profile, window, past)
    judged = measure(profile, current, section)
    features = conclude(judged, section, current.rows)
    open_ones = {one.feature for one in features if straddles(one, section.alpha)}
    joint = _joint(section, judged, profile, window, past)
    within_reach = _within_reach(services, run, profile) if open_ones else None
    if within_reach is None:
        return features, *joint
    exact = exact_columns(within_reach, window, open_ones)
    return conclude(measure(profile, current, section, exact), section, current.rows), *joint


def _within_reach(services: Services, run: RunContext, profile: Profile) -> Window | None:
    try:
        return training_window(services, run, profile)
    except (MissingRecord, InfrastructureError, IntegrityError) as error:
        log.warning("training rows of the champion are out of reach, intervals stay as they are: %s", error)
        return None


def _joint(
    section: DriftSection, judged: Sequence[Judged], profile: Profile, window: Path, past: Past
) -> tuple[FeatureDrift | None, Moved | None]:
    """Everything together; where the profile does not say what goes with what, that stays open."""
    from gauntlet.core.drift import parts_of
    from gauntlet.core.joint import heaviest, joint_drift
    from gauntlet.stages.joint_drift import dependence, pairs_moved
    from gauntlet.stages.windows import Window

    if section.joint is None:
        return None, None
    fit = parts_of(judged)
    parts = heaviest(fit)
    current = Window(window, verified=True)
    alike = dependence(current, [part.name for part in parts])
    known = profile.pairs is not None and {part.name for part in fit}.issuperset(profile.pairs.features)
    pairs = pairs_moved(profile, current) if known and section.joint_pairs else None
    found = joint_drift(parts, section, past, alike, pairs)
    if found is not None and pairs is None and section.joint_pairs and found.outcome is not Outcome.FAILED:
        unseen = "; what goes with what was not compared: "
        unseen += "a column is unfit" if profile.pairs else "the champion's profile does not say it, retrain to get it"
        open_ = {"outcome": Outcome.INCONCLUSIVE, "judged": True, "sentence": found.sentence + unseen}
        found = found.model_copy(update=open_)
    return found, pairs


def _domain(
    services: Services, run: RunContext, spec: ModelSpec, profile: Profile, window: Path
) -> FeatureDrift | None:
    from gauntlet.stages.windows import Window

    if spec.drift.domain_auc is None:
        return None
    return check_domain(services, spec, training_window(services, run, profile), Window(window, verified=True))


def _recurring(
    services: Services,
    run: RunContext,
    spec: ModelSpec,
    profile: Profile,
    current: Profile,
    features: Sequence[FeatureDrift],
) -> frozenset[str]:
    """Drifted features that had drifted in the matching earlier window too, and to the same place."""
    from gauntlet.core.drift import compare

    drifted = {one.feature for one in features if one.outcome is Outcome.FAILED and not one.quality}
    if spec.drift.recurring is None or not drifted:
        return frozenset()
    try:
        pulled = pull_window(services, run, spec, run.as_of - spec.drift.recurring)
    except DataRejected:
        return frozenset()
    with removed(pulled.path):
        then = count_window(pulled.path, profile, spec)
    before = {one.feature for one in compare(profile, then, spec.drift) if one.outcome is Outcome.FAILED}
    since = {one.feature for one in compare(then, current, spec.drift) if one.outcome is Outcome.FAILED}
    return frozenset(drifted & before - since)


def _young(services: Services, run: RunContext, spec: ModelSpec, champion: ServedVersion) -> bool:
    """Whether another champion was still checked within the window, so that going back is an option."""
    if services.routing.read(run.model).previous is None:
        return False
    return any(
        report.champion not in {None, champion.release_digest}
        and run.as_of - spec.drift.window <= report.as_of < run.as_of
        for report in services.records.newest(run.model, DriftReport, limit=HISTORY)
    )


def _unreadable(error: DataRejected) -> dict[str, object]:
    """A window that cannot be read is no calm window."""
    return {
        "outcome": Outcome.ERROR,
        "action": DriftAction.INVESTIGATE,
        "reason": f"data quality: {error}",
        "blocked": True,
    }


def _as_of(profile: Profile) -> datetime | None:
    text = profile.about.get("as_of")
    return datetime.fromisoformat(text) if text else None


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
