"""Where a candidate stands: which transitions there are, and the fold of its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gauntlet.core.errors import Conflict
from gauntlet.core.records.ledger import CandidateState, Transition
from gauntlet.core.records.rollout import ServedVersion

S = CandidateState

ALLOWED: Mapping[CandidateState | None, frozenset[CandidateState]] = {
    # Met in traffic without registration: adopted, as when Gauntlet takes over a running model.
    None: frozenset({S.REGISTERED, S.SHADOW, S.CANARY, S.CHAMPION}),
    S.REGISTERED: frozenset({S.VALIDATED, S.RETIRED, S.QUARANTINED}),
    S.VALIDATED: frozenset({S.APPROVED, S.SHADOW, S.CANARY, S.PROMOTING, S.RETIRED, S.ROLLED_BACK, S.QUARANTINED}),
    S.APPROVED: frozenset({S.APPROVED, S.SHADOW, S.CANARY, S.PROMOTING, S.RETIRED, S.ROLLED_BACK, S.QUARANTINED}),
    S.SHADOW: frozenset({S.CANARY, S.PROMOTING, S.RETIRED, S.ROLLED_BACK, S.QUARANTINED}),
    S.CANARY: frozenset({S.CANARY, S.PROMOTING, S.ROLLED_BACK, S.QUARANTINED}),
    S.PROMOTING: frozenset({S.CHAMPION, S.ROLLED_BACK, S.QUARANTINED}),
    S.CHAMPION: frozenset({S.RETIRED, S.ROLLED_BACK, S.QUARANTINED}),
    S.RETIRED: frozenset({S.VALIDATED, S.CHAMPION, S.QUARANTINED}),
    S.ROLLED_BACK: frozenset({S.VALIDATED, S.SHADOW, S.CANARY, S.PROMOTING, S.QUARANTINED}),
    S.QUARANTINED: frozenset({S.ROLLED_BACK}),
}
"""From a state to the states that may follow."""

IN_ROLLOUT = frozenset({S.SHADOW, S.CANARY, S.PROMOTING})


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands now: the fold of its events."""

    state: CandidateState
    version: ServedVersion
    weight_ppm: int | None
    reason: str
    sequence: int


def fold(events: Iterable[Transition]) -> dict[str, Standing]:
    """Candidate digest to standing, after all events in order; a :class:`Conflict` names an impossible one."""
    standings: dict[str, Standing] = {}
    for event in events:
        check_transition(event, standings.get(event.candidate))
        standings[event.candidate] = standing_of(event)
    return standings


def standing_of(event: Transition) -> Standing:
    """The standing a candidate has right after an event."""
    return Standing(event.after, event.version, event.weight_ppm, event.reason, event.sequence)


def check_transition(event: Transition, now: Standing | None) -> None:
    """Raise :class:`Conflict` when the candidate is not where the event starts, or may not go where it ends."""
    state = now.state if now else None
    if state is not event.before:
        raise Conflict(
            f"{event.model}: {event.version.version_id} is {_named(state)}, not {_named(event.before)}: "
            f"it cannot become {event.after}; read its state again"
        )
    if event.after not in ALLOWED[event.before]:
        raise Conflict(f"{event.model}: {event.version.version_id}: {_named(event.before)} → {event.after} is no way")


def _named(state: CandidateState | None) -> str:
    return state or "unknown to the ledger"


def earlier_champions(events: Iterable[Transition], now: ServedVersion) -> list[ServedVersion]:
    """Who was champion before ``now``, the latest first, each once: the recorded way back.

    Not version numbers: a version that was registered and never became champion is no way back.
    """
    reigns = [event.version for event in events if event.after is S.CHAMPION]
    back: list[ServedVersion] = []
    for version in reversed(reigns):
        if version.release_digest != now.release_digest and version not in back:
            back.append(version)
    return back
