"""The few calls of Airflow's REST API that the story needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from gauntlet.core.errors import InfrastructureError
from gauntlet.demo.airflow_env import ADMIN

DONE = frozenset({"success", "failed"})


@dataclass(frozen=True)
class DagRun:
    """One DAG run as Airflow sees it now."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    seconds: float

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in DONE


class Airflow:
    """A logged-in client; the token is fetched again when it has expired."""

    def __init__(self, url: str, password: str, user: str = ADMIN) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._client = httpx.Client(base_url=url, timeout=20.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def trigger(self, dag_id: str, logical_date: datetime, params: Mapping[str, Any]) -> DagRun:
        """Start a run by hand, as the UI's form does."""
        body = {"logical_date": logical_date.isoformat(), "conf": dict(params)}
        return _run(self._call("POST", f"/dags/{dag_id}/dagRuns", json=body))

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """A run as it is now."""
        return _run(self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str) -> list[DagRun]:
        """The newest runs of a DAG, newest first."""
        found = self._call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-run_after", "limit": 20})
        return [_run(run) for run in found["dag_runs"]]

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Task id to state; tasks not looked at yet are ``none``."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = self._call("GET", path, params={"limit": 100})
        return {task["task_id"]: task["state"] or "none" for task in found["task_instances"]}

    def dags(self) -> dict[str, bool]:
        """DAG id to whether it is paused."""
        return {dag["dag_id"]: dag["is_paused"] for dag in self._call("GET", "/dags", params={"limit": 100})["dags"]}

    def import_errors(self) -> list[str]:
        """The last line of each DAG file's import error, with the file."""
        found = self._call("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in found]

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._send(method, f"/api/v2{path}", **options)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            token = self._send("POST", "/auth/token", json=self._login)
            if token.is_error:
                raise InfrastructureError(f"{self.url}: login as {self._login['username']} refused: {token.text[:200]}")
            self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            answer = self._send(method, f"/api/v2{path}", **options)
        if answer.is_error:
            raise InfrastructureError(f"{method} {answer.url}: {answer.status_code}: {answer.text[:400]}")
        return answer.json()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise InfrastructureError(f"{self.url}: Airflow does not answer: {error!r}") from None


def _run(found: Mapping[str, Any]) -> DagRun:
    run_type = str(found.get("run_type") or "")
    return DagRun(found["dag_id"], found["dag_run_id"], found["state"], run_type, found.get("duration") or 0.0)


def task_log(airflow_home: Path, run: DagRun, task_id: str) -> Path | None:
    """The newest log of a task, where Airflow keeps it on disk."""
    folder = airflow_home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={task_id}"
    return max(folder.glob("attempt=*.log"), default=None, key=lambda path: path.stat().st_mtime)


def task_words(log: Path, lines: int = 8) -> str:
    """What a task's log says, without Airflow's bookkeeping: one line per event, errors with their cause."""
    words = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            words.append(line)
            continue
        words.append(str(entry.get("event", "")))
        words += [f"  {cause['exc_type']}: {cause['exc_value']}" for cause in entry.get("error_detail") or ()]
    return "\n".join([word for word in words if word and not word.startswith("::")][-lines:]) or "(empty)"
