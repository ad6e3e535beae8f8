"""The first advice is what takes minutes and fits the symptom; nothing is advised when nothing is wrong."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command

from gauntlet.cli.app import app
from gauntlet.core.records.incident import Event, Remedy
from gauntlet.core.records.monitoring import Alert, Layer, Severity
from gauntlet.core.triage import Facts, advise, beside

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def alert(key: str) -> Alert:
    layer = Layer(key.split(".")[0])
    return Alert(
        model="m",
        key=key,
        layer=layer,
        severity=Severity.PAGE,
        sentence=f"{key} is wrong",
        since=START,
        seen_at=START,
        looks=1,
    )


def facts(*keys: str, **others: object) -> Facts:
    plain: dict[str, object] = {
        "model": "m",
        "alerts": tuple(alert(key) for key in keys),
        "champion_since": START - timedelta(days=9),
        "previous": True,
        "canary": False,
        "canary_since": None,
        "golden": True,
        "band": None,
    }
    return Facts.model_validate(plain | others)


def remedies(found: Facts) -> list[Remedy]:
    return [advice.remedy for advice in advise(found)]


def test_nothing_wrong_nothing_to_do() -> None:
    assert remedies(facts()) == [Remedy.NOTHING]


def test_a_new_champion_is_the_first_suspect() -> None:
    young = START - timedelta(hours=2)
    for key in ("service.errors", "service.latency", "model.performance.served", "business.revenue"):
        assert remedies(facts(key, champion_since=young))[0] is Remedy.ROLLBACK
    assert Remedy.ROLLBACK not in remedies(facts("service.errors"))
    assert Remedy.ROLLBACK not in remedies(facts("service.errors", champion_since=young, previous=False))


def test_bad_inputs_are_no_reason_to_roll_back() -> None:
    young = START - timedelta(hours=2)
    assert remedies(facts("data.missing_rate.income", champion_since=young)) == [Remedy.FEED]


def test_a_running_canary_goes_first() -> None:
    found = remedies(facts("service.errors", canary=True, canary_since=START - timedelta(minutes=30)))
    assert found[0] is Remedy.ABORT


def test_a_change_that_was_recorded_just_after_the_look_is_a_suspect_too() -> None:
    assert Remedy.ROLLBACK in remedies(facts("model.prediction", champion_since=START + timedelta(minutes=2)))
    assert Remedy.ROLLBACK not in remedies(facts("model.prediction", champion_since=START + timedelta(minutes=20)))


def test_a_server_that_serves_something_else_is_rolled_back_even_without_an_alert() -> None:
    assert remedies(facts(golden=False))[0] is Remedy.ROLLBACK
    assert remedies(facts(golden=None)) == [Remedy.NOTHING]


def test_a_service_that_does_not_answer_is_never_nothing_to_do() -> None:
    down = "could not be looked at: the model server does not answer"
    found = advise(facts(golden=None, service=down))
    assert [(advice.remedy, advice.reason) for advice in found] == [(Remedy.SERVICE, down)]
    assert Remedy.SERVICE in remedies(facts("model.performance.served", service=down))


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("model.calibration.served", Remedy.RECALIBRATE),
        ("model.performance.source", Remedy.RETRAIN),
        ("data.drift", Remedy.RETRAIN),
        ("data.skew.income", Remedy.FEED),
        ("data.volume", Remedy.FEED),
        ("data.mean_shift.income", Remedy.FEED),
        ("data.sigma_ratio.income", Remedy.FEED),
        ("data.range.income", Remedy.FEED),
        ("model.prediction", Remedy.LOOK),
        ("model.label", Remedy.LOOK),
        ("product.approvals", Remedy.LOOK),
        ("service.latency", Remedy.SERVICE),
        ("model.unseen", Remedy.SERVICE),
    ],
)
def test_each_symptom_has_its_remedy(key: str, remedy: Remedy) -> None:
    assert remedies(facts(key)) == [remedy]


def test_the_threshold_moves_only_in_a_band_that_was_approved() -> None:
    assert remedies(facts("business.approvals", band=(0.1, 0.2))) == [Remedy.THRESHOLD]
    assert remedies(facts("business.approvals")) == [Remedy.LOOK]


EVERYTHING = facts(
    "service.errors",
    "data.volume",
    "model.calibration.served",
    "model.performance.source",
    "business.x",
    champion_since=START,
    canary=True,
    canary_since=START,
    band=(0.1, 0.2),
    golden=False,
)


def test_the_quickest_comes_first_and_nothing_twice() -> None:
    assert remedies(EVERYTHING) == [remedy for remedy in Remedy if remedy not in (Remedy.NOTHING, Remedy.LOOK)]


def test_every_advice_is_one_command_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    known = SimpleNamespace(specs=SimpleNamespace(names=lambda: ("m",)))
    monkeypatch.setattr("gauntlet.bootstrap.services", lambda: known)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for advice in (*advise(EVERYTHING), *advise(facts("model.prediction"))):
        assert advice.command is not None
        program, name, *words = shlex.split(advice.command.replace("--to …", "--to 0.15"))
        command = commands[name]
        if name == "line":
            command, words = command.commands[words[0]], words[1:]
        assert program == "gauntlet"
        command.make_context(name, words)  # Raises where an argument or option is wrong or missing.


def test_what_is_done_by_a_dag_is_done_by_one_that_is_there() -> None:
    dags = {advice.remedy: advice.dag for advice in advise(EVERYTHING)}
    assert {remedy for remedy, dag in dags.items() if dag is None} == {Remedy.SERVICE, Remedy.FEED}
    files = {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert {dag.removeprefix("m__") for dag in dags.values() if dag} <= files


def test_events_are_put_beside_the_symptom() -> None:
    def event(minutes: float, *, change: bool) -> Event:
        return Event(at=START + timedelta(minutes=minutes), what="x", who="y", change=change)

    found = beside([event(10, change=True), event(-30, change=True), event(-40, change=False)], START)
    assert [each.seconds_to_symptom for each in found] == [-2400.0, -1800.0, 600.0]
    assert [each.suspect for each in found] == [False, True, False]
