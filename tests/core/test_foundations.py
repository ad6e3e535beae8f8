"""Digests, durations, registries, records: what everything else stands on."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gauntlet.core.digest import canonical_json, sha256_bytes, sha256_file, sha256_json
from gauntlet.core.duration import format_duration, parse_duration
from gauntlet.core.errors import REJECTIONS, GauntletError, InfrastructureError, Rejection, SpecError
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.registry import did_you_mean, lookup

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(values)
def test_a_digest_does_not_depend_on_key_order(value) -> None:
    def turned(inner):
        if isinstance(inner, dict):
            return {key: turned(inner[key]) for key in reversed(list(inner))}
        return [turned(item) for item in inner] if isinstance(inner, list) else inner

    assert sha256_json(value) == sha256_json(turned(value))


@pytest.mark.parametrize("bad", [math.nan, math.inf, [-math.inf]])
def test_what_is_not_a_number_has_no_digest(bad) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(bad)


def test_a_file_has_the_digest_of_its_bytes(tmp_path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == sha256_bytes(content)


@given(st.integers(1, 10**6), st.sampled_from("smhdw"))
def test_durations_survive_their_own_form(amount: int, unit: str) -> None:
    value = parse_duration(f"{amount}{unit}")
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-1d", "1.d", "1y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_an_unknown_kind_lists_the_valid_ones() -> None:
    with pytest.raises(SpecError, match=r"unknown gate 'latncy': did you mean 'latency'\? valid: latency, size"):
        lookup({"size": 1, "latency": 2}, "latncy", "gate")
    assert did_you_mean("zzz", ["a"]) == "valid: a"


def test_rejections_are_final_and_infrastructure_errors_are_not() -> None:
    assert all(name.startswith("gauntlet.core.errors.") for name in REJECTIONS)
    assert issubclass(InfrastructureError, GauntletError)
    assert not issubclass(InfrastructureError, Rejection)
    assert {cls.__name__ for cls in Rejection.__subclasses__()} <= {name.rsplit(".", 1)[1] for name in REJECTIONS}


def run(**changes) -> RunContext:
    facts = {
        "model": "m",
        "run": "r",
        "as_of": datetime(2026, 3, 1, tzinfo=UTC),
        "kind": TriggerKind.MANUAL,
        "reason": "because",
        "requested_by": "me",
        "force_retrain": False,
        "spec_digest": "0" * 64,
        "opened_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return RunContext(**{**facts, **changes})


def test_records_are_frozen_strict_and_keep_time_in_utc() -> None:
    record = run(as_of=datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert record.as_of == datetime(2026, 3, 1, tzinfo=UTC)
    assert record.as_of.tzinfo is UTC
    assert RunContext.model_validate_json(record.model_dump_json()) == record
    with pytest.raises(ValidationError, match="frozen"):
        record.model = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        run(colour="red")
    with pytest.raises(ValidationError, match="has no time zone"):
        run(as_of=datetime(2026, 3, 1))


def test_a_record_with_an_infinite_measurement_still_has_a_digest() -> None:
    """The verdict about it is ``failed``, and even that must be storable."""
    measurement = Measurement(
        metric="log_loss", slice=None, outcome="failed", sentence="inf", observed=math.inf, limit=1.0, comparator="<="
    )
    verdict = GateVerdict(gate="g", outcome="failed", reason="inf", mode=None, measurements=(measurement,))
    assert len(verdict.record_digest) == 64
    assert GateVerdict.model_validate_json(verdict.model_dump_json()).measurements[0].observed == math.inf
