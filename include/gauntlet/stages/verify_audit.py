"""Is the audit log what was written?"""

from __future__ import annotations

from gauntlet.core.audit import Finding, compare, verify
from gauntlet.core.ports import Services


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
