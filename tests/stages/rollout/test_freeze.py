"""A freeze on a running rollout: nothing begins, no weight rises, nothing is lost; harm still ends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.stages.rollout.world import MODEL

from gauntlet.core.errors import RolloutAborted
from gauntlet.core.records.rollout import CommandKind, PauseCause, RolloutPhase
from gauntlet.core.specs.freeze import FreezeSection, Weekly
from gauntlet.stages.command_rollout import command_rollout
from gauntlet.stages.hold import override_freeze
from gauntlet.stages.keep import keep
from gauntlet.stages.line import EVERY, set_line

THURSDAY_NIGHT = datetime(2026, 3, 5, 23, 59, 55, tzinfo=UTC)
LATE = "payments fail with the old one"


def calendar(world: Any, **freeze: Any) -> None:
    world.spec = world.spec.model_copy(update={"freeze": FreezeSection(**freeze)})
    world.services.specs.spec = world.spec


@pytest.fixture
def world(world: Any) -> Any:
    """With the calendar that a spec has when it says nothing."""
    calendar(world)
    return world


def bad(x: np.ndarray) -> np.ndarray:
    return 0.05 + 0.5 * np.minimum(1, 2.5 * x) ** 2


def into_friday(world: Any) -> None:
    """A canary at 5 % when the frozen day begins, with all the evidence its step needs."""
    world.clock.moment = THURSDAY_NIGHT
    world.start()
    world.clock.wait(3)
    world.traffic(200)
    world.clock.wait(5)


def test_a_running_canary_holds_at_its_weight_and_goes_on_when_the_day_is_over(world: Any) -> None:
    into_friday(world)
    state = world.look(0)
    assert (state.phase, state.pause, state.weight_ppm) == (RolloutPhase.PAUSED, PauseCause.FREEZE, 50_000)
    assert "no deployments on Fridays; until 2026-03-07 00:00 UTC" in state.reason
    for _ in range(3):
        state = world.look(0, wait=4, requests=50)
    assert (state.step, world.routing.weight_ppm) == (0, 50_000)
    assert world.routing.lease_until > world.clock.now()
    assert [text for _, text in world.inbox.sent if "freeze" in text] == [
        "rollout paused, freeze: frozen: no deployments on Fridays; until 2026-03-07 00:00 UTC"
    ]
    # The night is over; the lease has been renewed all the while.
    world.clock.moment = datetime(2026, 3, 6, 23, 59, 58, tzinfo=UTC)
    state = world.look(0)  # a lease that lapsed meanwhile lets the step begin again
    state = world.look(0, wait=4, requests=200)
    assert state.step_done(0), state.reason


def test_harm_ends_a_rollout_in_a_freeze_too(world: Any) -> None:
    into_friday(world)
    world.look(0)
    with pytest.raises(RolloutAborted, match="version 2 was taken out"):
        world.look(0, wait=4, requests=400, live={"id2": bad})
    assert world.routing.canary is None


def test_a_rollout_does_not_begin_in_a_freeze_and_does_when_it_ends(world: Any) -> None:
    world.clock.moment = datetime(2026, 3, 6, 9, tzinfo=UTC)
    state = world.start()
    assert state.phase is RolloutPhase.PREFLIGHT
    assert "waits to begin, frozen: no deployments on Fridays" in state.reason
    assert world.routing.canary is None
    world.clock.moment = datetime(2026, 3, 7, tzinfo=UTC)
    assert world.look(0).phase is RolloutPhase.STEP
    assert world.routing.weight_ppm == 50_000


def test_a_window_is_for_beginning_only(world: Any) -> None:
    calendar(world, weekdays=(), windows=(Weekly(since="04:00", until="06:00"),))
    world.clock.moment = datetime(2026, 3, 3, 3, 59, 59, tzinfo=UTC)
    assert world.start().phase is RolloutPhase.PREFLIGHT
    world.clock.wait(1)
    assert world.look(0).phase is RolloutPhase.STEP
    world.clock.moment = datetime(2026, 3, 3, 5, 59, 59, tzinfo=UTC)
    world.look(0)
    assert world.look(0, wait=4, requests=200).step_done(0)


@pytest.mark.parametrize("kind", [CommandKind.PROMOTE_STEP, CommandKind.PROMOTE])
def test_a_command_does_not_raise_the_weight_in_a_freeze(world: Any, kind: CommandKind) -> None:
    into_friday(world)
    command_rollout(world.services, MODEL, kind, by="ann", reason="now")
    state = world.look(0)
    assert state.step == 0
    assert f"{kind.value} by ann is not carried out, frozen" in state.reason
    assert world.routing.weight_ppm == 50_000
    assert command_rollout(world.services, MODEL, CommandKind.ABORT, by="ann", reason="then stop")
    assert world.routing.canary is None


def test_two_people_lift_the_freeze_for_a_while(world: Any) -> None:
    into_friday(world)
    assert override_freeze(world.services, MODEL, by="ann", reason=LATE) == ()
    assert world.look(0).pause is PauseCause.FREEZE
    assert len(override_freeze(world.services, MODEL, by="bob", reason=LATE)) == 2
    assert world.look(0).step_done(0)
    world.clock.wait(timedelta(hours=5).total_seconds())
    world.look(1)
    assert world.look(1, wait=1).pause is PauseCause.FREEZE


@pytest.mark.parametrize("subject", [MODEL, EVERY])
def test_a_stopped_line_holds_and_no_override_lifts_it(world: Any, subject: str) -> None:
    world.start()
    set_line(world.services, subject, stopped=True, by="ann", reason="incident 7")
    for who in ("bob", "carol"):
        override_freeze(world.services, MODEL, by=who, reason=LATE)
    state = world.look(0, wait=3, requests=200)
    assert (state.pause, state.step) == (PauseCause.FREEZE, 0)
    assert "the line is stopped by ann: incident 7" in state.reason
    set_line(world.services, subject, stopped=False, by="ann", reason="solved")
    assert world.look(0, wait=1).step_done(0)


def test_a_promotion_that_waits_keeps_its_canary(world: Any) -> None:
    world.start()
    for step in range(3):
        world.look(step, wait=2, requests=200)
    assert world.state().phase is RolloutPhase.BAKE
    for _ in range(4):
        world.clock.wait(6)
        state = keep(world.services, world.run())
        assert state.phase is RolloutPhase.BAKE
        assert world.routing.lease_until > world.clock.now() + timedelta(seconds=4)
        assert world.routing.weight_ppm == 1_000_000
    command_rollout(world.services, MODEL, CommandKind.ABORT, by="ann", reason="enough")
    with pytest.raises(RolloutAborted, match="aborted by ann"):
        keep(world.services, world.run())
    assert world.routing.canary is None
