"""One model in one worker: the loaded versions, the route in force, and how a row is answered.

A challenger that fails never shows: its row is answered by the champion, counted fully against the
challenger, and enough failures trip its breaker, which all workers see with their next request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from time import perf_counter_ns
from typing import Any

from gauntlet.core.exploration import Explorer
from gauntlet.core.journal import Status, hashed_entity
from gauntlet.core.records.model import ModelSidecar
from gauntlet.core.records.rollout import Arm, Routing
from gauntlet.core.routing import Assignment, Basis
from gauntlet.native.lightgbm import ScoringError
from gauntlet.serving.answered import CERTAIN, Answered, ModelFailed, NotReady, cause_of
from gauntlet.serving.breaker import Breaker
from gauntlet.serving.config import ModelServing, ServerConfig
from gauntlet.serving.inputs import Deviations, InputRejected, Irregular, Vector
from gauntlet.serving.journal import Stream
from gauntlet.serving.labels import key
from gauntlet.serving.loader import LoadedVersion, golden_mismatch
from gauntlet.serving.route import Route, Side, side_of
from gauntlet.serving.scorer import Prediction, Predictor
from gauntlet.serving.shadow import Shadow
from gauntlet.serving.shared import ControlWords, Counters
from gauntlet.serving.snapshot import Snapshot

STABLE, CANARY = Arm.STABLE.value, Arm.CANARY.value
OK = Status.OK
NAN = math.nan
SPILL = 10
"""With ``overflow: spill`` the queue may grow to this many times its capacity."""
Report = Callable[[str, str, dict[str, Any]], None]
"""(kind, model, detail): something a person or the rollout should know."""


_ALONE = Assignment(canary=False, bucket=-1, sticky=True, basis=Basis.HASH)
_ALONE_ANONYMOUS = Assignment(canary=False, bucket=-1, sticky=False, basis=Basis.REQUEST)
"""Without a canary nobody is drawn, and a bucket would cost a hash."""
_PINNED = {pin: Assignment(canary=pin, bucket=-1, sticky=False, basis=Basis.LISTED) for pin in (False, True)}


def _drawn(
    explorer: Explorer, own: Prediction, entity: str | None, request_id: str, index: int
) -> tuple[Prediction, bool, float]:
    """What is given in place of a model's own decision, for most the same; the score is never another.

    Without an entity each row of a request is drawn for itself, and a request that is repeated by its id alike.
    """
    explored, given, propensity = explorer.draw(f"{request_id}/{index}" if entity is None else entity, own.decision)
    if given != own.decision:
        own = Prediction(own.score, given, own.scores)
    return own, explored, propensity


class ServedModel:
    """A model's state in this worker. Everything but the journal's thread runs on the event loop."""

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        snapshot: Snapshot,
        words: ControlWords,
        counters: Counters,
        stream: Stream,
        report: Report,
    ) -> None:
        self.name, self.config, self.stream = name, config, stream
        self.settings: ModelServing = config.models[name]
        self.versions: dict[str, LoadedVersion] = {}
        self.route: Route | None = None
        self.reason = "no routing yet"
        self.counters = counters
        self._snapshot, self._words, self._report = snapshot, words, report
        self._slot = words.slots[name]
        self._seen = (-1, -1)
        self._predictors: dict[str, Predictor] = {}
        serving = self.settings.serving
        self._breaker = Breaker(serving.breaker_errors, serving.breaker_window_s)
        self.budget_us = serving.challenger_budget_ms * 1000
        self._features = serving.journal.features
        self._plain_vector = self._features == "vector"
        self._keep_entity = serving.journal.entity
        self._plain_entity = self._keep_entity == "plain"
        self.ignored = frozenset() if self.settings.entity is None else frozenset({self.settings.entity})
        self.shadow = Shadow(self, config, counters)
        gauges = ("routing_epoch", "canary_weight_ppm", "ready")
        self._gauges = [counters.place(key(f"gauntlet_{gauge}", model=name)) for gauge in gauges]
        # Alerts are on what these rise by: Prometheus sees no rise in a counter that begins with its first event.
        for rare in ("breaker_trips", "lease_expired", "journal_lost"):
            counters.place(key(f"gauntlet_{rare}_total", model=name))

    # ---- versions and routing ----------------------------------------------------------------------

    def add(self, version: LoadedVersion) -> None:
        """Keep a version ready to be routed to."""
        digest = version.served.release_digest
        if digest in self.versions:
            version.close()
            return
        self.versions[digest] = version
        self._predictors[digest] = version.predictor()
        self.refresh()

    def keep_only(self, digests: frozenset[str]) -> None:
        """Free every other version that the route does not use."""
        routed = self._routed()
        for digest in self.versions.keys() - digests - routed:
            del self._predictors[digest]
            self.versions.pop(digest).close()

    def sidecar_of(self, version_id: str) -> ModelSidecar | None:
        """What travels with a loaded version's trees. Safe in any thread."""
        loaded = list(self.versions.values())
        return next((version.sidecar for version in loaded if version.served.version_id == version_id), None)

    def predictor_of(self, version: LoadedVersion) -> Predictor:
        """The event loop's predictor of a loaded version."""
        return self._predictors[version.served.release_digest]

    def _routed(self) -> frozenset[str]:
        if self.route is None:
            return frozenset()
        row = self.route.routing
        return frozenset(side.release_digest for side in (row.stable, row.canary) if side is not None)

    def current(self) -> Route:
        """The route in force now; :class:`NotReady` says why there is none."""
        slot, words = self._slot, self._words.words
        if self._seen != (words[slot], words[slot + 1]):
            self.refresh()
        if self.route is None:
            raise NotReady(self.reason)
        return self.route

    def refresh(self) -> None:
        """Read the routing snapshot again and compile it, keeping the old route where the new one cannot serve."""
        slot, words = self._slot, self._words.words
        self._seen = (words[slot], words[slot + 1])
        routing = self._snapshot.read(self.name)
        if routing is None or routing.stable is None:
            self.route, self.reason = None, f"model {self.name} has no stable version"
            self._show()
            return
        stable = self.versions.get(routing.stable.release_digest)
        if stable is None:
            self.reason = f"stable version {routing.stable.version_id} is not loaded"
            self._show()
            return
        before = self.route.mark if self.route else 0
        self.route = Route(
            routing,
            self._side(stable, routing.stable.version),
            self._canary_side(routing),
            self.settings,
            tripped=self._seen[1],
        )
        if self.route.mark != before:
            self._breaker.reset()
        self._show()

    def _canary_side(self, routing: Routing) -> Side | None:
        canary = self.versions.get(routing.canary.release_digest) if routing.canary else None
        if canary is None or routing.canary is None:
            return None
        return self._side(canary, routing.canary.version)

    def _side(self, version: LoadedVersion, number: int) -> Side:
        return side_of(version, self.predictor_of(version), self.settings, number, self.counters)

    def _show(self) -> None:
        values, (epoch, weight, ready) = self.counters.values, self._gauges
        values[ready] = int(self.route is not None)
        values[epoch] = self.route.epoch if self.route else 0
        values[weight] = self.route.weight if self.route else 0

    def state(self) -> dict[str, Any]:
        """What this worker serves now, for reports."""
        try:
            route: Route | None = self.current()
            self._check_lease(route) if route else None
        except NotReady:
            route = None
        return {
            "epoch": route.epoch if route else 0,
            "stable": route.stable.version_id if route else None,
            "canary": route.canary.version_id if route and route.canary else None,
            "loaded": sorted(version.version_id for version in self.versions.values()),
            "digests": sorted(self.versions),
            "weight_ppm": route.weight if route else 0,
            "reason": route.reason if route else self.reason,
        }

    def check_golden(self) -> None:
        """Score the golden rows of the versions in traffic; a canary that differs is taken out at once."""
        route = self.route
        if route is None:
            return
        for side in (route.stable, route.canary):
            version = None if side is None else self._version_of(side)
            if version is None or side is None:
                continue
            if mismatch := golden_mismatch(version, side.predictor):
                detail = {"version_id": side.version_id, "reason": mismatch}
                self._report("golden_mismatch", self.name, detail)
                if side is route.canary and route.weight:
                    self._trip(route, f"golden mismatch: {mismatch}")

    def _version_of(self, side: Side) -> LoadedVersion | None:
        found = (v for v in self.versions.values() if self._predictors[v.served.release_digest] is side.predictor)
        return next(found, None)

    # ---- answering ---------------------------------------------------------------------------------

    def answer(
        self,
        route: Route,
        typed: Any,
        raw: Mapping[str, Any] | None,
        entity: str | None,
        request_id: str,
        index: int,
        at: int,
        pin: bool | None = None,
    ) -> Answered:
        """Assign and score one row, typed or raw; :class:`InputRejected` when the policy refuses it.

        ``pin``: not assigned, but to the canary or to stable, whatever the weight; no evidence for a comparison.
        """
        if pin is not None:
            assignment = _PINNED[pin]
        elif route.canary is None:
            assignment = _ALONE_ANONYMOUS if entity is None else _ALONE
        else:
            assignment = self._assign(route, entity, request_id)
        if assignment.canary:
            return self._answer_canary(route, typed, raw, assignment, entity, request_id, index, at)
        stable = route.stable
        vector = self._encode(route, stable, typed, raw)
        began = perf_counter_ns()
        try:
            prediction = stable.predict(vector)
        except ScoringError as failure:
            raise self._stable_failed(stable, failure) from failure
        model_us = (perf_counter_ns() - began) / 1000
        explored, propensity = False, CERTAIN
        if stable.explorer is not None:
            prediction, explored, propensity = _drawn(stable.explorer, prediction, entity, request_id, index)
        other = route.canary if route.weight or route.shadows else None
        return Answered(
            prediction,
            stable,
            assignment,
            STABLE,
            stable,
            route,
            other,
            typed,
            raw,
            vector if route.same_vector else None,
            (
                request_id,
                at,
                index,
                route.epoch,
                route.rollout,
                stable.version_id,
                STABLE,
                entity if self._plain_entity else self._kept_entity(entity),
                assignment.bucket,
                assignment.basis,
                route.weight,
                prediction.score,
                None if other is None else other.version_id,
            ),
            (
                model_us,
                OK,
                None,
                stable.predictor.vector() if self._plain_vector else self._kept_features(stable),
                explored,
                propensity,
            ),
            propensity,
            explored,
        )

    def _answer_canary(
        self,
        route: Route,
        typed: Any,
        raw: Mapping[str, Any] | None,
        assignment: Assignment,
        entity: str | None,
        request_id: str,
        index: int,
        at: int,
    ) -> Answered:
        own = route.canary
        if own is None:  # A pinned canary that has left since.
            raise NotReady("there is no canary")
        answered, status, error, model_us = own, OK, None, NAN
        try:
            vector = self._encode(route, own, typed, raw)
            began = perf_counter_ns()
            prediction = own.predict(vector)
            model_us = (perf_counter_ns() - began) / 1000
            if model_us > self.budget_us and self.needs_that_long(own, vector):
                error = "slow"
                self.canary_failed(route, error)
        except (ScoringError, InputRejected) as failure:
            answered, status, error = route.stable, Status.FALLBACK, cause_of(failure)
            vector = self._encode(route, answered, typed, raw)
            try:
                prediction = answered.predict(vector)
            except ScoringError as twice:
                raise self._stable_failed(answered, twice) from twice
            self.canary_failed(route, error)
        explored, propensity = False, CERTAIN
        if answered.explorer is not None:
            prediction, explored, propensity = _drawn(answered.explorer, prediction, entity, request_id, index)
        other = route.stable if route.weight and status is OK else None
        head = (
            request_id,
            at,
            index,
            route.epoch,
            route.rollout,
            own.version_id,
            CANARY,
            self._kept_entity(entity),
            assignment.bucket,
            assignment.basis,
            route.weight,
            prediction.score,
            None if other is None else other.version_id,
        )
        tail = (model_us, status, error, self._kept_features(answered), explored, propensity)
        return Answered(
            prediction,
            answered,
            assignment,
            CANARY,
            own,
            route,
            other,
            typed,
            raw,
            vector if route.same_vector else None,
            head,
            tail,
            propensity,
            explored,
        )

    def needs_that_long(self, side: Side, vector: Vector) -> bool:
        """Time a slow row again: once may be the machine that took the processor away, not the model."""
        began = perf_counter_ns()
        side.predict(vector)
        return (perf_counter_ns() - began) / 1000 > self.budget_us

    def _assign(self, route: Route, entity: str | None, request_id: str) -> Assignment:
        if route.weight or route.shadows:
            self._check_lease(route)
        if entity is None:
            return route.split.assign_request(request_id, route.weight)
        return route.split.assign(entity, route.weight)

    def _check_lease(self, route: Route) -> None:
        if (route.weight or route.shadows) and time.monotonic() >= route.lease_ends:
            route.stop_canary("lease expired")
            self.counters.add(key("gauntlet_lease_expired_total", model=self.name))
            self._show()
            self._report("lease_expired", self.name, {"rollout": route.rollout, "epoch": route.epoch})

    def _encode(self, route: Route, side: Side, typed: Any, raw: Mapping[str, Any] | None) -> Vector:
        if typed is not None:
            try:
                decoder, number = route.decoder, int(side is not route.stable)
                return side.encoder.strict(decoder.values(typed, number), in_range=decoder.ranged[number])
            except (Irregular, TypeError):
                raw = route.decoder.plain(typed)
        assert raw is not None
        deviations: Deviations = []
        vector = side.encoder.checked(raw, deviations, self.ignored)
        for name, kind in deviations:
            self.count_deviation("gauntlet_input_deviations_total", name, kind)
        return vector

    def count_deviation(self, counter: str, name: str, kind: str) -> None:
        """Count a deviation; a client's own column names never become labels."""
        feature = "*" if kind == "extra" else name
        self.counters.add(key(counter, model=self.name, feature=feature, kind=kind))

    def _stable_failed(self, stable: Side, failure: ScoringError) -> ModelFailed:
        self._count(stable.version_id, STABLE, Status.ERROR)
        return ModelFailed(f"version {stable.version_id}: {failure}")

    def canary_failed(self, route: Route, error: str) -> None:
        """Count an error of the challenger; enough of them end its traffic."""
        if self._breaker.error(time.monotonic()) and route.weight:
            self._trip(route, f"repeated errors, the last: {error}")

    def _trip(self, route: Route, reason: str) -> None:
        route.stop_canary(f"breaker tripped: {reason}")
        self._words.trip(self.name, route.mark)
        self.counters.add(key("gauntlet_breaker_trips_total", model=self.name))
        version_id = route.canary.version_id if route.canary else None
        self._report(
            "breaker_tripped", self.name, {"rollout": route.rollout, "version_id": version_id, "reason": reason}
        )

    def _kept_entity(self, entity: str | None) -> str | None:
        if entity is None or self._keep_entity == "plain":
            return entity
        return hashed_entity(entity) if self._keep_entity == "hash" else None

    def _kept_features(self, answered: Side) -> bytes | None:
        if self._features == "none":
            return None
        vector = answered.predictor.vector()
        return vector if self._features == "vector" else blake2b(vector, digest_size=8).digest()

    # ---- after the answer --------------------------------------------------------------------------

    def finish_one(self, row: Answered, latency_us: int) -> bool:
        """Count an answered row and journal it when it is complete; whether some wait for the other version."""
        tally = row.own.tallies[row.arm]
        tally.latency.observe(latency_us)
        if row.tail[1] is OK:
            tally.values[tally.ok] += 1
        else:
            self._count(row.own.version_id, row.arm, row.tail[1])
        if row.explored:
            self._count_explored(row)
        if row.other is not None and self.shadow.take(row, latency_us):
            return True
        complete = (*row.head, NAN, row.prediction.decision, latency_us, *row.tail)
        queue = self.stream.queue
        if len(queue) < self.stream.capacity:
            queue.append(complete)
        else:
            self.journal(complete)
        return bool(self.shadow.waiting)

    def finish(self, rows: Sequence[Answered], latency_us: int) -> bool:
        """The same for all rows of a request."""
        waiting = False
        for row in rows:
            waiting = self.finish_one(row, latency_us)
        return waiting

    def score_others(self, *, all_of_them: bool = False) -> None:
        """Score waiting rows with the version that did not answer, within this worker's share of time."""
        self.shadow.score(all_of_them=all_of_them)

    def _count(self, version_id: str, arm: str, status: str) -> None:
        name = key("ml_prediction_requests_total", model=self.name, version=version_id, arm=arm, status=status)
        self.counters.add(name)

    def _count_explored(self, row: Answered) -> None:
        labels = {"model": self.name, "version": row.side.version_id, "decision": str(row.prediction.decision)}
        self.counters.add(key("gauntlet_explored_total", **labels))

    def journal(self, row: tuple[Any, ...]) -> None:
        """Queue a complete row for the writer, or count it as lost."""
        stream = self.stream
        if stream.full and (stream.policy.overflow != "spill" or len(stream.queue) >= SPILL * stream.capacity):
            stream.lost += 1
            self.counters.add(key("gauntlet_journal_lost_total", model=self.name))
            return
        stream.queue.append(row)

    def close(self) -> None:
        """Free all versions."""
        self.score_others(all_of_them=True)
        self.route = None
        for version in self.versions.values():
            version.close()
