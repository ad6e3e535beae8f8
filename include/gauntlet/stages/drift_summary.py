"""A drift report made small: what the page inside Airflow shows of a thousand nights, and the bars of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_file
from gauntlet.core.records.drift import DriftReport, DriftShares, DriftSummary, FeatureShares

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.profile import Profile

DIGITS = 5


def summary(report: DriftReport) -> DriftSummary:
    """A line per feature, of all rows; segments stay in the report."""
    whole = [one for one in report.features if one.segment is None]
    performance = report.performance
    return DriftSummary(
        model=report.model,
        run=report.run,
        as_of=report.as_of,
        champion=report.champion,
        outcome=report.outcome,
        action=report.action,
        reason=report.reason,
        score=report.score,
        features=tuple(one.feature for one in whole),
        importances=tuple(round(one.importance, DIGITS) for one in whole),
        effects=tuple(None if one.effect is None else round(one.effect, 3) for one in whole),
        outcomes=tuple(one.outcome for one in whole),
        performance=performance.current if performance else None,
        performance_metric=performance.metric if performance else None,
    )


def shares(report: DriftReport, reference: Profile, current: Profile) -> DriftShares:
    """Both windows of every feature on the few cells that PSI is taken on."""
    return DriftShares(model=report.model, run=report.run, features=tuple(_shares(report, reference, current)))


def _shares(report: DriftReport, reference: Profile, current: Profile) -> Iterator[FeatureShares]:
    from gauntlet.core.statistics.base import Pair

    for one in report.features:
        if one.segment is not None or one.feature not in current.columns or one.feature not in reference.columns:
            continue
        cells = Pair(reference.columns[one.feature], current.columns[one.feature]).cells
        if not cells.reference.sum() or not cells.current.sum():
            continue
        yield FeatureShares(
            feature=one.feature,
            cells=tuple(cells.names),
            reference=tuple(round(float(n), DIGITS) for n in cells.reference / cells.reference.sum()),
            current=tuple(round(float(n), DIGITS) for n in cells.current / cells.current.sum()),
        )


def store_shares(services: Services, found: DriftShares) -> dict[str, str]:
    """Keep the bars as a file by content: ``shares_uri`` and ``shares_sha256``."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    path = services.scratch / f"shares-{found.record_digest[:16]}.json"
    path.write_text(found.model_dump_json(), encoding="utf-8")
    digest = sha256_file(path)
    uri = services.blobs.put_file(path, f"drift/{found.model}/{digest}/shares.json")
    path.unlink()
    return {"shares_uri": uri, "shares_sha256": digest}
