"""Anything in any order, with crashes in between: the invariants hold after every step, and all agree at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.adapters.store import postgresql
from tests.faults.points import Killed, Tripwire, fail, kill, wired
from tests.faults.steps import safe_now, settled
from tests.faults.world import MODEL, World

from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.ledger import CandidateState, IntentKind
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.specs.freeze import DAYS, FreezeSection
from gauntlet.core.specs.retention import RetentionSection
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.janitor import tidy
from gauntlet.stages.promote import promote
from gauntlet.stages.reconcile import reconcile
from gauntlet.stages.register import register_challenger
from gauntlet.stages.releases import clear_quarantine, quarantine_of
from gauntlet.stages.retention import apply_retention
from gauntlet.stages.rollback import rollback

POINTS = st.none() | st.integers(0, 80)
"""Where a step is interrupted; ``None``: not at all."""
FAULTS = st.sampled_from([kill, fail])
CONTENTS = st.sampled_from("abcdef")
SHORT_MEMORY = RetentionSection(versions=1, referenced="1ms")  # type: ignore[arg-type]
EVERY_DAY = FreezeSection(weekdays=DAYS)


class Interleavings(RuleBasedStateMachine):
    """One model's life, told by chance."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(mkdtemp(prefix="gauntlet-", dir=memory if memory.is_dir() else None))
        self.world = World(self.folder, self.store())
        self.world.specs.spec = replace(self.world.specs.spec, retention=SHORT_MEMORY)
        self.nights: list[str] = []
        self.canaries: list[str] = []
        self.counter = 0

    def store(self) -> str:
        """Where the control database is."""
        return "memory"

    def teardown(self) -> None:
        self.world.server.down = self.world.registry.down = False
        try:
            assert settled(self.world) == []
        finally:
            getattr(self.world.store, "close", lambda: None)()
            rmtree(self.folder)

    def _attempt(self, act: Callable[[Services], Any], at: int | None, fault: Callable[[str], None]) -> None:
        services = wired(self.world.services, Tripwire(at, fault))
        with contextlib.suppress(Killed, GauntletError):
            act(services)

    def _any(self, names: list[str], index: int) -> Any:
        """One of the last three, the newest for -1."""
        return self.world.run(names[-1 - (index + 1) % min(3, len(names))]) if names else None

    @rule(content=CONTENTS)
    def train(self, content: str) -> None:
        self.counter += 1
        name = f"night-{self.counter}"
        # Training needs somebody to tell.
        with contextlib.suppress(InfrastructureError):
            self.world.trained(name, content)
            self.nights.append(name)

    @rule(content=CONTENTS, stage=st.sampled_from(["register", "promote", "end"]), at=POINTS, fault=FAULTS)
    def night(self, content: str, stage: str, at: int | None, fault: Callable[[str], None]) -> None:
        """A whole night up to a stage, where it may be interrupted."""
        self.train(content)
        self.register(-1, at if stage == "register" else None, fault)
        if stage == "register":
            return
        before = len(self.canaries)
        self.ramp(-1, 1_000_000)
        if len(self.canaries) > before:
            self.promote(-1, at if stage == "promote" else None, fault)

    @rule(index=st.integers(0, 9), at=POINTS, fault=FAULTS)
    def register(self, index: int, at: int | None, fault: Callable[[str], None]) -> None:
        run = self._any(self.nights, index)
        if run:
            self._attempt(lambda services: register_challenger(services, run), at, fault)

    @rule(index=st.integers(0, 9), weight=st.sampled_from([0, 10_000, 1_000_000]))
    def ramp(self, index: int, weight: int) -> None:
        run = self._any(self.nights, index)
        if run is None or self.world.services.records.find(run.key, RegisteredVersion) is None:
            return
        self.counter += 1
        name = f"canary-{self.counter}"
        with contextlib.suppress(GauntletError):
            self.world.ramped(name, run, weight)
            self.canaries.append(name)

    @rule(index=st.integers(0, 9), at=POINTS, fault=FAULTS)
    def promote(self, index: int, at: int | None, fault: Callable[[str], None]) -> None:
        run = self._any(self.canaries, index)
        if run:
            self._attempt(lambda services: promote(services, run), at, fault)

    @rule(index=st.integers(0, 9), at=POINTS, fault=FAULTS)
    def close(self, index: int, at: int | None, fault: Callable[[str], None]) -> None:
        run = self._any(self.canaries, index)
        if run:
            self._attempt(lambda services: close_rollout(services, run), at, fault)

    @rule(at=POINTS, fault=FAULTS)
    def roll_back(self, at: int | None, fault: Callable[[str], None]) -> None:
        self._attempt(lambda services: rollback(services, MODEL, reason="chance", actor="ann"), at, fault)

    @rule(content=CONTENTS)
    def clear(self, content: str) -> None:
        with contextlib.suppress(GauntletError):
            clear_quarantine(
                self.world.services, MODEL, self.world.release(content).digest, by="bob", reason="looked at it"
            )

    @rule(frozen=st.booleans())
    def the_calendar_turns(self, frozen: bool) -> None:
        freeze = EVERY_DAY if frozen else FreezeSection(weekdays=())
        self.world.specs.spec = replace(self.world.specs.spec, freeze=freeze)

    @rule(at=POINTS, fault=FAULTS)
    def retention_runs(self, at: int | None, fault: Callable[[str], None]) -> None:
        self._attempt(lambda services: apply_retention(services, MODEL), at, fault)

    @rule(late=st.booleans(), at=POINTS, fault=FAULTS)
    def the_janitor_runs(self, late: bool, at: int | None, fault: Callable[[str], None]) -> None:
        if late:
            self.world.clock.moment += timedelta(minutes=11)
        self._attempt(lambda services: tidy(services, MODEL), at, fault)

    @rule(back=st.booleans())
    def the_clock_jumps(self, back: bool) -> None:
        self.world.clock.moment += timedelta(hours=-2 if back else 1)

    @rule(content=CONTENTS, at=POINTS, fault=FAULTS)
    def frozen_promotion(self, content: str, at: int | None, fault: Callable[[str], None]) -> None:
        """Nothing becomes champion while the calendar is closed; what was begun before may be finished."""
        self.the_calendar_turns(True)
        before = self.world.services.routing.read(MODEL).stable
        if self.world.services.ledger.intent(MODEL) is None:
            self.night(content, "promote", at, fault)
            assert self.world.services.routing.read(MODEL).stable == before
        self.the_calendar_turns(False)

    @rule(repair=st.booleans(), at=POINTS, fault=FAULTS)
    def reconcile(self, repair: bool, at: int | None, fault: Callable[[str], None]) -> None:
        self._attempt(lambda services: reconcile(services, MODEL, repair=repair), at, fault)

    @rule(alias=st.sampled_from(["champion", "previous", "challenger"]), version=st.integers(1, 6))
    def somebody_moves_an_alias(self, alias: str, version: int) -> None:
        with contextlib.suppress(InfrastructureError):
            if version <= len(self.world.registry.versions(MODEL)):
                self.world.registry.set_alias(MODEL, alias, version)

    @rule()
    def server_restarts_empty(self) -> None:
        self.world.server.document.write({"routing": None, "loaded": []})

    @rule(down=st.sampled_from([None, None, "registry", "server", "both"]))
    def services_come_and_go(self, down: str | None) -> None:
        self.world.registry.down = down in ("registry", "both")
        self.world.server.down = down in ("server", "both")

    @invariant()
    def one_validated_champion_and_an_unbroken_log(self) -> None:
        down = self.world.server.down
        self.world.server.down = False
        wrong = safe_now(self.world)
        self.world.server.down = down
        assert wrong == []

    @invariant()
    def nobody_quarantined_leads(self) -> None:
        services = self.world.services
        stable = services.routing.read(MODEL).stable
        assert stable is None or quarantine_of(services, MODEL, stable.release_digest) is None

    @invariant()
    def the_champion_has_passed_its_gates(self) -> None:
        services = self.world.services
        stable = services.routing.read(MODEL).stable
        if stable is None:
            return
        decisions = services.records.newest(MODEL, PromotionDecision, limit=1000)
        assert any(item.candidate == stable.release_digest and item.outcome.satisfied for item in decisions)

    @invariant()
    def a_promotion_under_way_has_a_candidate_in_promotion(self) -> None:
        services = self.world.services
        intent = services.ledger.intent(MODEL)
        if intent is None or intent.kind is not IntentKind.PROMOTION:
            return
        standing = services.ledger.standing(MODEL, intent.target.release_digest)
        assert standing is not None
        assert standing.state in (CandidateState.PROMOTING, CandidateState.CHAMPION)


def test_what_a_run_trains_stays_its_own(tmp_path: Path) -> None:
    """The world these stories are told in keeps runs apart."""
    world = World(tmp_path)
    one, two = world.trained("night-1", "a"), world.trained("night-2", "b")
    assert world.services.records.get(one.key, TrainedModel) != world.services.records.get(two.key, TrainedModel)


BUDGET = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
Interleavings.TestCase.settings = BUDGET
TestInterleavings = Interleavings.TestCase


@pytest.mark.soak
class TestLongInterleavings(Interleavings.TestCase):  # type: ignore[misc]
    """The same, for longer, and never the same twice."""

    settings = settings(BUDGET, max_examples=2000, stateful_step_count=60, derandomize=False)


class OverSqlite(Interleavings):
    """The same over the embedded database."""

    def store(self) -> str:
        return f"sqlite:///{self.folder}/gauntlet.db"


@pytest.mark.soak
class TestInterleavingsOverSqlite(OverSqlite.TestCase):  # type: ignore[misc]
    """Every transaction a real one."""

    settings = settings(BUDGET, max_examples=30, stateful_step_count=30, derandomize=False)


class OverPostgresql(Interleavings):
    """The same over a server that the test has started; a database per story."""

    url = ""
    made = 0

    def store(self) -> str:
        import psycopg

        type(self).made += 1
        name = f"stories{self.made}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url.replace("/postgres?", f"/{name}?")


def test_interleavings_over_postgresql() -> None:
    """A few stories in the fast suite: what differs from SQLite is under the stages, not in them."""
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.server() as url:
        OverPostgresql.url = url
        few = settings(BUDGET, max_examples=3, stateful_step_count=15)
        run_state_machine_as_test(OverPostgresql, settings=few)
