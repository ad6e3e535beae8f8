"""The environment: where things are and how to reach them. Never thresholds: those are in the spec."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from gauntlet.core.duration import Duration
from gauntlet.core.errors import SpecError
from gauntlet.core.roles import ADMIN, USER, with_overrides


class Environment(BaseModel):
    """Where another environment keeps its state; what is not given is in its ``home``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path | None = None
    database_url: SecretStr | None = None
    blobs_url: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.home is None and (self.database_url is None or self.blobs_url is None):
            raise ValueError("give its home, or both database_url and blobs_url")
        return self

    @property
    def database(self) -> str:
        """The control database's URL."""
        return self.database_url.get_secret_value() if self.database_url else f"sqlite:///{self.home}/gauntlet.db"

    @property
    def blobs(self) -> str:
        """The blob store's root."""
        return self.blobs_url or f"{self.home}/blobs"


class Settings(BaseSettings):
    """Read once from ``GAUNTLET_*`` environment variables.

    >>> Settings(home="/tmp/g").database
    'sqlite:////tmp/g/gauntlet.db'
    """

    model_config = SettingsConfigDict(env_prefix="GAUNTLET_", env_ignore_empty=True, frozen=True, extra="ignore")

    environment: Literal["dev", "staging", "production"] = "dev"
    home: Path = Path(".gauntlet")
    """Snapshots, releases, journal, reports and the embedded database live here."""
    models: Path = Path("include/models")
    database_url: SecretStr | None = None
    """SQLAlchemy URL of the control database; unset: SQLite in ``home``."""
    blobs_url: str | None = None
    """fsspec URL for snapshots and releases; unset: ``home/blobs``."""
    mlflow_url: str = Field(default="http://127.0.0.1:5000")
    mlflow_timeout_s: float = 5.0
    mlflow_public_url: str | None = None
    """Where browsers reach MLflow, for links; unset: ``mlflow_url``."""
    grafana_url: str | None = None
    """The Grafana dashboard that the page and every message link to; unset: no link."""
    airflow_url: str | None = None
    """Where browsers reach Airflow, for links in messages; unset: they name the runbook by its path."""
    server_url: str = "http://127.0.0.1:8300"
    server_admin: str | None = None
    """Admin address of the model server: ``unix:/path`` or an URL; unset: ``unix:{home}/server/admin.sock``.
    Several servers: their addresses with commas between, or ``dns:http://name:port`` for all a name stands for."""
    server_admin_listen: str | None = None
    """``host:port`` on which the server answers admin operations beside its socket, for orchestrators elsewhere."""
    server_token: SecretStr | None = None
    """The admin token where it cannot be a file. A file can be replaced without restarting anything."""
    server_token_file: Path | None = None
    """The file with the admin token; unset: ``{home}/server/admin.token``, made by who needs it first."""
    server_clients: Path | None = None
    """A file of ``name token`` lines: who may ask for predictions. Unset: who can connect, so keep a proxy in front."""
    server_client_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests per second that each client may send; unset: no limit."""
    server_workers: int = 1
    notify: SecretStr | None = None
    """Who is told: a JSON object from team (``*``: any) to ``page`` and ``warning`` to a list of Apprise URLs."""
    heartbeat_url: SecretStr | None = None
    """Asked after every completed look of the monitor: a dead man's switch elsewhere raises the alarm without it."""
    people: dict[str, tuple[str, ...]] = {}
    """Which account has which roles at the command line, as in ``{"ann": ["admin"], "bob": ["op"]}``."""
    role: str | None = None
    """The role of everybody ``people`` does not name; unset: ``admin`` in dev, ``user`` elsewhere."""
    shared_account: bool = False
    """Whether several people use one account at the command line. Then a typed name counts as who it says, for roles
    and where two people are wanted, and nothing proves it; else all that is typed under one account is one person's."""
    environments: dict[str, Environment] = {}
    """Other environments that releases are copied from: ``{"staging": {"home": "/srv/staging"}}``."""
    policy: dict[str, tuple[str, ...]] = {}
    """Actions and the roles that may, where they are not :data:`gauntlet.core.roles.POLICY`'s."""
    as_of_ahead: Duration = Field(default="5m", validate_default=True)
    """How far the as-of time that somebody asks for may lie ahead of this machine's clock: the clocks of hosts differ a
    little, and a simulated world has a time of its own."""
    revert_aliases: bool = False
    """Whether the scheduled reconciliation moves aliases back that somebody moved by hand; else it only alerts."""

    @field_validator("policy")
    @classmethod
    def _known_actions(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        with_overrides(value)
        return value

    @property
    def mlflow_link(self) -> str:
        """Where a browser finds MLflow."""
        return (self.mlflow_public_url or self.mlflow_url).rstrip("/")

    def roles_of(self, person: str) -> tuple[str, ...]:
        """The roles of somebody at the command line."""
        everybody = self.role or (ADMIN if self.environment == "dev" else USER)
        return self.people.get(person, (everybody,))

    @property
    def database(self) -> str:
        """The control database's URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home.absolute()}/gauntlet.db"

    @property
    def blobs(self) -> str:
        """The blob store's root."""
        return self.blobs_url or str(self.home.absolute() / "blobs")

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        return self.home.absolute() / "journal"

    @property
    def admin_socket(self) -> Path:
        """Where a server of this installation puts its own admin socket."""
        unix = self.admin.startswith("unix:")
        return Path(self.admin.removeprefix("unix:")) if unix else self.home.absolute() / "server" / "admin.sock"

    @property
    def admin(self) -> str:
        """The model server's admin address."""
        return self.server_admin or f"unix:{self.home.absolute()}/server/admin.sock"


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        SpecError: a variable that cannot be used, by its name; what it holds is not shown, it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        found = [f"GAUNTLET_{_variable(one['loc'])}: {one['msg']}" for one in error.errors(include_input=False)]
        raise SpecError("; ".join(found)) from None
    except SettingsError as error:
        raise SpecError(f"GAUNTLET_*: {error}; write it as JSON") from None


def _variable(place: tuple[int | str, ...]) -> str:
    first, *rest = (str(part) for part in place)
    return ".".join([first.upper(), *rest])
