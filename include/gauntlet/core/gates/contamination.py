"""Which holdout rows are out-of-sample for the champion: later than its training, and none it has seen."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from gauntlet.core.gates.evidence import Evidence, Frame, MissingEvidence, need

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, as in :attr:`Frame.event_us`."""
    return round(moment.timestamp() * 1_000_000)


def contaminated(evidence: Evidence, frame: Frame) -> npt.NDArray[np.bool_]:
    """True for rows the champion was trained on, or that are not later than its training; shape (n,).

    Raises :class:`MissingEvidence` when neither the champion's rows nor its training end is known: then nobody
    can say that the comparison is fair.
    """
    import numpy as np

    facts = need(evidence.champion_facts, "facts about the champion")
    if frame.seen is None and (facts.trained_through is None or frame.event_us is None):
        raise MissingEvidence(
            f"champion {facts.version_id}: neither its training rows nor the end of its training is known, so its "
            "scores on this holdout may be in-sample; roll back to a recorded version or bootstrap a new champion"
        )
    bad = np.zeros(len(frame), dtype=bool) if frame.seen is None else frame.seen.astype(bool)
    if facts.trained_through is not None and frame.event_us is not None:
        bad |= frame.event_us <= microseconds(facts.trained_through)
    return bad


def clean(evidence: Evidence, frame: Frame) -> Frame:
    """The rows on which both models are out-of-sample."""
    bad = contaminated(evidence, frame)
    return frame.only(~bad) if bad.any() else frame
