"""Outcomes of checks, and the one fold that combines them.

Absence of evidence is never a pass: the fold of nothing is ``error``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """The answer of a check, from best to worst in :data:`SEVERITY` order."""

    PASSED = "passed"
    WAIVED = "waived"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    FAILED = "failed"

    @property
    def satisfied(self) -> bool:
        """Whether a run may go on: only an evaluated pass or an explicit waiver."""
        return self in (Outcome.PASSED, Outcome.WAIVED)


SEVERITY: tuple[Outcome, ...] = (
    Outcome.PASSED,
    Outcome.WAIVED,
    Outcome.INCONCLUSIVE,
    Outcome.ERROR,
    Outcome.FAILED,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Fold outcomes to the most severe one; the fold of nothing is ``error``.

    >>> worst([Outcome.PASSED, Outcome.INCONCLUSIVE])
    <Outcome.INCONCLUSIVE: 'inconclusive'>
    >>> worst([])
    <Outcome.ERROR: 'error'>
    """
    return max(outcomes, key=SEVERITY.index, default=Outcome.ERROR)
