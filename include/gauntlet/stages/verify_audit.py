"""Is the audit log what was written?"""

from __future__ import annotations

from gauntlet.core.audit import Finding, compare, verify
from gauntlet.core.errors import IntegrityError
from gauntlet.core.ports import Services

SHOWN = 3


def verify_audit(services: Services) -> tuple[Finding, ...]:
    """Every entry that was changed, removed, inserted or moved: by the chain, and by the mirror file if there is one.

    Whoever can write to the database can rewrite the whole chain, or cut off its end; only the file shows that.
    """
    # The copy first: what is written in between is then missing from the copy, not from the log.
    copy = services.audit.mirrored() or []
    entries = services.audit.entries()
    found = verify(entries)
    known = {(finding.sequence, finding.fault) for finding in found}
    more = [finding for finding in compare(entries, copy) if (finding.sequence, finding.fault) not in known]
    return tuple(sorted([*found, *more], key=lambda finding: (finding.sequence, finding.fault)))


def require_unbroken(services: Services) -> tuple[Finding, ...]:
    """The same as a check that fails: nothing found, or :class:`IntegrityError` naming the first places."""
    found = verify_audit(services)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise IntegrityError(f"audit log: {'; '.join(map(str, found[:SHOWN]))}{more}; see gauntlet audit verify")
    return found
