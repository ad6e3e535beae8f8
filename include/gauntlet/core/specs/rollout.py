"""How a challenger meets live traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.errors import SpecError
from gauntlet.core.specs.base import Section
from gauntlet.core.specs.plans import PLANS
from gauntlet.core.specs.profit import ProfitSection

if TYPE_CHECKING:
    from gauntlet.core.spec import ModelSpec

SHADOW = -1
"""The number of the stage before the first step, in which the challenger answers nothing."""


class HoldSection(Section):
    """A stage passes when time *and* requests *and* entities *and* labels *and* all checks are there."""

    hold: Duration
    requests: int = Field(ge=1)
    """Least canary requests for a verdict; in the shadow, requests that both versions have scored."""
    entities: int = Field(ge=0, default=0)
    max_hold: Duration | None = None
    """Longest wait for evidence; then ``on_max_hold``."""
    warm_up: Duration = Field(default="0s", validate_default=True)
    """Time after the weight has changed that is not judged."""
    labels: int = Field(ge=0, default=0)
    """Least canary requests with a mature label; 0 asks for none."""


class ShadowSection(HoldSection):
    """Before any traffic: the challenger scores, after the response is sent, what the champion has answered."""

    @property
    def weight(self) -> float:
        """Percent of traffic it answers: none."""
        return 0.0

    @property
    def weight_ppm(self) -> int:
        """The weight in parts per million."""
        return 0


class StepSection(HoldSection):
    """One weight of the ramp."""

    weight: float = Field(gt=0, le=100)
    """Percent of traffic."""

    @property
    def weight_ppm(self) -> int:
        """The weight in parts per million."""
        return round(self.weight * 10_000)


Stage = ShadowSection | StepSection


class LabelsSection(Section):
    """How labels that become known later find the predictions they belong to."""

    by: Literal["entity", "request"] = "entity"
    """``request``: the source's ``key`` is the request id; ``entity``: the entity's row nearest in event time."""
    within: Duration = Field(default="1h", validate_default=True)
    """By entity: the farthest that a row's event time may be from its request."""
    maturity: Duration | None = None
    """A label counts when it became known within this time after its request, and is looked for when that time has
    passed: the same for both arms. Without one, ``source.label_delay``."""


class ProductMetric(Section):
    """A metric of your own: profit, a Python function or an SQL query. One value per request.

    Fails when the challenger is worse than the champion by more than ``margin``, beyond chance at any time.
    """

    margin: float = Field(gt=0)
    """Largest loss, per request, that is tolerated; in the metric's own unit."""
    better: Literal["higher", "lower"] = "higher"
    profit: ProfitSection | None = None
    """Value of each version's decision on the same request with a mature label."""
    function: str | None = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", default=None)
    """``module:function``, called with a mapping from column to array; one value per request, NaN where none."""
    sql: str | None = None
    """A SELECT that gives ``request_id`` or ``entity``, and ``value``. Bound: ``:since``, ``:until``, ``:rollout``.
    Without ``uri`` it reads the table ``requests`` of this stage's journal rows (write the column ``"at"`` in quotes),
    and nothing else."""
    uri: str | None = None
    """SQLAlchemy URL of the database that ``sql`` asks, in a read-only transaction; may hold ``${NAME}``."""
    missing: float | None = None
    """The value of a request or entity that ``sql`` has no row for; without one it does not count."""
    columns: tuple[str, ...] = ()
    """Columns of the source that are joined with the label for ``function`` and ``sql``."""
    bounds: tuple[float, float] | None = None
    """Least and greatest possible value, where there are: the interval is then exact at every sample size."""
    least: int = Field(ge=2, default=30)
    """Least values of each version for a verdict."""
    critical: bool = False
    """Whether a failure ends the rollout even while the stage warms up."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(way is not None for way in (self.profit, self.function, self.sql)) != 1:
            raise ValueError("give one of profit, function or sql")
        if self.sql is None and (self.uri is not None or self.missing is not None):
            raise ValueError("uri and missing: belong to sql")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds: the first must be smaller, got {list(self.bounds)}")
        return self

    @property
    def labelled(self) -> bool:
        """Whether the metric reads anything that comes with the label."""
        return self.profit is not None or bool(self.columns)

    @property
    def reads(self) -> tuple[str, ...]:
        """The source columns it needs."""
        return self.columns + (self.profit.reads if self.profit else ())


class ABSection(Section):
    """What an A/B test must be able to see; from it follows how long it runs."""

    weight: float = Field(gt=0, lt=100, default=50.0)
    """Percent of traffic of the challenger, from the first request to the last."""
    baseline: float
    """The metric now: a rate, or a mean where ``sd`` is given."""
    change: float
    """The smallest change of it that must be seen."""
    sd: float | None = Field(gt=0, default=None)
    """The standard deviation of a mean; without one, ``baseline`` is a rate."""
    power: float = Field(gt=0, lt=1, default=0.8)
    alpha: float = Field(gt=0, lt=0.5, default=0.05)
    hold: Duration = Field(default="7d", validate_default=True)
    """Least time, so that every day of the week is in it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ = self.horizon
        return self

    @property
    def horizon(self) -> int:
        """Canary requests that the power analysis asks for."""
        from gauntlet.core.ab import horizon

        return horizon(
            self.baseline, self.change, sd=self.sd, share=self.weight / 100, power=self.power, alpha=self.alpha
        )


class LiveChecks(Section):
    """Limits of the live metrics; each is compared between arms over the same period.

    A limit is the largest change that is tolerated. A metric fails when the change is larger *and* is no accident.
    Changes of score and decision are counted on top of what the candidate already showed on the holdout, where the
    gates have judged it: a model that was trained to differ may differ.
    """

    error_rate_increase: float = Field(gt=0, default=0.01)
    fallback_rate_increase: float = Field(gt=0, default=0.01)
    invalid_outputs: int = Field(ge=0, default=0)
    """Scores of the challenger that were not finite or out of range; more end the rollout at once."""
    latency_p99_ms: float = Field(gt=0, default=50.0)
    latency_increase: float = Field(gt=0, default=1.0)
    """Relative: at 1.0 the canary's p50, p95 and p99 may be twice the champion's."""
    latency_floor_ms: float = Field(ge=0, default=2.0)
    """Quantiles that differ by less than this never count as slower."""
    score_psi: float = Field(gt=0, default=0.25)
    """Population stability index between both versions' scores; above 0.25 is a major shift by convention."""
    score_shift: float = Field(gt=0, default=0.5)
    """Mean difference of both versions' scores on the same request, in standard deviations of the champion's."""
    score_spread: float = Field(gt=0, lt=1, default=0.1)
    """Collapse: least ratio of the canary's spread, and of its unique scores, to the champion's."""
    scores: int = Field(ge=10, default=30)
    """Least scored requests for a verdict on scores."""
    decision_rate_change: float = Field(gt=0, le=1, default=0.10)
    log_loss_increase: float = Field(gt=0, default=0.05)
    """On requests with mature labels, mean over the same requests scored by both versions."""
    calibration_change: float = Field(gt=0, le=1, default=0.10)
    """On mature labels: how much farther the canary's mean score may be from the label rate than the champion's."""
    alpha: float = Field(gt=0, lt=0.5, default=0.01)
    """Chance that a whole rollout rolls back a *good* challenger, over all looks and metrics."""


class RolloutSection(Section):
    """The plan. ``bootstrap`` says how a first model, with nothing to compare, becomes champion."""

    plan: Literal["ramp", "blue_green", "shadow_only", "ab"] = "ramp"
    """Fills in what is not said: ``ramp`` 1 to 100 %; ``blue_green`` shadow, then 100 %; ``shadow_only``;
    ``ab`` one fixed split with the horizon of section ``ab``. What is said wins."""
    shadow: ShadowSection | None = None
    """Before the first step; ``None``: no shadow."""
    steps: tuple[StepSection, ...] = ()
    ab: ABSection | None = None
    finish: Literal["promote", "ask"] = "promote"
    """After the last stage: become champion, or wait for a person's promote or abort."""
    on_new: Literal["queue", "supersede", "reject"] = "queue"
    """A new candidate while a canary runs waits (the newest does), takes its place, or is never taken by itself."""
    checks: LiveChecks = LiveChecks()
    labels: LabelsSection = LabelsSection()
    metrics: dict[str, ProductMetric] = {}
    """Product metrics by name: judged where there are two arms; those that read labels where a stage asks for them."""
    tick: Duration = Field(default="30s", validate_default=True)
    lease: Duration = Field(default="5m", validate_default=True)
    """Without a tick for this long, the canary's weight falls to 0 by itself."""
    on_max_hold: Literal["extend", "pause", "roll_back"] = "roll_back"
    bootstrap: Literal["automatic", "approval"] = "approval"
    approval: bool = False
    """Whether a person approves before traffic moves."""
    deadline: Duration = Field(default="14d", validate_default=True)
    """A rollout older than this expires and its traffic returns."""
    receipts_within: Duration = Field(default="21d", validate_default=True)
    """Gate receipts older than this no longer let a candidate be registered or promoted."""
    golden_ms: float = Field(gt=0, default=50.0)
    """Preflight: the longest that one more golden row may take the live server."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, said: Any) -> Any:
        if not isinstance(said, dict):
            return said
        filling = PLANS.get(said.get("plan", "ramp"))
        return {**filling(said), **said} if filling else said

    @field_validator("metrics")
    @classmethod
    def _names(cls, metrics: dict[str, ProductMetric]) -> dict[str, ProductMetric]:
        for name in metrics:
            if not name.replace("_", "").isalnum() or not name.islower():
                raise ValueError(f"{name!r}: name a metric in lower case, as in conversion_rate")
        return metrics

    @model_validator(mode="after")
    def _check(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"steps: weights must rise, got {weights}")
        if self.plan == "ab" and self.ab is None:
            raise ValueError("ab: say what the test must be able to see: baseline and change")
        if not self.steps and (self.shadow is None or self.finish == "promote"):
            raise ValueError("steps: without one nobody ever meets the challenger; plan: shadow_only has none")
        if self.lease <= self.tick * 2:
            raise ValueError("lease: must be more than two ticks, or every late tick ends the canary")
        return self

    @property
    def stages(self) -> tuple[int, ...]:
        """The numbers of all stages in order: :data:`SHADOW` where there is one, then the steps from 0."""
        return ((SHADOW,) if self.shadow else ()) + tuple(range(len(self.steps)))

    def stage(self, number: int) -> Stage:
        """A stage by its number.

        Raises:
            SpecError: the plan has none; it has been changed while a rollout followed it.
        """
        if number == SHADOW and self.shadow is not None:
            return self.shadow
        if 0 <= number < len(self.steps):
            return self.steps[number]
        raise SpecError(f"rollout: the plan has no {stage_name(number)} any more; abort the rollout that is in it")

    def stage_at(self, weight_ppm: int) -> Stage:
        """The last stage of a weight: what a rollout is judged by that has passed them all and waits at it.

        Raises:
            SpecError: the plan has none; it has been changed while a rollout waited.
        """
        for number in reversed(self.stages):
            if self.stage(number).weight_ppm == weight_ppm:
                return self.stage(number)
        weight = f"{weight_ppm / 10_000:g} %"
        raise SpecError(f"rollout: the plan has no stage at {weight} any more; abort the rollout that waits at it")


def rollout_complaints(spec: ModelSpec) -> list[str]:
    """What a plan asks of the rest of the spec and does not find there."""
    plan, columns = spec.rollout, spec.source.columns
    if not any(plan.stage(number).labels for number in plan.stages):
        return []
    if plan.labels.by == "request":
        return [] if columns.key else ["rollout.labels.by: request needs source.columns.key"]
    if not (columns.entity and columns.event_time):
        return ["rollout.labels.by: entity needs source.columns.entity and source.columns.event_time"]
    if spec.serving.journal.entity == "none":
        return ["rollout.labels.by: entity finds none, for serving.journal.entity is none; use by: request"]
    return []


def stage_name(number: int) -> str:
    """What people call a stage.

    >>> stage_name(SHADOW), stage_name(0)
    ('shadow', 'step 1')
    """
    return "shadow" if number == SHADOW else f"step {number + 1}"
