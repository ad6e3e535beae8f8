"""The control store in memory: records, audit, routing and ledger with the rules of the SQL one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from gauntlet.core.audit import chain
from gauntlet.core.errors import MissingRecord
from gauntlet.core.ledger import Change, Effects, Ground, effects, no_champion, no_routing
from gauntlet.core.ports import AuditEntry, Clock
from gauntlet.core.records.base import Record
from gauntlet.core.records.ledger import Champion, Intent, RoutingChange, Transition
from gauntlet.core.records.retention import Tombstone, tombstone_name
from gauntlet.core.records.rollout import Routing
from gauntlet.core.standing import Standing, fold
from gauntlet.core.stored import kind_name, missing, model_of, stored_json

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class _Stored:
    run_key: str
    kind: str
    name: str
    record: Record


class MemoryAudit:
    """Implements :class:`~gauntlet.core.ports.AuditLog`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[AuditEntry] = []

    def append(self, actor: str, action: str, model: str, subject: str, detail: Mapping[str, Any]) -> AuditEntry:
        """Add one entry."""
        entry = chain(
            self._entries[-1] if self._entries else None,
            at=self._clock.now(),
            actor=actor,
            action=action,
            model=model,
            subject=subject,
            detail=detail,
        )
        self._entries.append(entry)
        return entry

    def entries(self, model: str | None = None, subject: str | None = None) -> list[AuditEntry]:
        """Entries in order, oldest first."""
        return [e for e in self._entries if model in (None, e.model) and subject in (None, e.subject)]

    def newest(
        self, model: str, limit: int, before: int | None = None, unrecorded_by: Sequence[str] = ()
    ) -> list[AuditEntry]:
        """The newest entries of a model, newest first; ``before``: only those with a smaller number.

        ``unrecorded_by``: without what these actors have recorded, which is most of a log.
        """
        found = [
            entry
            for entry in self.entries(model)
            if (before is None or entry.sequence < before)
            and not (entry.action.startswith("record.") and entry.actor in unrecorded_by)
        ]
        return found[::-1][:limit]

    def mirrored(self) -> list[AuditEntry] | None:
        """There is no file."""
        return None


class MemoryRecords:
    """Implements :class:`~gauntlet.core.ports.RecordStore`."""

    def __init__(self, audit: MemoryAudit) -> None:
        self._audit = audit
        self._stored: list[_Stored] = []

    def put(self, run_key: str, record: Record, name: str = "", *, actor: str = "pipeline") -> None:
        """Store a record of a run under its class and ``name``, with its audit entry."""
        known = self.find(run_key, type(record), name)
        body, digest = stored_json(record)
        if known is not None and stored_json(known)[0] == body:
            return
        kind = kind_name(type(record))
        self._stored.append(_Stored(run_key, kind, name, type(record).model_validate_json(body)))
        subject = f"{run_key}/{name}" if name else run_key
        self._audit.append(actor, f"record.{kind}", model_of(run_key), subject, {"digest": digest})

    def get(self, run_key: str, kind: type[R], name: str = "") -> R:
        """The newest record, or :class:`~gauntlet.core.errors.MissingRecord`."""
        record = self.find(run_key, kind, name)
        if record is None:
            raise MissingRecord(missing(run_key, kind, name))
        return record

    def find(self, run_key: str, kind: type[R], name: str = "") -> R | None:
        """The newest record or ``None``."""
        return self.named(run_key, kind).get(name)

    def named(self, run_key: str, kind: type[R]) -> dict[str, R]:
        """All records of a kind in a run, by name."""
        wanted = kind_name(kind)
        return {
            item.name: item.record
            for item in self._stored
            if item.run_key == run_key and item.kind == wanted and isinstance(item.record, kind)
        }

    def newest(self, model: str, kind: type[R], limit: int = 1, name: str | None = None) -> list[R]:
        """The newest records of a kind over all runs of a model, newest first; superseded ones do not count."""
        wanted = kind_name(kind)
        current: dict[tuple[str, str], R] = {}
        for item in self._stored:
            if item.kind == wanted and model_of(item.run_key) == model and name in (None, item.name):
                current.pop((item.run_key, item.name), None)
                assert isinstance(item.record, kind)
                current[item.run_key, item.name] = item.record
        return list(reversed(current.values()))[:limit]

    def of_runs(self, run_keys: Sequence[str], kind: type[R], name: str | None = None) -> dict[str, dict[str, R]]:
        """The records of a kind in several runs: run key to name to record; runs that have none are absent."""
        found = {key: self.named(key, kind) for key in run_keys}
        kept = {
            key: {each: record for each, record in named.items() if name in (None, each)}
            for key, named in found.items()
        }
        return {key: named for key, named in kept.items() if named}

    def past(self, run_key: str, kind: type[R], name: str = "") -> list[R]:
        """Every record there has been under this key, kind and name, superseded ones included, oldest first."""
        return [
            item.record
            for item in self._stored
            if (item.run_key, item.kind, item.name) == (run_key, kind_name(kind), name)
            and isinstance(item.record, kind)
        ]


@dataclass
class _Rows:
    """One model's rows."""

    routing: Routing
    champion: Champion
    intent: Intent | None = None
    events: list[Transition] = field(default_factory=list)
    routings: list[RoutingChange] = field(default_factory=list)


class MemoryLedger:
    """Implements :class:`~gauntlet.core.ports.Ledger` and, by :meth:`read` and :meth:`swap`, ``RoutingStore``."""

    def __init__(self, clock: Clock, audit: MemoryAudit, records: MemoryRecords) -> None:
        self._clock = clock
        self._audit = audit
        self._records = records
        self._models: dict[str, _Rows] = {}
        self._sequence = 0

    def _rows(self, model: str) -> _Rows:
        return self._models.setdefault(model, _Rows(no_routing(model), no_champion(model)))

    def commit(self, change: Change) -> Routing:
        """Write all of a change, or raise Conflict; the routing after it."""
        rows = self._rows(change.model)
        deleted = frozenset(digest for digest in change.routed if self._deleted(change.model, digest))
        todo = effects(change, Ground(rows.routing, rows.champion, fold(rows.events), rows.intent, deleted))
        for run_key, record, name in change.records:
            self._records.put(run_key, record, name, actor=change.actor)
        moment = self._clock.now()
        for note in todo.notes:
            moment = self._audit.append(change.actor, note.action, change.model, note.subject, note.detail).at
        self._write(change, rows, todo, moment)
        return rows.routing

    def _deleted(self, model: str, digest: str) -> bool:
        stones = self._records.newest(model, Tombstone, name=tombstone_name(digest))
        return bool(stones) and stones[0].restored_at is None

    def _write(self, change: Change, rows: _Rows, todo: Effects, moment: datetime) -> None:
        if todo.routing:
            rows.routing = todo.routing
            rows.routings.append(
                RoutingChange(
                    routing=todo.routing, at=moment, actor=change.actor, action=change.action, reason=change.reason
                )
            )
        if todo.champion:
            rows.champion = todo.champion.model_copy(update={"since": moment})
        for event in todo.transitions:
            self._sequence += 1
            rows.events.append(event.model_copy(update={"sequence": self._sequence, "at": moment}))
        for intent in todo.intents:
            rows.intent = intent if intent.stage.open else None

    def champion(self, model: str) -> Champion:
        """The champion row."""
        return self._rows(model).champion

    def standing(self, model: str, candidate: str) -> Standing | None:
        """Where a candidate stands."""
        return fold(self._rows(model).events).get(candidate)

    def events(self, model: str, candidate: str | None = None) -> list[Transition]:
        """Transitions in order, oldest first."""
        return [event for event in self._rows(model).events if candidate in (None, event.candidate)]

    def intent(self, model: str) -> Intent | None:
        """The promotion or rollback that is under way."""
        return self._rows(model).intent

    def routings(self, model: str) -> list[RoutingChange]:
        """Every routing row there was, oldest first."""
        return list(self._rows(model).routings)

    def read(self, model: str) -> Routing:
        """The routing row; epoch 0 with no versions when there is none."""
        return self._rows(model).routing

    def swap(self, routing: Routing, *, expected_epoch: int, actor: str, action: str, reason: str) -> Routing:
        """Compare-and-swap on the routing epoch."""
        return self.commit(
            Change(
                model=routing.model,
                actor=actor,
                action=action,
                reason=reason,
                routing=routing,
                routing_epoch=expected_epoch,
            )
        )


class MemoryStore:
    """All four control ports over one memory: ``records``, ``audit``, ``routing``, ``ledger``."""

    def __init__(self, clock: Clock) -> None:
        self.audit = MemoryAudit(clock)
        self.records = MemoryRecords(self.audit)
        self.ledger = MemoryLedger(clock, self.audit, self.records)
        self.routing = self.ledger
