"""A release goes from staging to production by its digest: judged there anew, never trained again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.errors import IntegrityError, MissingRecord, PromotionRefused, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services, left_out
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport
from gauntlet.core.records.environment import ReleaseCopied
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import Quarantine
from gauntlet.core.records.run import RunContext
from gauntlet.stages.copy_release import Origin, copy_release
from gauntlet.stages.evaluate import evaluate
from gauntlet.stages.register import register_challenger

MODEL = "small"
SAID: Any = {"by": "ann", "reason": "it has held for a week"}


class Two:
    """Staging with a champion, and production with nothing."""

    def __init__(self, night: Any, folder: Path) -> None:
        self.staging = night
        self.run, self.trained = night.trained("night-1")
        self._pass()
        self.version = night.crown(self.trained)
        there = night.services
        self.origin = Origin("staging", there.records, there.blobs, there.routing)
        store = MemoryStore(there.clock)
        self.services: Services = replace(
            there,
            records=store.records,
            audit=store.audit,
            routing=store.routing,
            ledger=store.ledger,
            blobs=LocalBlobs(folder / "production"),
            registry=MemoryRegistry(),
            trainer=left_out("trainer"),
        )

    def _pass(self) -> None:
        """What the contract, the leakage check and the gates have said in staging."""
        records, key, release = self.staging.services.records, self.run.key, self.trained.release
        dataset = self.trained.dataset
        contract = ContractReport(
            outcome=Outcome.PASSED,
            reason="it holds",
            dataset=dataset,
            evaluated=3,
            failed=(),
            suite_digest="s",
            page_uri="file:///staging/page.html",
            seconds=0.1,
        )
        decision = PromotionDecision(
            model=MODEL,
            run=self.run.run,
            outcome=Outcome.PASSED,
            reason="every gate has passed",
            candidate=release.digest,
            champion=None,
            holdout="h",
            spec_digest=self.run.spec_digest,
            receipts={},
            version=4,
            decided_at=self.run.opened_at,
        )
        registered = RegisteredVersion(
            model=MODEL, version=4, version_id=release.version_id, release=release, mlflow_run_id="there"
        )
        leakage = LeakageReport(outcome=Outcome.PASSED, reason="none found", dataset=dataset, findings=())
        for record in (contract, leakage, decision, registered):
            records.put(key, record)

    def copy(self, version: str = "champion", **said: str) -> RunContext:
        return copy_release(self.services, self.origin, MODEL, version, **{**SAID, **said})


@pytest.fixture
def two(night: Any, tmp_path: Path) -> Two:
    return Two(night(rounds=5), tmp_path)


def test_the_copy_is_the_release_byte_for_byte_and_can_be_judged(two: Two) -> None:
    run = two.copy()
    here = two.services.records.get(run.key, TrainedModel)
    assert here.release.digest == two.trained.release.digest
    assert here.release.uri != two.trained.release.uri
    there = two.origin.blobs.fetch_folder(two.trained.release.uri, two.trained.release.digest)
    copied = two.services.blobs.fetch_folder(here.release.uri, here.release.digest)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in there.iterdir()
    }
    # The trainer of this environment is not even there; the holdout is staging's, row for row.
    assert evaluate(two.services, run).holdout == evaluate(two.staging.services, two.run).holdout
    (fact,) = two.services.records.newest(MODEL, ReleaseCopied)
    assert (fact.environment, fact.source_run, fact.by) == ("staging", two.run.key, "ann")
    assert here.release.digest in fact.blobs
    assert "ann" in {entry.actor for entry in two.services.audit.entries(MODEL)}


def test_staging_needs_not_be_there_afterwards(two: Two) -> None:
    run = two.copy()
    for path in (two.staging.folder / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    assert evaluate(two.services, run).rows > 0


def test_nothing_that_was_judged_there_counts_here(two: Two) -> None:
    """Receipts are bound to a champion and a spec: those of this environment are taken anew."""
    run = two.copy()
    assert two.services.records.find(run.key, PromotionDecision) is None
    evaluate(two.services, run)
    with pytest.raises(PromotionRefused):
        register_challenger(two.services, run)


@pytest.mark.parametrize("version", ["champion", "4", "id"])
def test_a_version_is_named_in_three_ways_and_copied_once(two: Two, version: str) -> None:
    first = two.copy()
    name = two.trained.release.version_id if version == "id" else version
    entries = len(two.services.audit.entries())
    assert two.copy(name) == first
    assert len(two.services.audit.entries()) == entries


def test_what_is_not_there_or_has_not_passed_is_not_copied(two: Two) -> None:
    with pytest.raises(MissingRecord, match=r"staging: small has no version 7; registered there: 4 \("):
        two.copy("7")
    records = two.staging.services.records
    decision = records.get(two.run.key, PromotionDecision)
    records.put(two.run.key, decision.model_copy(update={"outcome": Outcome.FAILED}))
    with pytest.raises(MissingRecord, match="no run let version 4 of small through its gates"):
        two.copy()


@pytest.mark.parametrize("where", ["in staging", "here"])
def test_a_quarantine_on_either_side_keeps_it_out(two: Two, where: str) -> None:
    services = two.services if where == "here" else two.staging.services
    digest = two.trained.release.digest
    fact = Quarantine(
        model=MODEL,
        release_digest=digest,
        version_id="v",
        version=4,
        rollout=None,
        reason="harm",
        at=two.run.opened_at,
    )
    services.records.put(f"{MODEL}/x", fact, digest)
    with pytest.raises(PromotionRefused, match=f"is in quarantine {where}: harm"):
        two.copy()


@pytest.mark.parametrize("name", ["model.txt", "sidecar.json", "manifest.json"])
def test_a_damaged_release_is_not_copied(two: Two, name: str) -> None:
    folder = two.origin.blobs.fetch_folder(two.trained.release.uri, two.trained.release.digest)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError):
        two.copy()
    assert two.services.records.newest(MODEL, RunContext) == []


def test_a_copy_cut_short_is_finished_by_the_next(two: Two) -> None:
    class Full(LocalBlobs):
        def put_file(self, path: Path, key: str) -> str:
            if key.startswith("splits/"):
                raise OSError("no space left on device")
            return super().put_file(path, key)

    whole = two.services
    two.services = replace(whole, blobs=Full(whole.blobs.root))  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no space left"):
        two.copy()
    assert whole.records.newest(MODEL, RunContext) == []
    two.services = whole
    assert whole.records.get(two.copy().key, DatasetRef).rows > 0


def test_another_set_of_features_is_refused(two: Two) -> None:
    spec = two.staging.specs.spec
    source = spec.source.model_copy(
        update={"features": spec.source.features.model_copy(update={"numeric": (*spec.source.features.numeric, "age")})}
    )
    two.services = replace(two.services, specs=type(two.staging.specs)(spec.model_copy(update={"source": source})))
    with pytest.raises(SpecError, match="differ in features: age"):
        two.copy()


@pytest.mark.parametrize("said", [{"by": " "}, {"reason": ""}])
def test_a_copy_needs_a_name_and_a_reason(two: Two, said: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="a copy needs a name and a reason"):
        two.copy(**said)
