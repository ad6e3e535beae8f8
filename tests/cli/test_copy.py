"""``gauntlet copy``: what is there already is judged like a night's candidate; nothing pulls data or trains."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.faults.world import MODEL, World
from typer.testing import CliRunner

from gauntlet import bootstrap, pipeline
from gauntlet import settings as settings_module
from gauntlet.cli import run as commands
from gauntlet.cli.app import app
from gauntlet.core.errors import GateFailed
from gauntlet.core.records.gates import GateReceipt
from gauntlet.settings import Settings

WORDS = ["copy", MODEL, "--from", "staging", "--reason", "it has held for a week"]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    world, told = World(tmp_path), list[str]()
    run = world.run("copy__staging__0123")

    def say(name: str, *arguments: object, **more: object):
        told.append(" ".join([name, *(str(one) for one in arguments[1:]), *(str(one) for one in more.values())]))
        return run

    monkeypatch.setattr(bootstrap, "services", lambda: world.services)
    monkeypatch.setattr(settings_module, "settings", lambda: Settings(people={"ann": ("op",)}, environment="staging"))
    monkeypatch.setattr("gauntlet.cli.who.account", lambda: "ann")
    monkeypatch.setattr(commands, "JUDGING", tuple(_named(step.__name__, say) for step in commands.JUDGING))
    for name in ("copy_release", "register_challenger"):
        monkeypatch.setattr(pipeline, name, partial(say, name))

    def gate(context: object, name: str):
        told.append(f"gate {name}")
        if name == "smoke":
            raise GateFailed("smoke failed: 4 of 5")
        return world.services.records.named(world.trained("night-x", "x").key, GateReceipt)["beats_naive"]

    monkeypatch.setattr(pipeline, "run_gate", gate)
    return told


def _named(name: str, say):
    def step(*arguments: object):
        return say(name, *arguments)

    step.__name__ = name
    return step


def test_what_makes_a_release_is_no_part_of_a_copy() -> None:
    names = {step.__name__ for step in commands.JUDGING}
    assert {"evaluate", "probe"} <= names
    assert not names & {"pull_data", "check_contract", "split_data", "check_leakage", "train"}


def test_every_gate_is_asked_here_and_a_failed_one_keeps_it_out(told: list[str]) -> None:
    result = CliRunner().invoke(app, WORDS)
    assert result.exit_code == 1
    assert "smoke failed: 4 of 5" in result.output
    judged = [step.__name__ for step in commands.JUDGING]
    assert told[0] == "copy_release staging champion ann it has held for a week"
    assert told[1 : 1 + len(judged)] == judged
    assert told[1 + len(judged) :] == ["gate absolute_performance", "gate beats_naive", "gate smoke"]


def test_a_viewer_copies_nothing(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gauntlet.cli.who.account", lambda: "eve")
    result = CliRunner().invoke(app, WORDS)
    assert result.exit_code == 1
    assert "NotPermitted" in result.output
    assert told == []
