"""Airflow's own notifications, sent the way alerts are: a run that failed, a run that is late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from gauntlet import pipeline
from gauntlet.core.duration import format_duration
from gauntlet.core.spec import ModelSpec

FAILED, LATE = "failed", "late"


class TellOwner(BaseNotifier):
    """Tells the owner of a model, over the notifiers that its alerts go to, with a link to the task's log.

    As ``on_failure_callback`` of a DAG it runs in the DAG processor, as a deadline's callback in the triggerer.
    """

    def __init__(
        self,
        model: str,
        *,
        severity: str = "warning",
        kind: str = FAILED,
        within: str = "",
        context: Any = None,
    ) -> None:
        """``within``: for a run that is late, how long it was given."""
        super().__init__(context=context)
        self.model, self.severity, self.kind, self.within = model, severity, kind, within

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Nothing: no field is a template, and what a person wrote as a reason shall not become one."""

    def notify(self, context: Any) -> None:
        """Send it; what is raised here Airflow logs and counts as a callback exception."""
        subject, body, about = self.message(context)
        pipeline.tell(self.model, subject, body, severity=self.severity, about=about)

    async def async_notify(self, context: Any) -> None:
        """The same without holding up the triggerer's other work."""
        await asyncio.to_thread(self.notify, context)

    def message(self, context: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """Subject, body and labels. A deadline knows the run as plain data, a failure also the task."""
        dag_id, run_id = _names(context)
        ti = context.get("ti")
        if self.kind == LATE:
            subject = f"{dag_id} is late: not done {self.within} after it was queued"
        else:
            subject = f"{dag_id} failed" + (f" at {ti.task_id}" if ti is not None else "")
        lines = [f"run: {run_id}", *([f"reason: {context['reason']}"] if context.get("reason") else [])]
        lines.append(f"log: {ti.log_url}" if ti is not None else f"run page: {_page(dag_id, run_id)}")
        lines.append(f"what happened: gauntlet explain {self.model}")
        return subject, "\n".join(lines), {"dag": dag_id, "run": run_id, "kind": self.kind}


def _names(context: Mapping[str, Any]) -> tuple[str, str]:
    """DAG id and run id: a deadline's callback gets the run as plain data, under the names of Airflow's API."""
    run = context.get("dag_run")
    if isinstance(run, Mapping):
        return str(run.get("dag_id", "unknown")), str(run.get("dag_run_id", "unknown"))
    dag_id = run.dag_id if run is not None else getattr(context.get("dag"), "dag_id", "unknown")
    return str(dag_id), str(run.run_id if run is not None else context.get("run_id", "unknown"))


def _page(dag_id: str, run_id: str) -> str:
    base = str(conf.get("api", "base_url", fallback="http://localhost:8080/")).rstrip("/")
    return f"{base}/dags/{dag_id}/runs/{quote(run_id)}"


def deadline(spec: ModelSpec) -> DeadlineAlert | None:
    """Tells the owner when a run is not done in time after it was queued; ``None`` where the spec gives no time."""
    within = spec.schedule.deadline
    if within is None:
        return None
    said = {"model": spec.model, "kind": LATE, "within": format_duration(within)}
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=within,
        callback=AsyncCallback(TellOwner, kwargs=said),
        name="nightly",
    )
