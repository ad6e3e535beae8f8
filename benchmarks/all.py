"""Run every benchmark, each in a process of its own, and write one page of results.

A benchmark that is named replaces its own section of the page and leaves the others as they were measured.
"""

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
NOT_BENCHMARKS = {"all.py", "report.py", "drift_populations.py", "drift_rules.py"}
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


def sections(page: str) -> dict[str, str]:
    """The sections of a page written before, by the benchmark's name."""
    parts = page.split("\n## ")[1:]
    return {part.split(":", 1)[0]: f"## {part.strip()}\n" for part in parts}


def section(name: str, text: str, aims: list[dict[str, object]], code: int) -> str:
    """What one benchmark printed, under a heading that counts the aims it met."""
    counted = f"{sum(bool(aim['met']) for aim in aims)} of {len(aims)} aims met"
    measured = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}."
    verdict = counted if code == 0 else f"did not run (exit {code})"
    return f"## {name}: {verdict}\n\n{measured}\n\n```\n{text.strip()}\n```\n"


def main() -> int:
    """Run them, print as they finish, write the page after each; 1 when one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that all run; writes no page")
    parser.add_argument("names", nargs="*", help="only these, e.g. drift gates")
    options = parser.parse_args()
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if path.name not in NOT_BENCHMARKS}
    if unknown := set(options.names) - set(scripts):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(scripts)}")
    found = sections(RESULTS.read_text()) if RESULTS.exists() else {}
    broken = 0
    for name in options.names or scripts:
        print(f"== {name}", flush=True)
        text, aims, code = run(scripts[name], options.quick)
        print(text, flush=True)
        broken += code != 0
        found[name] = section(name, text, aims, code)
        if not options.quick:
            known = [found[name] for name in scripts if name in found]
            RESULTS.write_text("\n".join(["# Benchmark results\n\nWritten by `make bench`.\n", *known]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
