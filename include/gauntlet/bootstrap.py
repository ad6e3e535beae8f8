"""Settings to services: the only file that chooses adapters."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.addresses import Addresses
from gauntlet.core.errors import InfrastructureError, SpecError
from gauntlet.core.ports import Blobs, Notifier, Server, Services, left_out
from gauntlet.core.registry import lookup
from gauntlet.core.spec import ModelSpec, load_spec
from gauntlet.settings import Settings, settings

if TYPE_CHECKING:
    from gauntlet.adapters.store_sql import SqlStore
    from gauntlet.serving.admin import RollBack
    from gauntlet.stages.copy_release import Origin

MIRROR = "model_deployments.jsonl"


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)


class SpecFolder:
    """The specs in a folder, each read when it is asked for; a broken one harms no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, model: str) -> ModelSpec:
        """The spec of a model."""
        if not self.folder.is_dir():
            raise SpecError(f"{self.folder} is no folder: set GAUNTLET_MODELS to where the specs are")
        path = lookup({path.stem: path for path in self.folder.glob("*.yaml")}, model, "model")
        spec = load_spec(path)
        if spec.model != model:
            raise SpecError(f"{path}:1: model: {spec.model!r} must be the file's name, {model!r}")
        return spec

    def names(self) -> tuple[str, ...]:
        """All model names."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.yaml")))


@cache
def services() -> Services:
    """The services of this process, from its environment."""
    return build(settings())


def resolve_connections_with(resolver: Callable[[str], str]) -> None:
    """How ``airflow://<id>`` becomes an SQLAlchemy URL. Called by who knows Airflow; this file does not."""
    _resolvers[:] = [resolver]


_resolvers: list[Callable[[str], str]] = []


def _connection_url(connection_id: str) -> str:
    if not _resolvers:
        raise SpecError(
            f"airflow://{connection_id}: connections are known inside Airflow only; "
            "outside of it write an SQLAlchemy URL into source.uri, e.g. from ${WAREHOUSE_URL}"
        )
    return _resolvers[0](connection_id)


def build(current: Settings) -> Services:
    """The services of an installation. Adapters connect when they are first used."""
    from gauntlet.adapters.blobs import open_blobs
    from gauntlet.adapters.calendar_ics import IcsCalendars
    from gauntlet.adapters.contract_gx import GreatExpectationsContract
    from gauntlet.adapters.domain_classifier import LightGBMDomainClassifier
    from gauntlet.adapters.heartbeat import Heartbeat
    from gauntlet.adapters.journal import JournalFiles
    from gauntlet.adapters.product_queries import ProductQueries
    from gauntlet.adapters.registry_mlflow import MLflowRegistry
    from gauntlet.adapters.scorer_lightgbm import LightGBMScorers
    from gauntlet.adapters.server_fleet import open_server
    from gauntlet.adapters.server_trial import ServerTrials
    from gauntlet.adapters.sources import Reading, all_sources
    from gauntlet.adapters.store_sql import open_store
    from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer

    home = current.home.absolute()
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    store = open_store(current.database, clock=clock, mirror=home / MIRROR)
    return Services(
        clock=clock,
        specs=SpecFolder(current.models),
        records=store.records,
        audit=store.audit,
        routing=store.routing,
        ledger=store.ledger,
        blobs=open_blobs(current.blobs, home / "cache"),
        sources=all_sources(Reading(scratch, connection_url=_connection_url)),
        contract=GreatExpectationsContract(),
        trainer=LightGBMTrainer(),
        scorers=LightGBMScorers(),
        domains=LightGBMDomainClassifier(),
        calendars=IcsCalendars(current.models),
        trials=ServerTrials(),
        registry=MLflowRegistry(current.mlflow_url, timeout_s=current.mlflow_timeout_s),
        server=open_server(current.admin, lambda: admin_token(current)),
        queries=ProductQueries(scratch, connection_url=_connection_url),
        journal=JournalFiles(current.journal),
        notifiers=_notifiers(current),
        heartbeat=Heartbeat(current.heartbeat_url.get_secret_value() if current.heartbeat_url else None),
        addresses=Addresses(grafana=current.grafana_url, airflow=current.airflow_url),
        scratch=scratch,
    )


def _notifiers(current: Settings) -> tuple[Notifier, ...]:
    """Who is told; nobody where ``GAUNTLET_NOTIFY`` is not set."""
    from gauntlet.adapters.notify import ANY, AppriseNotifier, read_routes

    if current.notify is None:
        return ()
    folder = SpecFolder(current.models)

    def team_of(model: str) -> str:
        return folder.get(model).owner.team if model in folder.names() else ANY

    routes = read_routes(current.notify.get_secret_value())
    return (AppriseNotifier(routes, team_of=team_of, connection_url=_connection_url),)


def origin(environment: str) -> Origin:
    """Another environment, as ``GAUNTLET_ENVIRONMENTS`` says where it is; read only."""
    from gauntlet.adapters.blobs import open_blobs
    from gauntlet.adapters.store_sql import read_store
    from gauntlet.stages.copy_release import Origin

    current = settings()
    place = lookup(current.environments, environment, "environment")
    store = read_store(place.database, clock=SystemClock())
    blobs = open_blobs(place.blobs, current.home.absolute() / "cache")
    return Origin(environment, store.records, blobs, store.routing)


def admin_token(current: Settings) -> str:
    """The token of the server's admin socket: the one that is set, else what a file in ``home`` says, made once.

    Replacing the file rotates the token: the server and its callers read it anew.
    """
    if current.server_token is not None:
        return current.server_token.get_secret_value()
    path = token_file(current)
    if current.server_token_file is not None and not path.is_file():
        raise InfrastructureError(f"{path}: there is no admin token (GAUNTLET_SERVER_TOKEN_FILE)")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written whole, then named: two processes that start together agree on one token.
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as made:
            made.write(secrets.token_urlsafe(32))
            made.flush()
            with suppress(FileExistsError):
                os.link(made.name, path)
    return path.read_text().strip()


def token_file(current: Settings) -> Path:
    """The file with the admin token, where no variable has it."""
    return current.server_token_file or current.home.absolute() / "server" / "admin.token"


def serve(host: str, port: int, workers: int | None) -> None:
    """Run the model server for every spec of this installation until it is told to stop."""
    from gauntlet.adapters.blobs import open_blobs
    from gauntlet.adapters.store_sql import open_store
    from gauntlet.serving.main import ModelServing, ServerConfig
    from gauntlet.serving.main import serve as run

    current = settings()
    home = current.home.absolute()
    store = open_store(current.database, clock=SystemClock(), mirror=home / MIRROR)
    blobs = open_blobs(current.blobs, home / "cache")
    folder = SpecFolder(current.models)
    specs = [folder.get(name) for name in folder.names()]
    config = ServerConfig(
        models={spec.model: ModelServing(spec.source.columns.entity, spec.serving) for spec in specs},
        state=home / "server",
        journal=current.journal,
        admin_socket=current.admin_socket,
        admin_listen=current.server_admin_listen,
        admin_token=admin_token(current),
        admin_token_file=None if current.server_token is not None else token_file(current),
        client_tokens=current.server_clients,
        client_rate=current.server_client_rate,
        host=host,
        port=port,
        workers=workers or current.server_workers,
    )

    def report_event(kind: str, model: str, detail: Mapping[str, Any]) -> None:
        store.audit.append("server", kind, model, str(detail.get("version_id", model)), detail)

    run(config, blobs.fetch_folder, store.routing.read, report_event, _rollbacks(current, store, blobs, folder))


def _rollbacks(current: Settings, store: SqlStore, blobs: Blobs, specs: SpecFolder) -> RollBack:
    """Rolling back inside the model server, where everything is loaded: a command's own start costs a second."""
    # Imported now, not by the first rollback.
    from gauntlet.core.roles import Action
    from gauntlet.stages.authorize import authorize
    from gauntlet.stages.rollback import begin_rollback

    def roll_back(inside: Server, model: str, reason: str, actor: str, request: str) -> Mapping[str, Any]:
        around = Services(
            clock=SystemClock(),
            specs=specs,
            records=store.records,
            audit=store.audit,
            routing=store.routing,
            ledger=store.ledger,
            blobs=blobs,
            server=inside,
            sources={},
            notifiers=(),
            scratch=current.home,
            contract=left_out("contract"),
            registry=left_out("registry"),
            journal=left_out("journal"),
        )
        roles = current.roles_of(actor)
        authorize(around, Action.ROLL_BACK, model, actor=actor, roles=roles, policy=current.policy)
        return begin_rollback(around, model, reason=reason, actor=actor, request=request).model_dump(mode="json")

    return roll_back
