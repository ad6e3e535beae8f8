"""Receipts that prove nothing: of another night, stale, renamed, missing, too many. Promotion refuses each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.mutations.world import CANDIDATE, CHAMPION, HOLDOUT, NOW, good

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.outcome import Outcome
from gauntlet.core.promotion import Claim, judge_receipts
from gauntlet.core.records.gates import GateReceipt

Receipts = dict[str, GateReceipt]
FAST = ("latency", "size_memory", "smoke", "golden")


@pytest.fixture(scope="module")
def receipts() -> Receipts:
    return {
        gate: GateReceipt(
            verdict=judge_gate(gate, good(gate)),
            model="loans",
            run="night-1",
            candidate=CANDIDATE,
            champion=CHAMPION,
            holdout=HOLDOUT,
            spec_digest="s" * 64,
            code_digest="0" * 64,
            started_at=NOW,
            finished_at=NOW,
        )
        for gate in FAST
    }


CLAIM = Claim("loans", "night-1", CANDIDATE, CHAMPION, HOLDOUT, "s" * 64, FAST, NOW)
OTHER = "f" * 64


def of(gate: str, **changes) -> Callable[[Receipts], Receipts]:
    return lambda found: {**found, gate: found[gate].model_copy(update=changes)}


def verdict(gate: str, **changes) -> Callable[[Receipts], Receipts]:
    return lambda found: of(gate, verdict=found[gate].verdict.model_copy(update=changes))(found)


def without(gate: str) -> Callable[[Receipts], Receipts]:
    return lambda found: {name: receipt for name, receipt in found.items() if name != gate}


MUTATIONS = {
    "missing": without("latency"),
    "none at all": lambda found: {},
    "one too many": lambda found: {**found, "fairness": found["latency"]},
    "renamed gate": lambda found: {**without("latency")(found), "speed": found["latency"]},
    "another gate's receipt under this name": lambda found: {**found, "latency": found["smoke"]},
    "of another run": of("latency", run="night-0"),
    "of another model": of("latency", model="mortgages"),
    "of another candidate": of("latency", candidate=OTHER),
    "against another champion": of("latency", champion=OTHER),
    "against no champion": of("latency", champion=None),
    "on another holdout": of("latency", holdout=OTHER),
    "under another spec": of("latency", spec_digest=OTHER),
    "failed": verdict("smoke", outcome=Outcome.FAILED),
    "error": verdict("smoke", outcome=Outcome.ERROR),
    "inconclusive": verdict("smoke", outcome=Outcome.INCONCLUSIVE),
    "waived without an end": verdict("latency", outcome=Outcome.WAIVED),
    "waived until yesterday": lambda found: of("latency", waived_until=NOW - timedelta(days=1))(
        verdict("latency", outcome=Outcome.WAIVED)(found)
    ),
}


def test_good_receipts_prove_the_claim(receipts):
    answer = judge_receipts(CLAIM, receipts)
    assert (answer.outcome, answer.obstacles) == (Outcome.PASSED, ())


@pytest.mark.parametrize("name", MUTATIONS)
def test_bad_receipts_prove_nothing(receipts, name):
    answer = judge_receipts(CLAIM, MUTATIONS[name](receipts))
    assert not answer.outcome.satisfied
    assert answer.obstacles


def test_an_empty_list_of_gates_proves_nothing(receipts):
    assert not judge_receipts(replace(CLAIM, gates=()), {}).outcome.satisfied
    assert not judge_receipts(replace(CLAIM, gates=()), receipts).outcome.satisfied


def test_all_gates_of_the_catalogue_can_be_claimed(receipts):
    answer = judge_receipts(replace(CLAIM, gates=tuple(GATES)), receipts)
    assert len(answer.obstacles) == len(GATES) - len(FAST)
