"""What all DAGs of a model have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryRule, task

from gauntlet.core.errors import REJECTIONS, SpecError
from gauntlet.core.spec import ModelSpec, load_spec

MODELS_VARIABLE = "GAUNTLET_MODELS"
RETRY_DELAY = timedelta(seconds=20)
# A rejection gives the same answer tomorrow; only infrastructure errors are worth another try.
FINAL = ExceptionRetryPolicy([RetryRule(name, action=RetryAction.FAIL) for name in REJECTIONS])


def models_folder() -> Path:
    """Where the specs are: ``$GAUNTLET_MODELS``, else ``include/models`` beside the package."""
    return Path(os.environ.get(MODELS_VARIABLE) or Path(__file__).parents[2] / "models")


def specs(kind: str) -> Iterator[ModelSpec]:
    """Every valid spec. A broken one becomes a DAG of its own that says what is wrong, and harms no other."""
    for path in sorted(models_folder().glob("*.yaml")):
        try:
            yield load_spec(path)
        except SpecError as error:
            _broken(path, kind, error)


def model_dag(spec: ModelSpec, kind: str, doc: str | None, *, schedule: Any, **arguments: Any) -> DAG:
    """A DAG called ``<model>__<kind>`` with the house's retry policy, one active run and no catch-up."""
    return DAG(
        dag_id=f"{spec.model}__{kind}",
        description=f"{kind.replace('_', ' ').capitalize()} of {spec.model}",
        doc_md=doc,
        tags=["gauntlet", spec.model, kind],
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        render_template_as_native_obj=True,
        default_args={
            "owner": spec.owner.team,
            "retries": spec.schedule.retries,
            "retry_delay": RETRY_DELAY,
            "retry_policy": FINAL,
        },
        **arguments,
    )


def _broken(path: Path, kind: str, error: SpecError) -> None:
    message = str(error)
    with DAG(
        dag_id=f"{path.stem}__{kind}__broken_spec",
        description=message.splitlines()[0],
        doc_md=f"```\n{message}\n```",
        tags=["gauntlet", "broken spec"],
        schedule=None,
        catchup=False,
    ) as dag:

        @task(retries=0)
        def explain() -> None:
            raise SpecError(message)

        explain()
    # Airflow finds DAGs among a file's globals or by this registration.
    dag.auto_register = True
