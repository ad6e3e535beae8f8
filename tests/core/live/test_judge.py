"""The judge as a whole: the fold, the window it reads, and how often it wrongs a good challenger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.core.judge import Golden, case_for, judge, metrics_of
from gauntlet.core.live.window import Window, read_window
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.model import Task
from gauntlet.core.records.rollout import CanaryAnalysis
from gauntlet.core.specs.rollout import RolloutSection

T0 = datetime(2026, 3, 1, 2, tzinfo=UTC)
PLAN = RolloutSection.model_validate({
    "steps": [{"weight": weight, "hold": "1s", "requests": 20} for weight in (1, 5, 20, 50, 100)]
})


def look(window: Window, step: int = 2, number: int = 1, golden: Golden | None = None) -> CanaryAnalysis:
    case = case_for(PLAN, Task.BINARY, look=number, stable_threshold=0.25, canary_threshold=0.25)
    return judge(
        window,
        case,
        task=Task.BINARY,
        rollout="r",
        step=step,
        plan=PLAN.steps[step],
        since=T0,
        until=T0 + timedelta(seconds=10),
        golden=golden,
    )


def test_all_metrics_are_judged_in_order(window: Any) -> None:
    found = look(window(), golden=Golden(8, 0.0, 0.0))
    assert found.outcome is Outcome.PASSED
    assert [verdict.metric for verdict in found.metrics] == [
        "sample_ratio",
        "error_rate",
        "fallback_rate",
        "invalid_outputs",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "score_spread",
        "score_psi",
        "score_shift",
        "decision_rate",
        "golden",
    ]
    assert found.requests == found.entities == int(window().arm.sum())


def test_alpha_is_shared_by_tested_metrics_and_steps() -> None:
    assert case_for(PLAN, Task.BINARY, look=1).alpha == pytest.approx(0.009 / (7 * 5))
    labelled = PLAN.model_copy(update={"steps": (PLAN.steps[0].model_copy(update={"labels": 5}),)})
    assert case_for(labelled, Task.BINARY, look=1).alpha == pytest.approx(0.009 / 10)
    assert "log_loss" not in metrics_of(labelled.steps[0], Task.REGRESSION)


def test_an_incomplete_window_cannot_pass_but_can_fail(window: Any) -> None:
    assert look(window(complete=False)).outcome is Outcome.INCONCLUSIVE
    bad = look(window(complete=False, canary=np.full(2000, 0.5)))
    assert bad.outcome is Outcome.FAILED
    assert bad.critical


@pytest.mark.parametrize(
    ("golden", "outcome"),
    [
        (Golden(8, 0.0, 0.0), Outcome.PASSED),
        (Golden(8, 1e-9, 0.0), Outcome.FAILED),
        (Golden(8, float("nan"), 0.1), Outcome.FAILED),
        (Golden(0, 0.0, 0.1), Outcome.ERROR),
    ],
)
def test_golden_rows_must_match(window: Any, golden: Golden, outcome: Outcome) -> None:
    assert look(window(), golden=golden).outcome is outcome


def test_reason_names_what_failed(window: Any) -> None:
    assert look(window(canary=np.full(2000, 0.5))).reason.startswith("score_spread: ")


def test_time_to_a_verdict_at_this_traffic(window: Any) -> None:
    few = look(window(20, 0.2, 3))
    seen = few.requests
    assert few.seconds_to_verdict == pytest.approx((20 - seen) / seen * 10)
    assert look(window(0)).seconds_to_verdict is None
    assert not look(window(2000)).seconds_to_verdict


def test_a_good_challenger_is_left_alone_however_often_it_is_looked_at(window: Any) -> None:
    """Two rollouts of five steps with 20 looks each; 1 % of rollouts may be wrong. See the benchmark for more."""
    shares = [step.weight / 100 for step in PLAN.steps]
    for seed in range(2):
        for step, share in enumerate(shares):
            whole = window(4000, share, 100 * seed + step, failed=lambda values, rng: rng.random(4000) < 0.01)
            for number in range(1, 21):
                found = look(part(whole, number * 200), step, number)
                assert found.outcome is not Outcome.FAILED, found.reason


def part(window: Window, rows: int) -> Window:
    arrays = {name: value[:rows] for name, value in vars(window).items() if isinstance(value, np.ndarray)}
    return Window(**{**vars(window), **arrays})


# ---- reading the journal


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"q{number}",
        "at": T0 + timedelta(seconds=number),
        "epoch": 4,
        "rollout": "r",
        "arm": "canary" if number % 2 else "stable",
        "entity": f"e{number}",
        "weight_ppm": 50_000,
        "score": 0.2,
        "other_score": 0.3,
        "latency_us": 1500,
        **changes,
    }


def read(rows: list[dict[str, Any]], *, incomplete: bool = False, settled: float = 0) -> Window:
    journal = MemoryJournal()
    journal.append("m", rows)
    journal.incomplete = incomplete
    table = journal.read("m", T0 - timedelta(hours=1), T0 + timedelta(hours=1))
    return read_window(
        table, rollout="r", weight_ppm=50_000, step_epoch=4, settled_from=T0 + timedelta(seconds=settled)
    )


def test_scores_go_to_the_version_they_are_of() -> None:
    window = read([row(0), row(1), row(3, status="fallback", error="invalid: not finite", other_score=float("nan"))])
    assert window.stable.tolist() == [0.2, 0.3, 0.2]
    assert window.canary[:2].tolist() == [0.3, 0.2]
    assert np.isnan(window.canary[2])
    assert window.failed.tolist() == window.fell_back.tolist() == window.invalid.tolist() == [False, False, True]
    assert window.latency_ms.tolist() == [1.5, 1.5, 1.5]


@pytest.mark.parametrize(
    "other", [{"rollout": "x"}, {"rollout": None}, {"epoch": 3}, {"weight_ppm": 0}, {"basis": "listed"}]
)
def test_rows_that_were_no_draw_of_this_step_are_no_evidence(other: dict[str, Any]) -> None:
    assert read([row(0), row(1, **other), row(2)]).arm.size == 2


def test_a_slow_challenger_did_answer() -> None:
    assert not read([row(1, error="slow")]).failed.any()


def test_rows_of_an_entity_are_one_unit_and_rows_of_nobody_are_not() -> None:
    window = read([row(1, entity="a"), row(3, entity="a"), row(5, entity=None), row(7, entity=None)])
    assert window.requests == 4
    assert window.entities == 3
    assert int(window.paired.sum()) == 3


def test_order_of_arrival_and_warm_up() -> None:
    window = read([row(3), row(1), row(5)], settled=3)
    assert window.settled.tolist() == [False, True, True]
    assert window.requests == 2


def test_labels_are_read_where_they_are() -> None:
    window = read([row(1, label=1.0), row(3, label=float("nan")), row(5, label=0.0)])
    assert window.labels == 2


def test_an_empty_journal_is_an_empty_window() -> None:
    window = read([])
    assert (window.requests, window.entities, window.arm.size) == (0, 0, 0)


def test_incomplete_is_believed() -> None:
    assert not read([row(1)], incomplete=True).complete
    assert read([row(1)]).complete


def test_dictionary_columns_are_read_too() -> None:
    journal = MemoryJournal()
    journal.append("m", [row(0), row(1)])
    table = journal.read("m", T0 - timedelta(hours=1), T0 + timedelta(hours=1))
    for name in ("arm", "status", "rollout", "basis"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(pa.dictionary(pa.int32(), pa.string())))
    window = read_window(table, rollout="r", weight_ppm=50_000, step_epoch=4, settled_from=T0)
    assert window.arm.tolist() == [False, True]
