"""People's words to a rollout, freezes, and candidates that come while a canary runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gauntlet.core.errors import Conflict, InfrastructureError, MissingRecord, RolloutAborted, SpecError
from gauntlet.core.records.freeze import LineStop
from gauntlet.core.records.rollout import CommandKind, PauseCause, RolloutCommand, RolloutPhase
from gauntlet.core.records.run import TriggerKind
from gauntlet.stages.command_rollout import command_rollout, say
from gauntlet.stages.open_rollout import open_rollout

MODEL = "loans"


def tell(world: Any, command: str, **said: Any) -> RolloutCommand:
    return say(world.services, MODEL, command, by="ann", reason="because I say so", **said)


# ---- commands


def test_every_command_is_in_the_audit_log_with_name_and_reason(world: Any) -> None:
    world.start()
    for kind in CommandKind:
        tell(world, kind.value, **({"lasting": "2h"} if kind.value in {"extend", "hold_until"} else {}))
    entries = [entry for entry in world.store.audit.entries(MODEL) if entry.actor == "ann"]
    assert len(entries) == len(CommandKind)
    commands = world.store.records.named(f"{MODEL}/canary-1", RolloutCommand).values()
    assert {command.kind for command in commands} == set(CommandKind)
    assert {(command.by, command.reason) for command in commands} == {("ann", "because I say so")}


def test_pause_resume_and_promotion_by_hand(world: Any) -> None:
    world.start()
    tell(world, "pause")
    assert world.look(0, wait=2, requests=300).pause is PauseCause.MANUAL
    assert world.routing.weight_ppm == 50_000
    tell(world, "resume")
    assert world.look(0).phase is RolloutPhase.STEP
    tell(world, "promote_step")
    assert world.look(0).weight_ppm == 500_000
    tell(world, "promote")
    assert world.look(1).phase is RolloutPhase.BAKE


def test_hold_until_and_extend_say_until_when(world: Any) -> None:
    world.start()
    tell(world, "hold_until", lasting="6s")
    assert world.look(0, wait=3, requests=300).step == 0
    assert world.look(0, wait=2).step == 0
    assert world.look(0, wait=2).step == 1
    tell(world, "extend", until="2026-03-01T05:00:00")
    assert world.look(1).extended_until == datetime(2026, 3, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("command", "said", "why"),
    [
        ("dance", {}, "pause"),
        ("extend", {}, "until when"),
        ("hold_until", {"until": "tomorrow"}, "ISO 8601"),
        ("extend", {"lasting": "soon"}, "not a duration"),
        ("extend", {"until": "2020-01-01T00:00:00Z"}, "is past"),
        ("pause", {"lasting": "2h"}, "not asked for"),
    ],
)
def test_what_is_no_command(world: Any, command: str, said: dict[str, str], why: str) -> None:
    world.start()
    with pytest.raises(SpecError, match=why):
        tell(world, command, **said)


def test_the_same_request_is_one_command(world: Any) -> None:
    world.start()
    first = tell(world, "promote_step", request="manual__1")
    world.clock.wait(1)
    assert tell(world, "promote_step", request="manual__1") == first
    assert world.look(0).step == 1
    world.clock.wait(1)
    assert tell(world, "promote_step", request="manual__1") == first
    assert world.look(1).step == 1


def test_without_a_rollout_there_is_nobody_to_tell(world: Any) -> None:
    with pytest.raises(MissingRecord, match="under way"):
        tell(world, "pause")


def test_an_abort_during_a_look_is_not_overruled_by_what_was_seen_before(world: Any) -> None:
    """The tick has read the routing and judged; then a person aborts; then the tick would renew the traffic."""
    world.start()
    read = world.journal.read

    def aborting(*args: Any, **kwargs: Any) -> Any:
        command_rollout(world.services, MODEL, CommandKind.ABORT, by="ann", reason="stop it")
        world.journal.read = read
        return read(*args, **kwargs)

    world.journal.read = aborting
    world.clock.wait(1)
    world.traffic(200)
    with pytest.raises(Conflict, match="the next one looks again"):
        world.look(0, wait=1)
    assert world.routing.canary is None
    with pytest.raises(RolloutAborted, match="aborted by ann"):
        world.look(0, wait=1)
    assert world.routing.canary is None


# ---- freeze


def test_a_running_canary_holds_its_weight_in_a_freeze_and_goes_on_after(world: Any) -> None:
    world.start()
    stop = LineStop(model=MODEL, stopped=True, by="ann", reason="holiday of all", at=world.clock.now())
    world.store.records.put(f"{MODEL}/line", stop)
    state = world.look(0, wait=3, requests=300)
    assert state.pause is PauseCause.FREEZE, state.reason
    assert world.routing.weight_ppm == 50_000
    assert any("frozen" in body for _, body in world.inbox.sent)
    world.store.records.put(f"{MODEL}/line", stop.model_copy(update={"stopped": False}))
    assert world.look(0, wait=1).step == 1


# ---- alerts


def test_an_alert_that_nobody_takes_is_kept_and_stops_nothing(world: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise InfrastructureError("nobody is routed to")

    world.inbox.send = refuse
    world.start()
    assert world.look(0, wait=4).pause is PauseCause.NO_TRAFFIC
    (kept,) = [entry for entry in world.store.audit.entries(MODEL) if entry.action == "rollout.alert_not_sent"]
    assert kept.detail["error"] == "nobody is routed to"
    assert "no traffic" in kept.detail["text"]


# ---- new candidates


def test_queue_is_the_default_and_waits(world: Any) -> None:
    world.start()
    world.challenger(3, run="night-3")
    assert world.look(0, wait=1, requests=50).phase is RolloutPhase.STEP
    with pytest.raises(Conflict, match="under way"):
        world.open("canary-2")


def test_a_newer_candidate_supersedes_at_the_next_look(make_world: Any) -> None:
    world = make_world(on_new="supersede")
    world.champion()
    world.challenger()
    world.start()
    world.challenger(3, run="night-3")
    with pytest.raises(RolloutAborted, match=r"superseded.*version 3 of run night-3 is newer"):
        world.look(0, wait=1, requests=50)
    assert world.routing.canary is None
    assert not world.state().harmful
    assert world.open("canary-2").candidate.version == 3


def test_a_newer_candidate_supersedes_when_its_own_run_opens(make_world: Any) -> None:
    world = make_world(on_new="supersede")
    world.champion()
    world.challenger()
    world.start()
    world.challenger(3, run="night-3")
    assert world.open("canary-2").candidate.version == 3
    assert world.state().phase is RolloutPhase.SUPERSEDED
    assert world.routing.canary is None
    with pytest.raises(RolloutAborted, match="superseded"):
        world.look(0, wait=1)


def test_nothing_new_supersedes_nothing(make_world: Any) -> None:
    world = make_world(on_new="supersede")
    world.champion()
    world.challenger(2)
    world.start()
    assert world.look(0, wait=2, requests=300).step == 1


def test_a_rejected_candidate_is_not_taken_by_itself_but_by_a_person(make_world: Any) -> None:
    world = make_world(on_new="reject")
    world.champion()
    world.challenger()
    world.start()
    world.challenger(3, run="night-3")
    world.close()
    world.clock.wait(60)
    by_itself = world.run("canary-2").model_copy(update={"kind": TriggerKind.CHALLENGER})
    with pytest.raises(RolloutAborted, match=r"version 3 came while .* was under way"):
        open_rollout(world.services, by_itself)
    assert world.open("canary-3").candidate.version == 3


def test_under_reject_what_comes_after_is_taken(make_world: Any) -> None:
    world = make_world(on_new="reject")
    world.champion()
    world.challenger()
    world.start()
    world.close()
    world.clock.wait(1)
    world.challenger(4, run="night-4")
    by_itself = world.run("canary-2").model_copy(update={"kind": TriggerKind.CHALLENGER})
    assert open_rollout(world.services, by_itself).candidate.version == 4
