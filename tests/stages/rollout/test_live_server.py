"""The same stages with nothing in memory: a real server, its journal, real models, SQLite."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import TOKEN, RunningServer, Trained, running, served, train, write_release
from tests.stages.rollout.world import FixedSpecs, Inbox, spec

from gauntlet.adapters.blobs import LocalBlobs
from gauntlet.adapters.journal import JournalFiles
from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.server_http import HttpServer
from gauntlet.adapters.store_sql import open_store
from gauntlet.core.errors import RolloutAborted
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import PromotionDecision
from gauntlet.core.records.model import Calibration, RegisteredVersion, ReleaseRef
from gauntlet.core.records.rollout import CanaryAnalysis, Quarantine, RolloutPhase, RolloutState
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.specs.rollout import SHADOW
from gauntlet.stages.close_rollout import close_rollout
from gauntlet.stages.open_rollout import open_rollout
from gauntlet.stages.preflight import preflight
from gauntlet.stages.tick import tick

STEPS = [
    {"weight": 5, "hold": "300ms", "requests": 10, "entities": 10},
    {"weight": 50, "hold": "300ms", "requests": 30},
    {"weight": 100, "hold": "300ms", "requests": 30},
]


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Live:
    server: RunningServer
    services: Services
    champion: Trained
    run: RunContext
    sent: int = 0

    def traffic(self, rows: int) -> None:
        """Rows of different customers, in requests of 50."""
        for _ in range(rows // 50):
            chosen = [self.champion.rows[(self.sent + n) % len(self.champion.rows)] for n in range(50)]
            told = [{**row, "customer": f"c{self.sent + n}"} for n, row in enumerate(chosen)]
            self.sent += 50
            assert self.server.predict_rows(told).status_code == 200

    def challenge(self, release: ReleaseRef) -> None:
        key = f"{MODEL}/night-2"
        self.services.records.put(
            key,
            RegisteredVersion(
                model=MODEL, version=2, version_id=release.version_id, release=release, mlflow_run_id="r"
            ),
        )
        decision = PromotionDecision(
            model=MODEL,
            run="night-2",
            outcome=Outcome.PASSED,
            reason="all gates passed",
            candidate=release.digest,
            champion=None,
            holdout="h",
            spec_digest="s",
            receipts={},
            version=2,
            decided_at=WallClock().now(),
        )
        self.services.records.put(key, decision)

    def ramp(self) -> RolloutState:
        """Steps until all have passed, with traffic all the time."""
        open_rollout(self.services, self.run)
        preflight(self.services, self.run)
        state = tick(self.services, self.run, 0)
        deadline = time.monotonic() + 30
        while not state.ready:
            self.traffic(100)
            state = tick(self.services, self.run, state.step)
            assert time.monotonic() < deadline, state.reason
        return state

    def leave_the_shadow(self) -> RolloutState:
        """Traffic and ticks until the shadow is over."""
        deadline = time.monotonic() + 30
        while True:
            self.traffic(50)
            state = tick(self.services, self.run, SHADOW)
            if state.phase is not RolloutPhase.SHADOW:
                return state
            assert time.monotonic() < deadline, state.reason


@pytest.fixture(scope="module")
def champion() -> Trained:
    return train(1)


@pytest.fixture
def live(tmp_path: Path, champion: Trained, request: pytest.FixtureRequest) -> Iterator[Live]:
    store = open_store(f"sqlite:///{tmp_path}/control.db", clock=WallClock())
    more = getattr(request, "param", {})
    spec_ = spec(**{"steps": STEPS, "tick": "100ms", "lease": "30s", **more}).model_copy(update={"model": MODEL})
    first = write_release(tmp_path / "releases" / "one", champion, "v-one")
    unused = cast("Any", None)
    with running(tmp_path, workers=1, ready=False) as server:
        services = Services(
            clock=WallClock(),
            specs=FixedSpecs(spec_),
            records=store.records,
            audit=store.audit,
            routing=store.routing,
            ledger=store.ledger,
            blobs=LocalBlobs(tmp_path / "releases"),
            sources={},
            contract=unused,
            registry=MemoryRegistry(),
            server=HttpServer(f"unix:{server.config.admin_socket}", TOKEN),
            journal=JournalFiles(server.config.journal),
            notifiers=(Inbox(),),
            scratch=tmp_path,
        )
        row = store.routing.read(MODEL).model_copy(update={"stable": served(first, 1), "salt": "s"})
        row = store.routing.swap(row, expected_epoch=0, actor="t", action="champion", reason="first")
        services.server.apply(row, 30)
        run = RunContext(
            model=MODEL,
            run="canary-1",
            as_of=WallClock().now(),
            kind=TriggerKind.MANUAL,
            reason="test",
            requested_by="t",
            force_retrain=False,
            spec_digest=spec_.digest,
            opened_at=WallClock().now(),
        )
        yield Live(server, services, champion, run)
    store.close()


def test_a_good_challenger_ramps_on_live_traffic(live: Live, tmp_path: Path) -> None:
    live.challenge(write_release(tmp_path / "releases" / "two", train(1, trees=14), "v-two"))
    state = live.ramp()
    assert state.phase is RolloutPhase.BAKE
    assert state.analysis is not None
    assert state.analysis.outcome is Outcome.PASSED
    assert state.analysis.paired > 0
    assert live.server.reports()[0]["weight_ppm"] == 1_000_000
    closed = close_rollout(live.services, live.run)
    assert closed is not None
    assert closed.phase is RolloutPhase.ROLLED_BACK
    assert live.server.reports()[0]["canary"] is None


def test_a_challenger_that_scores_otherwise_is_out_at_the_first_step(live: Live, tmp_path: Path) -> None:
    high = Calibration(method="isotonic", x=(0.0, 1.0), y=(0.6, 1.0))
    release = write_release(tmp_path / "releases" / "two", train(1, calibration=high), "v-two")
    live.challenge(release)
    with pytest.raises(RolloutAborted, match="step 1"):
        live.ramp()
    state = live.services.records.get(live.run.key, RolloutState)
    assert state.harmful
    assert state.withdraw_seconds is not None
    assert state.withdraw_seconds < 2  # some ten milliseconds on an idle machine
    assert live.server.reports()[0]["canary"] is None
    assert live.services.records.newest(MODEL, Quarantine, name=release.digest)
    live.traffic(50)
    answers = live.server.predict({**live.champion.rows[0], "customer": "anybody"}).json()
    assert answers["version_id"] == "v-one" or "v-one" in str(answers)


SHADOWED = {"shadow": {"hold": "300ms", "requests": 50}}


@pytest.mark.parametrize("live", [SHADOWED], indirect=True)
def test_a_shadow_scores_every_request_and_answers_none(live: Live, tmp_path: Path) -> None:
    live.challenge(write_release(tmp_path / "releases" / "two", train(1, trees=14), "v-two"))
    open_rollout(live.services, live.run)
    preflight(live.services, live.run)
    state = tick(live.services, live.run, SHADOW)
    assert state.phase is RolloutPhase.SHADOW
    row = {**live.champion.rows[0], "customer": "one"}
    assert "v-two" not in live.server.predict(row).text
    state = live.leave_the_shadow()
    assert (state.phase, state.step) == (RolloutPhase.STEP, 0)
    judged = live.services.records.get(live.run.key, CanaryAnalysis, "step-0")
    assert judged.outcome is Outcome.PASSED
    assert judged.paired >= 50
    assert {metric.metric for metric in judged.metrics} >= {"shadow_errors", "score_psi", "golden"}


@pytest.mark.parametrize("live", [SHADOWED], indirect=True)
def test_a_challenger_that_scores_otherwise_is_out_before_anybody_meets_it(live: Live, tmp_path: Path) -> None:
    high = Calibration(method="isotonic", x=(0.0, 1.0), y=(0.6, 1.0))
    live.challenge(write_release(tmp_path / "releases" / "two", train(1, calibration=high), "v-two"))
    open_rollout(live.services, live.run)
    preflight(live.services, live.run)
    state = tick(live.services, live.run, SHADOW)
    with pytest.raises(RolloutAborted, match="taken out in shadow"):
        live.leave_the_shadow()
    rows = live.services.journal.read(MODEL, state.started_at, WallClock().now())
    assert set(rows.column("arm").to_pylist()) == {"stable"}
    assert live.server.reports()[0]["canary"] is None
