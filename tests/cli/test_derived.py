"""``gauntlet recalibrate`` and ``set-threshold``: fresh data, no training, every gate."""

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
from gauntlet.core.errors import GateFailed, SpecError
from gauntlet.core.records.gates import GateReceipt
from gauntlet.settings import Settings

BEFORE = ["pull_data", "check_contract", "split_data", "check_leakage"]
GATES = ["gate absolute_performance", "gate beats_naive", "gate smoke"]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    world, told = World(tmp_path), list[str]()
    run = world.run("cli__1")
    receipt = world.services.records.named(world.trained("night-x", "x").key, GateReceipt)["beats_naive"]

    def say(name: str, *arguments: object, **more: object):
        told.append(" ".join([name, *(str(one) for one in arguments[1:]), *(str(one) for one in more.values())]))
        return receipt if name == "gate" else run

    def named(name: str):
        step = partial(say, name)
        step.__name__ = name  # type: ignore[attr-defined]
        return step

    monkeypatch.setattr(bootstrap, "services", lambda: world.services)
    monkeypatch.setattr(settings_module, "settings", lambda: Settings(people={"ann": ("op",)}, environment="staging"))
    monkeypatch.setattr("gauntlet.cli.who.account", lambda: "ann")
    for steps in ("DATA", "JUDGING"):
        monkeypatch.setattr(commands, steps, tuple(named(step.__name__) for step in getattr(commands, steps)))
    for name in ("open_run", "order_derivation", "derive", "register_challenger"):
        monkeypatch.setattr(pipeline, name, named(name))
    monkeypatch.setattr(pipeline, "run_gate", partial(say, "gate"))
    return told


@pytest.mark.parametrize(
    ("words", "threshold"),
    [(["recalibrate", MODEL], "None"), (["set-threshold", MODEL, "--to", "0.4"], "0.4")],
)
def test_it_derives_where_others_train_and_asks_every_gate(told: list[str], words: list[str], threshold: str) -> None:
    result = CliRunner().invoke(app, [*words, "--reason", "levels are off"])
    assert result.exit_code == 0, result.output
    assert told[0].startswith("open_run")
    assert "levels are off" in told[0]
    judged = [step.__name__ for step in commands.JUDGING]
    assert told[1:] == [
        f"order_derivation {threshold}",
        *BEFORE,
        "derive",
        *judged,
        *GATES,
        "register_challenger",
    ]
    assert "train" not in told


def test_a_failed_gate_keeps_it_out(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, gate: str):
        raise GateFailed(f"{gate} failed: 4 of 5")

    monkeypatch.setattr(pipeline, "run_gate", refuse)
    result = CliRunner().invoke(app, ["recalibrate", MODEL, "--reason", "levels are off"])
    assert result.exit_code == 1
    assert "failed: 4 of 5" in result.output
    assert "register_challenger" not in told


def test_a_refused_threshold_pulls_no_data(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object):
        raise SpecError("0.9 is outside training.threshold_band, 0.3 to 0.7")

    monkeypatch.setattr(pipeline, "order_derivation", refuse)
    result = CliRunner().invoke(app, ["set-threshold", MODEL, "--to", "0.9", "--reason", "levels are off"])
    assert result.exit_code != 0
    assert "0.3 to 0.7" in result.output
    assert "pull_data" not in told


def test_a_viewer_derives_nothing(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gauntlet.cli.who.account", lambda: "eve")
    result = CliRunner().invoke(app, ["recalibrate", MODEL, "--reason", "levels are off"])
    assert result.exit_code == 1
    assert "NotPermitted" in result.output
    assert told == []
