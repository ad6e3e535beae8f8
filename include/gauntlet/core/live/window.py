"""The journal of one ramp step as arrays: which rows are evidence, and whose score is whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.journal import SHADOW_FAILED, Status, lacking
from gauntlet.core.records.rollout import PPM, Arm
from gauntlet.core.routing import Basis

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

LABELS_NOTE = b"labels"
"""A table's metadata under this key says why labels could not be had."""
INVALID = "invalid"
"""A journal ``error`` that begins with this says that the score was not finite or not in range."""


@dataclass(frozen=True)
class Product:
    """A product metric's value per row, NaN where there is none: both versions' where a value follows from a score,
    else that of the row's own arm. ``error`` says why it could not be had.
    """

    stable: Floats
    canary: Floats
    error: str | None = None


@dataclass(frozen=True)
class Window:
    """Evidence of one stage; every array has shape (rows,), in order of arrival.

    ``unit`` numbers what was randomised: the entity, or the request where there is no entity. ``stable`` and
    ``canary`` are both versions' scores of the row, NaN where a version did not score it. ``settled`` rows came
    after the warm-up. ``label`` is NaN until it is mature, and where it is not known although ``mature``.
    ``shadow_failed``: the challenger could not score a row that the champion answered. ``share`` 0 is the shadow.
    """

    share: float
    arm: Mask
    unit: Ints
    stable: Floats
    canary: Floats
    failed: Mask
    fell_back: Mask
    invalid: Mask
    latency_ms: Floats
    settled: Mask
    label: Floats
    complete: bool
    shadow_failed: Mask | None = None
    mature: Mask | None = None
    products: Mapping[str, Product] = field(default_factory=dict)
    note: str = ""
    """Why labels could not be had, where they could not."""
    explored: Mask | None = None
    """Rows whose decision was drawn by the exploration reserve. Their scores are evidence like any others."""

    @property
    def undrawn(self) -> Window:
        """Without the rows that the reserve has decided: what follows from decisions is judged on these."""
        if self.explored is None or not self.explored.any():
            return self
        return replace(self, settled=self.settled & ~self.explored)

    @property
    def judged(self) -> Mask:
        """Rows after the warm-up that count for a stage: the canary arm's, in the shadow those both have scored."""
        return self.settled & (self.arm if self.share > 0 else self._both)

    @property
    def requests(self) -> int:
        """Rows that count."""
        return int(self.judged.sum())

    @property
    def entities(self) -> int:
        """Distinct units of the rows that count."""
        return distinct(self.unit[self.judged])

    @property
    def labels(self) -> int:
        """Labelled rows among those that count."""
        import numpy as np

        return int((self.judged & np.isfinite(self.label)).sum())

    @property
    def paired(self) -> Mask:
        """Rows that both versions scored, one per unit: the first."""
        return first_of_unit(self.unit, self.settled & self._both)

    @property
    def _both(self) -> Mask:
        import numpy as np

        return np.isfinite(self.stable) & np.isfinite(self.canary)


def read_window(
    table: pa.Table,
    *,
    rollout: str,
    weight_ppm: int,
    step_epoch: int,
    settled_from: datetime,
    products: Mapping[str, Product] | None = None,
) -> Window:
    """The rows of ``table`` that were drawn at random for this rollout at this weight, since this step began.

    Rows from allow and deny lists are no evidence, nor are those answered while the weight was another (lease lapsed,
    breaker tripped): their arm was not a draw of this step. ``products`` have a value for every row of ``table``.
    """
    import numpy as np

    keep = drawn(table, rollout=rollout, weight_ppm=weight_ppm, step_epoch=step_epoch)
    at = table.column("at").cast("timestamp[us]").cast("int64").to_numpy()
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(at[rows], kind="stable")]
    arm, answered = says(table, "arm", Arm.CANARY)[rows], says(table, "status", Status.OK)[rows]
    stable, canary = _scores(_numbers(table, "score")[rows], _numbers(table, "other_score")[rows], arm, answered)
    return Window(
        share=weight_ppm / PPM,
        arm=arm,
        unit=unit_numbers(table)[rows],
        stable=stable,
        canary=canary,
        # A "slow" challenger answered: that is for the latency to say, for a slow host slows both arms.
        failed=~answered,
        fell_back=says(table, "status", Status.FALLBACK)[rows],
        invalid=_begins(table, "error", INVALID)[rows],
        latency_ms=_numbers(table, "latency_us")[rows] / 1000.0,
        settled=at[rows] >= int(settled_from.timestamp() * 1e6),
        label=_numbers(table, "label")[rows] if "label" in table.column_names else np.full(rows.size, np.nan),
        complete=is_complete(table),
        shadow_failed=_begins(table, "error", SHADOW_FAILED)[rows] & ~arm,
        mature=_says_true(table, "mature")[rows],
        products={name: _of_rows(values, rows) for name, values in (products or {}).items()},
        note=(table.schema.metadata or {}).get(LABELS_NOTE, b"").decode(),
        explored=explored(table)[rows],
    )


def drawn(table: pa.Table, *, rollout: str, weight_ppm: int, step_epoch: int) -> Mask:
    """The rows whose arm was a random draw of this stage."""
    kept: Mask = (
        (_numbers(table, "weight_ppm") == weight_ppm)
        & (_numbers(table, "epoch") >= step_epoch)
        & says(table, "rollout", rollout)
        & ~says(table, "basis", Basis.LISTED)
    )
    return kept


def is_complete(table: pa.Table) -> bool:
    """Whether the journal vouches for every row of the window; see :class:`~gauntlet.core.ports.JournalReader`."""
    return not lacking(table)


def distinct(units: Ints) -> int:
    """How many different units."""
    import numpy as np

    return int(np.unique(units).size)


def first_of_unit(unit: Ints, among: Mask) -> Mask:
    """Of the rows in ``among``, the first of each unit: rows of one entity are no independent evidence."""
    import numpy as np

    rows = np.flatnonzero(among)
    _, first = np.unique(unit[rows], return_index=True)
    chosen = np.zeros(unit.size, dtype=bool)
    chosen[rows[first]] = True
    return chosen


def _numbers(table: pa.Table, name: str) -> Any:
    return table.column(name).cast("float64").to_numpy()


def _words(table: pa.Table, name: str) -> tuple[Ints, list[str]]:
    """A text column as codes, -1 for null, and the words they stand for."""
    import numpy as np

    encoded = table.column(name).combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), encoded.dictionary.to_pylist()


def _begins(table: pa.Table, name: str, start: str, *, whole: bool = False) -> Mask:
    import numpy as np

    codes, words = _words(table, name)
    wanted = [code for code, word in enumerate(words) if (word == start if whole else word.startswith(start))]
    return np.isin(codes, wanted)


def says(table: pa.Table, name: str, word: str) -> Mask:
    """Where a text column says exactly this."""
    return _begins(table, name, word, whole=True)


def _says_true(table: pa.Table, name: str) -> Mask:
    import numpy as np

    if name not in table.column_names:
        return np.zeros(table.num_rows, dtype=bool)
    return np.asarray(table.column(name).to_numpy(), dtype=bool)


def _of_rows(values: Product, rows: Ints) -> Product:
    return values if values.error is not None else Product(values.stable[rows], values.canary[rows])


def scores_of(table: pa.Table) -> tuple[Floats, Floats, Mask]:
    """Of every row: the champion's score, the challenger's, and whether it was in the canary arm."""
    arm, answered = says(table, "arm", Arm.CANARY), says(table, "status", Status.OK)
    stable, canary = _scores(_numbers(table, "score"), _numbers(table, "other_score"), arm, answered)
    return stable, canary, arm


def _scores(answer: Floats, other: Floats, arm: Mask, answered: Mask) -> tuple[Floats, Floats]:
    import numpy as np

    own_is_canary = arm & answered
    # After a fallback the answer is the champion's, and the challenger has no score worth the name.
    stable = np.where(own_is_canary, other, answer)
    canary = np.where(own_is_canary, answer, np.where(arm, np.nan, other))
    return stable, canary


def explored(table: pa.Table) -> Mask:
    """Rows whose decision was drawn by the exploration reserve: it says nothing about the version that answered."""
    import numpy as np

    if "explored" not in table.column_names:
        return np.zeros(table.num_rows, dtype=bool)
    # Rows are null that are older than the column.
    return np.asarray(table.column("explored").fill_null(0).to_numpy() == 1, dtype=bool)


def unit_numbers(table: pa.Table) -> Ints:
    """Of every row who it is about, as a number: its entity's, or one of its own where there is none."""
    import numpy as np

    codes, words = _words(table, "entity")
    return np.where(codes < 0, len(words) + np.arange(codes.size), codes)
