"""Receipts, decision and card lie beside the release, sealed like it."""

from __future__ import annotations

import json

import pytest
from tests.faults.world import MODEL

from gauntlet.core.errors import IntegrityError, PromotionRefused
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.model import ReleaseDossier
from gauntlet.stages.register import register_challenger


def dossier_of(world, run):
    return world.services.records.get(run.key, ReleaseDossier)


def test_a_registered_release_has_its_receipts_decision_and_card(world):
    run = world.trained("night-a", "a")
    register_challenger(world.services, run)
    dossier = dossier_of(world, run)
    folder = world.blobs.fetch_folder(dossier.uri, dossier.digest)
    assert {path.name for path in folder.iterdir()} == {
        "card.md",
        "decision.json",
        "manifest.json",
        "receipts.json",
        "training.json",
    }
    assert json.loads((folder / "manifest.json").read_text())["release"] == dossier.release == world.release("a").digest
    receipts = json.loads((folder / "receipts.json").read_text())
    assert {gate: GateReceipt.model_validate(one) for gate, one in receipts.items()} == world.services.records.named(
        run.key, GateReceipt
    )
    card = (folder / "card.md").read_text()
    assert card.startswith(f"# {MODEL} id-a\n")
    assert "| smoke | passed | smoke passed |" in card
    assert "every gate has passed; none was waived" in card


def test_the_same_records_give_the_same_dossier(world):
    run = world.trained("night-a", "a")
    register_challenger(world.services, run)
    first = dossier_of(world, run)
    register_challenger(world.services, run)
    assert dossier_of(world, run) == first
    assert len(list((world.folder / "dossiers" / MODEL / first.release).iterdir())) == 1


def test_a_waived_gate_is_a_caveat(world):
    run = world.trained("night-a", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    verdict = known.verdict.model_copy(update={"outcome": Outcome.WAIVED, "reason": "waived by bob | until noon"})
    until = world.clock.now().replace(year=2027)
    world.services.records.put(run.key, known.model_copy(update={"verdict": verdict, "waived_until": until}), "smoke")
    register_challenger(world.services, run)
    dossier = dossier_of(world, run)
    card = (world.blobs.fetch_folder(dossier.uri, dossier.digest) / "card.md").read_text()
    assert "- smoke is waived: waived by bob | until noon" in card
    assert "waived by bob \\| until noon |" in card


def test_a_refused_candidate_has_none(world):
    run = world.trained("night-a", "a")
    known = world.services.records.get(run.key, GateReceipt, "smoke")
    failed = known.model_copy(update={"verdict": known.verdict.model_copy(update={"outcome": Outcome.FAILED})})
    world.services.records.put(run.key, failed, "smoke")
    with pytest.raises(PromotionRefused):
        register_challenger(world.services, run)
    assert world.services.records.find(run.key, ReleaseDossier) is None


def test_a_changed_receipt_is_found(world):
    run = world.trained("night-a", "a")
    register_challenger(world.services, run)
    dossier = dossier_of(world, run)
    folder = world.blobs.fetch_folder(dossier.uri, dossier.digest)
    path = folder / "receipts.json"
    path.write_text(path.read_text().replace("passed", "failed", 1))
    with pytest.raises(IntegrityError, match="the bytes have changed"):
        world.blobs.fetch_folder(dossier.uri, dossier.digest)
