"""The server's small parts, one by one."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.servers import routing

from gauntlet.core.specs.serving import JournalPolicy
from gauntlet.serving.breaker import Breaker
from gauntlet.serving.channel import Channel, Gone, Refusal
from gauntlet.serving.config import ModelServing, ServerConfig
from gauntlet.serving.journal import Stream
from gauntlet.serving.labels import key
from gauntlet.serving.metrics import Latency, cell, cell_bounds, collect, page, quantile
from gauntlet.serving.shared import ControlWords, Counters, canary_mark, forget_versions, read_counters
from gauntlet.serving.snapshot import Snapshot


@given(st.integers(0, 2**26 - 1))
def test_every_latency_lies_in_its_cell(microseconds: int) -> None:
    low, high = cell_bounds(cell(microseconds))
    assert low <= microseconds < high
    assert high - low <= max(1, low / 4)


@given(st.lists(st.integers(1, 2**22), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantiles_are_within_an_eighth(values: list[int], share: float) -> None:
    cells: dict[int, int] = {}
    for value in values:
        cells[cell(value)] = cells.get(cell(value), 0) + 1
    exact = sorted(values)[max(0, -(-int(share * len(values) * 1000) // 1000) - 1)]
    near = quantile(cells, share)
    neighbours = [value for value in values if abs(near - value) <= 0.126 * value + 1]
    assert neighbours, (near, exact)


def test_counters_survive_their_process_and_are_summed(tmp_path: Path) -> None:
    for slot, amount in ((0, 3), (1, 4)):
        counters = Counters(tmp_path / f"worker-{slot}.counters")
        counters.add(key("gauntlet_requests_total", model="m"), amount)
        counters.values[counters.place(key("gauntlet_ready", model="m"))] = slot
        counters.close()
    again = Counters(tmp_path / "worker-0.counters")
    again.add(key("gauntlet_requests_total", model="m"))
    again.close()
    totals, gauges = collect(tmp_path)
    assert totals[key("gauntlet_requests_total", model="m")] == 8
    assert gauges == {key("gauntlet_ready", model="m", worker=str(slot)): slot for slot in (0, 1)}


def test_what_was_counted_of_forgotten_versions_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.counters"
    counters = Counters(path)
    for version in ("v-old", "v-new"):
        counters.add(key("ml_prediction_requests_total", model="m", version=version, arm="stable", status="ok"), 3)
    counters.add(key("gauntlet_requests_total", model="m"), 7)
    counters.close()
    assert forget_versions(tmp_path / "worker-1.counters", {"v-new"}) == 0
    assert forget_versions(path, {"v-new"}) == 1
    assert forget_versions(path, {"v-new"}) == 0
    again = Counters(path)
    again.add(key("gauntlet_requests_total", model="m"))
    again.close()
    assert read_counters(path) == {
        key("ml_prediction_requests_total", model="m", version="v-new", arm="stable", status="ok"): 3,
        key("gauntlet_requests_total", model="m"): 8,
    }


def test_as_many_counters_as_there_is_room_for_are_read_again(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "worker-0.counters", capacity=1500)
    for number in range(1400):
        counters.add(f"c{number}", number)
    counters.close()
    assert read_counters(tmp_path / "worker-0.counters") == {f"c{number}": number for number in range(1400)}


def test_a_full_table_of_counters_counts_on_under_one_name(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "worker-0.counters", capacity=4)
    for name in "abcdefgh":
        counters.add(name)
    counters.close()
    counted = read_counters(tmp_path / "worker-0.counters")
    assert counted["a"] == 1
    assert counted["gauntlet_counters_overflowed_total"] == 5


@pytest.mark.parametrize("known", [{"new"}, {"new", "old"}], ids=["versions forgotten", "a larger table"])
def test_where_there_is_room_again_nothing_has_overflowed_any_more(tmp_path: Path, known: set[str]) -> None:
    """It would be an alert for ever."""
    path = tmp_path / "worker-0.counters"
    counters = Counters(path, capacity=4)
    for number, version in enumerate(["new", "old", "new", "new", "new"]):
        counters.add(key("c", version=version, number=str(number)))
    counters.close()
    assert "gauntlet_counters_overflowed_total" in read_counters(path)
    forget_versions(path, known)
    left = {key("c", version="new", number=number) for number in "02"}
    assert set(read_counters(path)) - {key("c", version="old", number="1")} == left


def test_the_page_is_prometheus_text(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    counters = Counters(tmp_path / "worker-0.counters")
    latency = Latency(counters, model="m", version='a"\\b', arm="stable")
    for microseconds in (10, 200, 200, 90_000):
        latency.observe(microseconds)
    counters.add(key("ml_prediction_requests_total", model="m", version="a", arm="stable", status="ok"), 4)
    families = {family.name: family for family in text_string_to_metric_families(page(tmp_path))}
    histogram = families["ml_prediction_latency_seconds"]
    buckets = [(s.labels["le"], s.value) for s in histogram.samples if s.name.endswith("_bucket")]
    assert buckets[-1] == ("+Inf", 4)
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    (total,) = [s.value for s in histogram.samples if s.name.endswith("_sum")]
    assert total == pytest.approx(0.09041)
    assert families["ml_prediction_requests"].samples[0].value == 4
    (longest,) = families["gauntlet_latency_max_seconds"].samples
    assert longest.value == pytest.approx(0.09)
    counters.close()


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=90))
def test_no_name_of_a_feature_spoils_the_page(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    folder = tmp_path_factory.mktemp("counters")
    counters = Counters(folder / "worker-0.counters", capacity=16)
    version = "01J9ZK5V3Q8T6B4N2M7X0R1C8D"
    counters.add(key("_feature_null", model="m" * 63, version=version, arm="canary", feature=name), 2)
    counters.add(key("gauntlet_requests_total", model="m" * 63), 3)
    counters.close()
    found = {s.name: s for family in text_string_to_metric_families(page(folder)) for s in family.samples}
    assert (found["ml_feature_missing_total"].value, found["gauntlet_requests_total"].value) == (2, 3)
    assert name.startswith(found["ml_feature_missing_total"].labels["feature"])


def test_words_are_seen_by_another_mapping(tmp_path: Path) -> None:
    one, other = (ControlWords(tmp_path / "words", ["b", "a"]) for _ in range(2))
    before = list(other.words)
    one.bump("a")
    one.trip("b", 77)
    assert list(other.words) != before
    assert (other.tripped("a"), other.tripped("b")) == (0, 77)
    one.close()
    other.close()


def test_a_mark_is_of_one_canary_of_one_rollout() -> None:
    marks = {canary_mark(rollout, version) for rollout in ("r1", "r2", None) for version in ("a", "b")}
    assert len(marks) == 6
    assert 0 not in marks


def test_the_breaker_trips_on_errors_close_together_only() -> None:
    breaker = Breaker(errors=3, window_s=10.0)
    assert [breaker.error(at) for at in (0.0, 6.0, 12.0, 13.0)] == [False, False, False, True]
    breaker.reset()
    assert not breaker.error(13.5)


def test_a_snapshot_is_whole_or_the_one_before(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path)
    assert snapshot.read("loans") is None
    snapshot.write(routing(3, None))
    (tmp_path / ".loans.routing.json.1.tmp").write_text('{"half')
    read = snapshot.read("loans")
    assert read is not None
    assert read.epoch == 3
    snapshot.path("loans").write_text('{"half')
    assert snapshot.read("loans") is None


def test_the_configuration_survives_the_way_to_a_worker(tmp_path: Path) -> None:
    config = ServerConfig(
        models={"m": ModelServing("customer")},
        state=tmp_path,
        journal=tmp_path / "j",
        admin_socket=tmp_path / "a",
        admin_token="secret",
    )
    plain = config.to_json()
    assert "secret" not in str(plain)
    back = ServerConfig.from_json(plain)
    assert (back.models, back.state, back.default) == (config.models, tmp_path, "m")


@pytest.mark.parametrize("wrong", [{"models": {}}, {"workers": 0}, {"default_model": "other"}])
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "models": {"m": ModelServing()},
        "state": tmp_path,
        "journal": tmp_path,
        "admin_socket": tmp_path,
        "admin_token": "",
    }
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServerConfig(**(right | wrong))


@pytest.mark.parametrize(("policy", "kept", "lost"), [("shed", 10, 20), ("block", 10, 20), ("spill", 30, 0)])
def test_overflow_is_what_the_policy_says(tmp_path: Path, policy: Any, kept: int, lost: int) -> None:
    # The event loop waits before it comes here where the policy is to block.
    from gauntlet.serving.model import ServedModel

    stream = Stream(tmp_path, "w", JournalPolicy(overflow=policy), 10)
    config = ServerConfig(
        models={"m": ModelServing()}, state=tmp_path, journal=tmp_path, admin_socket=tmp_path, admin_token=""
    )
    words, counters = ControlWords(tmp_path / "words", ["m"]), Counters(tmp_path / "worker-0.counters")
    model = ServedModel("m", config, Snapshot(tmp_path), words, counters, stream, lambda *_: None)
    for _ in range(30):
        model.journal(())
    assert (len(stream.queue), stream.lost) == (kept, lost)


def test_the_channel_carries_answers_refusals_and_the_end() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        told: list[dict[str, Any]] = []

        async def answer(operation: str, arguments: dict[str, Any]) -> Any:
            await asyncio.sleep(0)
            if operation == "slow":
                await asyncio.sleep(5)
            if operation == "refuse":
                raise ValueError("no")
            return arguments

        one = await Channel.open(ours, answer, told.append)
        two = await Channel.open(theirs, answer, told.append)
        tasks = [asyncio.create_task(side.run()) for side in (one, two)]
        assert await one.ask("echo", 1.0, a=1) == {"a": 1}
        with pytest.raises(Refusal, match="no"):
            await two.ask("refuse", 1.0)
        with pytest.raises(Gone, match="within"):
            await one.ask("slow", 0.05)
        one.tell(kind="hello")
        await asyncio.sleep(0.05)
        assert told == [{"kind": "hello"}]
        waiting = asyncio.create_task(one.ask("slow", 5.0))
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        with pytest.raises(Gone):
            await waiting
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(Gone):
            await one.ask("echo", 1.0)

    asyncio.run(run())
