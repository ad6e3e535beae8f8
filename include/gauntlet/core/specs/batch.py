"""Scoring whole files at night with the champion, and with the challenger beside it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gauntlet.core.specs.base import Section


class BatchSection(Section):
    """What the ``batch_score`` DAG of a model reads and writes. Without this section there is no such DAG."""

    source: str
    """Parquet: a file, a folder or a pattern. ``{date}`` is the run's as-of date, as 2026-03-01."""
    target: str
    """The folder for the scores: one Parquet file per source file, of the same name. ``{date}`` as in ``source``."""
    cron: str | None = "0 6 * * *"
    keep: tuple[str, ...] = ()
    """Columns copied beside the scores, in addition to the key."""
    challenger: bool = True
    """Whether the challenger's scores are written beside the champion's."""
    max_rejected_share: float = Field(ge=0, le=1, default=0.0)
    """More rows than this share that ``serving.inputs`` rejects, and the task fails. They never get a score."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.source.rstrip("/") == self.target.rstrip("/"):
            raise ValueError(
                "batch_score: source and target are the same folder; scores would replace what they are of"
            )
        return self
