"""Which release a served version is, and whether it may be served at all."""

from __future__ import annotations

from typing import Protocol

from gauntlet.core.errors import MissingRecord
from gauntlet.core.ledger import Change
from gauntlet.core.ports import RecordStore, Services
from gauntlet.core.records.ledger import CandidateState, QuarantineCleared, Transition
from gauntlet.core.records.model import Derivation, RegisteredVersion, ReleaseRef
from gauntlet.core.records.retention import Tombstone, retention_key, tombstone_name
from gauntlet.core.records.rollout import Quarantine, ServedVersion

ALL = 100_000


def served(registered: RegisteredVersion) -> ServedVersion:
    """A registered version as routing and servers know it."""
    return ServedVersion(
        version=registered.version,
        version_id=registered.version_id,
        release_uri=registered.release.uri,
        release_digest=registered.release.digest,
    )


class Recorded(Protocol):
    """Whatever has records: this environment's services, or another environment."""

    @property
    def records(self) -> RecordStore:
        """The records."""
        ...


def versions_of(place: Recorded, model: str) -> list[RegisteredVersion]:
    """Every version there ever was, the newest first."""
    return place.records.newest(model, RegisteredVersion, limit=ALL)


def release_of(services: Services, model: str, version: ServedVersion) -> ReleaseRef:
    """The release of a served version; of one that was adopted and never registered, what is known of it."""
    for registered in versions_of(services, model):
        if registered.release.digest == version.release_digest:
            return registered.release
    return ReleaseRef(
        uri=version.release_uri,
        digest=version.release_digest,
        version_id=version.version_id,
        tree_digest="",
        size_bytes=0,
    )


def tombstone_of(services: Services, model: str, digest: str) -> Tombstone | None:
    """The tombstone of a release that retention has deleted; a copy of it may still lie in some cache."""
    stone = services.records.find(retention_key(model), Tombstone, tombstone_name(digest))
    return stone if stone is not None and stone.restored_at is None else None


def quarantine_of(services: Recorded, model: str, digest: str, tree_digest: str = "") -> Quarantine | None:
    """The quarantine a release is under, by its content: its own digest, or that of the same trees elsewhere.

    A quarantine ends when a person clears it after looking; see :class:`QuarantineCleared`.
    """
    same = {digest} | _twins(services, model, digest, tree_digest)
    return next((one for one in quarantines(services, model) if one.release_digest in same), None)


def quarantines(services: Recorded, model: str) -> list[Quarantine]:
    """Every quarantine that nobody has cleared since, newest first."""
    words = services.records.newest(model, QuarantineCleared, limit=ALL)
    cleared = {word.release_digest: word.at for word in reversed(words)}
    found = services.records.newest(model, Quarantine, limit=ALL)
    return [one for one in found if one.release_digest not in cleared or cleared[one.release_digest] < one.at]


def _twins(services: Recorded, model: str, digest: str, tree_digest: str) -> set[str]:
    """The releases that decide alike: the same trees, and where one is derived the same calibration and threshold.

    The version that a derived one came from is none of its twins: going back to it is what a rollback is for.
    """
    if not tree_digest:
        return set()
    variants = {one.release: one.variant for one in services.records.newest(model, Derivation, limit=ALL)}
    registered = versions_of(services, model)
    return {
        one.release.digest
        for one in registered
        if one.release.tree_digest == tree_digest and variants.get(one.release.digest) == variants.get(digest)
    }


def clear_quarantine(services: Services, model: str, digest: str, *, by: str, reason: str) -> QuarantineCleared:
    """Let a quarantined release come back, after a person has looked: it still needs fresh receipts."""
    quarantined = services.records.newest(model, Quarantine, name=digest)
    if not quarantined:
        raise MissingRecord(f"{model}: no release {digest[:12]} is quarantined")
    cleared = QuarantineCleared(model=model, release_digest=digest, by=by, reason=reason, at=services.clock.now())
    standing = services.ledger.standing(model, digest)
    event = (
        Transition(
            model=model,
            candidate=digest,
            version=standing.version,
            before=standing.state,
            after=CandidateState.ROLLED_BACK,
            reason=reason,
            actor=by,
        )
        if standing and standing.state is CandidateState.QUARANTINED
        else None
    )
    services.ledger.commit(
        Change(
            model=model,
            actor=by,
            action="quarantine.cleared",
            reason=reason,
            transitions=(event,) if event else (),
            records=((f"{model}/quarantine", cleared, digest),),
        )
    )
    return cleared
