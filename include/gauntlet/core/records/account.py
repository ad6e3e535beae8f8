"""From which account of the operating system a person's word was said."""

from __future__ import annotations

from gauntlet.core.records.base import Record


class Account(Record):
    """The account that a command ran under. A name that was typed there is a claim; no login proves it."""

    name: str
    shared: bool = False
    """Whether the installation says that several people use it: then a typed name counts: nothing better is known."""
