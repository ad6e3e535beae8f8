"""What a layer cannot judge is named, so that nothing resolves for want of evidence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.core.layers.finding import merged
from gauntlet.core.layers.service import agreement, service_health
from gauntlet.core.outcome import Outcome
from gauntlet.core.specs.monitoring import ServiceLayerSection


def requests(count: int, failed: int = 0) -> pa.Table:
    status = ["error"] * failed + ["ok"] * (count - failed)
    return pa.table({"status": pa.array(status, pa.string()), "latency_us": np.full(count, 900.0)})


@pytest.mark.parametrize("count", [0, 1])
def test_a_quiet_hour_says_nothing_of_errors_and_latency(count: int) -> None:
    quiet = service_health(requests(count), ServiceLayerSection(), [3.0] * 5, "")
    assert quiet.outcome is Outcome.INCONCLUSIVE
    assert quiet.unjudged == ("service.throughput", "service.errors", "service.latency")
    layer = merged([quiet, agreement([], 3)], every=True)
    assert (layer.outcome, layer.unjudged) == (Outcome.INCONCLUSIVE, quiet.unjudged)
    assert layer.reason.startswith(f"{count} requests in the window; rates are judged from 100")
    assert merged([quiet, agreement(["w1"], 3)], every=True).outcome is Outcome.FAILED


@pytest.mark.parametrize("usual", [22, 300, 100_000])
def test_a_server_that_answers_nobody_any_more_is_a_page(usual: float) -> None:
    dead = merged([service_health(requests(0), ServiceLayerSection(), [usual] * 5, ""), agreement([], 3)], every=True)
    assert dead.outcome is Outcome.FAILED
    (symptom,) = dead.symptoms
    assert (symptom.key, symptom.severity) == ("service.throughput", "page")
    assert f"0 requests in the window, median of 5 earlier windows {usual:,.0f}" in symptom.sentence
    assert dead.unjudged == ("service.errors", "service.latency"), "what nobody asked for was not answered well"


@pytest.mark.parametrize(
    ("count", "past", "why"),
    [
        (0, [], "0 of 3 earlier windows at this hour"),
        (0, [1000.0] * 2, "2 of 3 earlier windows"),
        (0, [0.0] * 20, "0 requests where 0 are usual"),  # dead for so long that it has become usual
        (2, [15.0] * 20, "2 requests where 15 are usual"),
    ],
)
def test_what_may_be_chance_or_has_no_baseline_is_neither_a_page_nor_a_pass(count: int, past: list, why: str) -> None:
    quiet = service_health(requests(count), ServiceLayerSection(), past, "")
    assert (quiet.outcome, quiet.symptoms) == (Outcome.INCONCLUSIVE, ())
    assert "service.throughput" in quiet.unjudged
    assert why in quiet.reason


def test_half_a_quiet_hours_requests_are_enough_to_say_that_none_stay_away() -> None:
    quiet = service_health(requests(45), ServiceLayerSection(least=100), [90.0] * 5, "")
    assert quiet.outcome is Outcome.INCONCLUSIVE
    assert quiet.unjudged == ("service.errors", "service.latency")


def test_a_busy_hour_leaves_nothing_open() -> None:
    section = ServiceLayerSection()
    past = [10.0 * section.least] * 3
    busy = service_health(requests(10 * section.least), section, past, "")
    assert (busy.outcome, busy.unjudged) == (Outcome.PASSED, ())
    bad = service_health(requests(10 * section.least, failed=8 * section.least), section, past, "")
    assert (bad.outcome, bad.unjudged) == (Outcome.FAILED, ())
    assert [symptom.key for symptom in bad.symptoms] == ["service.errors"]
