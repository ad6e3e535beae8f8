"""A rollback that nobody asked for: once, with its reason, and never to and fro."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.core.test_recovery import look
from tests.faults.world import MODEL, World

from gauntlet.core.errors import InfrastructureError, PartlyTold, RollbackRefused
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.ledger import RollbackReport
from gauntlet.core.records.rollout import Quarantine
from gauntlet.core.specs.recovery import RecoverySection
from gauntlet.stages.guard_champion import guard_champion
from gauntlet.stages.rollback import rollback

ON = RecoverySection(automatic=("service",))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.specs.spec = replace(made.specs.spec, recovery=ON)
    made.champion("a")
    seen(made, "monitor-0")
    made.champion("b")
    return made


def seen(world: World, name: str, *keys: str):
    """A look of the monitor an hour later; its run."""
    world.clock.moment += timedelta(hours=1)
    run = world.run(name)
    moment = world.clock.now()
    report = look(0, *keys).model_copy(update={"model": MODEL, "run": name, "until": moment, "at": moment})
    world.services.records.put(run.key, report, "service")
    return run


def test_harm_takes_the_new_champion_back(world: World) -> None:
    assert guard_champion(world.services, seen(world, "monitor-1", "errors")).outcome is Outcome.PASSED
    assert world.stable() == "id-b"
    run = seen(world, "monitor-2", "errors")
    guard = guard_champion(world.services, run)
    assert guard.outcome is Outcome.FAILED
    assert world.stable() == "id-a"
    (report,) = world.services.records.newest(MODEL, RollbackReport, 9)
    assert (report.actor, report.offender.version_id, report.key) == ("monitor", "id-b", "guard__monitor-2")
    assert "errors is high, in 2 looks since the promotion" in report.reason
    assert [one.version_id for one in world.services.records.newest(MODEL, Quarantine, 9)] == ["id-b"]
    assert [severity for severity, _ in world.messages.sent] == ["critical"]
    assert guard_champion(world.services, run) == guard
    assert world.stable() == "id-a"


def test_a_way_back_is_not_taken_back(world: World) -> None:
    """The cause was elsewhere: the champion before has the symptom too. People must look."""
    for number in range(1, 6):
        guard_champion(world.services, seen(world, f"monitor-{number}", "errors"))
    assert world.stable() == "id-a"
    assert len(world.services.records.newest(MODEL, RollbackReport, 9)) == 1


def test_without_a_word_in_the_spec_people_decide(world: World) -> None:
    world.specs.spec = replace(world.specs.spec, recovery=RecoverySection())
    for number in range(1, 4):
        guard = guard_champion(world.services, seen(world, f"monitor-{number}", "errors"))
    assert (guard.outcome, guard.reason) == (Outcome.PASSED, "the spec leaves rolling back to people")
    assert world.stable() == "id-b"


def test_a_first_champion_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.specs.spec = replace(world.specs.spec, recovery=ON)
    seen(world, "monitor-0")
    world.champion("a")
    for number in range(1, 4):
        assert guard_champion(world.services, seen(world, f"monitor-{number}", "errors")).outcome is Outcome.PASSED


def test_a_server_that_does_not_confirm_is_asked_again(world: World) -> None:
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    run = seen(world, "monitor-2", "errors")
    apply = world.server.apply

    def silent(routing, timeout_s):
        raise InfrastructureError("no answer")

    world.server.apply = silent
    with pytest.raises(InfrastructureError):
        guard_champion(world.services, run)
    world.server.apply = apply
    guard_champion(world.services, run)
    assert world.stable() == "id-a"
    assert {report.stable for report in world.server.reports(MODEL)} == {"id-a"}
    assert len(world.services.records.newest(MODEL, RollbackReport, 9)) == 1


class Flaky:
    """Takes a message only while it works."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.taken: list[str] = []

    def send(self, subject: str, body: str, *, severity: str, labels) -> None:
        if self.broken:
            raise InfrastructureError("the pager is broken")
        self.taken.append(f"{severity}: {subject}")


@pytest.mark.parametrize("again", ["monitor-2", "monitor-3"], ids=["the same task", "the next run"])
def test_who_could_not_be_told_is_told_later_and_nobody_twice(world: World, again: str) -> None:
    pager, chat = Flaky(broken=True), Flaky()
    object.__setattr__(world.services, "notifiers", (pager, chat))
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    run = seen(world, "monitor-2", "errors")
    with pytest.raises(InfrastructureError, match=r"rolled back, but not everybody was told: the pager is broken"):
        guard_champion(world.services, run)
    assert world.stable() == "id-a"
    assert chat.taken == ["critical: credit: rolled back by itself"]
    later = run if again == run.run else seen(world, again)
    with pytest.raises(InfrastructureError, match="the pager is broken"):
        guard_champion(world.services, later)
    pager.broken = False
    for name in (later, later, seen(world, "monitor-4"), run):
        guard_champion(world.services, name)
    assert (pager.taken, chat.taken) == ([chat.taken[0]], [chat.taken[0]])
    assert len(world.services.records.newest(MODEL, RollbackReport, 9)) == 1


def test_who_comes_later_is_not_told_what_is_over(world: World) -> None:
    chat = Flaky()
    object.__setattr__(world.services, "notifiers", (chat,))
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    guard_champion(world.services, seen(world, "monitor-2", "errors"))
    newcomer = Flaky()
    object.__setattr__(world.services, "notifiers", (newcomer, chat))
    guard_champion(world.services, seen(world, "monitor-3"))
    assert (len(chat.taken), newcomer.taken) == (1, [])


def test_a_message_that_some_addresses_took_is_not_sent_again(world: World) -> None:
    class Half(Flaky):
        def send(self, subject: str, body: str, *, severity: str, labels) -> None:
            super().send(subject, body, severity=severity, labels=labels)
            raise PartlyTold("one of two addresses did not take it")

    half = Half()
    object.__setattr__(world.services, "notifiers", (half,))
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    with pytest.raises(InfrastructureError, match="one of two addresses did not take it"):
        guard_champion(world.services, seen(world, "monitor-2", "errors"))
    guard_champion(world.services, seen(world, "monitor-3"))
    assert half.taken == ["critical: credit: rolled back by itself"]


def test_a_kill_between_the_rollback_and_the_message_loses_no_message(world: World, monkeypatch) -> None:
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    run = seen(world, "monitor-2", "errors")

    def killed(*arguments, **more):
        rollback(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gauntlet.stages.guard_champion.rollback", killed)
        with pytest.raises(KeyboardInterrupt):
            guard_champion(world.services, run)
    assert (world.stable(), world.messages.sent) == ("id-a", [])
    guard_champion(world.services, seen(world, "monitor-3"))
    assert [severity for severity, _ in world.messages.sent] == ["critical"]


def test_what_could_not_be_rolled_back_is_told_to_nobody_as_done(world: World, monkeypatch) -> None:
    guard_champion(world.services, seen(world, "monitor-1", "errors"))

    def refused(*arguments, **more):
        raise RollbackRefused("nothing to return to")

    monkeypatch.setattr("gauntlet.stages.guard_champion.rollback", refused)
    with pytest.raises(RollbackRefused):
        guard_champion(world.services, seen(world, "monitor-2", "errors"))
    assert guard_champion(world.services, seen(world, "monitor-3")).outcome is Outcome.PASSED
    assert world.messages.sent == []


def test_a_decision_that_was_cut_short_is_not_carried_out_on_somebody_else(world: World, monkeypatch) -> None:
    guard_champion(world.services, seen(world, "monitor-1", "errors"))
    run = seen(world, "monitor-2", "errors")

    def killed(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gauntlet.stages.guard_champion.rollback", killed)
        with pytest.raises(KeyboardInterrupt):
            guard_champion(world.services, run)
    world.champion("c")
    assert guard_champion(world.services, run).champion.version_id == "id-b"
    assert world.stable() == "id-c"
