"""How sure the champion is: without its holdout there is nothing to compare with, and no all-clear either."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.spec import load_spec
from gauntlet.stages import served_confidence

CREDIT = Path(__file__).parents[3] / "include" / "models" / "credit_default.yaml"


def test_without_the_holdout_an_open_alert_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise DataRejected("the holdout's scores are not kept any more")

    monkeypatch.setattr(served_confidence, "holdout_scores", gone)
    spec = load_spec(CREDIT)
    model = spec.monitoring.model.model_copy(update={"confidence_shift": 0.02})
    spec = spec.model_copy(update={"monitoring": spec.monitoring.model_copy(update={"model": model})})
    nothing: Any = SimpleNamespace()
    found = served_confidence.served_confidence(nothing, SimpleNamespace(model="m"), spec, nothing)  # type: ignore[arg-type]
    assert (found.outcome, found.unjudged) == (Outcome.INCONCLUSIVE, ("model.confidence",))
