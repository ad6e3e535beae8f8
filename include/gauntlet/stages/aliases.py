"""Make the registry's aliases say what the ledger says."""

from __future__ import annotations

from collections.abc import Mapping

from gauntlet.core.ports import Services
from gauntlet.core.reconcile import ALIASES, wanted_aliases
from gauntlet.core.records.ledger import AliasesSet
from gauntlet.core.standing import Standing, fold

ACTOR = "registry"


def standings_of(services: Services, model: str) -> dict[str, Standing]:
    """Where every candidate of a model stands."""
    return fold(services.ledger.events(model))


def aliases_wanted(services: Services, model: str) -> dict[str, int | None]:
    """What each alias must point at, by the ledger; ``None``: it must not exist."""
    return wanted_aliases(services.routing.read(model), standings_of(services, model))


def project_aliases(services: Services, model: str) -> None:
    """Set or delete the aliases that differ: ``previous``, then ``champion``, then ``challenger``. Safe to repeat."""
    wanted, found = aliases_wanted(services, model), services.registry.aliases(model)
    for alias in ALIASES:
        version = wanted[alias]
        if version is None and alias in found:
            services.registry.delete_alias(model, alias)
        elif version is not None and found.get(alias) != version:
            services.registry.set_alias(model, alias, version)
    now = {alias: version for alias, version in wanted.items() if version is not None}
    if not _said(services, model, now):
        said = AliasesSet(model=model, aliases=now, at=services.clock.now())
        services.records.put(_key(model), said, actor=ACTOR)


def moved_by_hand(services: Services, model: str) -> bool:
    """Whether the aliases had been set as the ledger still wants them: any other value is somebody else's."""
    wanted = aliases_wanted(services, model)
    return _said(services, model, {alias: version for alias, version in wanted.items() if version is not None})


def _said(services: Services, model: str, aliases: Mapping[str, int]) -> bool:
    known = services.records.find(_key(model), AliasesSet)
    return known is not None and known.aliases == aliases


def _key(model: str) -> str:
    return f"{model}/aliases"
