"""One model's routing, compiled for the request path of one worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gauntlet.core.exploration import Explorer
from gauntlet.core.journal import Status
from gauntlet.core.records.model import ModelSidecar, Task
from gauntlet.core.records.rollout import Arm, Routing
from gauntlet.core.routing import Splitter, weight_in_force
from gauntlet.serving.config import ModelServing
from gauntlet.serving.inputs import Encoder, RequestDecoder, Vector
from gauntlet.serving.labels import key
from gauntlet.serving.loader import LoadedVersion
from gauntlet.serving.metrics import Latency
from gauntlet.serving.scorer import Prediction, Predictor
from gauntlet.serving.shared import Counters, canary_mark


class Tally:
    """The counters of one version in one arm that every good row touches."""

    __slots__ = ("latency", "ok", "values")

    def __init__(self, counters: Counters, model: str, version_id: str, arm: str) -> None:
        name = key("ml_prediction_requests_total", model=model, version=version_id, arm=arm, status=Status.OK)
        self.values, self.ok = counters.values, counters.place(name)
        self.latency = Latency(counters, model=model, version=version_id, arm=arm)


@dataclass(frozen=True)
class Side:
    """One version as the request path uses it."""

    version: int
    version_id: str
    sidecar: ModelSidecar
    encoder: Encoder
    predictor: Predictor
    predict: Callable[[Vector], Prediction]
    tallies: Mapping[str, Tally]
    """By arm: where a row that went well is counted."""
    explorer: Explorer | None = None
    """Draws the decisions that ignore this version; ``None`` where there are none."""


class Route:
    """Immutable but for the weight, which only ever falls to 0, and the shadow, which only ever ends.

    A new routing row makes a new route.
    """

    __slots__ = (
        "canary",
        "decoder",
        "epoch",
        "lease_ends",
        "mark",
        "reason",
        "replies",
        "rollout",
        "routing",
        "same_vector",
        "shadows",
        "split",
        "stable",
        "weight",
    )

    def __init__(
        self, routing: Routing, stable: Side, canary: Side | None, settings: ModelServing, *, tripped: int
    ) -> None:
        """Compile a row; ``canary`` is ``None`` where there is none or it could not be loaded."""
        serving = settings.serving
        now = datetime.now(UTC)
        self.routing, self.stable, self.canary = routing, stable, canary
        self.replies: dict[tuple[object, ...], bytes] = {}
        """Answers without id and score, as they have been written once."""
        self.epoch, self.rollout = routing.epoch, routing.rollout
        self.mark = canary_mark(routing.rollout, canary.version_id) if canary else 0
        out = self.mark != 0 and self.mark == tripped
        weight = weight_in_force(routing, now, loaded=canary is not None, tripped=out)
        self.weight, self.reason = weight.ppm, weight.reason
        self.shadows = weight.reason == "" and weight.ppm == 0
        """The canary has a lease and no weight: it scores what stable has answered, and answers nothing itself."""
        # Monotonic from here on: a jump of the clock neither ends a lease early nor keeps it alive.
        left = (routing.lease_until - now).total_seconds() if routing.lease_until else 0.0
        self.lease_ends = time.monotonic() + left
        self.split = Splitter(routing.salt, frozenset(serving.allow), frozenset(serving.deny))
        sides = [stable] if canary is None else [stable, canary]
        self.same_vector = canary is not None and _layout(canary) == _layout(stable)
        self.decoder = RequestDecoder(
            [side.encoder for side in sides], settings.entity, ignore_extra=serving.inputs.extra == "ignore"
        )

    def vector_of(self, side: Side, typed: Any) -> Vector:
        """A typed row's vector for a version that only shadows it: what is to remark was remarked for the other."""
        return side.encoder.strict(self.decoder.values(typed, int(side is not self.stable)), in_range=True)

    def stop_canary(self, reason: str) -> None:
        """All traffic to stable from the next request on."""
        self.weight, self.reason, self.shadows = 0, reason, False


def _layout(side: Side) -> list[tuple[object, ...]]:
    """What decides how a row becomes a vector; ranges don't."""
    return [(feature.name, feature.kind, feature.categories) for feature in side.sidecar.features]


def side_of(
    version: LoadedVersion, predictor: Predictor, settings: ModelServing, number: int, counters: Counters
) -> Side:
    """A loaded version for a route."""
    sidecar = version.sidecar
    return Side(
        version=number,
        version_id=version.version_id,
        sidecar=sidecar,
        encoder=version.encoder(settings.serving.inputs),
        predictor=predictor,
        predict=predictor.predict,
        tallies={arm: Tally(counters, sidecar.model, version.version_id, arm) for arm in Arm},
        explorer=_explorer(sidecar, settings),
    )


def _explorer(sidecar: ModelSidecar, settings: ModelServing) -> Explorer | None:
    section = settings.serving.exploration
    decisions = len(sidecar.classes or ()) if sidecar.task is Task.MULTICLASS else 2 * (sidecar.threshold is not None)
    return Explorer(section, sidecar.model, decisions) if section is not None and decisions else None
