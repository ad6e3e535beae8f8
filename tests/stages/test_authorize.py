"""Refused attempts are audited before they are refused; the settings say who has which role."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.faults.world import MODEL, World

from gauntlet.core.errors import NotPermitted, Rejection, SpecError
from gauntlet.core.records.account import Account
from gauntlet.core.records.freeze import FreezeOverride, LineStop
from gauntlet.core.records.gates import Approval, Waiver
from gauntlet.core.records.signoff import SignOff, Topic
from gauntlet.core.roles import Action
from gauntlet.settings import Settings
from gauntlet.stages.authorize import authorize
from gauntlet.stages.hold import overridden, override_freeze
from gauntlet.stages.rollback import begin_rollback
from gauntlet.stages.sign_off import sign_off
from gauntlet.stages.waive import waive


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

    def invoke(*words: str, account: str = "eve", shared: bool = False, **people):
        current = Settings(people=people, environment="production", shared_account=shared)
        monkeypatch.setattr(bootstrap, "services", lambda: world.services)
        monkeypatch.setattr(module, "settings", lambda: current)
        monkeypatch.setattr("gauntlet.cli.who.account", lambda: account)
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
    words = ("freeze", "override", MODEL, "--reason", "payments are failing")
    assert "1 of 2 people" in command_line(*words, account="ann", **people).output
    assert "1 of 2 people" in command_line(*words, account="ann", **people).output
    assert "ann and bob lift the freeze until" in command_line(*words, account="bob", **people).output
    assert "overridden by ann" in command_line("freeze", "show", MODEL, **people).output


BY_NAME = (
    ("freeze", "override", MODEL, "--reason", "payments are failing", "--by"),
    ("approve", MODEL, "--run", "night-a", "--reason", "looked at the card", "--by"),
    ("waive", MODEL, "--gate", "beats_naive", "--run", "night-a", "--reason", "known and small", "--by"),
    ("sign-off", MODEL, "go-live", "--reason", "looked at everything", "--by"),
)


@pytest.mark.parametrize("words", BY_NAME, ids=lambda words: words[0])
def test_a_typed_name_is_nobodys_word(world: World, command_line, words) -> None:
    """Whatever roles the account and the name have: the name was only typed."""
    world.champion("a")
    everybody = {"ann": ("admin",), "eve": ("admin",)}
    for name in ("ann", "bob"):
        refused = command_line(*words, name, **everybody)
        assert refused.exit_code == 1
        assert f"takes the word of {name} themselves, and that name was only typed, by account eve" in refused.output
    actors = [entry.actor for entry in world.services.audit.entries(MODEL) if entry.action == "refused"]
    assert actors == ["ann (claimed; account eve)", "bob (claimed; account eve)"]
    for kind in (Approval, Waiver, FreezeOverride, SignOff):
        assert world.services.records.newest(MODEL, kind) == []


@pytest.mark.parametrize("words", BY_NAME, ids=lambda words: words[0])
def test_a_typed_name_has_none_of_its_owners_roles(world: World, command_line, words) -> None:
    world.champion("a")
    refused = command_line(*words, "ann", ann=("admin",), eve=("viewer",))
    assert "the roles here are viewer" in refused.output


def test_where_people_share_an_account_names_count_and_stay_claims(world: World, command_line) -> None:
    world.champion("a")
    people = {"ann": ("admin",), "bob": ("admin",), "ops": ("viewer",)}
    for words in BY_NAME:
        for name in ("ann", "bob"):
            done = command_line(*words, name, account="ops", shared=True, **people)
            assert done.exit_code == 0, done.output
    assert len(overridden(world.services, MODEL)) == 2
    kinds = ("record.Approval", "record.Waiver", "record.FreezeOverride", "record.SignOff")
    for kind in kinds:
        actors = {entry.actor for entry in world.services.audit.entries(MODEL) if entry.action == kind}
        assert actors == {"ann (claimed; account ops)", "bob (claimed; account ops)"}, kind
    assert "NotPermitted" in command_line(*BY_NAME[0], "carl", account="ops", shared=True, **people).output


def test_what_needs_no_certain_person_keeps_the_claim_and_the_account(world: World, command_line) -> None:
    told = command_line("line", "stop", "--reason", "incident 7", "--by", "ann", eve=("user",))
    assert told.exit_code == 0, told.output
    word = world.services.records.get("*/line", LineStop)
    assert (word.by, word.account) == ("ann", Account(name="eve"))
    entries = [entry for entry in world.services.audit.entries() if entry.action == "record.LineStop"]
    assert [entry.actor for entry in entries] == ["ann (claimed; account eve)"]


def test_the_environment_does_not_say_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import pwd

    from gauntlet.cli import account as module

    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    assert module.account() != "mallory"
    monkeypatch.setattr(module, "LOGIN", os.devnull)
    assert module.account() == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("login", "says"), [("0", "root"), (str(2**32 - 1), None), ("no number", None), ("4999999", None)]
)
def test_who_logged_in_acts_whoever_they_have_become(tmp_path: Path, monkeypatch, login: str, says: str | None) -> None:
    import os
    import pwd

    from gauntlet.cli import account as module

    (tmp_path / "loginuid").write_text(login)
    monkeypatch.setattr(module, "LOGIN", str(tmp_path / "loginuid"))
    assert module.account() == (says or pwd.getpwuid(os.getuid()).pw_name)


def test_words_that_got_in_another_way_count_as_the_account(world: World) -> None:
    """Written by a command of somebody's own making: one account's two names are one person still."""
    world.champion("a")
    eve = Account(name="eve")
    for name in ("ann", "bob"):
        assert override_freeze(world.services, MODEL, by=name, reason="payments are failing", account=eve) == ()
        sign_off(world.services, MODEL, Topic.GO_LIVE, by=name, reason="looked at everything", account=eve)
    with pytest.raises(Rejection, match="the name ann was only typed, by account eve"):
        waive(
            world.services,
            MODEL,
            "night-a",
            "beats_naive",
            reason="known and small",
            approver="ann",
            lasts=timedelta(hours=1),
            account=eve,
        )
    assert len(override_freeze(world.services, MODEL, by="carl", reason="payments are failing")) == 2


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

        def names(self) -> tuple[str, ...]:
            return ()

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
