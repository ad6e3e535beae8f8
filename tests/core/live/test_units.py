"""One entity is one piece of evidence, however often it asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gauntlet.core.live.labels import calibration, log_loss
from gauntlet.core.live.scores import decision_rate, score_psi, score_shift, score_spread
from gauntlet.core.outcome import Outcome

CROWD = 20
TIMES = 200


def of_few(window: Any) -> Any:
    """Twenty entities, each asking two hundred times, which by chance the challenger scores higher."""
    n = CROWD * TIMES
    entity = np.repeat(np.arange(CROWD), TIMES)
    rng = np.random.default_rng(4)
    score, apart = rng.beta(2, 8, CROWD), np.abs(rng.normal(0.06, 0.02, CROWD))
    return window(
        n,
        0.5,
        unit=entity,
        stable=score[entity],
        canary=np.clip(score + apart, 0, 1)[entity],
        label=(rng.random(CROWD) < 0.2).astype(float)[entity],
    )


@pytest.mark.parametrize("metric", [score_spread, score_psi, score_shift, decision_rate, log_loss, calibration])
def test_requests_of_a_few_entities_prove_nothing(window: Any, case: Any, metric: Any) -> None:
    judged = case(stable_threshold=0.2, canary_threshold=0.2)
    (found,) = metric(of_few(window), judged)
    assert found.outcome is Outcome.INCONCLUSIVE, found.sentence
    assert found.canary_n <= CROWD
