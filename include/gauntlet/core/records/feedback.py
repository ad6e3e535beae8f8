"""Facts about what a model's own decisions do to what is known of it: slice audits and counterfactual summaries."""

from __future__ import annotations

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class AuditedSlice(Record):
    """How one part of those who were served fares against everybody else.

    ``value`` and ``rest`` are the metric inside and outside; ``gap`` is how much worse it is inside, with its interval,
    and ``usual`` what that was when the champion was evaluated. Intervals share the audit's alpha over all slices.
    """

    name: str
    """``region=north``, or what a search has found: ``income ≥ 4000 and channel=web``."""
    features: tuple[str, ...]
    found: bool
    """Whether it was searched for, not declared. It is measured on rows that the search has not seen."""
    outcome: Outcome
    """Failed: worse by more than the limit, beyond chance. Inconclusive: too few labels, or nothing to compare with."""
    sentence: str
    rows: int
    due: int
    """Rows whose labels had time to become known."""
    labelled: int
    metric: str
    value: float | None = None
    rest: float | None = None
    gap: float | None = None
    interval: tuple[float, float] | None = None
    usual: float | None = None
    limit: float | None = None
    decision_rate: float | None = None
    decision_interval: tuple[float, float] | None = None
    rest_decision_rate: float | None = None

    @property
    def coverage(self) -> float | None:
        """Share of the rows that are due whose label is known; ``None`` when none is due."""
        return self.labelled / self.due if self.due else None


class SliceAudit(Record):
    """One audit of everybody who was served in a window, slice by slice."""

    model: str
    outcome: Outcome
    reason: str
    since: Instant
    until: Instant
    at: Instant
    rows: int
    labelled: int
    explored: int
    """Rows whose decision was drawn by the exploration reserve: no part of any decision rate."""
    versions: tuple[str, ...]
    slices: tuple[AuditedSlice, ...]
    searched: bool
    """Whether slices that nobody has declared were searched for."""
    notes: tuple[str, ...] = ()

    @property
    def failing(self) -> tuple[AuditedSlice, ...]:
        """The slices that are worse off than is tolerated."""
        return tuple(one for one in self.slices if one.outcome is Outcome.FAILED)


class Disagreement(Record):
    """One request on which both versions said different things."""

    request_id: str
    row: int
    at: Instant
    champion_score: float
    challenger_score: float
    champion_decision: int | None
    challenger_decision: int | None
    label: float | None


class Flips(Record):
    """Decisions that the other version would have taken otherwise, in one direction, and what came of them.

    ``labelled`` of them have a mature label; ``positives`` of those have label 1.
    """

    rows: int
    labelled: int
    positives: int
    rate: float | None = None
    interval: tuple[float, float] | None = None


class CounterfactualPart(Record):
    """Both versions on the same requests, all of them or one slice's.

    ``difference``: mean of challenger score minus champion score. ``loss``: mean rise of the loss (log loss, absolute
    error) with the challenger's score on labelled rows; negative is better. Intervals count one request of each entity.
    """

    name: str
    rows: int
    units: int
    difference: float | None
    difference_interval: tuple[float, float] | None
    decided: int
    """Rows on which both versions take a decision."""
    differ: int
    differ_interval: tuple[float, float] | None
    """Of the share of decisions that differ."""
    to_positive: Flips
    """The champion decides 0, the challenger 1."""
    to_negative: Flips
    labelled: int
    loss: float | None = None
    loss_interval: tuple[float, float] | None = None

    @property
    def share(self) -> float | None:
        """Share of decisions that differ."""
        return self.differ / self.decided if self.decided else None


class Counterfactual(Record):
    """What the other version would have said, over all requests of a rollout or a window that both have scored."""

    model: str
    rollout: str | None
    champion: str
    challenger: str
    since: Instant
    until: Instant
    at: Instant
    answered: int
    """Rows that were answered, by either; those that only one has scored are no comparison."""
    explored: int
    """Rows that the exploration reserve has decided: compared like all others, by what the versions decide."""
    whole: CounterfactualPart
    slices: tuple[CounterfactualPart, ...]
    largest: tuple[Disagreement, ...]
    notes: tuple[str, ...] = ()
    reason: str
