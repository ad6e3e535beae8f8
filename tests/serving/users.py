"""Users who keep asking while something goes wrong, and a challenger that breaks on some of what they ask."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
from tests.serving.control import MODEL
from tests.serving.servers import RunningServer, Trained, train

from gauntlet.adapters.journal import JournalFiles
from gauntlet.core.records.model import Task


@dataclass
class Load:
    """What users saw while a fault went on."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    acknowledged: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def load(server: RunningServer, rows: list[dict[str, Any]], users: int = 4) -> Generator[Load]:
    """Users who ask one row after the other, each on its own connection, reconnecting when it breaks."""
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def user(number: int) -> None:
        client = httpx.Client(base_url=str(server.client.base_url), timeout=10)
        count = 0
        while not stop.is_set():
            count += 1
            body = {"row": rows[count % len(rows)], "entity": f"u{number}-{count}"}
            try:
                answer = client.post(f"/v1/models/{MODEL}/predict", json=body)
            except httpx.TransportError:
                with lock:
                    seen.broken += 1
                client.close()
                client = httpx.Client(base_url=str(server.client.base_url), timeout=10)
                continue
            with lock:
                seen.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    seen.acknowledged.append(answer.json()["request_id"])
                    seen.answers.append(answer.json())
        client.close()

    threads = [threading.Thread(target=user, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_all_answered(seen: Load) -> None:
    assert seen.broken == 0
    assert set(seen.statuses) == {200}


def journaled(server: RunningServer, since: datetime) -> Any:
    return JournalFiles(server.config.journal).read(MODEL, since, datetime.now(UTC))


def overflowing(seed: int) -> tuple[Trained, list[int]]:
    """A challenger with two leaves so large that a row in both scores infinite, and the rows where it does not."""
    import lightgbm

    trained = train(seed, task=Task.REGRESSION)
    head, _, rest = trained.booster.model_to_string().partition("\n\nTree=0\n")
    trees, end, tail = ("Tree=0\n" + rest).partition("end of trees")
    parts = re.split(r"(?=Tree=\d+\n)", trees)[1:]
    parts[:2] = [_with_huge_leaf(part) for part in parts[:2]]
    head = re.sub(r"tree_sizes=.*", "tree_sizes=" + " ".join(str(len(part)) for part in parts), head)
    booster = lightgbm.Booster(model_str=head + "\n\n" + "".join(parts) + end + tail)
    booster.params["objective"] = "regression"
    changed = Trained(booster, trained.features, trained.rows, trained.matrix, trained.task)
    return changed, [row for row, score in enumerate(booster.predict(trained.matrix)) if np.isfinite(score)]


def _with_huge_leaf(tree: str) -> str:
    line = next(line for line in tree.split("\n") if line.startswith("leaf_value="))
    values = line.removeprefix("leaf_value=").split(" ")
    values[int(np.argmax(np.array(values, float)))] = "1.5e308"
    return tree.replace(line, "leaf_value=" + " ".join(values))
