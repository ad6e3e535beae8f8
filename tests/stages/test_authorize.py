"""Refused attempts are audited before they are refused; the settings say who has which role."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.faults.world import MODEL, World

from gauntlet.core.errors import NotPermitted, SpecError
from gauntlet.core.roles import Action
from gauntlet.settings import Settings
from gauntlet.stages.authorize import authorize
from gauntlet.stages.rollback import begin_rollback


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("action", list(Action))
def test_who_may_not_is_refused_and_the_attempt_is_kept(world: World, action: Action) -> None:
    with pytest.raises(NotPermitted, match=f"eve may not {action}: {action} is for"):
        authorize(world.services, action, MODEL, actor="eve", roles=["viewer"])
    (entry,) = world.services.audit.entries(MODEL)
    assert (entry.actor, entry.action, entry.subject) == ("eve", "refused", str(action))
    authorize(world.services, action, MODEL, actor="ann", roles=["Admin"])
    assert len(world.services.audit.entries(MODEL)) == 1


def test_a_policy_of_the_installation_replaces_single_actions(world: World) -> None:
    policy = {"waive": ["risk"]}
    authorize(world.services, Action.WAIVE, MODEL, actor="ann", roles=["risk"], policy=policy)
    with pytest.raises(NotPermitted):
        authorize(world.services, Action.WAIVE, MODEL, actor="bob", roles=["admin"], policy=policy)
    authorize(world.services, Action.APPROVE, MODEL, actor="bob", roles=["admin"], policy=policy)


def test_settings_name_people_and_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_PEOPLE", '{"ann": ["admin", "risk"], "eve": []}')
    monkeypatch.setenv("GAUNTLET_POLICY", '{"waive": ["risk"]}')
    current = Settings()
    assert current.roles_of("ann") == ("admin", "risk")
    assert current.roles_of("eve") == ()
    assert current.roles_of("bob") == ("admin",)
    assert Settings(environment="production").roles_of("bob") == ("user",)
    assert Settings(environment="production", role="op").roles_of("bob") == ("op",)
    assert current.policy["waive"] == ("risk",)


def test_a_policy_about_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="no action is called wave; valid: approve"):
        Settings(policy={"wave": ("admin",)})


# ---- at the command line ---------------------------------------------------------------------------


@pytest.fixture
def command_line(world: World, monkeypatch: pytest.MonkeyPatch):
    from typer.testing import CliRunner

    from gauntlet import bootstrap
    from gauntlet import settings as module
    from gauntlet.cli.app import app

    def invoke(*words: str, **people):
        monkeypatch.setattr(bootstrap, "services", lambda: world.services)
        monkeypatch.setattr(module, "settings", lambda: Settings(people=people, environment="production"))
        monkeypatch.setattr("getpass.getuser", lambda: "eve")
        return CliRunner().invoke(app, list(words))

    return invoke


COMMANDS = (
    ("rollback", MODEL, "--reason", "bad"),
    ("drill", MODEL),
    ("reconcile", MODEL, "--repair"),
    ("clear-quarantine", MODEL, "0" * 64, "--reason", "looked at it"),
    ("approve", MODEL, "--run", "night-a", "--reason", "looked at it"),
    ("waive", MODEL, "--gate", "latency", "--run", "n", "--reason", "known and small", "--approver", "eve"),
    ("rollout", MODEL, "promote", "--reason", "now"),
    ("rollout", MODEL, "abort", "--reason", "now"),
    ("freeze", "override", MODEL, "--reason", "payments are failing"),
    ("line", "stop", MODEL, "--reason", "incident 7"),
    ("line", "resume", "--reason", "solved"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words[:2]))
def test_no_command_that_acts_is_for_everybody(world: World, command_line, words) -> None:
    world.champion("a")
    before = world.services.routing.read(MODEL)
    result = command_line(*words, eve=("viewer",))
    assert result.exit_code == 1
    assert "NotPermitted" in result.output
    assert world.services.routing.read(MODEL) == before
    assert [entry.actor for entry in world.services.audit.entries() if entry.action == "refused"] == ["eve"]


def test_two_people_at_the_command_line(world: World, command_line) -> None:
    people = {"ann": ("op",), "bob": ("op",), "eve": ("viewer",)}
    words = ("freeze", "override", MODEL, "--reason", "payments are failing", "--by")
    assert "1 of 2 people" in command_line(*words, "ann", **people).output
    assert "ann and bob lift the freeze until" in command_line(*words, "bob", **people).output
    assert "overridden by ann" in command_line("freeze", "show", MODEL, **people).output


def test_a_line_is_stopped_shown_and_resumed(world: World, command_line) -> None:
    people = {"eve": ("user",)}
    assert "the line stands: eve: incident 7" in command_line("line", "stop", "--reason", "incident 7", **people).output
    shown = command_line("freeze", "show", MODEL, **people)
    assert (shown.exit_code, "the line is stopped by eve: incident 7" in shown.output) == (1, True)
    assert "the line runs" in command_line("line", "resume", "--reason", "solved", **people).output
    assert command_line("freeze", "show", MODEL, **people).exit_code == 0


def test_a_line_that_is_nobodys_cannot_be_stopped(world: World, command_line) -> None:
    class Strict:
        def get(self, model: str):
            raise SpecError(f"unknown model {model!r}")

    object.__setattr__(world.services, "specs", Strict())
    assert command_line("line", "stop", "nosuch", "--reason", "typo", eve=("admin",)).exit_code == 2


def test_doctor_repairs_what_was_left_half_done(world: World, command_line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gauntlet.doctor.examine", tuple)
    for content in "ab":
        world.champion(content)
    begin_rollback(world.services, MODEL, reason="complaints", actor="ann", request="cli-1")
    assert world.services.ledger.intent(MODEL) is not None
    assert "NotPermitted" in command_line("doctor", "--repair", eve=("user",)).output
    assert world.services.ledger.intent(MODEL) is not None
    assert command_line("doctor", "--repair", eve=("op",)).exit_code == 0
    assert world.services.ledger.intent(MODEL) is None
    assert world.registry.aliases(MODEL) == {"champion": 1}


def test_history_tells_how_long_ways_back_took(world: World, command_line) -> None:
    for content in "ab":
        world.champion(content)
    told = command_line("rollback", MODEL, "--reason", "complaints", eve=("user",))
    assert told.exit_code == 0, told.output
    shown = command_line("history", MODEL, eve=("viewer",))
    assert "Ways back" in shown.output
    assert "id-b → id-a" in shown.output


def test_a_setting_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file passes on what is not there as an empty string."""
    for name in ("PEOPLE", "ROLE", "POLICY", "ENVIRONMENTS"):
        monkeypatch.setenv(f"GAUNTLET_{name}", "")
    assert Settings().roles_of("ann") == ("admin",)
    assert Settings().environments == {}
