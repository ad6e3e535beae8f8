"""``gauntlet slices`` and ``gauntlet counterfactual``: what people and machines are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.core.test_slice_audit import a_slice, an_audit
from tests.stages.rollout.test_counterfactual import higher, served
from tests.stages.rollout.world import MODEL, World
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import DONE, REJECTED, USAGE
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.feedback import SliceAudit
from gauntlet.stages.audit_slices import audit_slices, slices_key


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    steps = [{"weight": 50, "hold": "2s", "requests": 20, "max_hold": "1h"}]
    made = World(tmp_path, steps=steps, labels={"maturity": "10s", "within": "1s"}, lease="600s")
    made.champion()
    made.challenger(score=higher)
    made.start()
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: made.services)
    return made


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_the_other_versions_word_is_told_in_numbers(world: World) -> None:
    served(world, 600)
    world.clock.wait(60)
    told = invoke("counterfactual", MODEL)
    assert told.exit_code == DONE, told.output
    assert "decisions would differ" in told.output
    assert "with label 1" in told.output
    (plain,) = json.loads(invoke("counterfactual", MODEL, "--window", "1h", "--json").output)
    assert (plain["whole"]["rows"], plain["whole"]["labelled"]) == (600, 600)
    assert len(plain["largest"]) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--window", "soon"), USAGE, "--window"),
        (("--rollout", "other"), REJECTED, "there is no rollout other"),
        ((), REJECTED, "was scored by two versions"),
    ],
)
def test_what_cannot_be_summed_up_is_said(world: World, arguments: tuple[str, ...], code: int, why: str) -> None:
    told = invoke("counterfactual", MODEL, *arguments)
    assert told.exit_code == code
    assert why in told.output


def test_without_an_audit_there_is_none_to_show(world: World) -> None:
    told = invoke("slices", MODEL)
    assert told.exit_code == REJECTED
    assert f"gauntlet slices {MODEL} --now" in told.output


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.PASSED, DONE), (Outcome.FAILED, REJECTED)])
def test_the_newest_audit_is_shown_and_judges(world: World, outcome: Outcome, code: int) -> None:
    audit = an_audit(a_slice("region=east", outcome, "region")).model_copy(update={"model": MODEL, "outcome": outcome})
    world.store.records.put(slices_key(MODEL), audit)
    told = invoke("slices", MODEL)
    assert told.exit_code == code, told.output
    assert "region=east" in told.output
    assert json.loads(invoke("slices", MODEL, "--json").output)["slices"][0]["name"] == "region=east"


def test_an_audit_by_hand_is_made_at_once_and_nothing_to_go_by_is_no_pass(world: World) -> None:
    served(world, 600)
    world.clock.wait(60)
    told = invoke("slices", MODEL, "--now")
    assert told.exit_code == REJECTED, told.output
    (audit,) = world.store.records.newest(MODEL, SliceAudit)
    assert (audit.outcome, audit.rows, audit.labelled) == (Outcome.INCONCLUSIVE, 600, 600)
    assert "feature values" in " ".join(audit.notes)
    assert audit_slices(world.services, MODEL) == audit, "the next is not due yet"
    world.clock.wait(8 * 86_400)
    later = audit_slices(world.services, MODEL)
    assert later is not None
    assert later.at > audit.at


def test_nobody_serves_so_nothing_is_audited(tmp_path: Path) -> None:
    assert audit_slices(World(tmp_path).services, MODEL) is None
