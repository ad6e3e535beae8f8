from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from rich.console import Console

from gauntlet.adapters.memory.store import MemoryAudit, MemoryRecords
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import ContractReport, ExpectationResult
from gauntlet.core.records.gates import GateReceipt, GateVerdict, PromotionDecision
from gauntlet.core.records.rollout import CanaryAnalysis, Quarantine, RolloutPhase, RolloutState, Routing, ServedVersion
from gauntlet.core.records.run import TriggerAction, TriggerDecision, TriggerKind, run_name
from gauntlet.demo.airflow_api import Airflow
from gauntlet.demo.nights import NIGHTS
from gauntlet.demo.screen import Screen, brief
from gauntlet.demo.story import Patience, Story, StoryFailed
from gauntlet.simulation.events import story as scenario_of
from gauntlet.simulation.world import World

MODEL = "credit_default"
NIGHT_ONE = datetime(2026, 3, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
PASSWORD = "secret"
Hook = Callable[["FakeAirflow", str, dict[str, Any]], tuple[str, dict[str, str]]]


@dataclass
class FakeAirflow:
    """Airflow's REST API as far as the story uses it. ``hooks`` say how a run of a DAG ends; each needs two polls."""

    hooks: dict[str, Hook]
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    posted: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    logins: int = 0

    def start(self, dag_id: str, run_type: str, conf: dict[str, Any]) -> dict[str, Any]:
        runs = self.runs.setdefault(dag_id, [])
        run_id = f"{run_type}__{dag_id}_{len(runs)}"
        run = {"dag_id": dag_id, "dag_run_id": run_id, "state": "queued", "run_type": run_type, "conf": conf, "left": 2}
        runs.insert(0, run)
        return run

    def poll(self, run: dict[str, Any]) -> dict[str, Any]:
        run["left"] -= 1
        if run["left"] == 0:
            name = run_name(run["dag_id"], run["dag_run_id"])
            run["state"], run["tasks"] = self.hooks[run["dag_id"]](self, name, run["conf"])
        return run

    def answer(self, method: str, path: str, body: Any, token: str | None) -> tuple[int, Any]:
        if path == "/auth/token":
            self.logins += 1
            return (201, {"access_token": f"t{self.logins}"}) if body["password"] == PASSWORD else (401, {})
        if token != f"Bearer t{self.logins}":
            return 401, {"detail": "who are you"}
        if path == "/api/v2/dags":
            return 200, {"dags": [{"dag_id": dag_id, "is_paused": False} for dag_id in self.hooks]}
        if path == "/api/v2/importErrors":
            return 200, {"import_errors": self.errors}
        found = re.fullmatch(r"/api/v2/dags/([^/]+)/dagRuns(?:/([^/]+)(/taskInstances)?)?", path)
        assert found, path
        dag_id, run_id, tasks = found.groups()
        if method == "POST":
            self.posted.append({"dag_id": dag_id, **body})
            return 200, self.start(dag_id, "manual", body["conf"])
        if run_id is None:
            return 200, {"dag_runs": self.runs.get(dag_id, [])}
        run = next(one for one in self.runs[dag_id] if one["dag_run_id"] == run_id)
        if tasks:
            states = run.get("tasks", {"open_run": "running"})
            return 200, {"task_instances": [{"task_id": name, "state": state} for name, state in states.items()]}
        return 200, self.poll(run)

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        message = await receive()
        body = json.loads(message["body"]) if message.get("body") else None
        token = dict(scope["headers"]).get(b"authorization", b"").decode() or None
        status, content = self.answer(scope["method"], scope["path"], body, token)
        await send({
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json")],
        })
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})


class Town:
    """The store behind the fake Airflow, and the records a pipeline would have written there."""

    def __init__(self) -> None:
        self.records = MemoryRecords(MemoryAudit(SimpleNamespace(now=lambda: NOW)))
        self.version = 0
        self.stable: ServedVersion | None = None

    def services(self) -> Any:
        return SimpleNamespace(records=self.records, routing=SimpleNamespace(read=lambda _: self.routing()))

    def routing(self) -> Routing:
        return Routing(
            model=MODEL, epoch=1, stable=self.stable, canary=None, previous=None, weight_ppm=0, salt="s",
            rollout=None, lease_until=None,
        )  # fmt: skip

    def decide(self, run: str, action: TriggerAction, kind: TriggerKind) -> None:
        decision = TriggerDecision(
            model=MODEL, run=run, as_of=NIGHT_ONE, action=action, kind=kind, reason=f"because of {kind}", evidence={},
            decision_id="d", decided_at=NOW,
        )  # fmt: skip
        self.records.put(f"{MODEL}/{run}", decision)

    def contract(self, run: str, failed: bool) -> None:
        result = ExpectationResult(
            expectation="mean",
            column="income",
            outcome=Outcome.FAILED,
            sentence="mean of income",
            observed="9129",
            rows=9,
        )
        report = ContractReport(
            outcome=Outcome.FAILED if failed else Outcome.PASSED, reason="r", dataset="d", evaluated=9,
            failed=(result,) if failed else (), suite_digest="s", page_uri=None, seconds=1.0,
        )  # fmt: skip
        self.records.put(f"{MODEL}/{run}", report)

    def gate(self, run: str, gate: str, outcome: Outcome) -> None:
        verdict = GateVerdict(gate=gate, outcome=outcome, reason="r", mode=None, measurements=())
        receipt = GateReceipt(
            verdict=verdict, model=MODEL, run=run, candidate="c", champion=None, holdout="h", spec_digest="s",
            code_digest="x", started_at=NOW, finished_at=NOW,
        )  # fmt: skip
        self.records.put(f"{MODEL}/{run}", receipt, gate)

    def register(self, run: str) -> None:
        self.version += 1
        decision = PromotionDecision(
            model=MODEL, run=run, outcome=Outcome.PASSED, reason="all gates", candidate="c", champion=None, holdout="h",
            spec_digest="s", receipts={}, version=self.version, decided_at=NOW,
        )  # fmt: skip
        self.records.put(f"{MODEL}/{run}", decision)

    def served(self) -> ServedVersion:
        return ServedVersion(version=self.version, version_id=f"v{self.version}", release_uri="u", release_digest="r")

    def roll_out(self, run: str, *, good: bool, back_after: float = 0.2, weight_ppm: int = 50_000) -> None:
        analysis = CanaryAnalysis(
            rollout="r", step=0, weight_ppm=weight_ppm, outcome=Outcome.FAILED, reason="scores", metrics=(), since=NOW,
            until=NOW, requests=9, entities=9,
        )  # fmt: skip
        phase = RolloutPhase.PROMOTED if good else RolloutPhase.ROLLED_BACK
        state = RolloutState(
            rollout="r", model=MODEL, run=run, step=0, phase=phase,
            weight_ppm=0, candidate=self.served(), stable=self.stable, reason="scores", started_at=NOW,
            step_started_at=NOW, updated_at=NOW, analysis=analysis, decided_at=NOW,
            withdrawn_at=NOW + timedelta(seconds=back_after),
        )  # fmt: skip
        self.records.put(f"{MODEL}/{run}", state)
        if good:
            self.stable = self.served()
            return
        quarantine = Quarantine(
            model=MODEL, release_digest="r", version_id="v", version=self.version, rollout="r", reason="scores", at=NOW
        )
        self.records.put(f"{MODEL}/{run}", quarantine, "r")


class Pipeline:
    """What each DAG does on each night, as the real pipeline should; tests change single answers."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.night = 0
        self.wrong: set[str] = set()

    def retrain(self, airflow: FakeAirflow, run: str, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
        town = self.town
        if self.night == 2 and "retrains" not in self.wrong:
            town.decide(run, TriggerAction.SKIP, TriggerKind.SCHEDULE)
            return "success", {"decide": "success", "train": "skipped"}
        town.decide(run, TriggerAction.RETRAIN, TriggerKind.MANUAL)
        broken = self.night == 4 and "accepts broken feed" not in self.wrong
        town.contract(run, broken)
        if broken:
            return "failed", {"check_contract": "failed", "train": "upstream_failed"}
        bad = self.night == 5 and "passes noise" not in self.wrong
        town.gate(run, "latency", Outcome.PASSED)
        town.gate(run, "absolute_performance", Outcome.FAILED if bad else Outcome.PASSED)
        tasks = {
            "train": "success",
            "gates.latency": "success",
            "gates.absolute_performance": "failed" if bad else "success",
        }
        if bad:
            return "failed", tasks
        town.register(run)
        airflow.start(f"{MODEL}__canary", "asset_triggered", {})
        return "success", tasks

    def drift_check(self, airflow: FakeAirflow, run: str, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
        seen = "misses drift" not in self.wrong
        self.town.decide(run, TriggerAction.RETRAIN if seen else TriggerAction.SKIP, TriggerKind.DRIFT)
        if seen:
            airflow.start(f"{MODEL}__retrain", "asset_triggered", {})
        return "success", {"decide": "success"}

    def canary(self, airflow: FakeAirflow, run: str, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
        good = self.night != 6 or "promotes offender" in self.wrong
        late = "late" in self.wrong
        weight = 500_000 if "high" in self.wrong else 50_000
        self.town.roll_out(run, good=good, back_after=3.0 if late else 0.2, weight_ppm=weight)
        return ("success", {"promote": "success"}) if good else ("failed", {"step_1_5_percent": "failed"})


@dataclass
class Stage:
    airflow: FakeAirflow
    pipeline: Pipeline
    story: Story
    output: io.StringIO


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    town = Town()
    pipeline = Pipeline(town)
    hooks = {f"{MODEL}__{kind}": getattr(pipeline, kind) for kind in ("retrain", "drift_check", "canary")}
    airflow = FakeAirflow(hooks)
    config = uvicorn.Config(airflow, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    small = replace(scenario_of(NIGHT_ONE, per_day=20), begin=(NIGHT_ONE - timedelta(days=2)).date())
    output = io.StringIO()
    console = Console(file=output, width=240)
    client = Airflow(f"http://127.0.0.1:{port}", PASSWORD)
    story = Story(
        model=MODEL, world=World(tmp_path / "world", small), night_one=NIGHT_ONE, airflow=client,
        airflow_home=tmp_path / "airflow", services=town.services(), screen=Screen(console), check_stack=lambda: None,
        patience=Patience(dags=2, asset=2, run=5),
    )  # fmt: skip
    yield Stage(airflow, pipeline, story, output)
    client.close()
    server.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gauntlet.demo.story.POLL_SECONDS", 0.01)
    monkeypatch.setattr("gauntlet.demo.story.LOOK_SECONDS", 0.01)


def play(stage: Stage, upto: int = 6) -> None:
    for night in NIGHTS[:upto]:
        stage.pipeline.night = night.number
        stage.story.play(night)


def shown(stage: Stage) -> str:
    return stage.output.getvalue()


def test_the_story_is_told_when_every_night_ends_as_it_should(stage: Stage) -> None:
    stage.story.wait_for_dags()
    play(stage)
    stage.story.screen.summary({"mlflow": 1.0})
    text = shown(stage)
    for words in (
        "skip (schedule)",
        "retrain (drift)",
        "contract failed",
        "absolute_performance",
        "rolled back at 5 %",
    ):
        assert words in text
    assert text.count("as expected after") == 6
    assert "start mlflow" in text
    assert "night 3: canary" in text


def test_runs_by_hand_carry_the_nights_own_date_reason_and_force(stage: Stage) -> None:
    play(stage)
    by_dag = [(one["dag_id"].removeprefix(f"{MODEL}__"), one["conf"]["force_retrain"]) for one in stage.airflow.posted]
    assert by_dag == [
        ("retrain", False),
        ("retrain", False),
        ("drift_check", False),
        ("retrain", True),
        ("retrain", True),
        ("retrain", True),
    ]
    dates = [datetime.fromisoformat(one["logical_date"]) for one in stage.airflow.posted]
    assert dates == [NIGHT_ONE + timedelta(days=number) for number in range(6)]
    assert all(len(one["conf"]["reason"]) > 5 for one in stage.airflow.posted)
    assert all(one["conf"]["as_of"] == one["logical_date"] for one in stage.airflow.posted)


def test_the_world_is_at_the_night(stage: Stage) -> None:
    play(stage, 3)
    state = json.loads((stage.story.world.folder / "world.json").read_text())
    assert datetime.fromisoformat(state["now"]) == NIGHT_ONE + timedelta(days=2)


@pytest.mark.parametrize(
    ("wrong", "night", "sentence"),
    [
        ("retrains", 2, "the decision should be to skip"),
        ("misses drift", 3, "no asset event has started credit_default__retrain"),
        ("accepts broken feed", 4, "check_contract is None, not failed"),
        ("passes noise", 5, "no gate's own task failed"),
        ("promotes offender", 6, "the canary run is success, not failed"),
        ("late", 6, "traffic took 3.0 s to be back"),
        ("high", 6, "judged last at 500000 ppm"),
    ],
)
def test_a_night_that_ends_otherwise_stops_the_story_and_says_what_is_wrong(
    stage: Stage, wrong: str, night: int, sentence: str
) -> None:
    stage.pipeline.wrong.add(wrong)
    with pytest.raises(StoryFailed, match=re.escape(sentence)) as error:
        play(stage)
    assert f"night {night} (" in str(error.value)
    assert "NOT as expected" in shown(stage)


def test_the_log_of_the_task_to_look_at_is_named_and_quoted(stage: Stage) -> None:
    stage.pipeline.wrong.add("promotes offender")
    folder = "dag_id=credit_default__canary/run_id=asset_triggered__credit_default__canary_2/task_id=promote"
    log = stage.story.airflow_home / "logs" / folder / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text("promoted against all odds\n")
    with pytest.raises(StoryFailed) as error:
        play(stage)
    assert f"Read {log}; its end:\npromoted against all odds" in str(error.value)


def test_a_dag_file_that_cannot_be_imported_is_named(stage: Stage) -> None:
    del stage.airflow.hooks[f"{MODEL}__canary"]
    stage.airflow.errors = [{"filename": "dags/canary.py", "stack_trace": "Traceback\nKeyError: 'steps'"}]
    with pytest.raises(StoryFailed, match=r"dags/canary.py: KeyError: 'steps'"):
        stage.story.wait_for_dags()


def test_dags_that_never_come_are_named(stage: Stage) -> None:
    del stage.airflow.hooks[f"{MODEL}__canary"]
    with pytest.raises(StoryFailed, match=r"has not read credit_default__canary after 2 s"):
        stage.story.wait_for_dags()


def test_a_run_that_never_ends_says_which_task_it_is_in(stage: Stage) -> None:
    stage.airflow.hooks[f"{MODEL}__retrain"] = lambda *_: ("running", {"train": "running", "open_run": "success"})
    stage.story.patience = Patience(run=0.1)
    stage.airflow.hooks[f"{MODEL}__canary__broken_spec"] = stage.airflow.hooks[f"{MODEL}__canary"]
    with pytest.raises(StoryFailed, match=r"night 1 .*has not ended after 0 s: (open_run|train)") as error:
        play(stage, 1)
    assert "credit_default__canary__broken_spec is among the DAGs" in str(error.value)


def test_a_process_that_ends_stops_the_story(stage: Stage) -> None:
    def died() -> None:
        raise InfrastructureError("mlflow ended with exit code 1. Read /x/mlflow.log")

    stage.story.check_stack = died
    with pytest.raises(StoryFailed, match=r"night 1 .*mlflow ended with exit code 1"):
        play(stage, 1)


def test_an_expired_token_is_renewed(stage: Stage) -> None:
    stage.story.wait_for_dags()
    stage.airflow.logins += 1
    stage.story.wait_for_dags()
    assert stage.airflow.logins == 3


def test_a_wrong_password_is_an_error_that_says_so(stage: Stage) -> None:
    client = Airflow(stage.story.airflow.url, "wrong")
    with pytest.raises(InfrastructureError, match="login as admin refused"):
        client.dags()
    client.close()


def test_an_airflow_that_does_not_answer_is_named() -> None:
    client = Airflow("http://127.0.0.1:1", PASSWORD)
    with pytest.raises(InfrastructureError, match=r"http://127\.0\.0\.1:1: Airflow does not answer"):
        client.dags()
    client.close()


def test_a_long_reason_is_cut_at_a_clause_or_a_word() -> None:
    assert brief("short") == "short"
    assert brief("one clause; another; " + "x" * 200, 30) == "one clause; another …"
    assert brief("word " * 50, 12) == "word word …"
