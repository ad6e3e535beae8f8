"""Every panel over a real Prometheus, which scrapes a real server, the exporter and what Airflow sends."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.deploy.compose import ROOT
from tests.processes import free_port
from tests.serving.servers import RunningServer, routing, running, served, train, write_release

from gauntlet.serving.labels import key
from gauntlet.serving.layout import Layout
from gauntlet.serving.shared import Counters

DEPLOY = ROOT / "deploy"
MODEL = "loans"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PATIENCE_S = 60
pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


class Pages:
    """Metrics pages over HTTP: port to what its page says now."""

    def __init__(self) -> None:
        self.servers: list[ThreadingHTTPServer] = []

    def open(self, text: Callable[[], str]) -> int:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text().encode())

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.servers.append(server)
        return server.server_port

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


def pipeline_page() -> str:
    """The exporter over a made-up past with a rollback, a drill, a look of the monitor and an alert."""
    from types import SimpleNamespace

    from prometheus_client import CollectorRegistry, generate_latest

    from gauntlet.adapters.memory.store import MemoryStore
    from gauntlet.core.outcome import Outcome
    from gauntlet.core.records.ledger import DrillReport, RollbackReport
    from gauntlet.core.records.monitoring import Layer, LayerReport
    from gauntlet.exporter import PipelineCollector
    from gauntlet.simulation.history import Past, served, write_past

    now = datetime.now(UTC)
    store = MemoryStore(SimpleNamespace(now=lambda: now))
    past = Past(MODEL, 5, 4, ("smoke", "golden"), "s", begin=now - timedelta(days=5))
    write_past(store.records, store.routing, past)
    back = {"model": MODEL, "key": "k", "seconds": 0.3, "servers": 2, "routing_epoch": 3}
    store.records.put(
        f"{MODEL}/back",
        RollbackReport(
            **back,
            offender=served(past, 3),
            restored=served(past, 2),
            champion_epoch=2,
            reason="worse",
            actor="ann",
            decided_at=now,
            applied_at=now,
            registry="aliases followed",
        ),
    )
    drill = {"champion": served(past, 3), "target": served(past, 2), "golden": 0.0, "at": now}
    store.records.put(f"{MODEL}/drill", DrillReport(**back, **drill, outcome=Outcome.PASSED, reason="in time"))
    for layer in Layer:
        facts = {"model": MODEL, "run": "look", "layer": layer, "outcome": Outcome.PASSED, "reason": "well"}
        report = LayerReport(**facts, symptoms=(), since=None, until=now, at=now)
        store.records.put(f"{MODEL}/look", report, layer.value)
    services: Any = SimpleNamespace(
        records=store.records, ledger=store.ledger, routing=store.routing, specs=SimpleNamespace(names=lambda: (MODEL,))
    )
    registry = CollectorRegistry()
    registry.register(PipelineCollector(services))
    return generate_latest(registry).decode()


def airflow_lines() -> list[str]:
    """What Airflow's own StatsD client puts on the wire for one run of a DAG."""
    from airflow._shared.observability.metrics import stats
    from airflow._shared.observability.metrics.statsd_logger import SafeStatsdLogger
    from statsd import StatsClient

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))
        wire.settimeout(1)
        client = StatsClient("127.0.0.1", wire.getsockname()[1], prefix="airflow")
        kept = stats._factory, stats._backend, stats._export_legacy_names
        try:
            stats.initialize(factory=lambda: SafeStatsdLogger(client), export_legacy_names=True)
            dag = {"dag_id": f"{MODEL}__retrain"}
            stats.incr("scheduler_heartbeat", 1, 1)
            stats.incr("ti.finish", tags={**dag, "task_id": "gates.smoke", "state": "failed"})
            for ending in ("success", "failed"):
                stats.timing(f"dagrun.duration.{ending}", 61_000.0, tags=dag)
        finally:
            stats._factory, stats._backend, stats._export_legacy_names = kept
        lines = []
        try:
            while True:
                lines.append(wire.recv(4096).decode())
        except TimeoutError:
            return lines


def as_the_statsd_exporter_says(lines: list[str]) -> str:
    """By its documentation: the first mapping that fits names the metric and its labels; timers become seconds."""
    mappings = yaml.safe_load((DEPLOY / "prometheus" / "statsd.yml").read_text())["mappings"]
    page: dict[str, str] = {}
    for line in lines:
        sent, _, rest = line.partition(":")
        value, kind = rest.split("|")[:2]
        name, labels = re.sub(r"\W", "_", sent), {}
        for mapping in mappings:
            found = re.fullmatch(re.escape(mapping["match"]).replace(r"\*", r"([^.]*)"), sent)
            if found:
                name = mapping["name"]
                labels = {
                    key: re.sub(r"\$(\d)", lambda m, found=found: found[int(m[1])], text)
                    for key, text in mapping["labels"].items()
                }
                break
        if kind == "ms":
            labels["quantile"] = "0.5"
            value = str(float(value) / 1000)
        inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
        page[f"{name}{{{inside}}}"] = value
    return "".join(f"{series} {value}\n" for series, value in page.items())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server of two processes that has answered with champion and canary."""
    folder = tmp_path_factory.mktemp("panels")
    first, second = train(1), train(2)
    stable, canary = (
        served(write_release(folder / name, one, f"v-{name}"), number)
        for number, (name, one) in enumerate((("one", first), ("two", second)), 1)
    )
    layout = Layout(folder / "state")
    before = Counters(layout.counters(0))
    before.add(key("ml_prediction_requests_total", model=MODEL, version="v-gone", arm="stable", status="ok"))
    before.close()
    # A release that was warm before and is gone from the disk: it is passed over.
    layout.write_releases({MODEL: [stable.model_copy(update={"version_id": "v-before", "release_digest": "0" * 64})]})
    with running(folder, workers=2, ready=False) as up:
        assert up.apply(routing(1, stable, canary, weight_ppm=500_000)).status_code == 200
        yield _asked(up, first.rows)


def _asked(up: RunningServer, rows: list[dict[str, Any]]) -> RunningServer:
    for number in range(40):
        assert up.predict({**rows[number % len(rows)], "customer": f"c{number}"}).status_code == 200
    return up


@pytest.fixture(scope="module")
def prometheus(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tool = shutil.which("prometheus")
    if tool is None:
        pytest.skip("Prometheus is not installed (Debian package prometheus)")
    folder, pages, port = tmp_path_factory.mktemp("prometheus"), Pages(), free_port()
    pipeline, airflow = pipeline_page(), as_the_statsd_exporter_says(airflow_lines())
    targets = {
        "model-server:8300": f"127.0.0.1:{server.port}",
        "exporter:9310": f"127.0.0.1:{pages.open(lambda: pipeline)}",
        "statsd-exporter:9102": f"127.0.0.1:{pages.open(lambda: airflow)}",
        "localhost:9090": f"127.0.0.1:{port}",
    }
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    text = re.sub(r"\b(15|20|30)s\b", "1s", text)
    for there, here in targets.items():
        text = text.replace(there, here)
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(DEPLOY / "prometheus" / "rules.yml", folder)
    command = [tool, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait(lambda: bool(asked(url, 'count_over_time(up{job="airflow"}[1m]) > 3')), folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(20)
        pages.close()


def wait(true: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.3)


def asked(url: str, expression: str) -> list[dict[str, Any]]:
    """What a query finds; nothing while Prometheus starts."""
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, trust_env=False)
    except httpx.HTTPError:
        return []
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return []
    assert answer.status_code == httpx.codes.OK, answer.text
    return list(answer.json()["data"]["result"])


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_has_something_to_show_and_its_legend_knows_its_labels(prometheus: str, path: Path) -> None:
    board = json.loads(path.read_text())
    for variable in board["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
        assert all(label in one["metric"] for one in asked(prometheus, metric)), variable["name"]
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$model", MODEL)
            found = asked(prometheus, expression)
            assert found, f"{panel['title']}: no data for {expression}"
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert all(label in one["metric"] for one in found), f"{panel['title']}: no label {label}"
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            assert asked(prometheus, annotation["expr"].replace("$model", MODEL).replace(" > 0", "")), annotation[
                "name"
            ]


def test_the_servers_four_metrics_have_their_labels_summed_over_its_processes(prometheus: str) -> None:
    wanted = {"model", "version", "arm"}
    for metric, labels in {
        "ml_prediction_requests_total": wanted | {"status"},
        "ml_prediction_latency_seconds_count": wanted,
        "ml_prediction_probability_count": wanted,
        "ml_feature_value_count": wanted | {"feature"},
    }.items():
        found = asked(prometheus, metric)
        assert found, metric
        assert all(labels <= set(one["metric"]) for one in found), found[0]
    assert asked(prometheus, "sum(ml_prediction_requests_total)")[0]["value"][1] == "40"
    arms = {one["metric"]["arm"] for one in asked(prometheus, "ml_prediction_requests_total")}
    assert arms == {"stable", "canary"}


def test_a_version_that_no_server_keeps_is_counted_no_more(prometheus: str) -> None:
    assert asked(prometheus, '{version="v-one"}')
    assert asked(prometheus, '{version="v-gone"}') == []


def test_every_rule_is_evaluated_without_an_error_and_a_healthy_house_only_has_its_watchdog(prometheus: str) -> None:
    groups = httpx.get(f"{prometheus}/api/v1/rules", trust_env=False).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, [
        rule["lastError"] for rule in rules if "lastError" in rule
    ]
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} <= {"Watchdog"}


def test_the_first_event_of_a_rare_kind_is_a_rise(prometheus: str) -> None:
    """A counter that begins with its first event rises by nothing, and the alert on it never comes."""
    for name in ("breaker_trips", "lease_expired", "journal_lost"):
        found = asked(prometheus, f"gauntlet_{name}_total")
        assert [one["value"][1] for one in found] == ["0"], name
