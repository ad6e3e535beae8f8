"""Each fault raises exactly its alert, once, at the right layer, and resolves; a calm fortnight raises none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.stages.monitoring.conftest import DAY, HOUR, MODEL, TRAINED, Fault, Production, news, write_revenue

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.feedback import SliceAudit
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, MessageKind, Severity
from gauntlet.core.slice_symptoms import key_of
from gauntlet.core.specs.monitoring import SliceAuditSection
from gauntlet.stages.audit_slices import audit_slices

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
NOON = TRAINED + DAY + 11 * HOUR


def set_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with other values; as it is where a caller did not ask for the column."""
    if name not in table.column_names:
        return table
    place = table.column_names.index(name)
    return table.set_column(place, name, pc.cast(values, table.schema.field(name).type))


def nulls(share: float, name: str) -> Any:
    def change(table: pa.Table) -> pa.Table:
        if name not in table.column_names:
            return table
        kept = np.random.default_rng(3).random(table.num_rows) >= share
        return set_column(table, name, pa.array(table[name].to_numpy(zero_copy_only=False), mask=~kept))

    return change


def in_cents(table: pa.Table) -> pa.Table:
    if "income" not in table.column_names:
        return table
    return set_column(table, "income", pc.multiply(table["income"], 100.0))


def shuffled(table: pa.Table) -> pa.Table:
    if "defaulted" not in table.column_names:
        return table
    order = np.random.default_rng(5).permutation(table.num_rows)
    return set_column(table, "defaulted", table["defaulted"].take(pa.array(order)))


def story(production: Production, faults: list[Fault], days: int) -> list[Any]:
    production.faults.extend(faults)
    return production.watch(NOON, NOON + days * DAY, DAY)


def alerts(production: Production) -> dict[str, Alert]:
    return production.services.records.named(f"{MODEL}/alerts", Alert)


@pytest.mark.parametrize("days", [5, pytest.param(14, marks=pytest.mark.soak)])
def test_calm_days_raise_nothing(production: Production, days: int) -> None:
    rounds = story(production, [], days)
    assert news(rounds) == [], alerts(production)
    assert production.pager.told == []
    assert {each.outcome for each in rounds} == {Outcome.PASSED}
    looked = {
        layer: production.services.records.newest(MODEL, LayerReport, name=layer.value)[0].outcome for layer in Layer
    }
    assert looked == dict.fromkeys(Layer, Outcome.PASSED), "every layer was really looked at"


def exactly(production: Production, rounds: list[Any], *expected: tuple[Layer, str]) -> None:
    """One message by each key's layer, in this order, and one when it is gone; nothing else."""
    told = news(rounds)
    shape = [step for layer, _ in expected for step in ((MessageKind.RAISED, layer), (MessageKind.RESOLVED, layer))]
    seen = {name: alert.sentence for name, alert in alerts(production).items()}
    assert [(kind, which) for kind, which, _ in told] == shape, (told, seen)
    raised = [keys for kind, _, keys in told if kind is MessageKind.RAISED]
    for (_, key), keys in zip(expected, raised, strict=True):
        assert key in keys, (keys, seen)
    assert not any(alert.open for alert in alerts(production).values())


def at(day: int) -> Any:
    """Noon of a day of the story: when it is looked at."""
    return NOON + day * DAY


def test_each_fault_of_the_inputs_is_one_alert_of_the_data_layer(production: Production) -> None:
    lost = Fault(at(0), at(1), warehouse=nulls(0.3, "bureau_score"), sent=nulls(0.3, "bureau_score"))
    rounds = story(production, [lost, Fault(at(4), at(5), sent=in_cents)], 8)
    exactly(production, rounds, (Layer.DATA, "data.missing_rate.bureau_score"), (Layer.DATA, "data.skew.income"))


@pytest.mark.soak
def test_labels_that_say_something_else_are_a_finding_of_the_model_layer(production: Production) -> None:
    rounds = story(production, [Fault(at(-2), at(3), warehouse=shuffled)], 14)
    assert {layer for _, layer, _ in news(rounds)} == {Layer.MODEL}, news(rounds)
    raised = [keys for kind, _, keys in news(rounds) if kind is MessageKind.RAISED]
    told = [key for keys in raised for key in keys]
    assert len(told) == len(set(told)), "each is told once, however many looks saw it"
    assert any(key.startswith("model.performance.source") for key in raised[0])
    assert any(key.startswith("model.performance.served") for key in told), "what was answered matures two days later"
    assert not any(alert.open for alert in alerts(production).values())


def test_each_fault_of_service_product_and_business_is_one_alert_of_its_layer(production: Production) -> None:
    def fails(row: dict[str, Any], place: int) -> dict[str, Any]:
        return row | {"status": "error"} if place % 10 == 0 else row

    def slow(row: dict[str, Any], _place: int) -> dict[str, Any]:
        return row | {"latency_us": row["latency_us"] * 300}

    def declines(row: dict[str, Any], _place: int) -> dict[str, Any]:
        return row | {"decision": 1}

    write_revenue(production.revenue, {11: 9_000.0})
    faults = [
        Fault(at(1) - 6 * HOUR, at(1), answers=fails),
        Fault(at(4) - 6 * HOUR, at(4), answers=slow),
        Fault(at(7) - DAY, at(7), answers=declines),
        Fault(at(13) - 6 * HOUR, at(13), answers=lambda _row, _place: None),
    ]
    exactly(
        production,
        story(production, faults, 15),
        (Layer.SERVICE, "service.errors"),
        (Layer.SERVICE, "service.latency"),
        (Layer.PRODUCT, "product.approval_rate"),
        (Layer.BUSINESS, "business.revenue"),
        (Layer.SERVICE, "service.throughput"),
    )


def test_a_server_that_does_not_report_is_a_page_and_resolves_nothing_else(production: Production) -> None:
    production.look(NOON)
    production.server.workers = 0
    told = news([production.look(NOON + hour * HOUR) for hour in (1, 2)])
    assert told == [(MessageKind.RAISED, Layer.SERVICE, ("service.unseen",))]


def test_alerts_are_kept_when_nobody_can_be_told(production: Production) -> None:
    production.faults.append(
        Fault(NOON, NOON + 2 * DAY, warehouse=nulls(0.3, "bureau_score"), sent=nulls(0.3, "bureau_score"))
    )
    production.pager.broken = True
    with pytest.raises(InfrastructureError, match="the pager is broken"):
        production.look(NOON + DAY)
    assert alerts(production)["data.missing_rate.bureau_score"].open


def test_a_task_that_is_cleared_says_the_same_and_tells_nobody_twice(production: Production) -> None:
    production.faults.append(
        Fault(NOON, NOON + 2 * DAY, warehouse=nulls(0.3, "bureau_score"), sent=nulls(0.3, "bureau_score"))
    )
    first = production.look(NOON + DAY)
    told = len(production.pager.told)
    assert told == 1
    assert production.look(NOON + DAY) == first
    assert len(production.pager.told) == told


def weekly(production: Production, at: Any) -> SliceAudit:
    production.clock.moment = at
    audit = audit_slices(production.services, MODEL)
    assert audit is not None
    return audit


def unlucky_in(region: str, share: float) -> Any:
    """From then on a share of the good outcomes of one region turns bad; nothing about the applications tells."""

    def change(table: pa.Table) -> pa.Table:
        if "defaulted" not in table.column_names or "region" not in table.column_names:
            return table
        struck = np.asarray(pc.equal(table["region"], region)) & (np.random.default_rng(5).random(len(table)) < share)
        known = struck & np.asarray(table["defaulted"].is_valid())
        return set_column(table, "defaulted", pc.if_else(pa.array(known), 1, table["defaulted"]))

    return change


def test_a_weak_slice_is_audited_and_raised_by_the_next_look(production: Production) -> None:
    """The weekly audit is quiet on calm days, and names the region that has gone bad since."""
    production.services = replace(production.services, specs=Specs(production, {"window": 8 * DAY}))
    bad = NOON + 7 * DAY
    production.faults.append(Fault(bad, bad + 7 * DAY, warehouse=unlucky_in("north", 0.5)))
    calm = weekly(production, bad)
    assert calm.failing == (), [one.sentence for one in calm.failing]
    assert weekly(production, bad + 3 * DAY) == calm, "not due yet"
    assert calm.labelled > 2000
    assert {"new_customer=false", "new_customer=true", "gender=female"} <= {one.name for one in calm.slices}
    told = weekly(production, bad + 8 * DAY)
    assert "region" in {name for one in told.failing for name in one.features}, [one.sentence for one in told.slices]
    (message,) = [one for one in production.look(bad + 8 * DAY + HOUR).sent if "model.slice" in " ".join(one.keys)]
    assert {key_of(one) for one in told.failing} <= set(message.keys)
    assert (message.layer, message.severity) == (Layer.MODEL, Severity.WARNING)


class Specs:
    """The specs, with another slice audit."""

    def __init__(self, production: Production, audit: dict[str, Any]) -> None:
        spec = production.services.specs.get(MODEL)
        section = spec.monitoring.model_copy(update={"slice_audit": SliceAuditSection().model_copy(update=audit)})
        self.spec = spec.model_copy(update={"monitoring": section})

    def get(self, _model: str) -> Any:
        return self.spec
