"""What the logs of a local stack must not hold: its secrets, and who its customers are."""

from __future__ import annotations

import json
import re
from pathlib import Path

CUSTOMER = re.compile(r"\bC\d{5,}\b")
"""The simulated lender's customers; rows are named by application where a contract is broken."""


def logs_of(home: Path) -> list[Path]:
    """Every log of every component, Airflow's tasks among them."""
    return [path for name in ("logs", "airflow/logs") for path in (home / name).rglob("*") if path.is_file()]


def leaks(home: Path) -> list[str]:
    """The logs that name a secret of the stack or a customer of its world, and what it is."""
    secrets = [*json.loads((home / "airflow/secrets.json").read_text())]
    secrets.append((home / "gauntlet/server/admin.token").read_text().strip())
    assert len(secrets) == 5
    found = []
    for path in logs_of(home):
        text = path.read_text(errors="replace")
        found += [f"{path}: a secret" for secret in secrets if secret in text]
        found += [f"{path}: {customer[0]}" for customer in [CUSTOMER.search(text)] if customer]
    return found
