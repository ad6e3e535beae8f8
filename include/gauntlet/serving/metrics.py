"""Counting on the hot path, and one Prometheus page for all workers of a server.

Every worker counts into its own memory-mapped file (:class:`gauntlet.serving.shared.Counters`); whichever
worker is scraped sums them all. Latency goes into log-linear cells, four per power of two of
microseconds, so that quantiles are read with at most 12.5 % relative error (the half width of a cell).
Format: the Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from gauntlet.serving import observed
from gauntlet.serving.labels import key
from gauntlet.serving.shared import Counters, read_counters

PREFIX = "gauntlet_"
CELLS_PER_OCTAVE = 4
OCTAVES = 26
QUANTILES = (0.5, 0.95, 0.99)

HELP: dict[str, str] = {
    "ml_prediction_requests_total": "Rows answered, by model, version, arm and how the row ended for its arm.",
    "gauntlet_requests_total": "Requests by model, protocol and HTTP status.",
    "gauntlet_slow_total": "Requests slower than the slow limit.",
    "gauntlet_input_deviations_total": "Accepted deviations from the training profile, by feature and kind.",
    "gauntlet_input_rejected_total": "Rejected rows, by feature and kind.",
    "gauntlet_explored_total": "Decisions drawn by the exploration reserve, by model, version and decision given.",
    "gauntlet_shadow_total": "Rows for the other version after the response: scored, failed or dropped.",
    "gauntlet_journal_rows_total": "Rows handed to the journal.",
    "gauntlet_journal_lost_total": "Rows the journal had to drop.",
    "gauntlet_journal_errors_total": "Failed journal writes.",
    "gauntlet_breaker_trips_total": "Canaries taken out of traffic by a worker.",
    "gauntlet_lease_expired_total": "Canaries whose lease a worker saw end.",
    "ml_prediction_latency_seconds": "From the request's arrival to its answer, in the server.",
    "ml_prediction_probability": "Answered probabilities by version and arm, in cells of 0.05.",
    "ml_feature_value": "Values of a numeric feature as served, from a sample of rows.",
    "ml_feature_missing_total": "Rows of that sample without a value.",
    "gauntlet_latency_quantile_seconds": "Quantiles of latency since start, within 12.5 %.",
    "gauntlet_latency_max_seconds": "Longest latency since start.",
    "gauntlet_routing_epoch": "Routing epoch of each worker.",
    "gauntlet_canary_weight_ppm": "Canary weight in force in each worker.",
    "gauntlet_ready": "Whether each worker has a stable version of the model.",
    "gauntlet_worker_memory_bytes": "Resident memory of each worker.",
    "gauntlet_counters_overflowed_total": "What was counted by no name of its own: the table of counters is full.",
}
GAUGES = frozenset({
    "gauntlet_routing_epoch",
    "gauntlet_canary_weight_ppm",
    "gauntlet_ready",
    "gauntlet_worker_memory_bytes",
    "gauntlet_latency_quantile_seconds",
    "gauntlet_latency_max_seconds",
})
KINDS = {
    "ml_prediction_latency_seconds": "histogram",
    "ml_prediction_probability": "histogram",
    "ml_feature_value": "summary",
}


def cell(microseconds: int) -> int:
    """The cell of a latency.

    >>> [cell(us) for us in (0, 3, 4, 5, 8, 1000)]
    [0, 3, 4, 5, 8, 35]
    """
    if microseconds < CELLS_PER_OCTAVE:
        return max(microseconds, 0)
    octave = microseconds.bit_length() - 3
    return min((octave << 2) + (microseconds >> octave), OCTAVES * CELLS_PER_OCTAVE - 1)


def cell_bounds(index: int) -> tuple[int, int]:
    """Microseconds [from, to) of a cell."""
    if index < 2 * CELLS_PER_OCTAVE:
        return index, index + 1
    octave, part = divmod(index, CELLS_PER_OCTAVE)
    shift = octave - 1
    return (CELLS_PER_OCTAVE + part) << shift, (CELLS_PER_OCTAVE + part + 1) << shift


class Latency:
    """A histogram of one series inside a worker's counters."""

    __slots__ = ("_counters", "_labels", "_max", "_places", "_sum", "_values")

    def __init__(self, counters: Counters, **labels: str) -> None:
        """A series with these labels."""
        self._counters, self._labels = counters, labels
        self._values = counters.values
        self._sum = counters.place(key("_latency_sum_us", **labels))
        self._max = counters.place(key("_latency_max_us", **labels))
        self._places: dict[int, int] = {}

    def observe(self, microseconds: int) -> None:
        """Count one latency."""
        if microseconds < CELLS_PER_OCTAVE:
            index = microseconds
        else:  # As in :func:`cell`, written out: every request comes here.
            octave = microseconds.bit_length() - 3
            index = (octave << 2) + (microseconds >> octave)
        place = self._places.get(index)
        if place is None:
            name = key("_latency_cell", **self._labels, cell=str(cell(microseconds)))
            place = self._places[index] = self._counters.place(name)
        values = self._values
        values[place] += 1
        values[self._sum] += microseconds
        if microseconds > values[self._max]:
            values[self._max] = microseconds


def quantile(cells: Mapping[int, int], share: float) -> float:
    """The middle of the cell that holds a quantile, in microseconds."""
    wanted = share * sum(cells.values())
    seen = 0
    for index in sorted(cells):
        seen += cells[index]
        if seen >= wanted:
            low, high = cell_bounds(index)
            return (low + high - 1) / 2
    return 0.0


def collect(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Counters summed over all slots, and each slot's gauges with a ``worker`` label."""
    totals: dict[str, int] = defaultdict(int)
    gauges: dict[str, int] = {}
    for path in sorted(folder.glob("worker-*.counters")):
        slot = path.stem.removeprefix("worker-")
        for name, value in read_counters(path).items():
            if name.split("{", 1)[0] in GAUGES:
                gauges[_with_label(name, "worker", slot)] = value
            elif name.startswith("_latency_max_us"):
                totals[name] = max(totals[name], value)
            else:
                totals[name] += value
    return dict(totals), gauges


def _with_label(name: str, label: str, value: str) -> str:
    if "{" not in name:
        return key(name, **{label: value})
    return f'{name[:-1]},{label}="{value}"}}'


def page(folder: Path) -> str:
    """The Prometheus page of a server."""
    totals, gauges = collect(folder)
    samples: dict[str, list[str]] = defaultdict(list)
    series: dict[str, dict[int, int]] = defaultdict(dict)
    for name, value in sorted((totals | gauges).items()):
        if name.startswith("_latency_cell{"):
            labels, index = name[len("_latency_cell{") : -2].rsplit(',cell="', 1)
            series[labels][int(index)] = value
        elif not name.startswith("_"):
            samples[name.split("{", 1)[0]].append(f"{name} {value}")
    for labels, cells in series.items():
        _latency_samples(samples, labels, cells, totals)
    for family, lines in observed.samples(totals):
        samples[family] += lines
    return "".join(_family(name, lines) for name, lines in sorted(samples.items()) if lines)


def _latency_samples(
    samples: dict[str, list[str]], labels: str, cells: Mapping[int, int], totals: Mapping[str, int]
) -> None:
    count = sum(cells.values())
    lines = samples["ml_prediction_latency_seconds"]
    for octave in range(4, OCTAVES):
        edge = 1 << octave
        below = sum(n for index, n in cells.items() if cell_bounds(index)[1] <= edge)
        lines.append(f'ml_prediction_latency_seconds_bucket{{{labels},le="{edge / 1e6:g}"}} {below}')
    lines.append(f'ml_prediction_latency_seconds_bucket{{{labels},le="+Inf"}} {count}')
    lines.append(f"ml_prediction_latency_seconds_sum{{{labels}}} {totals.get(f'_latency_sum_us{{{labels}}}', 0) / 1e6}")
    lines.append(f"ml_prediction_latency_seconds_count{{{labels}}} {count}")
    for share in QUANTILES:
        value = quantile(cells, share) / 1e6
        samples["gauntlet_latency_quantile_seconds"].append(
            f'gauntlet_latency_quantile_seconds{{{labels},quantile="{share:g}"}} {value:g}'
        )
    longest = totals.get(f"_latency_max_us{{{labels}}}", 0) / 1e6
    samples["gauntlet_latency_max_seconds"].append(f"gauntlet_latency_max_seconds{{{labels}}} {longest:g}")


def _family(name: str, lines: Iterable[str]) -> str:
    kind = KINDS.get(name) or ("gauge" if name in GAUGES else "counter")
    head = f"# HELP {name} {HELP.get(name, 'Counted by the server.')}\n# TYPE {name} {kind}\n"
    return head + "".join(f"{line}\n" for line in lines)
