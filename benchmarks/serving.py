"""Requests per CPU-second of one row over HTTP: ``mlflow models serve``, FastAPI + pandas, ours, and the bare echo.

All in one run on one machine, one worker each, the load from a process of its own. CPU is the user and
system time of the server's processes while the load runs, read from ``/proc``; what is idle costs nothing,
so the figure does not depend on how many cores the load generator takes.

The floor is uvicorn's bare ASGI echo, what any application on it pays at least. Ours answers a request that comes in
one piece in the protocol's callback, without ASGI; an echo on that short way is shown beside it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from report import Aim, arguments, at_least, at_most, print_table, write_json

PEERS = Path(__file__).parent / "serving_peers"
TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 32
OURS, ECHO, MLFLOW = "ours", "bare echo", "mlflow models serve"
SHORT = "bare echo without ASGI"
HALF, DUAL = "ours, half load", "ours, canary 10 %, dual scoring"
ROOT = Path(__file__).parents[1]
JSON = {"content-type": "application/json"}
NATIVE = "/v1/models/bench/predict"


@dataclass
class Server:
    """A server under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str

    def pids(self) -> list[int]:
        """The process and everything under it."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += [int(child) for child in task.read_text().split()]
        return found

    def cpu_s(self) -> float:
        """User and system time so far."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory_mb(self) -> float:
        """Resident memory of the process that answers: the largest one."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return max(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def environment() -> dict[str, str]:
    """Of every server: our package, one thread in native libraries."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "include"),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    """Until it listens; ends the benchmark when it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            sys.exit(f"{process.args!r}: ended with {process.returncode} instead of serving")
        time.sleep(0.1)
    sys.exit(f"{process.args!r}: did not listen on {port} within {seconds:g} s")


@contextmanager
def started(
    name: str, command: list[str], path: str, port: int | None, address: Path | None = None
) -> Generator[Server]:
    """A server's processes, in a session of their own, ended afterwards."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while port is None:
            if address is not None and address.exists():
                port = json.loads(address.read_text())["port"]
            elif process.poll() is not None:
                sys.exit(f"{name}: ended with {process.returncode} instead of serving")
            time.sleep(0.05)
        wait_for_port(port, process)
        yield Server(name, process, port, path)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


def run_load(
    server: Server, bodies: list[str], seconds: float, rate: float = 0.0, connections: int = CONNECTIONS
) -> dict[str, Any]:
    """Load a server, and what its CPU did meanwhile."""
    plan = {
        "host": "127.0.0.1",
        "port": server.port,
        "path": server.path,
        "headers": JSON,
        "bodies": bodies,
        "connections": connections,
        "seconds": seconds,
        "rate": rate,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        before = server.cpu_s()
        done = subprocess.run([sys.executable, str(PEERS / "load.py"), file.name], capture_output=True, check=True)
        cpu = server.cpu_s() - before
    result: dict[str, Any] = json.loads(done.stdout)
    if set(result["statuses"]) - {"200"} or result["failures"] or not result["answers"]:
        sys.exit(f"{server.name}: {result['failures']} failures, statuses {result['statuses']}: nothing to compare")
    return {**result, "cpu_us": cpu / result["answers"] * 1e6, "cpu_s": cpu, "memory_mb": server.memory_mb()}


def write_routing(folder: Path, epoch: int, weight_ppm: int) -> None:
    """The routing row: version one alone, or version two beside it as a canary."""
    digests = json.loads((folder / "digests.json").read_text())

    def served(number: int, name: str) -> dict[str, Any]:
        return {
            "version": number,
            "version_id": f"v-{name}",
            "release_uri": (folder / name).as_uri(),
            "release_digest": digests[name],
        }

    row = {
        "model": "bench",
        "epoch": epoch,
        "stable": served(1, "one"),
        "canary": served(2, "two") if weight_ppm else None,
        "previous": None,
        "weight_ppm": weight_ppm,
        "salt": "bench",
        "rollout": "bench" if weight_ppm else None,
        "lease_until": (datetime.now(UTC) + timedelta(hours=1)).isoformat() if weight_ppm else None,
    }
    temporary = folder / "routing.tmp"
    temporary.write_text(json.dumps(row))
    temporary.replace(folder / "routing.json")


def wait_for_epoch(server: Server, epoch: int) -> None:
    """Until the worker serves a routing epoch."""
    import urllib.request

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as page:
            if f'gauntlet_routing_epoch{{model="bench",worker="0"}} {epoch}' in page.read().decode():
                return
        time.sleep(0.1)
    sys.exit(f"epoch {epoch} was not served within 20 s")


def commands(folder: Path) -> dict[str, tuple[list[str], str, str]]:
    """Each peer's command (with ``PORT``), path and body format."""
    python, script = sys.executable, str(PEERS / "servers.py")
    mlflow = [python, "-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local"]
    return {
        ECHO: ([python, script, "echo", "PORT"], NATIVE, "native"),
        SHORT: ([python, script, "short", "PORT"], NATIVE, "native"),
        "FastAPI + pandas": ([python, script, "fastapi", "PORT", str(folder / "model.txt")], "/predict", "plain"),
        MLFLOW: ([*mlflow, "--host", "127.0.0.1", "--port", "PORT", "--workers", "1"], "/invocations", "split"),
    }


def bodies(folder: Path) -> dict[str, list[str]]:
    """The same rows in each format."""
    rows: list[dict[str, float]] = json.loads((folder / "rows.json").read_text())
    return {
        "plain": [json.dumps({"row": row}) for row in rows],
        "native": [json.dumps({"row": {**row, "customer": f"customer-{i}"}}) for i, row in enumerate(rows)],
        "split": [json.dumps({"dataframe_split": {"columns": list(r), "data": [list(r.values())]}}) for r in rows],
    }


def measure(folder: Path, quick: bool) -> dict[str, dict[str, Any]]:
    """All servers up at once, loaded in turns, so that a busy machine is as busy for all; medians of the turns."""
    turns, seconds = (2, 1.0) if quick else (5, 3.0)
    texts = bodies(folder)
    write_routing(folder, 1, 0)
    with ExitStack() as stack:
        ours_command = [sys.executable, str(PEERS / "ours.py"), str(folder), "1"]
        address = folder / "state" / "address.json"
        ours = stack.enter_context(started(OURS, ours_command, NATIVE, None, address))
        servers = [(ours, texts["native"])]
        for name, (command, path, form) in commands(folder).items():
            port = free_port()
            command = [str(port) if word == "PORT" else word for word in command]
            servers.append((stack.enter_context(started(name, command, path, port)), texts[form]))
        wait_for_epoch(ours, 1)
        for server, text in servers:
            run_load(server, text, 1.0)
        rounds = [{server.name: run_load(server, text, seconds) for server, text in servers} for _ in range(turns)]
        half = middle([one[OURS] for one in rounds])["per_second"] / 2
        halves = [run_load(ours, texts["native"], seconds, rate=half) for _ in range(turns)]
        write_routing(folder, 2, 100_000)
        wait_for_epoch(ours, 2)
        run_load(ours, texts["native"], 1.0)
        duals = [run_load(ours, texts["native"], seconds) for _ in range(turns)]
    results = {name: middle([one[name] for one in rounds]) for name in rounds[0]}
    return results | {HALF: middle(halves), DUAL: middle(duals)}


def middle(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over the turns."""
    return {name: median(turn[name] for turn in turns) for name in turns[0] if name != "statuses"}


def aims(results: dict[str, dict[str, Any]]) -> list[Aim]:
    """The issue's aims."""
    ours, echo, mlflow, dual = (results[name]["cpu_us"] for name in (OURS, ECHO, MLFLOW, DUAL))
    half = results[HALF]["p99"]
    return [
        at_least("requests per CPU-second, times mlflow models serve", 100.0, mlflow / ours),
        at_most("CPU per request, times the bare echo of the same framework", 2.0, ours / echo),
        at_most("p99 at half of the maximum load, ms", 5.0, half),
        at_most("CPU per request with dual scoring in a canary, times the bare echo", 3.0, dual / echo),
    ]


def main() -> None:
    """Measure, print, and write the aims."""
    options = arguments(__doc__.splitlines()[0] if __doc__ else "").parse_args()
    # A Unix socket's path is short.
    with tempfile.TemporaryDirectory(prefix="gb-", dir="/tmp") as name:
        folder = Path(name)
        subprocess.run([sys.executable, str(PEERS / "model.py"), str(folder)], env=environment(), check=True)
        results = measure(folder, options.quick)
    table: list[dict[str, object]] = [
        {
            "server": name,
            "CPU us/request": f"{one['cpu_us']:.1f}",
            "requests/CPU-s": f"{1e6 / one['cpu_us']:.0f}",
            "requests/s": f"{one['per_second']:.0f}",
            "p50 ms": f"{one['p50']:.2f}",
            "p99 ms": f"{one['p99']:.2f}",
            "max ms": f"{one['max']:.1f}",
            "memory MB": f"{one['memory_mb']:.0f}",
        }
        for name, one in sorted(results.items(), key=lambda item: item[1]["cpu_us"])
    ]
    print_table("One row over HTTP, 100 trees x 30 features, one worker", table)
    write_json(aims(results), options.json)


if __name__ == "__main__":
    main()
