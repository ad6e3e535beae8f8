"""The pieces that known-bad evidence is made of: good evidence in, with one thing wrong out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gauntlet.core.gates.evidence import Evidence, Frame, need
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SEED = 20_240_301
OTHER = "f" * 64
Change = Callable[[Evidence], Evidence]


def always(_: Evidence) -> bool:
    """Any evidence can be bad in this way."""
    return True


def random() -> np.random.Generator:
    """The one source of chance, the same every time."""
    import numpy as np

    return np.random.default_rng(SEED)


def frame_of(evidence: Evidence) -> Frame:
    """The evaluated holdout."""
    return need(evidence.frame, "evaluated holdout")


def with_frame(evidence: Evidence, **changes: Any) -> Evidence:
    """Columns of the holdout replaced."""
    return replace(evidence, frame=replace(frame_of(evidence), **changes))


def rescored(change: Callable[[Floats, np.random.Generator], Floats]) -> Change:
    """The candidate's scores replaced."""
    return lambda evidence: with_frame(evidence, candidate=change(frame_of(evidence).candidate.copy(), random()))


def only_rows(keep: Callable[[Frame], npt.NDArray[np.bool_]]) -> Change:
    """Only some rows, with an evaluation record that says so."""

    def change(evidence: Evidence) -> Evidence:
        frame = frame_of(evidence).only(keep(frame_of(evidence)))
        record = need(evidence.evaluation, "evaluation record").model_copy(update={"rows": len(frame)})
        return replace(evidence, frame=frame, evaluation=record)

    return change


def with_record(part: str, **changes: Any) -> Change:
    """Fields of one record of the evidence replaced."""

    def change(evidence: Evidence) -> Evidence:
        record = need(getattr(evidence, part), part)
        return replace(evidence, **{part: record.model_copy(update=changes)})

    return change


def without(part: str) -> Change:
    """One part of the evidence gone."""
    gone: dict[str, Any] = {part: None}
    return lambda evidence: replace(evidence, **gone)


def observed(kind: str, value: float | None, subject: str | None = None) -> Change:
    """The first observation of a kind (and subject) replaced by a value."""

    def change(evidence: Evidence) -> Evidence:
        found = list(need(evidence.observations, "measurements"))
        places = [place for place, item in enumerate(found) if item.kind == kind and subject in (None, item.subject)]
        place = need(next(iter(places), None), f"measurement of {kind}")
        found[place] = found[place].model_copy(update={"value": value})
        return replace(evidence, observations=tuple(found))

    return change


def unobserved(kind: str) -> Change:
    """All observations of a kind dropped."""

    def change(evidence: Evidence) -> Evidence:
        kept = tuple(item for item in need(evidence.observations, "measurements") if item.kind != kind)
        return replace(evidence, observations=kept)

    return change


def has(kind: str) -> Callable[[Evidence], bool]:
    """Whether something of this kind was measured."""
    return lambda evidence: any(item.kind == kind for item in evidence.observations or ())


def binary(evidence: Evidence) -> bool:
    """A binary model."""
    return evidence.spec.task is Task.BINARY


def championed(evidence: Evidence) -> bool:
    """There is a champion."""
    return evidence.champion is not None


def binary_championed(evidence: Evidence) -> bool:
    """A binary model with a champion."""
    return binary(evidence) and championed(evidence)


def timed(evidence: Evidence) -> bool:
    """The holdout has event times."""
    return evidence.frame is not None and evidence.frame.event_us is not None


def timed_championed(evidence: Evidence) -> bool:
    """The holdout has event times, and there is a champion."""
    return timed(evidence) and championed(evidence)


def monotone_feature(evidence: Evidence) -> bool:
    """The spec declares a monotone constraint."""
    return bool(evidence.spec.training.monotone)


def sure(evidence: Evidence) -> bool:
    """Scores are probabilities by default."""
    return binary(evidence) and not evidence.spec.gates.config("prediction_sanity").range  # type: ignore[attr-defined]


def trained_here(evidence: Evidence) -> bool:
    """Whether the candidate was trained, and not derived from the champion's trees."""
    return evidence.trained is None or evidence.trained.derived_from is None


def comparable_trees(evidence: Evidence) -> bool:
    """Whether there is a champion with other trees, or with trees that can be called others."""
    return trained_here(evidence) and evidence.champion_facts is not None
