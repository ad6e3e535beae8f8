"""From ``gauntlet rollback`` to the last answer by the bad version, on a live server with two workers under load.

The command is a process of its own, over the installation's SQLite database and the server's admin socket; MLflow
is down throughout. Every round makes a fresh bad champion first. Clients are a process of their own, and note with
every answer which version gave it. The data plane is split out: from the routing row's own time, taken inside the
transaction that writes it, to the last answer by the bad version. All times are of this machine's clock.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from threading import Event, Thread
from typing import Any

from report import Aim, arguments, at_least, at_most, print_table, write_json

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "serving_peers"
MODEL = "bench"
CLIENTS = 4
WORKERS = 2
SETTLE_S = 0.3
Answer = tuple[float, str, int]


# ---- clients ---------------------------------------------------------------------------------------


def clients(port: int, bodies: list[str], control: Any) -> None:
    """Send requests until told to stop; hand over when each was answered, by which version, with which status."""
    answers: list[list[Answer]] = [[] for _ in range(CLIENTS)]
    stop = Event()
    threads = [Thread(target=one_client, args=(port, bodies, answers[n], stop)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while control.recv() != "stop":
        taken = [answer for own in answers for answer in own[:]]
        for own in answers:
            own.clear()
        control.send(taken)
    stop.set()
    for thread in threads:
        thread.join()


def one_client(port: int, bodies: list[str], answers: list[Answer], stop: Event) -> None:
    """One keep-alive connection; a broken one counts as a failed request and is opened again."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    turn = 0
    while not stop.is_set():
        turn += 1
        try:
            connection.request("POST", f"/v1/models/{MODEL}/predict", bodies[turn % len(bodies)], HEADERS)
            response = connection.getresponse()
            content = response.read()
            version = json.loads(content).get("version_id", "") if response.status == 200 else ""
            answers.append((time.time(), version, response.status))
        except (OSError, http.client.HTTPException):
            answers.append((time.time(), "", 0))
            connection.close()
        time.sleep(0.002)


HEADERS = {"content-type": "application/json"}


# ---- the installation ------------------------------------------------------------------------------


@contextmanager
def installation(folder: Path) -> Generator[int]:
    """A home with one model's spec and the real server over it; its port."""
    (folder / "models").mkdir()
    spec = (ROOT / "include" / "models" / "credit_default.yaml").read_text()
    (folder / "models" / f"{MODEL}.yaml").write_text(spec.replace("model: credit_default", f"model: {MODEL}"))
    os.environ |= {
        "GAUNTLET_HOME": str(folder / "home"),
        "GAUNTLET_MODELS": str(folder / "models"),
        "GAUNTLET_MLFLOW_URL": "http://127.0.0.1:9",
        "PYTHONPATH": str(ROOT / "include"),
        "OMP_NUM_THREADS": "1",
    }
    sys.path.insert(0, str(ROOT / "include"))
    command = [sys.executable, "-m", "gauntlet.cli", "serve", "--port", "0", "--workers", str(WORKERS)]
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield wait_for_port(folder / "home" / "server" / "address.json", process, folder / "server.log")
    finally:
        process.terminate()
        process.wait(30)


def wait_for_port(address: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    """The port the server has written down."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}:\n{log.read_text()}")
        if address.exists():
            return int(json.loads(address.read_text())["port"])
        time.sleep(0.05)
    sys.exit(f"the server did not start within 90 s:\n{log.read_text()}")


def bad_release(folder: Path, number: int) -> Path:
    """A release of its own: the second model under another version id."""
    from gauntlet.core.digest import canonical_json, sha256_bytes

    target = folder / "releases" / str(number)
    shutil.copytree(folder / "two", target)
    sidecar = json.loads((target / "sidecar.json").read_text()) | {"version_id": f"bad-{number}"}
    (target / "sidecar.json").write_bytes(canonical_json(sidecar))
    names = ("model.txt", "sidecar.json", "golden.json")
    files = {name: sha256_bytes((target / name).read_bytes()) for name in names}
    (target / "manifest.json").write_bytes(canonical_json({"files": files}))
    return target


def crown(folder: Path, version_id: str, number: int) -> None:
    """Make a release champion the way a promotion does: loaded, canary, promoting, champion."""
    from gauntlet.bootstrap import services
    from gauntlet.core.digest import sha256_file
    from gauntlet.core.ledger import Change
    from gauntlet.core.records.ledger import CandidateState, Transition
    from gauntlet.core.records.model import ReleaseRef
    from gauntlet.core.records.rollout import PPM, ServedVersion

    running = services()
    digest = sha256_file(folder / "manifest.json")
    uri = running.blobs.put_folder(folder, f"releases/{MODEL}/{digest}")
    version = ServedVersion(version=number, version_id=version_id, release_uri=uri, release_digest=digest)
    release = ReleaseRef(uri=uri, digest=digest, version_id=version_id, tree_digest="", size_bytes=1)
    running.server.prepare(MODEL, release)
    routing = running.routing.read(MODEL)
    said = {"model": MODEL, "actor": "benchmark", "reason": "a bad champion"}
    if routing.stable is not None:
        lease = datetime.now(UTC) + timedelta(hours=1)
        canary = routing.model_copy(
            update={"canary": version, "weight_ppm": PPM, "rollout": version_id, "lease_until": lease, "salt": "s"}
        )
        routing = running.routing.swap(
            canary, expected_epoch=routing.epoch, actor="benchmark", action="ramp", reason="bad"
        )
        event = Transition(
            candidate=digest, version=version, before=CandidateState.CANARY, after=CandidateState.PROMOTING, **said
        )
        running.ledger.commit(Change(action="promotion", transitions=(event,), **said))
    gone = {"canary": None, "weight_ppm": 0, "rollout": None, "lease_until": None}
    routing = running.ledger.commit(
        Change(
            action="promotion",
            routing=routing.model_copy(update={**gone, "stable": version, "previous": routing.stable}),
            routing_epoch=routing.epoch,
            champion_epoch=running.ledger.champion(MODEL).epoch,
            **said,
        )
    )
    running.server.apply(routing, 30)


# ---- one rollback ----------------------------------------------------------------------------------


def roll_back() -> tuple[float, float, dict[str, Any]]:
    """Run the command: when it started, when it ended, and its report."""
    command = [sys.executable, "-m", "gauntlet.cli", "rollback", MODEL, "--reason", "benchmark", "--json"]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode != 0:
        sys.exit(f"gauntlet rollback ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return began, ended, json.loads(done.stdout)


def routing_write(epoch: int) -> float:
    """When a routing row was written."""
    from gauntlet.bootstrap import services

    return next(row.at for row in services().ledger.routings(MODEL) if row.routing.epoch == epoch).timestamp()


def measure(folder: Path, port: int, rounds: int) -> list[dict[str, float]]:
    """Rounds of: a bad champion under load, the command, and when it answered last."""
    rows = json.loads((folder / "rows.json").read_text())
    bodies = [json.dumps({"row": {**row, "customer": f"c{n}"}}) for n, row in enumerate(rows)]
    crown(folder / "one", "v-one", 1)
    control, end = multiprocessing.Pipe()
    load = multiprocessing.get_context("spawn").Process(target=clients, args=(port, bodies, end))
    load.start()
    measured = []
    for number in range(2, rounds + 2):
        crown(bad_release(folder, number), f"bad-{number}", number)
        time.sleep(SETTLE_S)
        began, ended, report = roll_back()
        time.sleep(SETTLE_S)
        control.send("answers")
        answers: list[Answer] = control.recv()
        bad = [at for at, version, _ in answers if version == f"bad-{number}"]
        if not bad or report["restored"]["version_id"] != "v-one":
            sys.exit(f"round {number}: the bad version never answered, or {report['restored']} was restored")
        measured.append({
            "to_last_bad": max(bad) - began,
            "data_plane": max(bad) - routing_write(report["routing_epoch"]),
            "command": ended - began,
            "decision": report["seconds"],
            "failed": sum(status != 200 for _, _, status in answers),
            "answers": len(answers),
        })
    control.send("stop")
    load.join(30)
    return measured


def at_99(values: list[float]) -> float:
    """The 99th percentile; the largest of few."""
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def aims(measured: list[dict[str, float]]) -> list[Aim]:
    """What is asked of a rollback."""
    return [
        at_least("rollbacks measured", 50, len(measured)),
        at_most(
            "from the command to the last answer by the bad version, p99, s",
            1.0,
            at_99([one["to_last_bad"] for one in measured]),
        ),
        at_most(
            "from the routing write to the last answer by the bad version, all workers, p99, s",
            0.1,
            at_99([one["data_plane"] for one in measured]),
        ),
        at_most("failed requests", 0, sum(one["failed"] for one in measured)),
    ]


def main() -> None:
    """Measure, print, and write the aims."""
    options = arguments(__doc__.splitlines()[0] if __doc__ else "").parse_args()
    # A Unix socket's path is short.
    with tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "include"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        subprocess.run([sys.executable, str(PEERS / "model.py"), str(folder)], env=environment, check=True)
        with installation(folder) as port:
            measured = measure(folder, port, 5 if options.quick else 50)
    table = [
        {
            "": title,
            "median": f"{sorted(one[key] for one in measured)[len(measured) // 2] * 1000:.0f} ms",
            "p99": f"{at_99([one[key] for one in measured]) * 1000:.0f} ms",
            "max": f"{max(one[key] for one in measured) * 1000:.0f} ms",
        }
        for title, key in (
            ("command started → last answer by the bad version", "to_last_bad"),
            ("routing written → last answer by the bad version", "data_plane"),
            ("decision → every server process confirmed", "decision"),
            ("command started → command ended", "command"),
        )
    ]
    total = sum(one["answers"] for one in measured)
    print_table(f"{len(measured)} rollbacks, {total:.0f} requests, {WORKERS} workers, MLflow down", table)
    write_json(aims(measured), options.json)


if __name__ == "__main__":
    main()
