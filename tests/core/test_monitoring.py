"""What a layer cannot judge is named, so that nothing resolves for want of evidence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.core.monitoring import agreement, merged, service_health
from gauntlet.core.outcome import Outcome
from gauntlet.core.specs.monitoring import ServiceLayerSection


def requests(count: int, failed: int = 0) -> pa.Table:
    status = ["error"] * failed + ["ok"] * (count - failed)
    return pa.table({"status": pa.array(status, pa.string()), "latency_us": np.full(count, 900.0)})


@pytest.mark.parametrize("count", [0, 1])
def test_a_quiet_hour_says_nothing_of_errors_and_latency(count: int) -> None:
    quiet = service_health(requests(count), ServiceLayerSection(), [], "")
    assert quiet.outcome is Outcome.INCONCLUSIVE
    assert quiet.unjudged == ("service.errors", "service.latency")
    layer = merged([quiet, agreement([], 3)])
    assert layer.outcome is Outcome.PASSED
    assert layer.unjudged == quiet.unjudged


def test_a_busy_hour_leaves_nothing_open() -> None:
    section = ServiceLayerSection()
    busy = service_health(requests(10 * section.least), section, [], "")
    assert (busy.outcome, busy.unjudged) == (Outcome.PASSED, ())
    bad = service_health(requests(10 * section.least, failed=8 * section.least), section, [], "")
    assert (bad.outcome, bad.unjudged) == (Outcome.FAILED, ())
    assert [symptom.key for symptom in bad.symptoms] == ["service.errors"]
