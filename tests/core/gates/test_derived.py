"""What gates say of a version with the champion's trees: only that very version is spared what concerns trees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.mutations.world import good

from gauntlet.core.gates import mutate as m
from gauntlet.core.gates import mutate_records as r
from gauntlet.core.gates.evidence import need, same_trees
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.outcome import Outcome


def derived(gate: str):
    """Good evidence of a candidate that was derived from the champion."""
    evidence = good(gate)
    tree = need(evidence.trained, "record").release.tree_digest
    facts = need(evidence.champion_facts, "facts").model_copy(update={"tree_digest": tree})
    sidecar = need(evidence.sidecar, "sidecar").model_copy(update={"tree_digest": tree})
    trained = need(evidence.trained, "record").model_copy(update={"derived_from": evidence.champion})
    return replace(evidence, trained=trained, sidecar=sidecar, champion_facts=facts)


def test_trees_that_were_not_trained_are_not_judged_again() -> None:
    verdict = judge_gate("overfit", r.memorised(derived("overfit")))
    assert verdict.outcome is Outcome.PASSED
    assert "same trees as the champion" in verdict.reason


NOT_THE_SAME = {
    "trained here": m.with_record("trained", derived_from=None),
    "derived from another one": m.with_record("trained", derived_from=m.OTHER),
    "other trees in the champion": m.with_record("champion_facts", tree_digest=m.OTHER),
    "other trees in the candidate": m.with_record("sidecar", tree_digest=m.OTHER),
    "unknown trees in the champion": m.with_record("champion_facts", tree_digest=""),
    "facts of another champion": m.with_record("champion_facts", digest=m.OTHER),
    "no champion": lambda evidence: replace(evidence, champion_facts=None),
    "no sidecar": m.without("sidecar"),
}


@pytest.mark.parametrize("change", NOT_THE_SAME.values(), ids=NOT_THE_SAME)
def test_anything_else_is_judged_as_trained(change) -> None:
    evidence = change(r.memorised(derived("overfit")))
    assert same_trees(evidence) is None
    assert judge_gate("overfit", evidence).outcome is not Outcome.PASSED


def test_repeated_scores_are_asked_of_derived_versions_too() -> None:
    good_one = derived("determinism")
    assert judge_gate("determinism", good_one).outcome is Outcome.PASSED
    from gauntlet.core.gates import determinism

    bad = m.observed(determinism.REPEATED, 1e-6)(good_one)
    assert judge_gate("determinism", bad).outcome is Outcome.FAILED


def test_a_retraining_that_was_not_made_needs_the_same_trees() -> None:
    from gauntlet.core.gates import determinism

    evidence = derived("determinism")
    section = evidence.spec.gates.config("determinism").model_copy(update={"retrain": True})
    without = m.unobserved(determinism.RETRAINED)(evidence)
    assert determinism.evaluate(without, section).outcome is Outcome.PASSED
    other = m.with_record("champion_facts", tree_digest=m.OTHER)(without)
    assert determinism.evaluate(other, section).outcome is Outcome.ERROR


def test_no_tree_is_newer_for_a_newer_calibration() -> None:
    evidence = derived("versus_champion")
    config = evidence.spec.gates.config("versus_champion").model_copy(update={"superior_on": ("freshness",)})
    from gauntlet.core.gates import versus_champion

    verdict = versus_champion.evaluate(evidence, config)
    assert verdict.outcome is Outcome.FAILED
    assert "freshness: same trees as the champion" in verdict.reason
