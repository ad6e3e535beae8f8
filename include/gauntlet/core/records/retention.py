"""Facts about keeping and deleting: pins, tombstones, and what housekeeping did."""

from __future__ import annotations

from enum import StrEnum

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Instant, Record


class ItemKind(StrEnum):
    """What can be deleted."""

    RELEASE = "release"
    DOSSIER = "dossier"
    SNAPSHOT = "snapshot"
    SPLIT = "split"
    EVALUATION = "evaluation"
    PAGE = "page"
    REGISTRY_RUN = "registry_run"
    JOURNAL = "journal"


class Pin(Record):
    """A person wants a release kept, or no longer does; stored under its digest."""

    model: str
    release_digest: str
    version: int
    pinned: bool
    by: str
    reason: str
    at: Instant


class Tombstone(Record):
    """What is left of something that was deleted; stored under ``kind:digest``.

    Written before anything is removed, so that whoever comes next can finish: ``deleted_at`` is ``None`` until all
    of it is gone. ``restored_at``: the same content was made again later, and counts again.
    """

    model: str
    kind: ItemKind
    digest: str
    uri: str
    reason: str
    decided_at: Instant
    deleted_at: Instant | None = None
    restored_at: Instant | None = None

    @property
    def name(self) -> str:
        """What it is stored under."""
        return f"{self.kind.value}:{self.digest}"


def retention_key(model: str) -> str:
    """The run key that pins, tombstones and reports of a model are under."""
    return f"{model}/retention"


def tombstone_name(release_digest: str) -> str:
    """What the tombstone of a release is stored under."""
    return f"{ItemKind.RELEASE.value}:{release_digest}"


class KeptItem(Record):
    """Something that stays, and why."""

    kind: ItemKind
    digest: str
    reason: str


class DoomedItem(Record):
    """Something that may go, and why. ``uri`` says where it is."""

    kind: ItemKind
    digest: str
    uri: str
    reason: str
    last: Instant | None = None
    """When the newest run that refers to it was opened."""


class RetentionPlan(Record):
    """What retention would keep and delete now."""

    model: str
    kept: tuple[KeptItem, ...]
    doomed: tuple[DoomedItem, ...]
    at: Instant


class RetentionReport(Record):
    """What retention deleted. ``refused``: what could not be deleted, with the reason; the next run tries again."""

    model: str
    outcome: Outcome
    reason: str
    kept: int
    deleted: tuple[str, ...]
    refused: tuple[str, ...]
    at: Instant


class JanitorReport(Record):
    """What the janitor found half done, and what became of it."""

    model: str
    outcome: Outcome
    reason: str
    done: tuple[str, ...]
    left: tuple[str, ...]
    at: Instant
