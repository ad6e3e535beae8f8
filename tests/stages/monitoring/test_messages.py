"""A message is owed until somebody has taken it, and taken once; every message leads somewhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.addresses import Addresses, dashboard, runbook
from gauntlet.core.errors import InfrastructureError, PartlyTold
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.monitoring import AlertRound, Layer, LayerReport, Severity, Symptom
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.specs.monitoring import AlertsSection
from gauntlet.stages.raise_alerts import raise_alerts
from gauntlet.stages.tell import tell

MODEL = "m"
BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
OWNER = SimpleNamespace(team="lending", email="l@example.com", runbook="docs/runbook.md")


class Killed(BaseException):
    """The task's end, at any line."""


@dataclass
class Pager:
    fails: type[BaseException] | None = None
    told: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, body: str, *, severity: str, labels: Any) -> None:
        if self.fails is Killed or self.fails is InfrastructureError:
            raise self.fails("no route")
        self.told.append((subject, body))
        if self.fails:
            raise self.fails("one of two")


@dataclass
class Beats:
    count: int = 0

    def beat(self) -> None:
        self.count += 1


@dataclass
class Watch:
    services: Services
    pager: Pager
    beats: Beats
    clock: SimpleNamespace
    hour: int = 0

    def look(self, *, broken: bool = True, again: bool = False) -> AlertRound:
        self.hour += not again
        self.clock.moment = BEGIN + timedelta(hours=self.hour)
        run = RunContext(
            model=MODEL,
            run=f"look-{self.hour}",
            as_of=self.clock.moment,
            kind=TriggerKind.SCHEDULE,
            reason="its time",
            requested_by="airflow",
            force_retrain=False,
            spec_digest="s",
            opened_at=self.clock.moment,
        )
        for layer in Layer:
            failing = broken and layer is Layer.DATA
            facts = {"layer": layer, "outcome": Outcome.FAILED if failing else Outcome.PASSED}
            wrong = Symptom(key="data.volume", severity=Severity.PAGE, sentence="rows are gone", **facts)
            report = LayerReport(
                **facts,
                model=MODEL,
                run=run.run,
                reason="so",
                symptoms=(wrong,) if failing else (),
                since=None,
                until=run.as_of,
                at=run.as_of,
            )
            self.services.records.put(run.key, report, layer.value)
        return raise_alerts(self.services, run)


@pytest.fixture
def watch() -> Watch:
    clock = SimpleNamespace(moment=BEGIN)
    clock.now = lambda: clock.moment
    store, pager, beats = MemoryStore(clock), Pager(), Beats()
    spec = SimpleNamespace(
        model=MODEL, owner=OWNER, alerts=AlertsSection(), schedule=SimpleNamespace(timezone="Europe/Berlin")
    )
    nobody: Any = None
    services = Services(
        clock=clock,
        specs=SimpleNamespace(get=lambda _: spec),
        records=store.records,
        audit=store.audit,
        routing=store.routing,
        ledger=store.ledger,
        blobs=nobody,
        sources={},
        contract=nobody,
        registry=nobody,
        server=nobody,
        journal=nobody,
        notifiers=(pager,),
        scratch=nobody,
        heartbeat=beats,
        addresses=Addresses("http://g/d/serving", "http://a/"),
    )
    return Watch(services, pager, beats, clock)


def test_a_message_that_nobody_took_is_sent_by_the_next_look_and_only_once(watch: Watch) -> None:
    watch.pager.fails = InfrastructureError
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="no route"):
            watch.look()
    assert watch.beats.count == 0, "a watch that cannot call lets the dead man's switch speak"
    watch.pager.fails = None
    assert watch.look().outcome is Outcome.FAILED
    watch.look()
    assert [subject for subject, _ in watch.pager.told] == ["m data: rows are gone"]
    assert watch.beats.count == 2
    assert not any(each.owed or each.unsent for each in watch.services.records.newest(MODEL, AlertRound, 9))


def test_a_retry_of_the_task_sends_what_its_first_try_could_not(watch: Watch) -> None:
    watch.pager.fails = InfrastructureError
    with pytest.raises(InfrastructureError):
        watch.look()
    watch.pager.fails = None
    done = watch.look(again=True)
    assert (len(watch.pager.told), done.owed) == (1, ())
    assert watch.look(again=True) == done
    assert len(watch.pager.told) == 1


def test_a_task_killed_while_it_sends_has_lost_nothing(watch: Watch) -> None:
    watch.pager.fails = Killed
    with pytest.raises(Killed):
        watch.look()
    watch.pager.fails = None
    watch.look(again=True)
    assert len(watch.pager.told) == 1


def test_raised_and_resolved_while_nobody_could_be_told_are_told_in_order(watch: Watch) -> None:
    watch.pager.fails = InfrastructureError
    for broken in (True, False, False):
        with pytest.raises(InfrastructureError):
            watch.look(broken=broken)
    watch.pager.fails = None
    watch.look(broken=False)
    assert [subject for subject, _ in watch.pager.told] == ["m data: rows are gone", "m data: resolved: rows are gone"]


@pytest.mark.parametrize("both", [True, False])
def test_what_somebody_took_is_not_sent_again_because_others_did_not(watch: Watch, both: bool) -> None:
    watch.pager.fails = PartlyTold if both else None
    deaf = () if both else (Pager(InfrastructureError),)
    watch.services = replace(watch.services, notifiers=(watch.pager, *deaf))
    with pytest.raises(InfrastructureError):
        watch.look()
    watch.look()
    assert len(watch.pager.told) == 1


def test_every_message_leads_to_a_dashboard_and_to_its_section_of_the_runbook(watch: Watch) -> None:
    watch.look()
    about = {"dag": "d", "run": "r", "kind": "late"}
    tell(watch.services, MODEL, "m__retrain is late", "log: x", severity="warning", about=about)
    (_, alert), (_, late) = watch.pager.told
    assert "Dashboard: http://g/d/serving?var-model=m" in alert.splitlines()
    assert "Runbook: http://a/gauntlet/api/models/m/runbook#alert-datavolume" in alert.splitlines()
    assert late.splitlines()[0] == "log: x"
    assert "Dashboard: http://g/d/serving?var-model=m" in late.splitlines()
    assert "Runbook: http://a/gauntlet/api/models/m/runbook" in late.splitlines()


def test_addresses_fall_back_to_what_there_is(watch: Watch) -> None:
    spec: Any = watch.services.specs.get(MODEL)
    assert dashboard(spec, Addresses()) is None
    assert dashboard(spec, Addresses(airflow="http://a")) == "http://a/plugin/gauntlet/gauntlet/?dag=m__monitor"
    assert runbook(spec, Addresses()) == "docs/runbook.md"
    own = SimpleNamespace(model=MODEL, alerts=AlertsSection(dashboard="http://own"), owner=OWNER)
    assert dashboard(own, watch.services.addresses) == "http://own"
    elsewhere = SimpleNamespace(owner=SimpleNamespace(runbook="https://wiki/m"), model=MODEL)
    assert runbook(elsewhere, watch.services.addresses) == "https://wiki/m"
