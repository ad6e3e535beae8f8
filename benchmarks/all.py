"""Run every benchmark, each in a process of its own, and write one page of results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
NOT_BENCHMARKS = {"all.py", "report.py"}
PACKAGES = (
    "apache-airflow",
    "mlflow",
    "great-expectations",
    "lightgbm",
    "pandas",
    "numpy",
    "scipy",
    "duckdb",
    "pyarrow",
)


def run(script: Path, quick: bool) -> tuple[str, list[dict[str, object]], int]:
    """One benchmark: what it printed, its aims, its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "aims.json"
        command = [sys.executable, str(script), "--json", str(report), *(["--quick"] if quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        aims = json.loads(report.read_text()) if report.exists() else []
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr, aims, done.returncode


def machine() -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    host = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{host}, Python {platform.python_version()}; {versions}"


def main() -> int:
    """Run all, print as they finish, write the page; 1 when one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that all run")
    parser.add_argument("names", nargs="*", help="only these, e.g. drift gates")
    options = parser.parse_args()
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.name not in NOT_BENCHMARKS]
    wanted = [path for path in scripts if not options.names or path.stem in options.names]
    page = [f"# Benchmark results\n\nMeasured {datetime.now(UTC):%Y-%m-%d} by `make bench` on {machine()}.\n"]
    broken = 0
    for script in wanted:
        print(f"== {script.stem}", flush=True)
        text, aims, code = run(script, options.quick)
        print(text, flush=True)
        broken += code != 0
        met = (
            f"{sum(bool(aim['met']) for aim in aims)} of {len(aims)} aims met"
            if code == 0
            else f"did not run (exit {code})"
        )
        page.append(f"## {script.stem}: {met}\n\n```\n{text.strip()}\n```\n")
    RESULTS.write_text("\n".join(page))
    print(f"wrote {RESULTS}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
