"""Scoring by the version that did not answer: after the answer is sent, within a share of the worker's time.

Paired evidence costs no user a microsecond: rows wait in a short queue, what does not fit or what the time does not
allow is dropped and counted.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING

from gauntlet.core.journal import SHADOW_FAILED
from gauntlet.core.records.rollout import Arm
from gauntlet.native.lightgbm import ScoringError
from gauntlet.serving.answered import Answered, cause_of
from gauntlet.serving.config import ServerConfig
from gauntlet.serving.inputs import InputRejected, Irregular, Vector
from gauntlet.serving.labels import key
from gauntlet.serving.route import Route, Side
from gauntlet.serving.shared import Counters

if TYPE_CHECKING:
    from gauntlet.serving.model import ServedModel

STABLE = Arm.STABLE.value
NAN = math.nan
AFTER_S = 0.002
"""How long after an answer the other version scores: together with its neighbours, and never before it is sent."""


class Shadow:
    """The rows of one model that wait for the other version, and the time there is for them."""

    def __init__(self, model: ServedModel, config: ServerConfig, counters: Counters) -> None:
        self._model = model
        self._most, self._share = config.shadow_queue, config.shadow_share
        self.waiting: deque[tuple[Answered, int]] = deque()
        self._values = counters.values
        self._places = {
            outcome: counters.place(key("gauntlet_shadow_total", model=model.name, outcome=outcome))
            for outcome in ("scored", "failed", "dropped")
        }
        self._due = False
        self._allowance_ns = 0.0
        self._allowed_at = perf_counter_ns()

    def take(self, row: Answered, latency_us: int) -> bool:
        """Keep a row for later; whether there was room."""
        if len(self.waiting) < self._most:
            self.waiting.append((row, latency_us))
            return True
        self._count("dropped")
        return False

    def score_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have waiting rows scored once the answers are on their way."""
        if not self._due:
            self._due = True
            loop.call_later(AFTER_S, self.score)

    def score(self, *, all_of_them: bool = False) -> None:
        """Score waiting rows with the version that did not answer, within this worker's share of time."""
        self._due = False
        self._refill()
        while self.waiting:
            row, latency_us = self.waiting.popleft()
            score, tail = NAN, row.tail
            if all_of_them or self._allowance_ns > 0:
                began = perf_counter_ns()
                score, failure = self._other_score(row)
                self._allowance_ns -= perf_counter_ns() - began
                if failure is not None:
                    model_us, status, _, *rest = tail
                    tail = (model_us, status, SHADOW_FAILED + failure, *rest)
            else:
                self._count("dropped")
            self._model.journal((*row.head, score, row.prediction.decision, latency_us, *tail))

    def _refill(self) -> None:
        now = perf_counter_ns()
        share = self._share
        self._allowance_ns = min(self._allowance_ns + (now - self._allowed_at) * share, share * 1e9)
        self._allowed_at = now

    def _other_score(self, row: Answered) -> tuple[float, str | None]:
        """The other version's score, and why the challenger gave none to a row that it only shadows."""
        model, route, other = self._model, row.route, row.other
        assert other is not None
        if model.route is not route:
            self._count("dropped")
            return NAN, None  # The routing changed while the row waited; the version may have been freed.
        try:
            vector = row.vector if row.vector is not None else self._encode_quietly(route, other, row)
            began = perf_counter_ns()
            score = other.predict(vector).score
            model_us = (perf_counter_ns() - began) / 1000
            slow = model_us > model.budget_us and model.needs_that_long(other, vector)
        except (ScoringError, InputRejected) as failure:
            self._count("failed")
            if row.arm is not STABLE:
                return NAN, None
            cause = cause_of(failure)
            model.canary_failed(route, cause)
            return NAN, cause
        if slow and row.arm is STABLE:
            model.canary_failed(route, "slow")
        self._count("scored")
        return score, None

    def _encode_quietly(self, route: Route, other: Side, row: Answered) -> Vector:
        raw = row.raw
        if row.typed is not None:
            try:
                return route.vector_of(other, row.typed)
            except (Irregular, TypeError):
                raw = route.decoder.plain(row.typed)
        assert raw is not None
        return other.encoder.checked(raw, [], self._model.ignored)

    def _count(self, outcome: str) -> None:
        self._values[self._places[outcome]] += 1
