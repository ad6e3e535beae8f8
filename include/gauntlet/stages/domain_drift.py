"""The multivariate check: can a classifier tell the window's rows from the champion's training rows?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.errors import InfrastructureError, IntegrityError, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import FeatureDrift, StatisticResult
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.ports import DomainResult
    from gauntlet.stages.windows import Window

MOST_ROWS = 20_000
"""Rows of either window that the classifier sees."""
NAMED = 3


def check_domain(services: Services, spec: ModelSpec, reference: Window, current: Window) -> FeatureDrift | None:
    """Train on both windows; ``None`` where the spec sets no limit. Only columns that both files have take part."""
    if spec.drift.domain_auc is None:
        return None
    try:
        files = [window.open([]) for window in (reference, current)]
        shared = set(files[0].schema_arrow.names) & set(files[1].schema_arrow.names)
        features = [name for name in spec.source.features.all if name in shared]
        tables = [_rows(window, features) for window in (reference, current)]
        if not features or min(table.num_rows for table in tables) < spec.drift.minimum_rows:
            return _finding(Outcome.INCONCLUSIVE, "too few rows or no shared column", tables)
        return _judged(spec, services.domains.tell_apart(tables[0], tables[1], features), tables)
    except (MissingRecord, InfrastructureError, IntegrityError) as error:
        return _finding(Outcome.ERROR, f"not evaluated: {error}", [])


def _rows(window: Window, features: list[str]) -> pa.Table:
    """An even sample of a window's rows."""
    import numpy as np
    import pyarrow as pa

    table = window.open([]).read(columns=features)
    places = np.arange(table.num_rows) if window.chosen is None else np.flatnonzero(window.chosen)
    step = max(-(-len(places) // MOST_ROWS), 1)
    return table.take(pa.array(places[::step]))


def _judged(spec: ModelSpec, result: DomainResult, tables: list[pa.Table]) -> FeatureDrift:
    from gauntlet.core.performance import Scored, auc

    limit = spec.drift.domain_auc
    assert limit is not None
    found = auc(Scored(result.origin, result.scores))
    if found is None:
        return _finding(Outcome.INCONCLUSIVE, "too few rows", tables)
    from scipy.special import ndtr, ndtri

    error = max(found.error, 1e-9)
    more, less = float(ndtr((limit - found.value) / error)), float(ndtr((found.value - limit) / error))
    alpha = spec.drift.alpha
    outcome = Outcome.FAILED if more <= alpha else Outcome.PASSED if less <= alpha else Outcome.INCONCLUSIVE
    leading = sorted(result.shares, key=lambda name: -result.shares[name])[:NAMED]
    drivers = ", ".join(f"{name} {result.shares[name]:.0%}" for name in leading)
    reach = float(ndtri(1 - alpha)) * error
    sentence = f"a classifier tells the windows apart with ROC AUC {found.value:.3f} ± {reach:.3f} (limit {limit:g})"
    sentence += f" on {found.rows} rows" + (f", by {drivers}" if outcome is not Outcome.PASSED else "")
    statistic = StatisticResult(
        statistic="domain_auc",
        outcome=outcome,
        value=found.value,
        low=found.value - reach,
        high=found.value + reach,
        limit=limit,
        p_value=more,
        sentence=sentence,
    )
    return _finding(outcome, sentence, tables, statistic)


def _finding(
    outcome: Outcome, sentence: str, tables: list[pa.Table], statistic: StatisticResult | None = None
) -> FeatureDrift:
    return FeatureDrift(
        feature="all features",
        segment=None,
        kind="multivariate",
        importance=1.0,
        outcome=outcome,
        quality=False,
        severe=False,
        sentence=sentence,
        p_value=statistic.p_value if statistic else None,
        adjusted_p=None,
        effect=None,
        reference_rows=tables[0].num_rows if tables else 0,
        current_rows=tables[1].num_rows if tables else 0,
        required_rows=None,
        statistics=(statistic,) if statistic else (),
    )
