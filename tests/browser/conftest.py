"""A real api-server over a made-up past, and a real headless Chromium in front of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gauntlet.adapters.store_records import put_record
from gauntlet.adapters.store_sql import open_store
from gauntlet.bootstrap import SystemClock
from gauntlet.core.journal import Kind, Prediction, encode_frame, segment_head
from gauntlet.core.records.monitoring import Alert, Layer, Severity
from gauntlet.core.spec import load_spec
from gauntlet.demo.airflow_env import load_secrets, passwords_file
from gauntlet.demo.components import components
from gauntlet.demo.layout import DATA_VARIABLE, MODEL, USUAL_PORTS, Layout
from gauntlet.demo.overlay import write_spec
from gauntlet.demo.ports import choose
from gauntlet.demo.stack import Stack
from gauntlet.simulation.history import Past, run_name, write_nights, write_rollout

PEOPLE = {"vera": "viewer", "uma": "user", "ada": "admin"}
NIGHTS, FEATURES = 20, 30
NEEDED = ("airflow-db", "airflow-api-server")
SHOTS = "GAUNTLET_SCREENSHOTS"
"""Names a folder that keeps the screenshots; without it they are in pytest's own temporary folder."""


class OneTransaction:
    """Writes a whole past with one commit to disk."""

    def __init__(self, connection: Any, clock: Any) -> None:
        self._connection, self._clock = connection, clock

    def put(self, run_key: str, record: Any, name: str = "", *, actor: str = "history") -> None:
        put_record(self._connection, self._clock, run_key, record, name, actor)


@dataclass(frozen=True)
class Site:
    """A running api-server."""

    url: str
    past: Past

    @property
    def dag(self) -> str:
        return f"{MODEL}__retrain"

    @property
    def run(self) -> str:
        return run_name(self.past.nights - 1)


def tool(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed (Debian packages chromium and chromium-driver)")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An api-server with three people, the model's DAGs and one run of the nightly."""
    tool("chromium", "chromium-browser", "google-chrome")
    tool("chromedriver")
    home = tmp_path_factory.mktemp("site")
    ports, _ = choose({name: port + 200 for name, port in USUAL_PORTS.items()})
    layout = Layout(home, ports)
    for folder in (layout.logs, layout.settings.home, layout.world):
        folder.mkdir(parents=True)
    write_spec(layout.root / "include/models" / f"{MODEL}.yaml", layout.models / f"{MODEL}.yaml")
    os.environ[DATA_VARIABLE] = str(layout.world)
    past = made_up(layout)
    made_up_traffic(layout.settings.journal / MODEL / "worker-0")
    keys = load_secrets(layout.airflow.home)
    environment = layout.environment(keys) | {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in PEOPLE.items()),
        # MLflow is down here: it is to be said so at once.
        "GAUNTLET_MLFLOW_TIMEOUT_S": "1",
    }
    passwords_file(layout.airflow.home).write_text(json.dumps({name: f"pw-{name}" for name in PEOPLE}))
    stack = Stack(home, ports, lambda _: None)
    try:
        parts = [part for part in components(layout) if part.name in NEEDED]
        stack.start(parts, environment, layout.logs)
        with_dags(environment)
        found = Site(layout.url("airflow"), past)
        with_run(found)
        yield found
    finally:
        stack.stop()


def made_up(layout: Layout) -> Past:
    spec = load_spec(layout.models / f"{MODEL}.yaml")
    past = Past(MODEL, NIGHTS, FEATURES, spec.gates.names, spec.digest)
    clock = SystemClock()
    store = open_store(layout.settings.database, clock=clock)
    with store.database.write() as connection:
        write_nights(OneTransaction(connection, clock), past)
    write_rollout(store.records, store.routing, past)
    for alert in alerts(clock.now()):
        store.records.put(f"{MODEL}/alerts", alert, alert.key)
    store.close()
    return past


def alerts(now: datetime) -> tuple[Alert, ...]:
    """One that people were told of, one that follows from it, one that waits for the morning, one that is over."""
    hour = timedelta(hours=1)
    seen = {"model": MODEL, "looks": 3, "seen_at": now}
    data = {**seen, "layer": Layer.DATA, "since": now - 4 * hour}
    return (
        Alert(
            **data,
            key="data.missing_rate.income",
            severity=Severity.PAGE,
            sentence="income: 34 % missing, limit 7 %",
            sent_at=now,
        ),
        Alert(**data, key="data.mean_shift.age", severity=Severity.WARNING, sentence="age: mean 3.4 sigma away"),
        Alert(
            **seen,
            layer=Layer.MODEL,
            since=now - hour,
            key="model.performance.source",
            severity=Severity.PAGE,
            sentence="roc_auc 0.684, limit 0.720",
            cause="data.missing_rate.income",
        ),
        Alert(
            **seen,
            layer=Layer.SERVICE,
            since=now - 9 * hour,
            key="service.latency",
            severity=Severity.PAGE,
            sentence="p99 212 ms, limit 100 ms",
            sent_at=now - 9 * hour,
            resolved_at=now - 6 * hour,
        ),
    )


def made_up_traffic(folder: Path) -> None:
    """Half an hour of predictions around now, as a worker of the model server writes them."""
    draw, begin = random.Random(3), time.time_ns() // 1000 - 600_000_000
    rows = []
    for number in range(3600):
        arm = "canary" if draw.random() < 0.05 else "stable"
        plain = Prediction(
            request_id=f"r{number}",
            at=begin + number * 500_000,
            row=0,
            epoch=2,
            rollout=None,
            version_id="v20" if arm == "canary" else "v18",
            arm=arm,
            entity=None,
            bucket=0,
            basis="hash",
            weight_ppm=50_000,
            score=draw.betavariate(1.5, 8) if arm == "stable" else draw.betavariate(1.7, 8),
            other_version_id=None,
            other_score=float("nan"),
            decision=0,
            latency_us=int(draw.lognormvariate(5, 0.4)),
            model_us=4.0,
            status="ok" if draw.random() > 0.01 else "error",
            error=None,
            features=None,
        )
        rows.append(tuple(plain))
    folder.mkdir(parents=True)
    last = rows[-1][1]
    frames = encode_frame(rows, 0, first_us=begin, last_us=last)
    end = encode_frame([], 1, first_us=last, last_us=last, kind=Kind.CLOSED)
    (folder / f"{begin}.seg").write_bytes(segment_head() + frames + end)


def with_dags(environment: dict[str, str]) -> None:
    """What the DAG processor does, once."""
    command = [sys.executable, "-m", "airflow", "dags", "reserialize"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def with_run(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as client:
        token = client.post("/auth/token", json={"username": "ada", "password": "pw-ada"}).json()["access_token"]
        body = {"dag_run_id": site.run, "logical_date": None, "conf": {"reason": "seen in a test"}}
        answer = client.post(
            f"/api/v2/dags/{site.dag}/dagRuns", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ[SHOTS]) if os.environ.get(SHOTS) else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Browsers that no test uses now: starting one takes longer than most tests."""
    waiting: list[Any] = []
    yield waiting
    for driver in waiting:
        driver.quit()


@pytest.fixture
def chromium(idle: list[Any], site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Opens browsers of a size that know nobody and nothing."""
    opened: list[Any] = []

    def start(width: int = 1400, height: int = 1000) -> Any:
        driver = idle.pop() if idle else started(tmp_path_factory.mktemp("profile"))
        opened.append(driver)
        driver.set_window_size(width, height)
        return driver

    yield start
    for driver in opened:
        try:
            forget(driver, site)
        except BaseException:
            driver.quit()
            raise
        idle.append(driver)


def started(profile: Path) -> Any:
    """A headless Chromium that may need nothing but this machine."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = tool("chromium", "chromium-browser", "google-chrome")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(tool("chromedriver")))
    driver.set_page_load_timeout(90)
    return driver


def forget(driver: Any, site: Site) -> None:
    """Make a browser as it was when it was started: one empty window, no login, nothing stored, nothing said."""
    first, *others = driver.window_handles
    for handle in others:
        driver.switch_to.window(handle)
        driver.close()
    driver.switch_to.window(first)
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": site.url, "storageTypes": "all"})
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get_log("browser")
