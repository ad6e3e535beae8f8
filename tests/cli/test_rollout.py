"""``gauntlet rollout`` and ``gauntlet ab``: what a person types, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.stages.rollout.world import MODEL, World
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import USAGE
from gauntlet.core.records.rollout import CommandKind, RolloutCommand, RolloutPhase

WHY = ("--reason", "seen odd scores")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A rollout under way, on which the command line acts."""
    made = World(tmp_path)
    made.champion()
    made.challenger()
    made.start()
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: made.services)
    return made


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("kind", [kind for kind in CommandKind if kind is not CommandKind.ABORT])
def test_every_command_reaches_the_rollout_with_name_and_reason(world: World, kind: CommandKind) -> None:
    timed = ("--for", "2h") if kind in {CommandKind.EXTEND, CommandKind.HOLD_UNTIL} else ()
    result = invoke("rollout", MODEL, kind.value, *WHY, *timed)
    assert result.exit_code == 0, result.output
    (said,) = world.store.records.named(f"{MODEL}/canary-1", RolloutCommand).values()
    assert (said.kind, said.reason) == (kind, "seen odd scores")
    assert said.by
    assert [entry.actor for entry in world.store.audit.entries(MODEL)][-1] == said.by


def test_an_abort_is_carried_out_at_once(world: World) -> None:
    assert invoke("rollout", MODEL, "abort", *WHY).exit_code == 0
    assert world.routing.canary is None
    assert world.server.routing is not None
    assert world.server.routing.weight_ppm == 0
    closed = world.close()
    assert closed is not None
    assert closed.phase is RolloutPhase.ROLLED_BACK


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("extend", *WHY), "until when"),
        (("extend", *WHY, "--for", "soon"), "not a duration"),
        (("hold_until", *WHY, "--until", "monday"), "ISO 8601"),
        (("pause", "--reason", " "), "say who you are and why"),
    ],
)
def test_what_is_wrong_is_said_with_the_usage_exit_code(world: World, arguments: tuple[str, ...], why: str) -> None:
    result = invoke("rollout", MODEL, *arguments)
    assert result.exit_code == USAGE
    assert why in " ".join(result.output.split())


def test_a_plan_of_a_rate_and_of_a_mean() -> None:
    rate = invoke("ab", "plan", "0.01", "0.002", "--per-second", "10", "--json")
    assert json.loads(rate.stdout)["canary_n"] == 42_693
    mean = invoke("ab", "plan", "5", "0.1", "--sd", "1")
    assert "1,571 canary requests" in " ".join(mean.stdout.split())
    assert invoke("ab", "plan", "0.01", "0").exit_code == USAGE


def test_a_report_shows_every_metric(world: World) -> None:
    world.look(0, wait=2, requests=3000)
    result = invoke("ab", "report", MODEL, "--json")
    assert result.exit_code == 0, result.output
    assert {one["metric"] for one in json.loads(result.stdout)} == {"answered", "latency_ms", "score", "decision"}
    shown = invoke("ab", "report", MODEL)
    assert "not yet told apart" in " ".join(shown.stdout.split())
