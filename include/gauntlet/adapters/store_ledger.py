"""Routing and ledger as SQL; the rules themselves are :func:`gauntlet.core.ledger.effects`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from gauntlet.adapters import store_tables as t
from gauntlet.adapters.store_records import Transactions, append_entry, put_record
from gauntlet.core.audit import instant_text
from gauntlet.core.ledger import Change, Effects, Ground, effects, no_champion, no_routing
from gauntlet.core.ports import AuditEntry, Clock
from gauntlet.core.records.ledger import Champion, Intent, RoutingChange, Transition
from gauntlet.core.records.retention import Tombstone, tombstone_name
from gauntlet.core.records.rollout import Routing
from gauntlet.core.standing import Standing, standing_of
from gauntlet.core.stored import kind_name


def _routing(connection: Connection, model: str) -> Routing:
    newest = select(t.routing.c.body).where(t.routing.c.model == model).order_by(t.routing.c.epoch.desc()).limit(1)
    body = connection.execute(newest).scalar()
    return Routing.model_validate_json(body) if body else no_routing(model)


def _champion(connection: Connection, model: str) -> Champion:
    body = connection.execute(select(t.champion.c.body).where(t.champion.c.model == model)).scalar()
    return Champion.model_validate_json(body) if body else no_champion(model)


def _intent(connection: Connection, model: str) -> Intent | None:
    body = connection.execute(select(t.intent.c.body).where(t.intent.c.model == model, t.intent.c.open == 1)).scalar()
    return Intent.model_validate_json(body) if body else None


def _deleted(connection: Connection, change: Change) -> frozenset[str]:
    """Which of the releases that a change routes to have a tombstone."""
    names = {tombstone_name(digest): digest for digest in change.routed}
    query = select(t.record.c.name, t.record.c.body).where(
        t.record.c.model == change.model,
        t.record.c.kind == kind_name(Tombstone),
        t.record.c.name.in_(names),
        t.record.c.current == 1,
    )
    rows = connection.execute(query) if names else ()
    return frozenset(names[row.name] for row in rows if Tombstone.model_validate_json(row.body).restored_at is None)


def _transition(row: Any) -> Transition:
    return Transition.model_validate_json(row.body).model_copy(update={"sequence": row.sequence})


def _standings(connection: Connection, model: str, candidate: str | None = None) -> dict[str, Standing]:
    last = select(func.max(t.event.c.sequence)).where(t.event.c.model == model).group_by(t.event.c.candidate)
    if candidate is not None:
        last = last.where(t.event.c.candidate == candidate)
    rows = connection.execute(select(t.event.c.sequence, t.event.c.body).where(t.event.c.sequence.in_(last)))
    return {event.candidate: standing_of(event) for event in map(_transition, rows)}


class SqlLedger:
    """Implements :class:`~gauntlet.core.ports.Ledger` and, by :meth:`read` and :meth:`swap`, ``RoutingStore``."""

    def __init__(self, database: Transactions, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def commit(self, change: Change) -> Routing:
        """Write all of a change in one transaction, or raise Conflict; the routing after it."""
        with self._database.write() as connection:
            ground = Ground(
                _routing(connection, change.model),
                _champion(connection, change.model),
                _standings(connection, change.model),
                _intent(connection, change.model),
                _deleted(connection, change),
            )
            todo = effects(change, ground)
            for run_key, item, name in change.records:
                put_record(connection, self._clock, run_key, item, name, change.actor)
            self._write(connection, change, todo)
            return todo.routing or ground.routing

    def _write(self, connection: Connection, change: Change, todo: Effects) -> None:
        """The effects, each with the audit entry that belongs to it."""
        notes = iter(todo.notes)

        def noted() -> AuditEntry:
            return append_entry(connection, self._clock, change.actor, change.model, next(notes))

        if todo.routing:
            entry = noted()
            _write_routing(connection, change, todo.routing, entry)
            if todo.champion:
                _write_champion(connection, todo.champion.model_copy(update={"since": entry.at}))
        for event in todo.transitions:
            _write_event(connection, event, noted())
        for intent in todo.intents:
            noted()
            _write_intent(connection, intent)

    def champion(self, model: str) -> Champion:
        """The champion row."""
        with self._database.read() as connection:
            return _champion(connection, model)

    def standing(self, model: str, candidate: str) -> Standing | None:
        """Where a candidate stands."""
        with self._database.read() as connection:
            return _standings(connection, model, candidate).get(candidate)

    def events(self, model: str, candidate: str | None = None) -> list[Transition]:
        """Transitions in order, oldest first."""
        query = select(t.event.c.sequence, t.event.c.body).where(t.event.c.model == model).order_by(t.event.c.sequence)
        if candidate is not None:
            query = query.where(t.event.c.candidate == candidate)
        with self._database.read() as connection:
            return [_transition(row) for row in connection.execute(query)]

    def intent(self, model: str) -> Intent | None:
        """The promotion or rollback that is under way."""
        with self._database.read() as connection:
            return _intent(connection, model)

    def routings(self, model: str) -> list[RoutingChange]:
        """Every routing row there was, oldest first."""
        query = select(t.routing).where(t.routing.c.model == model).order_by(t.routing.c.epoch)
        with self._database.read() as connection:
            return [
                RoutingChange(
                    routing=Routing.model_validate_json(row.body),
                    at=datetime.fromisoformat(row.at),
                    actor=row.actor,
                    action=row.action,
                    reason=row.reason,
                )
                for row in connection.execute(query)
            ]

    def read(self, model: str) -> Routing:
        """The routing row; epoch 0 with no versions when there is none."""
        with self._database.read() as connection:
            return _routing(connection, model)

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


def _write_routing(connection: Connection, change: Change, row: Routing, entry: AuditEntry) -> None:
    connection.execute(
        insert(t.routing).values(
            model=row.model,
            epoch=row.epoch,
            body=row.model_dump_json(),
            at=instant_text(entry.at),
            actor=change.actor,
            action=change.action,
            reason=change.reason,
            audit=entry.sequence,
        )
    )


def _write_champion(connection: Connection, row: Champion) -> None:
    same = (t.champion.c.model == row.model, t.champion.c.epoch == row.epoch - 1)
    values = {"epoch": row.epoch, "body": row.model_dump_json()}
    if row.epoch == 1:
        connection.execute(insert(t.champion).values(model=row.model, **values))
    else:
        connection.execute(update(t.champion).where(*same).values(**values))


def _write_event(connection: Connection, item: Transition, entry: AuditEntry) -> None:
    stamped = item.model_copy(update={"at": entry.at})
    connection.execute(
        insert(t.event).values(
            model=item.model, candidate=item.candidate, body=stamped.model_dump_json(), audit=entry.sequence
        )
    )


def _write_intent(connection: Connection, item: Intent) -> None:
    values = {"stage": item.stage.value, "open": int(item.stage.open), "body": item.model_dump_json()}
    same = (
        t.intent.c.model == item.model,
        t.intent.c.kind == item.kind.value,
        t.intent.c.key == item.key,
        t.intent.c.open == 1,
    )
    if connection.execute(update(t.intent).where(*same).values(**values)).rowcount == 0:
        connection.execute(insert(t.intent).values(model=item.model, kind=item.kind.value, key=item.key, **values))
