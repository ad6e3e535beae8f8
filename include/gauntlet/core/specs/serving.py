"""What the model server does with input that is not as training saw it, and what it keeps of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gauntlet.core.specs.base import Section

Answer = Literal["reject", "count"]
"""``reject``: 422 naming the feature; ``count``: score it and count it in the metrics."""


class InputPolicy(Section):
    """Per kind of deviation from the training profile. A rejected row is never scored."""

    missing: Answer = "reject"
    """A feature the row does not have; counted, it is scored as null."""
    extra: Literal["reject", "count", "ignore"] = "count"
    """A column that is no feature. ``ignore`` is the fastest where clients always send more."""
    null: Answer = "reject"
    """Null where training had none."""
    unseen_category: Answer = "count"
    """A category training did not see; scored as missing."""
    wrong_type: Answer = "reject"
    """Text where a number belongs, and the like; counted, it is scored as null."""
    nan: Answer = "reject"
    """NaN or infinity, which JSON does not have but some clients write; counted, NaN is scored as null."""
    out_of_range: Answer = "count"
    """A number outside the range training saw."""


class JournalPolicy(Section):
    """What is kept of each prediction."""

    durability: Literal["interval", "sync"] = "interval"
    """``interval``: fsynced every 50 ms; ``sync``: before the answer is sent."""
    overflow: Literal["shed", "block", "spill"] = "shed"
    """When the disk does not keep up: drop and mark the window incomplete, wait, or write unsynced."""
    features: Literal["vector", "hash", "none"] = "vector"
    """The encoded row as float64, a 64-bit hash of it, or nothing."""
    entity: Literal["plain", "hash", "none"] = "plain"


MOST_EXPLORED = 0.05


class ExplorationSection(Section):
    """A reserve of decisions that ignores the model, so that labels exist where its own decisions would leave none."""

    share: float = Field(ge=0.000_001, le=MOST_EXPLORED)
    """Of the entities, of the requests where there is no entity; at most one in twenty."""
    decide: Literal["random", "positive", "negative"] = "random"
    """What is decided in the model's place: each decision as likely as another, or of a binary model always 1 or 0."""
    seed: str = Field(min_length=1, default="exploration")
    """Another one draws other entities."""


class ServingSection(Section):
    """How one model is served."""

    inputs: InputPolicy = InputPolicy()
    journal: JournalPolicy = JournalPolicy()
    max_rows: int = Field(ge=1, default=1000)
    """Rows in one request; more is 413."""
    allow: tuple[str, ...] = ()
    """Entities that always meet the canary."""
    deny: tuple[str, ...] = ()
    """Entities that never do."""
    challenger_budget_ms: float = Field(gt=0, default=20.0)
    """A challenger's row that takes longer counts as an error against it."""
    breaker_errors: int = Field(ge=1, default=5)
    """Challenger errors of one worker within ``breaker_window_s`` that take it out of traffic at once."""
    breaker_window_s: float = Field(gt=0, default=10.0)
    exploration: ExplorationSection | None = None
    """``None``: every decision is the model's."""
