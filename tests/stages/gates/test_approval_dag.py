"""A person is asked inside Airflow: the real DAG file, Airflow's own engine, and answers through its REST API."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stages.gates.conftest import Nights

from gauntlet.core.records.gates import Approval, GateReceipt
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.answer_approval import answer_approval

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]

ROOT = Path(__file__).parents[3]
DAG = "credit_default__retrain"
EVERYTHING_ELSE = r"(?!open_run$|ask_approval$|gates\.ask_approval$|gates\.approval$).*"


@dataclass
class Asked:
    """A night whose candidate has passed everything but the approval."""

    nights: Nights
    run: RunContext
    api: Any
    dag: Any
    seen: list[dict[str, Any]] = field(default_factory=list)

    def play(self, answer: Callable[[Asked, str], None]) -> str:
        """Run the DAG; ``answer`` is called once the request is open, with the Airflow run's id. The run's state."""
        stop = threading.Event()

        def person() -> None:
            while not stop.wait(0.2):
                for run in self._open():
                    answer(self, run)
                    stop.set()

        thread = threading.Thread(target=person, daemon=True)
        thread.start()
        # `dag.test` cannot store a deadline; tests/dags/test_notices.py looks at it.
        self.dag.deadline = None
        try:
            done = self.dag.test(logical_date=None, mark_success_pattern=EVERYTHING_ELSE)
        finally:
            stop.set()
            thread.join(10)
        states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
        assert states["gates.ask_approval"] == "success"
        assert (states["gates.approval"] == "success") is (str(done.state) == "success")
        return str(done.state)

    def _open(self) -> list[str]:
        found = self.api.get(f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails", headers=bearer("carol"))
        assert found.status_code == 200, found.text
        waiting = [item for item in found.json()["hitl_details"] if not item["response_received"]]
        self.seen += waiting
        return [item["task_instance"]["dag_run_id"] for item in waiting]

    def say(self, run: str, who: str, option: str, reason: str | None = "looked at it") -> None:
        """Answer as a logged-in user, as the page "Required Actions" does."""
        given = {} if reason is None else {"reason": reason}
        answered = self.api.patch(
            f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/gates.ask_approval/-1/hitlDetails",
            json={"chosen_options": [option], "params_input": given},
            headers=bearer(who),
        )
        assert answered.status_code == 200, answered.text

    @property
    def receipt(self) -> GateReceipt:
        return self.nights.lending.services.records.get(self.run.key, GateReceipt, "approval")

    @property
    def words(self) -> list[tuple[str, bool, str]]:
        found = self.nights.lending.services.records.named(self.run.key, Approval).values()
        return [(word.approver, word.approved, word.reason) for word in found]


def bearer(user: str) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role="admin"))
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def asked(nights: Nights, airflow_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    specs = nights.lending.specs
    document = specs.spec.model_dump(mode="json")
    document["gates"]["approval"] = {"approvers": ["ann", "carol"], "within": "1h"}
    specs.spec = ModelSpec.model_validate(document)
    (tmp_path / "credit_default.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    run = nights.second.model_copy(update={"spec_digest": specs.spec.digest})
    nights.lending.services.records.put(run.key, run)
    monkeypatch.setenv("GAUNTLET_MODELS", str(tmp_path))
    # The rest of the night is played already; what the DAG opens is that run.
    monkeypatch.setattr("gauntlet.stages.open_run.open_run", lambda *_, **__: run)
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: nights.lending.services)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.dag_processing.dagbag import DagBag

        dag = DagBag(str(ROOT / "dags")).dags[DAG]
    return Asked(nights, run, airflow_api, dag)


def test_the_person_is_asked_last(asked: Asked) -> None:
    ask = asked.dag.get_task("gates.ask_approval")
    wanted = asked.nights.lending.specs.spec.gates.names
    assert ask.upstream_task_ids >= {f"gates.{name}" for name in wanted if name != "approval"}
    assert ask.downstream_task_ids == {"gates.approval"}
    assert asked.dag.get_task("gates.approval").downstream_task_ids == {"register_challenger"}
    assert ask.response_timeout.total_seconds() == 3600
    assert {str(getattr(task.trigger_rule, "value", task.trigger_rule)) for task in asked.dag.tasks} == {"all_success"}


def test_a_yes_by_another_person_lets_the_run_go_on(asked: Asked) -> None:
    assert asked.play(lambda night, run: night.say(run, "ann", "Approve", "numbers look right")) == "success"
    assert asked.words == [("ann", True, "numbers look right")]
    assert asked.receipt.verdict.outcome == "passed"
    assert "by ann: numbers look right" in asked.receipt.verdict.reason
    body = asked.seen[0]["body"]
    assert "credit\\_default" in body or "credit_default" in body
    assert "Asked for by carol" in body


def test_a_no_fails_the_run(asked: Asked) -> None:
    assert asked.play(lambda night, run: night.say(run, "ann", "Reject", "not before the audit")) == "failed"
    assert asked.words == [("ann", False, "not before the audit")]
    assert "rejected by ann: not before the audit" in asked.receipt.verdict.reason


def test_who_asked_for_the_run_cannot_approve_it(asked: Asked) -> None:
    assert asked.play(lambda night, run: night.say(run, "carol", "Approve", None)) == "failed"
    assert asked.words == [("carol", True, "no reason given in Airflow")]
    assert "carol has asked for the run" in asked.receipt.verdict.reason


def test_a_stranger_cannot_approve(asked: Asked) -> None:
    assert asked.play(lambda night, run: night.say(run, "mallory", "Approve")) == "failed"
    assert "mallory is not one of ann, carol" in asked.receipt.verdict.reason


def time_is_over(_: Asked, run: str) -> None:
    """The scheduler's own sweep, after the request's time."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with create_session() as session:
            waiting = session.query(TaskInstance).filter_by(run_id=run, task_id="gates.ask_approval").one()
            if waiting.state == "awaiting_input":
                waiting.trigger_timeout = datetime.now(UTC) - timedelta(seconds=1)
                break
        time.sleep(0.1)
    SchedulerJobRunner(Job()).check_awaiting_input_timeouts()


def test_silence_is_a_reject(asked: Asked) -> None:
    assert asked.play(time_is_over) == "failed"
    assert asked.words == []
    assert "silence is a reject" in asked.receipt.verdict.reason


def test_a_word_given_elsewhere_while_airflow_asks_counts(asked: Asked) -> None:
    def on_the_command_line(night: Asked, run: str) -> None:
        answer_approval(
            night.nights.lending.services,
            night.run.model,
            night.run.run,
            approver="ann",
            approved=True,
            reason="by hand",
        )
        time_is_over(night, run)

    assert asked.play(on_the_command_line) == "success"
    assert asked.words == [("ann", True, "by hand")]
