"""Do registry, routing and servers agree? Pure; and the one direction in which they are made to.

The ledger's routing row is right. Aliases of the registry and what servers serve are projections of it:
when they differ they are changed, never the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gauntlet.core.ledger import named
from gauntlet.core.ports import WorkerReport
from gauntlet.core.records.ledger import CandidateState, Difference
from gauntlet.core.records.rollout import Routing
from gauntlet.core.standing import Standing

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ALIASES = (PREVIOUS, CHAMPION, CHALLENGER)
"""In the order they are set: at no time does the registry lack a way back."""
REGISTRY = "registry"
WAITING = frozenset({
    CandidateState.VALIDATED,
    CandidateState.APPROVED,
    CandidateState.SHADOW,
    CandidateState.CANARY,
    CandidateState.PROMOTING,
})


def wanted_aliases(routing: Routing, standings: Mapping[str, Standing]) -> dict[str, int | None]:
    """What each alias must point at; ``None``: it must not exist."""
    canary = routing.canary.version if routing.canary else None
    waiting = [standing for standing in standings.values() if standing.state in WAITING]
    newest = max(waiting, key=lambda standing: standing.sequence).version.version if waiting else None
    return {
        PREVIOUS: routing.previous.version if routing.previous else None,
        CHAMPION: routing.stable.version if routing.stable else None,
        CHALLENGER: canary or newest,
    }


def alias_differences(wanted: Mapping[str, int | None], found: Mapping[str, int]) -> list[Difference]:
    """Aliases that do not point where they should, in the order they are repaired."""
    return [
        Difference(
            place=REGISTRY,
            what=f"alias {alias}",
            expected=_version(wanted[alias]),
            observed=_version(found.get(alias)),
        )
        for alias in ALIASES
        if found.get(alias) != wanted[alias]
    ]


def _version(number: int | None) -> str:
    return "absent" if number is None else f"v{number}"


def server_differences(routing: Routing, reports: Sequence[WorkerReport]) -> list[Difference]:
    """Server processes that do not serve the routing row.

    A worker may give the canary *less* than its weight (expired lease, breaker): that is a safe state, not a
    difference. More is one.
    """
    return [difference for report in reports for difference in _worker(routing, report)]


def _worker(routing: Routing, report: WorkerReport) -> list[Difference]:
    facts = [
        ("stable", routing.stable.version_id if routing.stable else "nobody", report.stable or "nobody"),
        ("canary", routing.canary.version_id if routing.canary else "nobody", report.canary or "nobody"),
        ("epoch", str(routing.epoch), str(report.epoch)),
    ]
    if report.weight_ppm > routing.weight_ppm:
        facts.append(("weight_ppm", f"at most {routing.weight_ppm}", str(report.weight_ppm)))
    return [
        Difference(place=f"server {report.worker}", what=what, expected=expected, observed=observed)
        for what, expected, observed in facts
        if expected != observed
    ]


def champion_disagreements(
    routing: Routing, aliases: Mapping[str, int], reports: Sequence[WorkerReport]
) -> tuple[str, ...]:
    """Why it is not plain who is champion: what must be settled before anybody replaces it."""
    told = []
    if aliases.get(CHAMPION) != (routing.stable.version if routing.stable else None):
        told.append(
            f"the registry's champion is {_version(aliases.get(CHAMPION))}, the routing's {named(routing.stable)}"
        )
    serving = routing.stable.version_id if routing.stable else None
    told += [
        f"server {report.worker} serves {report.stable or 'nobody'}, the routing says {named(routing.stable)}"
        for report in reports
        if report.stable != serving
    ]
    return tuple(told)
