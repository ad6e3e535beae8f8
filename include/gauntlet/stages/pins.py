"""Versions that a person wants kept, whatever their age."""

from __future__ import annotations

from gauntlet.core.errors import MissingRecord, SpecError
from gauntlet.core.ports import Services
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.retention import Pin, retention_key
from gauntlet.stages.recorded import version_called
from gauntlet.stages.releases import ALL


def pin_version(services: Services, model: str, version: str, *, by: str, reason: str, pinned: bool = True) -> Pin:
    """Keep a version whatever its age, or let it age again. ``version``: ``7``, ``v7`` or a version id."""
    if not reason.strip():
        raise SpecError("a pin needs a reason: it is what the next person asks")
    found = find_version(services, model, version)
    pin = Pin(
        model=model,
        release_digest=found.release.digest,
        version=found.version,
        pinned=pinned,
        by=by,
        reason=reason,
        at=services.clock.now(),
    )
    services.records.put(retention_key(model), pin, pin.release_digest, actor=by)
    return pin


def find_version(services: Services, model: str, version: str) -> RegisteredVersion:
    """A registered version by its number (``7``, ``v7``), its id, or the start of its release digest."""
    found = version_called(services, model, version)
    if found is None:
        raise MissingRecord(
            f"{model} has no version {version!r}: give its number (7, v7) or its id; see gauntlet history"
        )
    return found


def pinned_releases(services: Services, model: str) -> dict[str, str]:
    """The releases that somebody wants kept, each with who and why."""
    pins = services.records.newest(model, Pin, limit=ALL)
    return {pin.release_digest: f"pinned by {pin.by}: {pin.reason}" for pin in pins if pin.pinned}
