"""Wrong input ends in one line that says what is wrong, never in a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from gauntlet import bootstrap
from gauntlet.cli.app import app
from gauntlet.cli.console import UNAVAILABLE, USAGE
from gauntlet.settings import settings

MODEL = "credit_default"
MODELS = Path(__file__).parents[2] / "include" / "models"


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation in which nothing has run and no service answers."""
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "MODELS": str(MODELS),
        "MLFLOW_URL": "http://127.0.0.1:9",
        "SERVER_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(f"GAUNTLET_{name}", value)
    settings.cache_clear()
    bootstrap.services.cache_clear()
    yield
    settings.cache_clear()
    bootstrap.services.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("history", MODEL, "--at", "noon"), "--at: 'noon' is no ISO 8601 time"),
        (("config", "schema", "--write", "nowhere/schema.json"), "nowhere/schema.json: cannot be written"),
        (("drill", "nobody"), "unknown model 'nobody'"),
        (("monitor", "nobody"), "unknown model 'nobody'"),
        (("triage", "nobody"), "unknown model 'nobody'"),
        (("line", "stop", "nobody", "--reason", "a long reason"), "unknown model 'nobody'"),
        (("freeze", "show", "nobody"), "unknown model 'nobody'"),
        (("ab", "plan", "nan", "0.1"), "rates must differ and lie between 0 and 1"),
        (("ab", "plan", "0.1", "0.01", "--alpha", "2"), "alpha: between 0 and 1, got 2"),
        (("ab", "plan", "0.1", "0.01", "--power", "1"), "power: between 0 and 1, got 1"),
        (("ab", "plan", "10", "nan", "--sd", "1"), "the difference must not be 0"),
        (("waive", MODEL, "--gate", "vibes", "--run", "r", "--reason", "because"), "unknown gate"),
    ],
)
def test_wrong_usage_is_named(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = run(*arguments)
    assert result.exit_code == USAGE, result.output
    assert said in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_change_that_anybody_sees_takes_two_values_per_arm() -> None:
    result = run("ab", "plan", "10", "100", "--sd", "0.01")
    assert result.exit_code == 0, result.output
    assert "after 2 canary requests" in result.output


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0]}), table)
    result = run("drift", str(table), str(table), "--html", str(tmp_path / "nowhere" / "page.html"))
    assert result.exit_code == USAGE, result.output
    assert "page.html: cannot be written" in result.output


def test_a_registry_that_does_not_answer_has_an_exit_code_of_its_own() -> None:
    result = run("retention", "plan", MODEL)
    assert result.exit_code == UNAVAILABLE, result.output
    assert "127.0.0.1:9" in result.output
