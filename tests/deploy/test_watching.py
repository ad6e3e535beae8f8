"""Alert rules, dashboards and workflows: checked by the tools that will read them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.deploy.compose import ROOT

from gauntlet.exporter import GAUGES

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_NAME = re.compile(r"\b(?:gauntlet|ml)_[a-z_]+\b")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return tool


def test_promtool_accepts_rules_and_configuration(promtool: str) -> None:
    for command in (("rules", RULES), ("config", DEPLOY / "prometheus" / "prometheus.yml")):
        done = subprocess.run([promtool, "check", *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_fires_on_its_symptom_and_on_nothing_else(promtool: str) -> None:
    cases = Path(__file__).with_name("rules_test.yml")
    done = subprocess.run(
        [promtool, "test", "rules", cases.name], cwd=cases.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tried(promtool: str) -> None:
    tried = {
        case["alertname"]
        for test in yaml.safe_load(Path(__file__).with_name("rules_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tried == {rule["alert"] for rule in rules()}


def test_every_rule_says_what_to_do_in_a_section_of_its_own() -> None:
    anchors = {_anchor(title) for title in _HEADING.findall((ROOT / "docs" / "runbook.md").read_text())}
    for rule in rules():
        assert rule["annotations"]["summary"], rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor == f"alert-{rule['alert'].lower()}"
        assert anchor in anchors, f"{rule['alert']}: no section {anchor!r} in the runbook"
        assert rule["labels"]["severity"] in ("page", "ticket", "none")
        board = rule["annotations"]["dashboard"].partition("/d/")[2].partition("?")[0]
        assert board in {json.loads(path.read_text())["uid"] for path in DASHBOARDS}, rule["alert"]


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _server_metrics() -> set[str]:
    from gauntlet.serving.metrics import HELP

    return set(HELP)


def test_rules_and_dashboards_name_metrics_that_exist() -> None:
    known = set(GAUGES) | _server_metrics()
    texts = [RULES.read_text(), *(path.read_text() for path in DASHBOARDS)]
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for text in texts for name in _NAME.findall(text)}
    assert named - known == set()


def _airflow_names() -> dict[str, str]:
    """What Airflow sends by StatsD, from its own list: the name Prometheus gets for it, and its type."""
    import airflow

    listed = Path(airflow.__file__).parent / "_shared/observability/metrics/metrics_template.yaml"
    metrics = yaml.safe_load(listed.read_text())["metrics"]
    sent = {f"airflow.{name}": one["type"] for one in metrics for name in (one["name"], one["legacy_name"])}
    mapped = yaml.safe_load((DEPLOY / "prometheus" / "statsd.yml").read_text())["mappings"]
    names = {re.sub(r"\W", "_", name): kind for name, kind in sent.items() if "{" not in name}
    for mapping in mapped:
        shape = re.compile(re.escape(mapping["match"]).replace(r"\*", r"\{\w+\}"))
        kinds = {kind for name, kind in sent.items() if shape.fullmatch(name)}
        assert kinds, f"{mapping['match']}: Airflow sends nothing of that name"
        assert len(mapping["labels"]) == mapping["match"].count("*")
        names[mapping["name"]] = kinds.pop()
    return names


def _exprs() -> list[tuple[str, str, str]]:
    """Panel, its unit, and an expression."""
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
    return [
        (panel["title"], panel["fieldConfig"]["defaults"].get("unit", ""), target["expr"])
        for panel in panels
        for target in panel["targets"]
    ]


@pytest.mark.airflow
def test_what_is_asked_of_airflow_is_what_airflow_sends_and_times_are_in_seconds() -> None:
    known = _airflow_names()
    asked = [(*one, name) for one in _exprs() for name in re.findall(r"\bairflow_\w+", one[2])]
    asked += [
        (rule["alert"], "", rule["expr"], name)
        for rule in rules()
        for name in re.findall(r"\bairflow_\w+", rule["expr"])
    ]
    assert asked
    for title, unit, expr, name in asked:
        assert name in known, f"{title}: {name} is nothing that Airflow sends"
        # The StatsD exporter makes seconds of every timer.
        assert known[name] != "timer" or unit == "s", f"{title}: {expr} is in seconds, not in {unit}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "prometheus"
        assert all(target["expr"] for target in panel["targets"])


def test_what_grafana_is_given_is_where_compose_puts_it() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/gauntlet.yml").read_text())["providers"][0]
    mounts = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_fits_its_schema(path: Path) -> None:
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": tools},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_audit_of_dependencies_fails_when_it_audited_nothing() -> None:
    (command,) = re.findall(r"pip-audit==\S+ (.*)", (ROOT / ".github/workflows/check.yml").read_text())
    assert {"--strict", "--require-hashes"} <= set(command.split())


@pytest.mark.soak
def test_the_bill_of_materials_names_every_locked_package(tmp_path: Path) -> None:
    """By the very command of the workflow."""
    text = (ROOT / ".github/workflows/check.yml").read_text()
    (arguments,) = re.findall(r"cyclonedx-py (.*)", text)
    tool = Path(sys.executable).with_name("cyclonedx-py")
    words = [str(tmp_path / "sbom.json") if word == "sbom.json" else word for word in arguments.split()]
    subprocess.run([str(tool), *words], cwd=ROOT, check=True, capture_output=True)
    named = {one["purl"] for one in json.loads((tmp_path / "sbom.json").read_text())["components"]}
    locked = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert len(locked) > 100
    assert {f"pkg:pypi/{name}@{version}" for name, version in locked} <= {each.split("?")[0] for each in named}
