"""``gauntlet retention | pin | janitor | reproduce`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faults.world import MODEL, START, World
from typer.testing import CliRunner

from gauntlet import bootstrap
from gauntlet.cli.app import app
from gauntlet.settings import settings


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    for content in "abc":
        world.champion(content)
    world.clock.moment = START + timedelta(days=60)
    monkeypatch.setattr(bootstrap, "services", lambda: world.services)
    settings.cache_clear()
    yield world
    settings.cache_clear()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_plan_says_what_would_go_and_touches_nothing(world: World) -> None:
    told = run("retention", "plan", MODEL, "--all")
    assert told.exit_code == 0
    assert "delete" in told.output
    assert "champion (run" in told.output
    plan = json.loads(run("retention", "plan", MODEL, "--json").output)
    assert {item["kind"] for item in plan["doomed"]} == {"release", "dossier", "evaluation", "registry_run"}
    assert (world.folder / "releases" / "a").exists()


def test_apply_deletes_and_says_how_much(world: World) -> None:
    told = run("retention", "apply", MODEL)
    assert told.exit_code == 0, told.output
    assert "deleted" in told.output
    assert not (world.folder / "releases" / "a").exists()


def test_a_pin_is_set_and_taken_off(world: World) -> None:
    assert "version 1 is pinned" in run("pin", "v1", "--model", MODEL, "--reason", "audit").output
    run("retention", "apply", MODEL)
    assert (world.folder / "releases" / "a").exists()
    told = run("pin", "v1", "--model", MODEL, "--reason", "audit is over", "--remove")
    assert "version 1 is no longer pinned" in told.output
    assert run("pin", "v9", "--model", MODEL, "--reason", "x").exit_code == 1


def test_the_janitor_says_what_it_did(world: World) -> None:
    world.registry.open_run(MODEL, f"{MODEL}/night-x", {})
    told = run("janitor", MODEL)
    assert told.exit_code == 0
    assert "closed as failed" in told.output
    world.registry.down = True
    assert run("janitor", MODEL).exit_code == 1


def test_reproducing_an_unknown_version_says_so(world: World) -> None:
    told = run("reproduce", "v9", "--model", MODEL)
    assert told.exit_code == 1
    assert "has no version 'v9'" in told.output
