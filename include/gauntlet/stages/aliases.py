"""Make the registry's aliases say what the ledger says."""

from __future__ import annotations

from gauntlet.core.ledger import Standing, fold
from gauntlet.core.ports import Services
from gauntlet.core.reconcile import ALIASES, wanted_aliases


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
