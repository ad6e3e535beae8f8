"""Who is at the page inside Airflow's UI, by Airflow's own auth manager: what they may read, and their roles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_view
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from gauntlet.settings import settings
from gauntlet.views import Person

READ, WRITE = "GET", "PUT"


def guards() -> list[Any]:
    """Dependencies of the whole page: a login, the right to see plugins, and the right to the model's DAG."""
    return [Depends(requires_access_view(AccessView.PLUGINS)), Depends(enter)]


def enter(request: Request, user: GetUserDep) -> None:
    """Recognise who asks; refuse who may not read the model's DAG, or change it when the request would."""
    model = request.path_params.get("model")
    method = READ if request.method in ("GET", "HEAD") else WRITE
    if model is not None and not _may(user, model, method):
        raise HTTPException(403, f"{user.get_name()} may not {'read' if method == READ else 'act on'} {model}")
    request.state.person = Person(
        name=user.get_name(),
        roles=roles_of(user),
        readable=lambda names: _readable(user, names),
        policy=settings().policy,
    )


def roles_of(user: Any) -> tuple[str, ...]:
    """Role names of an Airflow user: one with the simple auth manager, several with others."""
    single = getattr(user, "role", None)
    several = getattr(user, "roles", None) or ()
    names = [single] if single else [getattr(role, "name", role) for role in several]
    return tuple(str(name).casefold() for name in names)


def _readable(user: Any, names: Iterable[str]) -> list[str]:
    return [name for name in names if _may(user, name, READ)]


def _may(user: Any, model: str, method: Any) -> bool:
    """The nightly's DAG stands for the model."""
    dag = f"{model}__retrain"
    details = DagDetails(id=dag, team_name=DagModel.get_team_name(dag))
    return get_auth_manager().is_authorized_dag(method=method, details=details, user=user)
