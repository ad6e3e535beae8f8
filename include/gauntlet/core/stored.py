"""How records lie in a store: their JSON, their kind's name, the model a run key belongs to."""

from __future__ import annotations

import json

from gauntlet.core.digest import sha256_json
from gauntlet.core.records.base import Record


def kind_name(kind: type[Record]) -> str:
    """The name records of a class are kept under: the class's own."""
    return kind.__name__


def model_of(run_key: str) -> str:
    """The model of a run key.

    >>> model_of("credit_default/scheduled__2026-03-01")
    'credit_default'
    """
    return run_key.partition("/")[0]


def stored_json(record: Record) -> tuple[str, str]:
    """A record's JSON text (NaN and infinities as strings) and the digest of its canonical form."""
    body = record.model_dump_json()
    return body, sha256_json(json.loads(body))


def missing(run_key: str, kind: type[Record], name: str) -> str:
    """What to say when a record is not there."""
    which = f"{kind.__name__} {name!r}" if name else kind.__name__
    return f"{run_key}: no {which} in the store: the task that writes it has not run for this run"
