"""The journal of one ramp step as arrays: which rows are evidence, and whose score is whose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.journal import Status
from gauntlet.core.records.rollout import Arm
from gauntlet.core.routing import Basis

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

INVALID = "invalid"
"""A journal ``error`` that begins with this says that the score was not finite or not in range."""


@dataclass(frozen=True)
class Window:
    """Evidence of one step; every array has shape (rows,), in order of arrival.

    ``unit`` numbers what was randomised: the entity, or the request where there is no entity. ``stable`` and
    ``canary`` are both versions' scores of the row, NaN where a version did not score it. ``settled`` rows came
    after the warm-up. ``label`` is NaN until it is mature.
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

    @property
    def requests(self) -> int:
        """Rows of the canary arm after the warm-up."""
        return int((self.arm & self.settled).sum())

    @property
    def entities(self) -> int:
        """Distinct units of the canary arm after the warm-up."""
        return distinct(self.unit[self.arm & self.settled])

    @property
    def labels(self) -> int:
        """Labelled rows of the canary arm after the warm-up."""
        import numpy as np

        return int((self.arm & self.settled & np.isfinite(self.label)).sum())

    @property
    def paired(self) -> Mask:
        """Rows that both versions scored, one per unit: the first."""
        import numpy as np

        both = self.settled & np.isfinite(self.stable) & np.isfinite(self.canary)
        return first_of_unit(self.unit, both)


def read_window(table: pa.Table, *, rollout: str, weight_ppm: int, step_epoch: int, settled_from: datetime) -> Window:
    """The rows of ``table`` that were drawn at random for this rollout at this weight, since this step began.

    Rows from allow and deny lists are no evidence, nor are those answered while the weight was another (lease lapsed,
    breaker tripped): their arm was not a draw of this step.
    """
    import numpy as np

    columns = {name: table.column(name).to_pylist() for name in ("arm", "basis", "status", "error", "entity")}
    keep = (
        (_numbers(table, "weight_ppm") == weight_ppm)
        & (_numbers(table, "epoch") >= step_epoch)
        & np.array([name == rollout for name in table.column("rollout").to_pylist()], dtype=bool)
        & np.array([basis != Basis.LISTED for basis in columns["basis"]], dtype=bool)
    )
    at = table.column("at").cast("timestamp[us]").cast("int64").to_numpy()
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(at[rows], kind="stable")]
    arm = np.array([name == Arm.CANARY for name in columns["arm"]], dtype=bool)[rows]
    status = np.array(columns["status"], dtype=object)[rows]
    error = columns["error"]
    stable, canary = _scores(_numbers(table, "score")[rows], _numbers(table, "other_score")[rows], arm, status)
    return Window(
        share=weight_ppm / 1_000_000,
        arm=arm,
        unit=_units(columns["entity"])[rows],
        stable=stable,
        canary=canary,
        failed=status != Status.OK,
        fell_back=status == Status.FALLBACK,
        invalid=np.array([str(error[row] or "").startswith(INVALID) for row in rows], dtype=bool),
        latency_ms=_numbers(table, "latency_us")[rows] / 1000.0,
        settled=at[rows] >= int(settled_from.timestamp() * 1e6),
        label=_numbers(table, "label")[rows] if "label" in table.column_names else np.full(rows.size, np.nan),
        complete=is_complete(table),
    )


def is_complete(table: pa.Table) -> bool:
    """Whether the journal vouches for every row of the window; see :class:`~gauntlet.core.ports.JournalReader`."""
    marked = (table.schema.metadata or {}).get(b"incomplete", b"")
    return marked in (b"", b"0", b"false")


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


def _scores(answered: Floats, other: Floats, arm: Mask, status: Any) -> tuple[Floats, Floats]:
    import numpy as np

    own_is_canary = arm & (status == Status.OK)
    # After a fallback the answer is the champion's, and the challenger has no score worth the name.
    stable = np.where(own_is_canary, other, answered)
    canary = np.where(own_is_canary, answered, np.where(arm, np.nan, other))
    return stable, canary


def _units(entities: list[str | None]) -> Ints:
    import numpy as np

    codes: dict[str, int] = {}
    nobody = len(entities)
    numbers = [
        nobody + row if name is None else codes.setdefault(name, len(codes)) for row, name in enumerate(entities)
    ]
    return np.array(numbers, dtype=np.int64)
