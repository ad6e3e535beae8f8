"""One model in one worker, without processes: leases under a jumping clock, shadowing, freed versions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.serving.control import MODEL
from tests.serving.servers import ENTITY, Trained, routing

from gauntlet.core.journal import COLUMNS
from gauntlet.core.records.model import ReleaseRef
from gauntlet.core.records.rollout import PPM, ServedVersion
from gauntlet.core.specs.serving import JournalPolicy, ServingSection
from gauntlet.native.lightgbm import ScoringError
from gauntlet.serving.answered import NotReady
from gauntlet.serving.config import ModelServing, ServerConfig
from gauntlet.serving.journal import Stream
from gauntlet.serving.loader import load, read_release
from gauntlet.serving.model import ServedModel
from gauntlet.serving.shared import ControlWords, Counters
from gauntlet.serving.snapshot import Snapshot

NAMES = [name for name, _ in COLUMNS]


class Bench:
    """A served model with its surroundings in hand."""

    def __init__(self, folder: Path, serving: ServingSection, **changes: Any) -> None:
        self.snapshot = Snapshot(folder / "routing")
        self.words = ControlWords(folder / "words", [MODEL])
        self.counters = Counters(folder / "worker-0.counters")
        self.events: list[tuple[str, dict[str, Any]]] = []
        config = ServerConfig(
            models={MODEL: ModelServing(ENTITY, serving)},
            state=folder,
            journal=folder,
            admin_socket=folder,
            admin_token="",
            **changes,
        )
        self.stream = Stream(folder, "w", serving.journal, 1000)
        self.model = ServedModel(
            MODEL,
            config,
            self.snapshot,
            self.words,
            self.counters,
            self.stream,
            lambda kind, _, detail: self.events.append((kind, detail)),
        )

    def add(self, release: ReleaseRef, version: ServedVersion) -> None:
        self.model.add(load(read_release(Path(release.uri.removeprefix("file://")), version)))

    def route(self, row: Any) -> None:
        self.snapshot.write(row)
        self.words.bump(MODEL)

    def answer(self, row: dict[str, Any], entity: str = "a") -> Any:
        one = self.model.answer(self.model.current(), None, row, entity, "r", 0, 1)
        self.model.finish_one(one, 5)
        return one

    def journaled(self) -> list[dict[str, Any]]:
        return [dict(zip(NAMES, row, strict=True)) for row in self.stream.queue]


@pytest.fixture
def bench(tmp_path: Path, releases: tuple[ReleaseRef, ReleaseRef], stable: Any, canary: Any) -> Iterator[Bench]:
    made = Bench(tmp_path, ServingSection())
    made.add(releases[0], stable)
    made.add(releases[1], canary)
    yield made
    made.model.close()


def test_a_jump_of_the_clock_neither_ends_a_lease_nor_keeps_it(
    bench: Bench, stable: Any, canary: Any, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.route(routing(1, stable, canary, PPM, lease_s=600))
    assert bench.answer(trained.rows[0]).arm == "canary"

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2040, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("gauntlet.serving.route.datetime", Jumped)
    assert bench.answer(trained.rows[0]).arm == "canary"
    later = time.monotonic() + 601
    monkeypatch.setattr("gauntlet.serving.model.time.monotonic", lambda: later)
    assert bench.answer(trained.rows[0]).arm == "stable"
    assert [kind for kind, _ in bench.events] == ["lease_expired"]


def test_a_routing_read_after_its_lease_has_ended_gives_no_traffic(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    bench.route(routing(1, stable, canary, PPM).model_copy(update={"lease_until": datetime.now(UTC) - timedelta(1)}))
    assert bench.answer(trained.rows[0]).arm == "stable"
    assert bench.model.state()["reason"] == "lease expired"


def test_rows_wait_for_the_other_version_and_are_then_journaled_with_both(
    bench: Bench, stable: Any, canary: Any, trained: Trained, challenger: Trained
) -> None:
    bench.route(routing(1, stable, canary, PPM // 2))
    for number in range(20):
        bench.answer(trained.rows[number], f"e{number}")
    assert not bench.stream.queue
    bench.model.score_others(all_of_them=True)
    ours, theirs = trained.scores(trained.matrix[:20]), challenger.scores(trained.matrix[:20])
    for number, row in enumerate(bench.journaled()):
        pair = (row["score"], row["other_score"])
        assert pair == ((theirs[number], ours[number]) if row["arm"] == "canary" else (ours[number], theirs[number]))


def test_a_row_whose_other_version_has_left_is_journaled_without_its_score(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    bench.route(routing(1, stable, canary, PPM // 2))
    bench.answer(trained.rows[0], "e")
    bench.route(routing(2, stable))
    bench.model.current()
    bench.model.keep_only(frozenset({stable.release_digest}))
    bench.model.score_others(all_of_them=True)
    (row,) = bench.journaled()
    assert row["other_score"] != row["other_score"]


def test_a_canary_with_a_lease_and_no_weight_scores_every_row_and_answers_none(
    bench: Bench, stable: Any, canary: Any, trained: Trained, challenger: Trained
) -> None:
    bench.route(routing(1, stable, canary, 0))
    for number in range(20):
        assert bench.answer(trained.rows[number], f"e{number}").arm == "stable"
    bench.model.score_others(all_of_them=True)
    ours, theirs = trained.scores(trained.matrix[:20]), challenger.scores(trained.matrix[:20])
    told = [(row["score"], row["other_score"], row["error"]) for row in bench.journaled()]
    assert told == [(ours[number], theirs[number], None) for number in range(20)]


def test_a_shadow_ends_with_its_lease(
    bench: Bench, stable: Any, canary: Any, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.route(routing(1, stable, canary, 0))
    later = bench.model.current().lease_ends + 1
    monkeypatch.setattr("gauntlet.serving.model.time.monotonic", lambda: later)
    bench.answer(trained.rows[0])
    bench.model.score_others(all_of_them=True)
    assert [kind for kind, _ in bench.events] == ["lease_expired"]
    (row,) = bench.journaled()
    assert row["other_version_id"] is None


def test_a_shadow_that_cannot_score_is_journaled_as_such_and_harms_nobody(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    def broken(_: Any) -> Any:
        raise ScoringError("invalid output nan")

    bench.route(routing(1, stable, canary, 0))
    route = bench.model.current()
    assert route.canary is not None
    route.canary = replace(route.canary, predict=broken)
    for number in range(20):
        assert bench.answer(trained.rows[number], f"e{number}").arm == "stable"
    bench.model.score_others(all_of_them=True)
    assert {(row["status"], row["error"]) for row in bench.journaled()} == {("ok", "other: invalid output nan")}
    assert bench.events == []


def test_what_the_time_does_not_allow_is_dropped_and_counted(
    tmp_path: Path, releases: tuple[ReleaseRef, ReleaseRef], stable: Any, canary: Any, trained: Trained
) -> None:
    bench = Bench(tmp_path, ServingSection(), shadow_share=0.0)
    bench.add(releases[0], stable)
    bench.add(releases[1], canary)
    bench.route(routing(1, stable, canary, PPM // 2))
    for number in range(5):
        bench.answer(trained.rows[number], f"e{number}")
    bench.model.score_others()
    assert [row["other_score"] != row["other_score"] for row in bench.journaled()] == [True] * 5
    assert bench.counters.values[bench.counters.place('gauntlet_shadow_total{model="loans",outcome="dropped"}')] == 5
    bench.model.close()


@pytest.mark.parametrize(
    ("policy", "entity", "features"),
    [
        (JournalPolicy(), "a", 48),
        (JournalPolicy(entity="hash", features="hash"), "hashed", 8),
        (JournalPolicy(entity="none", features="none"), None, None),
    ],
)
def test_the_journal_keeps_what_the_policy_says(
    tmp_path: Path,
    releases: tuple[ReleaseRef, ReleaseRef],
    stable: Any,
    trained: Trained,
    policy: JournalPolicy,
    entity: str | None,
    features: int | None,
) -> None:
    bench = Bench(tmp_path, ServingSection(journal=policy))
    bench.add(releases[0], stable)
    bench.route(routing(1, stable))
    bench.answer(trained.rows[0], "a")
    (row,) = bench.journaled()
    kept = row["features"]
    assert (None if kept is None else len(kept)) == features
    if entity == "hashed":
        assert len(row["entity"]) == 16
    else:
        assert row["entity"] == entity
    bench.model.close()


@pytest.mark.parametrize("weight", [PPM, 0], ids=["answering", "shadowing"])
def test_a_machine_that_takes_the_processor_away_is_not_held_against_the_challenger(
    bench: Bench, stable: Any, canary: Any, trained: Trained, monkeypatch: pytest.MonkeyPatch, weight: int
) -> None:
    bench.route(routing(1, stable, canary, weight or 1))
    side = bench.model.current().canary
    assert side is not None
    predict, stalls = side.predict, [False, True]

    def now_and_then(vector: Any) -> Any:
        stalls.reverse()
        if stalls[0]:
            time.sleep(0.03)
        return predict(vector)

    object.__setattr__(side, "predict", now_and_then)
    for number in range(12):
        bench.answer(trained.rows[0], f"c{number}")
        bench.model.score_others(all_of_them=True)
    assert not bench.events
    object.__setattr__(side, "predict", lambda vector: time.sleep(0.03) or predict(vector))
    for number in range(12):
        bench.answer(trained.rows[0], f"c{number}")
        bench.model.score_others(all_of_them=True)
    assert [kind for kind, _ in bench.events] == ["breaker_tripped"]


def test_a_golden_mismatch_takes_the_canary_out(bench: Bench, stable: Any, canary: Any, trained: Trained) -> None:
    bench.route(routing(1, stable, canary, PPM))
    assert bench.answer(trained.rows[0]).arm == "canary"
    bench.model.check_golden()
    assert bench.events == []
    version = bench.model.versions[canary.release_digest]
    version.golden = version.golden.model_copy(update={"scores": tuple(s + 1e-3 for s in version.golden.scores)})
    bench.model.check_golden()
    assert [kind for kind, _ in bench.events] == ["golden_mismatch", "breaker_tripped"]
    assert bench.answer(trained.rows[0]).arm == "stable"


def test_a_stable_version_that_is_not_loaded_keeps_the_route_before(
    bench: Bench, stable: Any, canary: Any, trained: Trained
) -> None:
    bench.route(routing(1, stable))
    bench.answer(trained.rows[0])
    bench.route(routing(2, canary.model_copy(update={"release_digest": "9" * 64})))
    assert bench.answer(trained.rows[0]).route.epoch == 1
    assert "is not loaded" in bench.model.reason


def test_without_a_route_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no stable version"):
        Bench(tmp_path, ServingSection()).model.current()
