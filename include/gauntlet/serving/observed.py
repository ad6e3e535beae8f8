"""What was answered and asked, for Prometheus: probabilities by version and arm, values by feature.

Counted by the journal's thread from the rows it writes, never on the request path. Features are counted from a sample
of rows and only where the journal keeps their values: what a spec hashes or drops, no metric shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import unpack
from typing import TYPE_CHECKING

from gauntlet.serving.labels import key

if TYPE_CHECKING:
    from gauntlet.core.records.model import ModelSidecar
    from gauntlet.serving.shared import Counters

EDGES = 20
"""Cells of the probability histogram: 0.05 each."""
SAMPLED = 32
"""Rows of one flush whose features are counted: at most 640 a second in each worker."""
MICRO = 1_000_000
FARTHEST = 10**12
"""Values are clipped here, so that sums in millionths fit a counter for years."""

Row = Sequence[object]
Sidecars = Callable[[str], "ModelSidecar | None"]
"""Version id to what travels with its trees; ``None`` where it is not loaded any more."""
Places = tuple[int, int, int, int, int]
"""A feature's index in the vector, and its counters: values, sum above zero, sum below, missing."""


class Observed:
    """The observations of one model in one worker."""

    def __init__(self, counters: Counters, model: str, columns: Sequence[str], sidecar_of: Sidecars) -> None:
        """``columns``: the journal's, in the order of a row."""
        self._counters, self._model, self._sidecar_of = counters, model, sidecar_of
        where = {name: place for place, name in enumerate(columns)}
        self._version, self._arm, self._status = where["version_id"], where["arm"], where["status"]
        self._score, self._features = where["score"], where["features"]
        self._cells: dict[tuple[str, str, int], int] = {}
        self._known: dict[tuple[str, str], tuple[bool, tuple[Places, ...]]] = {}

    def take(self, rows: Sequence[Row]) -> None:
        """Count what was written."""
        step = max(1, len(rows) // SAMPLED)
        for number, row in enumerate(rows):
            about = self._about(str(row[self._version]), str(row[self._arm]))
            if about is None:
                continue
            if about[0]:
                self._probability(row)
            if number % step == 0:
                self._values(row, about[1])

    def _about(self, version: str, arm: str) -> tuple[bool, tuple[Places, ...]] | None:
        """Whether a version's scores are probabilities, and where its features are counted."""
        known = self._known.get((version, arm))
        if known is None and (sidecar := self._sidecar_of(version)) is not None:
            labels = {"model": self._model, "version": version, "arm": arm}
            places = tuple(self._feature(index, labels | {"feature": name}) for index, name in features_of(sidecar))
            known = self._known[version, arm] = (sidecar.task == "binary", places)
        return known

    def _probability(self, row: Row) -> None:
        score = row[self._score]
        if not isinstance(score, float) or not 0.0 <= score <= 1.0 or row[self._status] != "ok":
            return
        which = (str(row[self._version]), str(row[self._arm]), min(int(score * EDGES), EDGES - 1))
        place = self._cells.get(which)
        if place is None:
            labels = {"model": self._model, "version": which[0], "arm": which[1]}
            place = self._cells[which] = self._counters.place(key("_probability_cell", **labels, cell=str(which[2])))
        self._counters.values[place] += 1

    def _values(self, row: Row, places: Sequence[Places]) -> None:
        vector = row[self._features]
        if not isinstance(vector, bytes) or len(vector) % 8 or (places and len(vector) <= 8 * places[-1][0]):
            return
        numbers = unpack(f"<{len(vector) // 8}d", vector)
        values = self._counters.values
        for index, count, above, below, missing in places:
            value = numbers[index]
            if value != value:
                values[missing] += 1
                continue
            values[count] += 1
            micro = int(min(max(value, -FARTHEST), FARTHEST) * MICRO)
            values[above if micro >= 0 else below] += abs(micro)

    def _feature(self, index: int, labels: Mapping[str, str]) -> Places:
        def place(kind: str) -> int:
            return self._counters.place(key(kind, **labels))

        return index, place("_feature_count"), place("_feature_above"), place("_feature_below"), place("_feature_null")


def features_of(sidecar: ModelSidecar) -> tuple[tuple[int, str], ...]:
    """Index and name of what has a mean: categories have none."""
    return tuple((index, one.name) for index, one in enumerate(sidecar.features) if one.kind != "categorical")


def samples(totals: Mapping[str, int]) -> Iterable[tuple[str, list[str]]]:
    """Families and their lines, from counters summed over all workers."""
    yield "ml_prediction_probability", list(_histogram(totals))
    yield "ml_feature_value", list(_summary(totals))
    nulls = [(name, value) for name, value in sorted(totals.items()) if name.startswith("_feature_null{")]
    yield "ml_feature_missing_total", [f"ml_feature_missing_total{name[13:]} {value}" for name, value in nulls]


def _histogram(totals: Mapping[str, int]) -> Iterable[str]:
    series: dict[str, dict[int, int]] = {}
    for name, value in totals.items():
        if name.startswith("_probability_cell{"):
            labels, number = name[len("_probability_cell{") : -2].rsplit(',cell="', 1)
            series.setdefault(labels, {})[int(number)] = value
    for labels, cells in sorted(series.items()):
        below = 0
        for cell in range(EDGES):
            below += cells.get(cell, 0)
            yield f'ml_prediction_probability_bucket{{{labels},le="{(cell + 1) / EDGES:g}"}} {below}'
        yield f'ml_prediction_probability_bucket{{{labels},le="+Inf"}} {below}'
        # The middle of each cell: a mean within a fortieth.
        middle = sum(count * (cell + 0.5) for cell, count in cells.items()) / EDGES
        yield f"ml_prediction_probability_sum{{{labels}}} {middle:g}"
        yield f"ml_prediction_probability_count{{{labels}}} {below}"


def _summary(totals: Mapping[str, int]) -> Iterable[str]:
    for name, count in sorted(totals.items()):
        if name.startswith("_feature_count{"):
            labels = name[len("_feature_count") :]
            signed = totals.get(f"_feature_above{labels}", 0) - totals.get(f"_feature_below{labels}", 0)
            yield f"ml_feature_value_sum{labels} {signed / MICRO:.6f}"
            yield f"ml_feature_value_count{labels} {count}"
