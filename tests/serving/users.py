"""Users who keep asking while something goes wrong, and a challenger that breaks on some of what they ask."""

from __future__ import annotations

import itertools
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
from tests.processes import wait_for
from tests.serving.control import MODEL
from tests.serving.servers import RunningServer, Trained, train

from gauntlet.adapters.journal import JournalFiles
from gauntlet.core.records.model import Task


@dataclass
class Load:
    """What users saw while a fault went on."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Connections that ended under a request; the user asks again, once, on a new one."""
    failed: int = 0
    """Requests that were not answered the second time either."""
    acknowledged: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


class User:
    """Asks one row after the other on a connection of its own."""

    def __init__(self, server: RunningServer, seen: Load, lock: threading.Lock) -> None:
        self.base, self.seen, self.lock = str(server.client.base_url), seen, lock
        self.client = httpx.Client(base_url=self.base, timeout=10)

    def ask(self, body: dict[str, Any], *, again: bool = False) -> None:
        try:
            answer = self.client.post(f"/v1/models/{MODEL}/predict", json=body)
        except httpx.TransportError:
            self.client.close()
            self.client = httpx.Client(base_url=self.base, timeout=10)
            with self.lock:
                self.seen.broken += not again
                self.seen.failed += again
            if not again:
                self.ask(body, again=True)
            return
        with self.lock:
            self.seen.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                told = answer.json()
                self.seen.acknowledged.append(told["request_id"])
                self.seen.answers.append(told)


@contextmanager
def load(server: RunningServer, rows: list[dict[str, Any]], users: int = 4, pause_s: float = 0.005) -> Generator[Load]:
    """Users who ask one row after the other; without a pause they would keep the cores from what is to be seen."""
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def use(number: int) -> None:
        user = User(server, seen, lock)
        for count in itertools.count(1):
            if stop.wait(pause_s):
                break
            user.ask({"row": rows[count % len(rows)], "entity": f"u{number}-{count}"})
        user.client.close()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield seen
        # A fault that was over at once, on a busy machine: some must have asked after it too.
        enough = seen.statuses.total() + 2 * users
        wait_for(lambda: seen.statuses.total() >= enough or seen.failed, 10)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_all_answered(seen: Load) -> None:
    """No request failed, and no connection broke."""
    assert seen.broken == 0
    assert_none_failed(seen)


def assert_none_failed(seen: Load) -> None:
    """Every request got its score, some of them on a second connection."""
    assert seen.failed == 0
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
