"""One answered row on its way from the scorer to the response, the counters and the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gauntlet.core.routing import Assignment
from gauntlet.serving.inputs import InputRejected, Vector
from gauntlet.serving.route import Route, Side
from gauntlet.serving.scorer import Prediction

CERTAIN = 1.0
"""The probability of a decision that nothing was drawn for. Answers leave out this very object, not any 1.0."""


class NotReady(Exception):
    """There is no version to answer with. Answered with 503."""


class ModelFailed(Exception):
    """The champion itself could not score a row. Answered with 500."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One answered row, and what the journal still has to be told of it."""

    prediction: Prediction
    side: Side
    """Who answered: ``own``, or the champion for it."""
    assignment: Assignment
    arm: str
    """The arm the row was assigned to."""
    own: Side
    """The version of that arm."""
    route: Route
    other: Side | None
    """The version that is to score the row too."""
    typed: Any
    raw: Mapping[str, Any] | None
    vector: Vector | None
    """The row as ``other`` can take it, where it is the same for both."""
    head: tuple[Any, ...]
    tail: tuple[Any, ...]
    """The journal's columns before and after the other version's score, the decision and the latency."""
    propensity: float = CERTAIN
    """The probability of the decision that is given."""
    explored: bool = False
    """Whether the exploration reserve has drawn it: ``prediction`` has its decision, and the model's score."""


def decision_of(one: Answered) -> int | str | None:
    """The decision as clients see it: 0/1, the class's name, or ``None``."""
    code = one.prediction.decision
    if code < 0:
        return None
    classes = one.side.sidecar.classes
    return classes[code] if classes and one.prediction.scores is not None else code


def with_reserve(answered: Sequence[Answered]) -> bool:
    """Whether a protocol has to say of these rows which decisions were drawn."""
    return any(one.side.explorer is not None for one in answered)


def cause_of(failure: Exception) -> str:
    """A short fixed text for the journal: details that vary would be a column of their own."""
    if isinstance(failure, InputRejected):
        return f"rejected: {failure.feature} {failure.kind}"[:80]
    return str(failure)[:80]
