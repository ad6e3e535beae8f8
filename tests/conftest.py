"""Shared by all tests: real services where they are installed, and the closing words about what was skipped."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.processes import free_port

ROOT = Path(__file__).parents[1]
# How long an example takes says more about the machine than about the code.
settings.register_profile("gauntlet", deadline=None)
settings.load_profile("gauntlet")
DATA_VARIABLE = "GAUNTLET_EXAMPLE_DATA"

# Airflow reads its environment at the first import, so it is set before any test can cause one.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="gauntlet-airflow-"))
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
os.environ.update({
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES": "airflow.* gauntlet.core.records.*",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
    "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough-for-hs512-0123456789abcdef",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    # A command that is given no home must not make one in the repository.
    "GAUNTLET_HOME": str(AIRFLOW_HOME / "gauntlet"),
})


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """Airflow's metadata database, made once per test process."""
    with warnings.catch_warnings():
        # Airflow's own imports warn; ours must not.
        warnings.simplefilter("ignore")
        from airflow.utils.db import initdb

        initdb()
    return AIRFLOW_HOME


@pytest.fixture(scope="session")
def airflow_api(airflow_database: Path) -> object:
    """A test client of Airflow's own application with our plugin mounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.api_fastapi.app import create_app
        from fastapi.testclient import TestClient

        return TestClient(create_app(apps="core"), base_url="http://testserver")


@pytest.fixture(scope="session")
def example_data() -> Path:
    """The folder of the two real data sets; tests that need it are skipped where it is absent."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / "adult.parquet").exists():
        pytest.skip(f"{DATA_VARIABLE} names no folder with adult.parquet and bike_hour.csv")
    return Path(folder)


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL of the tests' own, on loopback, with trust for its superuser ``postgres``."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What ``psql`` needs to reach it as superuser."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres", "POSTGRES_USER": "postgres"}

    def database(self, name: str) -> str:
        """An SQLAlchemy URL of a new, empty database."""
        subprocess.run(
            ["psql", "-qc", f'DROP DATABASE IF EXISTS "{name}"', "-c", f'CREATE DATABASE "{name}"'],
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
        )
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server; tests that need it are skipped where none is installed."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(homes[-1]) if homes else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    as_user = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="gauntlet-pg-") as folder:
        port = free_port()
        shutil.chown(folder, *as_user[1:]) if as_user else None
        data, tools = f"{folder}/data", Path(initdb).parent
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        _run([str(tools / "initdb"), "-D", data, "-U", "postgres", "--no-sync", *auth], as_user)
        # The superuser is trusted on loopback; everybody else needs a password, as in production.
        rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        _run(["sh", "-c", f"printf '{rules}' > {data}/pg_hba.conf"], as_user)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        _run([str(tools / "pg_ctl"), "-D", data, "-l", f"{folder}/log", "-w", "-o", options, "start"], as_user)
        try:
            yield PostgresServer(port)
        finally:
            _run([str(tools / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop"], as_user)


def _unprivileged() -> tuple[str, int, int] | None:
    """PostgreSQL refuses to run as root: who it runs as instead."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return name, entry.pw_uid, entry.pw_gid
    return None


def _run(command: list[str], as_user: tuple[str, int, int] | None) -> None:
    who = {"user": as_user[1], "group": as_user[2], "extra_groups": []} if as_user else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **who)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines what was skipped, why and how often."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason}")


LONGEST = (
    "demo/test_whole_story.py",
    "deploy/test_compose.py",
    "stages/gates/",
    "stories/test_six_nights.py",
    "stages/monitoring/test_stories.py",
    "demo/test_nightly_schedule.py",
    "browser/test_page.py",
    "stories/test_real_data.py",
    "faults/test_product.py",
    "faults/test_matrix.py",
)
"""What takes longest begins first, so that no core waits for the last of it alone."""

TOGETHER = (
    # Airflow's imports, its database and its application; and, in the first folder, two real nights.
    ("stages/gates/", "dags/", "plugins/", "orchestration/", "stages/rollout/test_canary_dag.py"),
    # MLflow's imports and a hundred migrations.
    ("adapters/registry/",),
)
"""Files that share what a test process makes once and makes slowly: one process runs all of such a family."""


def place_of(path: str) -> str:
    """A test file's path below this folder; empty for one elsewhere."""
    return path.removeprefix("tests/") if path.startswith("tests/") else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; everything else in its order."""

    def rank(item: pytest.Item) -> int:
        place = place_of(item.nodeid)
        return next((index for index, start in enumerate(LONGEST) if place.startswith(start)), len(LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One test process more than cores: servers that start and stories that wait leave theirs idle."""
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or len(os.sched_getaffinity(0)) + 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile``, but families of files go to one process together."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Families(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            place = place_of(nodeid)
            return next((family[0] for family in TOGETHER if place.startswith(family)), super()._split_scope(nodeid))

    return Families(config, log)
