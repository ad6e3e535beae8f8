"""What the leakage checks look at: one snapshot and its split, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import LeakageFinding
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

TRAIN = 0
NEVER = -(2**63)
"""A missing time: what NaT is as an integer."""


@dataclass(frozen=True)
class Column:
    """One feature: numbers, or codes from 0 of its categories; missing is NaN in both."""

    values: Floats
    categorical: bool


@dataclass(frozen=True)
class Limits:
    """See ``split.leakage`` in the spec."""

    auc: float
    r2: float
    duplicates: float
    sample: int


@dataclass(frozen=True)
class Evidence:
    """One snapshot and its split. Arrays have one entry per row; times are microseconds since 1970."""

    task: Task
    keys: NDArray[np.uint64]
    parts: NDArray[np.int8]
    label: Floats
    features: Mapping[str, Column]
    as_of: int
    times: Mapping[str, Times]
    """Every column whose value must not lie after ``as_of``, by name."""
    event_time: str | None = None
    by_time: bool = False
    embargo: int = 0
    label_delay: int = 0
    entities: Times | None = None
    straddle: Literal["keep_latest", "keep_earliest", "allow"] = "keep_latest"


def finding(name: str, failed: bool, sentence: str) -> LeakageFinding:
    """The answer of a check that could be asked."""
    return LeakageFinding(check=name, outcome=Outcome.FAILED if failed else Outcome.PASSED, sentence=sentence)


def unanswered(name: str, sentence: str) -> LeakageFinding:
    """The answer of a check that applies and could not be asked: never a pass."""
    return LeakageFinding(check=name, outcome=Outcome.ERROR, sentence=sentence)
