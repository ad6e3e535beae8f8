"""What holds for every command, whatever it does: unknown models and broken installations end in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from gauntlet import bootstrap
from gauntlet.cli.app import app
from gauntlet.cli.console import UNAVAILABLE, USAGE
from gauntlet.settings import settings

MODEL = "credit_default"
MODELS = Path(__file__).parents[2] / "include" / "models"
STARTS = {("serve",), ("exporter",), ("demo",), ("up",), ("down",)}
"""What runs until it is told to stop, or is about processes on this machine."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, member in command.commands.items():
            yield from leaves(member, (*path, name))
    else:
        yield path, command


COMMAND = get_command(app)
COMMANDS = dict(leaves(COMMAND))
NEW = {("config", "draft")}
"""What takes the name of a model that is not there yet."""
OF_A_MODEL = {path for path, command in COMMANDS.items() if any(one.name == "model" for one in command.params)} - NEW
SOME = {("run",), ("history",), ("rollback",), ("doctor",), ("line", "stop"), ("audit", "verify"), ("serve",)}
"""Enough to tell one cause from another, where all commands have met the first."""
FILES = ("reference", "current", "before", "after", "source", "target")
VALUES = {
    "reason": "a reason that is long enough",
    "topic": "backup",
    "command": "pause",
    "to": "0.5",
    "baseline": "0.1",
    "change": "0.01",
}


def value_of(parameter: Any, model: str, file: str) -> str:
    if parameter.name == "model":
        return model
    return file if parameter.name in FILES else VALUES.get(parameter.name, "0" * 64)


def words(path: tuple[str, ...], model: str = MODEL, file: str = "no/such/file") -> list[str]:
    """The command with all that it must have, and its model where it takes one."""
    said = list(path)
    for parameter in COMMANDS[path].params:
        if not (parameter.required or parameter.name in ("model", "reason")):
            continue
        flag = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
        said += [*flag, value_of(parameter, model, file)]
    return said


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An installation in which nothing has run and no service answers."""
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "MODELS": str(MODELS),
        "MLFLOW_URL": "http://127.0.0.1:9",
        "SERVER_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(f"GAUNTLET_{name}", value)
    # Making the command anew for every call takes longer than all else.
    monkeypatch.setattr("typer.testing._get_command", lambda _: COMMAND)
    settings.cache_clear()
    bootstrap.services.cache_clear()
    yield monkeypatch
    settings.cache_clear()
    bootstrap.services.cache_clear()


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(app, arguments)


def is_plain(result: Result) -> bool:
    """One line and an exit code, no traceback."""
    ended = result.exception is None or isinstance(result.exception, SystemExit)
    return ended and result.exit_code in (0, 1, 2, 3) and "Traceback" not in result.output


# ---- the model -------------------------------------------------------------------------------------


def test_the_commands_are_found() -> None:
    assert {("history",), ("rollback",), ("trace",), ("audit", "log"), ("line", "stop"), ("pin",)} <= OF_A_MODEL
    assert len(OF_A_MODEL) > 25


def test_an_unknown_model_is_the_same_error_everywhere(installation: pytest.MonkeyPatch) -> None:
    names = ", ".join(bootstrap.services().specs.names())
    said = f"SpecError: unknown model 'credit_defalt': did you mean 'credit_default'? valid: {names}"
    results = {path: run(words(path, "credit_defalt")) for path in sorted(OF_A_MODEL)}
    wrong = {path: result.output for path, result in results.items() if result.output.strip() != said}
    assert wrong == {}
    assert {result.exit_code for result in results.values()} == {USAGE}
    assert bootstrap.services().audit.entries() == [], "nothing was done, and nobody was asked whether they may"


def test_a_model_whose_spec_is_gone_is_known_by_what_it_did(installation: pytest.MonkeyPatch) -> None:
    bootstrap.services().audit.append("ann", "rollout.entered", "retired", "v1", {})
    for path in (("history",), ("audit", "log"), ("trace",)):
        assert "unknown model" not in run(words(path, "retired")).output
    refused = run(words(("rollback",), "retired"))
    assert (refused.exit_code, "there is no champion" in refused.output) == (1, True)
    assert "unknown model 'retired'" in run(words(("monitor",), "retired")).output


# ---- what is broken --------------------------------------------------------------------------------

SECRET = "hunter2"
NO_DATABASE = {
    "no url": (f"no url at all {SECRET}", USAGE),
    "a url without a backend": (f"://{SECRET}", USAGE),
    "another database": (f"mysql://ann:{SECRET}@db/gauntlet", USAGE),
    "no file": ("sqlite:///{folder}", UNAVAILABLE),
    "a file that is none": ("sqlite:///{folder}/text", UNAVAILABLE),
    "a folder that cannot be": ("sqlite:///{folder}/text/deeper/gauntlet.db", UNAVAILABLE),
    "nobody there": (f"postgresql://ann:{SECRET}@127.0.0.1:9/gauntlet", UNAVAILABLE),
}


@pytest.mark.parametrize("case", NO_DATABASE)
def test_a_database_that_cannot_be_read_is_named(installation: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    url, code = NO_DATABASE[case]
    (tmp_path / "text").write_text("this is no database, however much one would like it to be one\n" * 50)
    installation.setenv("GAUNTLET_DATABASE_URL", url.format(folder=tmp_path))
    paths = SOME if case != "no url" else set(COMMANDS) - STARTS | SOME
    results = {path: run(words(path)) for path in sorted(paths)}
    assert {path: result.exception for path, result in results.items() if not is_plain(result)} == {}
    assert {path: result.output for path, result in results.items() if SECRET in result.output} == {}
    for path in paths & OF_A_MODEL | SOME:
        assert results[path].exit_code == code, (path, results[path].output)


SETTINGS = {
    "no JSON": ("GAUNTLET_PEOPLE", '{"ann": [', "people"),
    "no such environment": ("GAUNTLET_ENVIRONMENT", "moon", "GAUNTLET_ENVIRONMENT"),
    "no such action": ("GAUNTLET_POLICY", '{"wave": ["admin"]}', "GAUNTLET_POLICY"),
    "no number": ("GAUNTLET_SERVER_WORKERS", "many", "GAUNTLET_SERVER_WORKERS"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_cannot_be_used_is_named(installation: pytest.MonkeyPatch, case: str) -> None:
    name, value, said = SETTINGS[case]
    installation.setenv(name, value)
    paths = SOME if case != "no JSON" else set(COMMANDS) - STARTS | SOME
    results = {path: run(words(path)) for path in sorted(paths)}
    assert {path: result.exception for path, result in results.items() if not is_plain(result)} == {}
    for path in paths & OF_A_MODEL | SOME:
        assert (results[path].exit_code, said in results[path].output) == (USAGE, True), (path, results[path].output)


def test_a_home_that_is_no_folder_is_named(installation: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    results = {path: run(words(path)) for path in sorted(SOME)}
    assert {path: result.exception for path, result in results.items() if not is_plain(result)} == {}
    assert {result.exit_code for result in results.values()} == {UNAVAILABLE}
    assert all(str(tmp_path / "home") in result.output.replace("\n", "") for result in results.values())


BROKEN = {
    "no YAML": "model: [",
    "an empty file": "",
    "a list": "- a\n- b\n",
    "unknown keys": "model: broken\nvibes: good\n",
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_spec_is_named(installation: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "broken.yaml").write_text(BROKEN[case])
    installation.setenv("GAUNTLET_MODELS", str(folder))
    named = {("run",), ("monitor",), ("canary",), ("config", "validate"), ("config", "diff")}
    paths = named if case != "no YAML" else set(COMMANDS) - STARTS
    results = {path: run(words(path, "broken", str(folder / "broken.yaml"))) for path in sorted(paths)}
    assert {path: result.exception for path, result in results.items() if not is_plain(result)} == {}
    for path in named:
        assert results[path].exit_code == USAGE, (path, results[path].output)
        assert "broken.yaml" in results[path].output


def test_a_missing_file_is_named(installation: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.parquet")
    for arguments in (
        ["drift", gone, gone],
        ["config", "validate", gone],
        ["config", "diff", gone, gone],
        ["config", "schema", "--write", str(tmp_path / "no" / "schema.json")],
        ["score", MODEL, gone, str(tmp_path)],
    ):
        result = run(arguments)
        assert is_plain(result), (arguments, result.exception)
        assert result.exit_code != 0, arguments


def test_without_a_models_folder_every_command_says_so(installation: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installation.setenv("GAUNTLET_MODELS", str(tmp_path / "nowhere"))
    results = {path: run(words(path)) for path in sorted(OF_A_MODEL)}
    wrong = {path: one.output for path, one in results.items() if "set GAUNTLET_MODELS to where" not in one.output}
    assert wrong == {}
    assert {result.exit_code for result in results.values()} == {USAGE}
