"""The incident order on the page: what was looked at, what changed, what to do; for whoever may read the model."""

from __future__ import annotations

from tests.web.conftest import MODEL, House

from gauntlet.core.records.incident import Remedy, Triage
from gauntlet.core.records.monitoring import Alert, Layer, Severity


def test_an_incident_is_looked_at_in_order_and_nothing_is_changed(house: House) -> None:
    at = house.clock.moment
    facts = {"model": MODEL, "severity": Severity.PAGE, "looks": 1, "seen_at": at, "since": at}
    alert = Alert(**facts, layer=Layer.DATA, key="data.volume", sentence="half of the rows are missing")
    house.services.records.put(f"{MODEL}/alerts", alert, alert.key)
    before = len(house.services.audit.entries())
    found = Triage.model_validate(house.get("/triage").json())
    assert [alert.key for alert in found.alerts] == ["data.volume"]
    assert found.since == at
    assert len(found.steps) == 3
    assert all(step.answer for step in found.steps)
    assert Remedy.FEED in [advice.remedy for advice in found.advice]
    assert len(house.services.audit.entries()) == before


def test_where_nothing_is_wrong_it_says_so_or_what_could_not_be_asked(empty_house: House) -> None:
    found = Triage.model_validate(empty_house.get("/triage").json())
    assert (found.alerts, found.since) == ((), None)
    assert found.advice
