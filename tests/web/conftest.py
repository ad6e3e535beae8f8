"""A made-up past in memory, and the page's application over it with a person of the test's choosing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import Depends, HTTPException, Request

from gauntlet import views
from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.adapters.memory.serving import MemoryServer
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.errors import InfrastructureError, MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.registry import lookup
from gauntlet.core.spec import load_spec
from gauntlet.simulation.history import BEGIN, Past, served, write_past
from gauntlet.web.app import create_app

ROOT = Path(__file__).parents[2]
MODEL = "credit_default"
NIGHTS, FEATURES, GATES = 12, 7, 5
ROLES = {"vera": ("viewer",), "uma": ("user",), "ola": ("op",), "ada": ("admin",)}


@dataclass
class House:
    """Services in memory, their clock, and a client per person."""

    services: Services
    clock: SimpleNamespace
    past: Past
    opened: Callable[[str | None], Any] = field(repr=False)

    def get(self, path: str, who: str | None = "vera") -> Any:
        return self.opened(who).get(f"/api/models/{MODEL}{path}")

    def act(self, who: str, order: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        asked = {"X-Gauntlet": "act"} if headers is None else headers
        return self.opened(who).post(f"/api/models/{MODEL}/actions", json=order, headers=asked)


def enter(request: Request) -> None:
    name = request.headers.get("x-person")
    if name is None:
        raise HTTPException(401, "Not authenticated")
    request.state.person = views.Person(name, ROLES[name])


@pytest.fixture
def empty_house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> House:
    """A model that has never run."""
    monkeypatch.setenv("CREDIT_DEFAULT_DATA", str(tmp_path))
    spec = load_spec(ROOT / "include" / "models" / f"{MODEL}.yaml")
    clock = SimpleNamespace(moment=BEGIN + timedelta(days=NIGHTS, hours=1))
    clock.now = lambda: clock.moment
    store = MemoryStore(clock)

    def silent(model: str) -> dict[str, int]:
        raise InfrastructureError("MLflow at http://127.0.0.1:1 does not answer")

    def absent(uri: str, sha256: str) -> Path:
        raise MissingRecord(f"{uri} is not there")

    nobody = cast(Any, None)
    past = Past(MODEL, NIGHTS, FEATURES, spec.gates.names[:GATES], spec.digest)
    services = Services(
        clock=clock,
        specs=cast(Any, SimpleNamespace(names=lambda: (MODEL,), get=lambda name: lookup({MODEL: spec}, name, "model"))),
        records=store.records,
        audit=store.audit,
        routing=store.routing,
        ledger=store.ledger,
        blobs=cast(Any, SimpleNamespace(fetch=absent, fetch_folder=absent)),
        sources={},
        contract=nobody,
        registry=cast(Any, SimpleNamespace(aliases=silent)),
        server=MemoryServer({served(past, night).version_id: lambda row: 0.5 for night in range(NIGHTS)}),
        journal=MemoryJournal(),
        notifiers=(),
        scratch=tmp_path,
    )
    monkeypatch.setattr("gauntlet.web.app.services", lambda: services)
    application = create_app([Depends(enter)])

    with warnings.catch_warnings():
        # Starlette's client would rather have another httpx.
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient

    def opened(who: str | None) -> Any:
        return TestClient(application, headers={"X-Person": who} if who else {})

    return House(services, clock, past, opened)


@pytest.fixture
def house(empty_house: House) -> House:
    """A model with twelve nights, a canary under way and a release in quarantine."""
    write_past(empty_house.services.records, empty_house.services.routing, empty_house.past)
    return empty_house
