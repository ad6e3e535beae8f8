"""Product metrics: whether the challenger costs more than the margin that was given for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gauntlet.core import sequential
from gauntlet.core.live.case import Case, Metric, outcome_of, verdict
from gauntlet.core.live.scores import RHO
from gauntlet.core.live.window import Product, Window, first_of_unit, scores_of
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import MetricVerdict
from gauntlet.core.specs.rollout import ProductMetric

if TYPE_CHECKING:
    import pyarrow as pa

    from gauntlet.core.live.window import Floats, Ints, Mask
    from gauntlet.core.specs.profit import ProfitSection


def product(name: str, metric: ProductMetric) -> Metric:
    """The live metric of a product metric, which finds its values in the window under ``name``.

    Where both versions have a value for the same request, the paired difference is tested; else each arm's units,
    every one with the mean of its requests. Non-inferiority: it fails when the confidence sequence of the loss lies
    beyond the margin.
    """

    def judged(window: Window, case: Case) -> tuple[MetricVerdict, ...]:
        # What a request was worth follows from the decision it was given, which must be its version's.
        window = window.undrawn
        values = window.products.get(name)
        if values is None or values.error is not None:
            why = values.error if values else "no values were measured"
            return (verdict(name, Outcome.ERROR, str(why), critical=False),)
        return (_verdict(name, metric, window, case),)

    return judged


def _verdict(name: str, metric: ProductMetric, window: Window, case: Case) -> MetricVerdict:
    import numpy as np

    values, sign = window.products[name], 1.0 if metric.better == "higher" else -1.0
    both = first_of_unit(window.unit, window.settled & np.isfinite(values.stable) & np.isfinite(values.canary))
    if int(both.sum()) >= metric.least:
        stable, canary = values.stable[both], values.canary[both]
        low, high = _paired(sign * (stable - canary), metric, case.alpha)
        error, sample = _error(stable - canary), f"{stable.size} requests of both"
    else:
        stable, canary = (_of_units(each, window.unit, window.settled) for each in (values.stable, values.canary))
        if min(stable.size, canary.size) < metric.least:
            sentence = f"{canary.size} canary and {stable.size} other values of {metric.least} needed"
            return verdict(
                name,
                Outcome.INCONCLUSIVE,
                sentence,
                critical=metric.critical,
                counts=(int(stable.size), int(canary.size)),
            )
        low, high = _apart(sign * stable, sign * canary, metric, case.alpha)
        error, sample = (
            math.hypot(_error(stable), _error(canary)),
            f"{canary.size} canary and {stable.size} other units",
        )
    loss = sign * (float(stable.mean()) - float(canary.mean()))
    return verdict(
        name,
        outcome_of(
            harm=loss > metric.margin, significant=low > metric.margin, leaning=case.leans(loss - metric.margin, error)
        ),
        f"{canary.mean():.4g} against {stable.mean():.4g} on {sample}: loss {loss:+.4g} [{low:+.4g}, {high:+.4g}], "
        f"margin {metric.margin:g}, {metric.better} is better",
        critical=metric.critical,
        values=(float(stable.mean()), float(canary.mean())),
        limit=metric.margin,
        counts=(int(stable.size), int(canary.size)),
        interval=(low, high),
    )


def _of_units(values: Floats, unit: Ints, settled: Mask) -> Floats:
    """Each unit's mean value, in order of its first request."""
    import numpy as np

    rows = np.flatnonzero(settled & np.isfinite(values))
    _, first, place = np.unique(unit[rows], return_index=True, return_inverse=True)
    means = np.bincount(place, values[rows]) / np.bincount(place) if rows.size else np.empty(0)
    return np.asarray(means[np.argsort(first)])


def _paired(losses: Floats, metric: ProductMetric, alpha: float) -> tuple[float, float]:
    if metric.bounds is None:
        return sequential.mean_interval(losses, alpha, RHO)
    width = metric.bounds[1] - metric.bounds[0]
    return _bounded(losses, -width, width, alpha)


def _apart(stable: Floats, canary: Floats, metric: ProductMetric, alpha: float) -> tuple[float, float]:
    if metric.bounds is None:
        theirs, ours = (sequential.mean_interval(values, alpha / 2, RHO) for values in (stable, canary))
    else:
        low, high = metric.bounds if metric.better == "higher" else (-metric.bounds[1], -metric.bounds[0])
        theirs, ours = (_bounded(values, low, high, alpha / 2) for values in (stable, canary))
    return theirs[0] - ours[1], theirs[1] - ours[0]


def _bounded(values: Floats, low: float, high: float, alpha: float) -> tuple[float, float]:
    import numpy as np

    scaled = (np.clip(values, low, high) - low) / (high - low)
    bounds = sequential.empirical_bernstein_interval(scaled, alpha)
    return low + bounds[0] * (high - low), low + bounds[1] * (high - low)


def _error(values: Floats) -> float:
    return float(values.std()) / math.sqrt(max(1, values.size))


# ---- values ----------------------------------------------------------------------------------------


def profit_values(table: pa.Table, profit: ProfitSection, stable: float | None, canary: float | None) -> Product:
    """What both versions' decisions on each labelled request are worth, at their own thresholds.

    Raises:
        MetricError: a column is missing, or the user's function does not give one finite value per row.
    """
    import numpy as np

    from gauntlet.core.kernels import profit_rows
    from gauntlet.core.metrics import Sample

    theirs, ours, _ = scores_of(table)
    label = table.column("label").to_numpy().astype(np.float64)
    read = {
        name: table.column(name).to_numpy(zero_copy_only=False) for name in profit.reads if name in table.column_names
    }
    rows = np.isfinite(label) & np.isfinite(theirs) & np.isfinite(ours)
    values = []
    for score, threshold in ((theirs, stable), (ours, canary)):
        worth = np.full(label.size, np.nan)
        if rows.any():
            columns = {name: column[rows] for name, column in read.items()}
            sample = Sample(label[rows], score[rows], threshold=threshold, columns=columns, profit=profit)
            worth[rows] = profit_rows(sample)
        values.append(worth)
    return Product(values[0], values[1])


def function_values(table: pa.Table, dotted: str) -> Product:
    """What a user's function says each request is worth, for the arm the request was in.

    Raises:
        ValueError: it cannot be loaded, or does not give one number per row. Whatever the function itself raises
            is passed on.
    """
    import importlib

    import numpy as np

    module, _, name = dotted.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"function {dotted!r} cannot be loaded: {error}") from None
    columns = {field: table.column(field).to_numpy(zero_copy_only=False) for field in table.column_names}
    values = np.asarray(function(columns), dtype=np.float64)
    if values.shape != (table.num_rows,):
        raise ValueError(f"function {dotted!r} gave {values.shape} values for {table.num_rows} requests")
    return own_arm(table, values)


def own_arm(table: pa.Table, values: Floats) -> Product:
    """One value per request, each of the arm that the request was in."""
    import numpy as np

    arm = scores_of(table)[2]
    return Product(np.where(arm, np.nan, values), np.where(arm, values, np.nan))


def values_of_keys(table: pa.Table, found: pa.Table, missing: float | None) -> Product:
    """The values that a query gave by ``request_id`` or ``entity``; of several for one key, their sum.

    Raises:
        ValueError: the query has not the columns it must have.
    """
    import numpy as np

    names = set(found.column_names)
    key = next((name for name in ("request_id", "entity") if name in names), None)
    if key is None or "value" not in names:
        raise ValueError(f"sql: must give request_id or entity, and value; it gives {', '.join(found.column_names)}")
    sums: dict[str, float] = {}
    for name, value in zip(found.column(key).to_pylist(), found.column("value").to_pylist(), strict=True):
        if name is not None and value is not None:
            sums[str(name)] = sums.get(str(name), 0.0) + float(value)
    absent = math.nan if missing is None else missing
    return own_arm(table, np.asarray([sums.get(name, absent) for name in table.column(key).to_pylist()]))
