"""``gauntlet config``: what a person sees when a spec is right, wrong or weaker than before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import USAGE

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "include" / "models" / "credit_default.yaml"


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def changed(tmp_path: Path, change) -> Path:
    document = yaml.safe_load(SPEC.read_text())
    change(document)
    path = tmp_path / "credit_default.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_a_valid_spec_is_called_valid() -> None:
    result = invoke("config", "validate", str(SPEC))
    assert result.exit_code == 0
    assert "valid; digest" in result.stdout


def test_an_invalid_spec_is_named_and_the_exit_code_says_usage(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda document: document.update(modle="x"))
    result = invoke("config", "validate", str(path), str(SPEC))
    assert result.exit_code == USAGE
    assert "modle: unknown key; did you mean 'model'?" in result.stdout
    assert "valid; digest" in result.stdout


def test_json_holds_the_same_facts(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda document: document.pop("task"))
    result = invoke("config", "validate", "--json", str(path))
    assert result.exit_code == USAGE
    assert "task: missing" in json.loads(result.stdout)[str(path)]


def test_a_folder_without_specs_is_no_success(tmp_path: Path) -> None:
    assert invoke("config", "validate", str(tmp_path)).exit_code == USAGE


def test_the_schema_describes_the_spec() -> None:
    result = invoke("config", "schema")
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["required"]) >= {"model", "source", "gates", "rollout"}


@pytest.mark.parametrize(
    ("change", "key", "meaning"),
    [
        (
            lambda d: d["gates"].update(latency="off: our server is fast"),
            "gates.latency",
            "gate weakened: switched off",
        ),
        (lambda d: d["training"].update(rounds=7), "training.rounds", ""),
    ],
)
def test_a_difference_is_shown_with_its_meaning(tmp_path: Path, change, key: str, meaning: str) -> None:
    result = invoke("config", "diff", "--json", str(SPEC), str(changed(tmp_path, change)))
    assert result.exit_code == 0
    changes = {each["key"]: each["meaning"] for each in json.loads(result.stdout)}
    assert changes[key] == meaning


def test_equal_specs_do_not_differ() -> None:
    assert json.loads(invoke("config", "diff", "--json", str(SPEC), str(SPEC)).stdout) == []
