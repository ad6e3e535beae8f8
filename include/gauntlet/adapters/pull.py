"""What is asked of a source, and which of its columns are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from gauntlet.core.errors import DataRejected
from gauntlet.core.registry import did_you_mean
from gauntlet.core.spec import ModelSpec

ROW_KEY = "row_key"


@dataclass(frozen=True)
class Pull:
    """What is asked of a source: the spec, the window and whether labels must be mature."""

    spec: ModelSpec
    since: datetime | None
    until: datetime
    labelled: bool

    @property
    def name(self) -> str:
        """The source as the spec writes it, so that no secret of the environment is shown."""
        return f"{self.spec.model}: {self.spec.source.uri}"


def needed_columns(pull: Pull, present: Iterable[str]) -> tuple[str, ...]:
    """The source columns to read, in a fixed order.

    Columns that only the contract names are read when they are there; the contract says so when not.

    Raises:
        DataRejected: a column with a role is missing.
    """
    present = tuple(present)
    for name, key in _roles(pull.spec).items():
        absent_label = not pull.labelled and key in ("source.columns.label", "source.columns.label_known_at")
        if name not in present and not absent_label:
            raise DataRejected(f"{pull.name}: no column {name!r} ({key}): {did_you_mean(name, present)}")
    if ROW_KEY in present:
        raise DataRejected(f"{pull.name}: column {ROW_KEY!r} is reserved for the snapshot's row key; rename it")
    wanted = dict.fromkeys((*_roles(pull.spec), *_contract_columns(pull.spec)))
    return tuple(name for name in wanted if name in present)


def _roles(spec: ModelSpec) -> dict[str, str]:
    """Every column the spec needs, with the key that names it first."""
    columns = spec.source.columns
    named: list[tuple[str | None, str]] = [
        (getattr(columns, role), f"source.columns.{role}")
        for role in ("key", "entity", "event_time", "known_at", "label", "label_known_at", "weight")
    ]
    named += [(name, "source.columns.protected") for name in columns.protected]
    named += [(name, "source.columns.extra") for name in columns.extra]
    named += [(name, "source.features") for name in spec.source.features.all]
    roles: dict[str, str] = {}
    for name, key in named:
        if name is not None:
            roles.setdefault(name, key)
    return roles


def _contract_columns(spec: ModelSpec) -> Iterator[str]:
    yield from spec.contract.columns
    for group in spec.contract.unique_together:
        yield from group
    for relation in spec.contract.relations:
        yield from (relation.left, relation.right)
