"""Two real nights, run once; each test gets its own copy of what they left in the store."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.stages.gates.nights import Lending, lending

from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.core.records.run import RunContext


@dataclass
class Nights:
    """The second night has the first night's candidate as champion."""

    lending: Lending
    first: RunContext
    second: RunContext


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    made = lending(tmp_path_factory.mktemp("lending"), rows=16_000, gates=SMALL)
    first = made.night("night-1", days_ago=3)
    made.crown(first)
    return Nights(made, first, made.night("night-2"))


SMALL: dict[str, Any] = {
    "absolute_performance": {
        "metrics": {"roc_auc": {"minimum": 0.6}, "pr_auc": {"minimum": 0.15}},
        "minimum_rows": 1000,
        "minimum_positives": 50,
    },
    "versus_champion": {
        "margin": 0.08,
        "minimum_rows": 1000,
        "profit": {"act": "below", "good": 0, "gain": "profit_if_repaid", "loss": "loss_if_defaulted"},
    },
    "slices": {"by": {"new_customer": {}}, "bounds": {"minimum": 0.55}, "minimum_positives": 20},
    "fairness": {"attributes": ["gender"], "favourable": "below", "minimum_rows": 200},
    "overfit": {"metric": "roc_auc", "gap": 0.2},
    "calibration": {"ece": 0.1, "slope": [0.3, 3]},
    "approval": {"approvers": ["ann"]},
}


@pytest.fixture
def nights(played: Nights) -> Nights:
    """The same nights with a store, a registry, a clock and a champion that a test may change."""
    old = played.lending
    records, audit, registry = copy.deepcopy((old.services.records, old.services.audit, old.registry))
    clock, specs, routing = copy.copy(old.clock), copy.copy(old.specs), copy.copy(old.routing)
    services = replace(
        old.services, records=records, audit=audit, registry=registry, clock=clock, specs=specs, routing=routing
    )
    return Nights(
        Lending(services, specs, clock, routing, _as_registry(registry), old.data), played.first, played.second
    )


def _as_registry(registry: Any) -> MemoryRegistry:
    assert isinstance(registry, MemoryRegistry)
    return registry
