"""The hash chain of the audit log: how an entry's digest is made, and how a tampered log is found out.

Each entry carries the digest of the entry before it (Haber & Stornetta, *How to Time-Stamp a Digital
Document*, J. Cryptology 1991): changing, removing, inserting or moving one breaks the chain at that place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gauntlet.core.digest import canonical_json, sha256_bytes
from gauntlet.core.ports import AuditEntry

GENESIS = "0" * 64
"""What the first entry carries as the digest before it."""


def instant_text(moment: datetime) -> str:
    """A time as fixed-width text in UTC, so that text order is time order.

    >>> instant_text(datetime(2026, 3, 1, 2, tzinfo=UTC))
    '2026-03-01T02:00:00.000000+00:00'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def plain(value: Any) -> Any:
    """A JSON value of what people put into a detail: NaN and infinities become text, other types their ``str``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or type(value) in {str, int, float, bool}:
        return value
    return str(value)


def entry_digest(entry: AuditEntry) -> str:
    """Hex SHA-256 over everything in the entry but its own digest."""
    return sha256_bytes(canonical_json(_content(entry)))


def _content(entry: AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": instant_text(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "model": entry.model,
        "subject": entry.subject,
        "detail": entry.detail,
        "previous": entry.previous,
    }


def chain(
    last: AuditEntry | None,
    *,
    at: datetime,
    actor: str,
    action: str,
    model: str,
    subject: str,
    detail: Mapping[str, Any],
) -> AuditEntry:
    """The entry that follows ``last``. Its time never lies before ``last``'s, whatever the clock says."""
    bare = AuditEntry(
        sequence=last.sequence + 1 if last else 1,
        at=max(at, last.at) if last else at,
        actor=actor,
        action=action,
        model=model,
        subject=subject,
        detail=plain(detail),
        previous=last.digest if last else GENESIS,
        digest="",
    )
    return replace(bare, digest=entry_digest(bare))


def to_line(entry: AuditEntry) -> str:
    """The entry as one line of JSON."""
    return canonical_json({**_content(entry), "digest": entry.digest}).decode() + "\n"


def from_line(line: str) -> AuditEntry:
    """Read :func:`to_line` back; ``ValueError`` or ``KeyError`` when it is no entry."""
    content = json.loads(line)
    return AuditEntry(
        sequence=content["sequence"],
        at=datetime.fromisoformat(content["at"]),
        actor=content["actor"],
        action=content["action"],
        model=content["model"],
        subject=content["subject"],
        detail=content["detail"],
        previous=content["previous"],
        digest=content["digest"],
    )


class Fault(StrEnum):
    """What is wrong at a place in the log."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "re-ordered"
    INSERTED = "inserted"


@dataclass(frozen=True)
class Finding:
    """One place where the log is not what was written."""

    sequence: int
    fault: Fault
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def verify(entries: Sequence[AuditEntry], *, last: tuple[int, str] | None = None) -> tuple[Finding, ...]:
    """Walk the log in stored order and name every entry that was changed, removed, inserted or moved.

    ``last``: sequence and digest of the newest entry as known from elsewhere (the mirror file, a note on
    paper); without it nobody can tell that the *end* of the log was cut off or rewritten.
    """
    findings = [*_order(entries), *_gaps(entries, last), *_contents(entries), *_links(entries)]
    if last and entries and (newest := _at(entries, last[0])) is not None and newest.digest != last[1]:
        findings.append(_changed(newest, "its digest is not the one noted elsewhere"))
    return _unique(findings)


def compare(entries: Sequence[AuditEntry], copy: Sequence[AuditEntry]) -> tuple[Finding, ...]:
    """Where the log differs from a copy of it kept elsewhere: finds even a chain that was rewritten as a whole.

    A copy that ends earlier is only behind; a log that ends earlier has lost entries.
    """
    ours = {entry.sequence: entry for entry in entries}
    findings = []
    for kept in copy:
        mine = ours.get(kept.sequence)
        if mine is None:
            findings.append(_finding(kept.sequence, Fault.REMOVED, "its copy has it, the log has not"))
        elif mine.digest != kept.digest:
            findings.append(_changed(mine, "its copy has another digest"))
    return _unique(findings)


def _at(entries: Sequence[AuditEntry], sequence: int) -> AuditEntry | None:
    return next((entry for entry in entries if entry.sequence == sequence), None)


def _order(entries: Sequence[AuditEntry]) -> list[Finding]:
    findings: list[Finding] = []
    highest = 0
    seen: set[int] = set()
    for entry in entries:
        if entry.sequence in seen:
            findings.append(_finding(entry.sequence, Fault.INSERTED, "its number occurs twice"))
        elif entry.sequence < highest:
            findings.append(_finding(entry.sequence, Fault.REORDERED, f"it stands after entry {highest}"))
        seen.add(entry.sequence)
        highest = max(highest, entry.sequence)
    return findings


def _gaps(entries: Sequence[AuditEntry], last: tuple[int, str] | None) -> list[Finding]:
    present = {entry.sequence for entry in entries}
    end = max([*present, last[0] if last else 0])
    return [
        _finding(missing, Fault.REMOVED, "it is not in the log")
        for missing in range(1, end + 1)
        if missing not in present
    ]


def _contents(entries: Sequence[AuditEntry]) -> list[Finding]:
    broken = [entry for entry in entries if entry_digest(entry) != entry.digest]
    numbers = {entry.sequence for entry in broken}
    return [_moved(entry, numbers) or _changed(entry, "its content does not give its digest") for entry in broken]


def _moved(entry: AuditEntry, numbers: set[int]) -> Finding | None:
    """An entry that was only given another broken entry's number: its content under that number gives its digest."""
    for number in sorted(numbers - {entry.sequence}):
        if entry_digest(replace(entry, sequence=number)) == entry.digest:
            return _finding(entry.sequence, Fault.REORDERED, f"it was written as entry {number}")
    return None


def _links(entries: Sequence[AuditEntry]) -> list[Finding]:
    """Entries rewritten together with their own digest: the next one still carries the old digest."""
    findings: list[Finding] = []
    by_sequence = {entry.sequence: entry for entry in entries}
    for entry in by_sequence.values():
        before = by_sequence.get(entry.sequence - 1)
        if entry.sequence == 1 and entry.previous != GENESIS:
            findings.append(_changed(entry, "the first entry must carry no digest before it"))
        if before is None or entry.previous == before.digest or entry_digest(entry) != entry.digest:
            continue
        if entry_digest(before) == before.digest:
            findings.append(_changed(before, f"entry {entry.sequence} was chained to another digest"))
    return findings


def _changed(entry: AuditEntry, why: str) -> Finding:
    return _finding(entry.sequence, Fault.CHANGED, f"{why} ({entry.action} of {entry.model} {entry.subject})")


def _finding(sequence: int, fault: Fault, why: str) -> Finding:
    return Finding(sequence, fault, f"entry {sequence} was {fault}: {why}")


def _unique(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    first: dict[tuple[int, Fault], Finding] = {}
    for finding in findings:
        first.setdefault((finding.sequence, finding.fault), finding)
    return tuple(sorted(first.values(), key=lambda finding: (finding.sequence, finding.fault)))
