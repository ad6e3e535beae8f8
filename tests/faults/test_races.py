"""Two at once: whoever wins, there is one champion, and the loser says so or has nothing left to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier, RLock, Thread
from typing import Any

import pytest
from tests.adapters.store import postgresql
from tests.faults.steps import STEPS, settled
from tests.faults.world import MODEL, World

from gauntlet.core.errors import Conflict, GauntletError, PromotionRefused, RollbackRefused
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.rollback import rollback

ROUNDS = 2


class Locked:
    """The registry and server twins keep their state in files: one call at a time, as their real ones see to."""

    def __init__(self, port: Any, lock: RLock) -> None:
        self._port, self._lock = port, lock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                return method(*arguments, **named)

        return call


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def worlds(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], World]:
    """A fresh world per round."""

    def make(number: int) -> World:
        if request.param == "sqlite":
            return World(tmp_path / str(number), f"sqlite:///{tmp_path}/{number}/gauntlet.db")
        import psycopg

        url: str = request.getfixturevalue("server")
        name = f"r{abs(hash(request.node.name))}{number}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return World(tmp_path / str(number), url.replace("/postgres?", f"/{name}?"))

    return make


def at_once(world: World, *acts: Callable[[Services], Any]) -> list[Any]:
    """The results, or the errors, of several acts started together."""
    lock = RLock()
    services = replace(
        world.services,
        registry=Locked(world.registry, lock),
        server=Locked(world.server, lock),  # type: ignore[arg-type]
    )
    barrier = Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = acts[index](services)
        except GauntletError as error:
            results[index] = error

    threads = [Thread(target=run, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def do_promote(services: Services) -> Any:
    return promote(services, _run(services, "canary-c"))


def do_rollback(services: Services) -> Any:
    return rollback(services, MODEL, reason="now", actor="ann", request="manual__1")


def do_register(services: Services) -> Any:
    return register_challenger(services, _run(services, "night-c"))


def do_close(services: Services) -> Any:
    return close_rollout(services, _run(services, "canary-c"))


def do_reconcile(services: Services) -> Any:
    return reconcile(services, MODEL, repair=True)


def _run(services: Services, name: str) -> Any:
    from gauntlet.core.records.run import RunContext

    return services.records.get(f"{MODEL}/{name}", RunContext)


PAIRS = {
    "two registrations": ("registration", (do_register, do_register)),
    "two promotions": ("promotion", (do_promote, do_promote)),
    "two rollbacks": ("rollback", (do_rollback, do_rollback)),
    "promotion and rollback": ("promotion", (do_promote, do_rollback)),
    "promotion and its teardown": ("promotion", (do_promote, do_close)),
    "promotion and reconciler": ("promotion", (do_promote, do_reconcile)),
    "rollback and reconciler": ("rollback", (do_rollback, do_reconcile)),
    "everybody": ("promotion", (do_promote, do_rollback, do_close, do_reconcile, do_promote)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_at_once(name: str, worlds: Callable[[int], World]) -> None:
    before, acts = PAIRS[name]
    for number in range(ROUNDS):
        world = worlds(number)
        STEPS[before].prepare(world)
        results = at_once(world, *acts)
        told = [result for result in results if isinstance(result, GauntletError)]
        assert all(isinstance(error, (Conflict, PromotionRefused, RollbackRefused)) for error in told), told
        assert settled(world) == []
        assert len(world.registry.versions(MODEL)) == len({v.release.digest for v in world.registry.versions(MODEL)})
        world.store.close()


def test_of_two_rollbacks_one_is_done(tmp_path: Path) -> None:
    world = World(tmp_path, f"sqlite:///{tmp_path}/gauntlet.db")
    for content in "abc":
        world.champion(content)
    at_once(world, do_rollback, do_rollback)
    assert world.stable() == "id-b"
    quarantined = [event for event in world.services.ledger.events(MODEL) if event.after is CandidateState.QUARANTINED]
    assert len(quarantined) == 1
    world.store.close()
