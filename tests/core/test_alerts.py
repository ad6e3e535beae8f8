"""One page per symptom until it clears or worsens, none for its consequences, none lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core.alerts import fold
from gauntlet.core.layers.finding import Found, merged
from gauntlet.core.layers.outcomes import unseen_metric, watched
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, Message, MessageKind, Severity, Symptom
from gauntlet.core.specs.freeze import Weekly
from gauntlet.core.specs.monitoring import AlertsSection, WatchedMetric

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAGE, WARNING = Severity.PAGE, Severity.WARNING


def symptom(layer: Layer, key: str, severity: Severity = PAGE, beyond: float | None = 1.5) -> Symptom:
    return Symptom(
        key=f"{layer}.{key}",
        layer=layer,
        severity=severity,
        outcome=Outcome.FAILED,
        sentence=f"{key} is wrong",
        beyond=beyond,
    )


def report(layer: Layer, *symptoms: Symptom, outcome: Outcome | None = None) -> LayerReport:
    return LayerReport(
        model="m",
        run="r",
        layer=layer,
        outcome=outcome or (Outcome.FAILED if symptoms else Outcome.PASSED),
        reason="so",
        symptoms=symptoms,
        since=None,
        until=START,
        at=START,
    )


class Watch:
    """Looks one after another, an hour apart, with what was told in each."""

    def __init__(self, policy: AlertsSection | None = None, zone: str = "UTC") -> None:
        self.policy, self.zone = policy or AlertsSection(), zone
        self.alerts: dict[str, Alert] = {}
        self.now = START
        self.champion_since: datetime | None = None

    def look(self, *reports: LayerReport) -> tuple[Message, ...]:
        folded = fold(
            "m",
            self.alerts.values(),
            reports,
            self.policy,
            self.now,
            zone=self.zone,
            champion_since=self.champion_since,
        )
        self.alerts.update({alert.key: alert for alert in folded.alerts})
        self.now += HOUR
        return folded.messages

    @property
    def open(self) -> set[str]:
        return {alert.key for alert in self.alerts.values() if alert.open}


def kinds(messages: Sequence[Message]) -> list[MessageKind]:
    return [message.kind for message in messages]


def test_a_symptom_is_told_once_and_once_when_it_is_gone() -> None:
    watch = Watch()
    told = [watch.look(report(Layer.DATA, symptom(Layer.DATA, "volume"))) for _ in range(5)]
    told += [watch.look(report(Layer.DATA)) for _ in range(5)]
    assert [kinds(each) for each in told] == [
        [MessageKind.RAISED],
        [],
        [],
        [],
        [],
        [],
        [MessageKind.RESOLVED],
        [],
        [],
        [],
    ]
    assert watch.open == set()


def test_a_symptom_that_comes_and_goes_between_looks_stays_one_alert() -> None:
    watch = Watch()
    for number in range(10):
        found = [symptom(Layer.DATA, "volume")] if number % 2 == 0 else []
        messages = watch.look(report(Layer.DATA, *found))
        assert kinds(messages) == ([MessageKind.RAISED] if number == 0 else [])
    assert watch.alerts["data.volume"].since == START


def test_twice_as_far_beyond_its_limit_is_told_again_and_once() -> None:
    watch = Watch()
    told = [watch.look(report(Layer.DATA, symptom(Layer.DATA, "volume", beyond=far))) for far in (1.5, 2.9, 3.0, 5.9)]
    assert [kinds(each) for each in told] == [[MessageKind.RAISED], [], [MessageKind.WORSE], []]


def test_a_warning_that_becomes_a_page_is_told_again() -> None:
    watch = Watch()
    watch.look(report(Layer.DATA, symptom(Layer.DATA, "volume", WARNING)))
    (message,) = watch.look(report(Layer.DATA, symptom(Layer.DATA, "volume", PAGE)))
    assert (message.kind, message.severity) == (MessageKind.WORSE, PAGE)


def test_what_is_wrong_below_explains_what_is_wrong_above() -> None:
    watch = Watch()
    broken = report(Layer.DATA, symptom(Layer.DATA, "missing_rate.income"))
    worse = report(Layer.MODEL, symptom(Layer.MODEL, "performance.source"))
    assert [message.layer for message in watch.look(broken, worse)] == [Layer.DATA]
    assert watch.alerts["model.performance.source"].cause == "data.missing_rate.income"
    mended = report(Layer.DATA)
    assert watch.look(mended, worse) == ()
    told = watch.look(mended, worse)
    assert [(message.layer, message.kind) for message in told] == [
        (Layer.DATA, MessageKind.RESOLVED),
        (Layer.MODEL, MessageKind.RAISED),
    ], "a consequence that outlives its cause is told"


def test_a_consequence_that_goes_with_its_cause_is_never_told() -> None:
    watch = Watch()
    watch.look(
        report(Layer.SERVICE, symptom(Layer.SERVICE, "errors")), report(Layer.BUSINESS, symptom(Layer.BUSINESS, "x"))
    )
    clean = (report(Layer.SERVICE), report(Layer.BUSINESS))
    told = [*watch.look(*clean), *watch.look(*clean)]
    assert [message.layer for message in told] == [Layer.SERVICE]
    assert watch.open == set()


def test_a_younger_cause_explains_nothing() -> None:
    watch = Watch()
    assert len(watch.look(report(Layer.MODEL, symptom(Layer.MODEL, "performance.source")))) == 1
    watch.look(
        report(Layer.DATA, symptom(Layer.DATA, "volume")),
        report(Layer.MODEL, symptom(Layer.MODEL, "performance.source")),
    )
    assert watch.alerts["model.performance.source"].cause is None


@pytest.mark.parametrize("key", ["performance.served", "performance.served.region=north"])
def test_a_look_without_the_evidence_resolves_nothing(key: str) -> None:
    watch = Watch()
    watch.look(report(Layer.MODEL, symptom(Layer.MODEL, key)))
    blind = report(Layer.MODEL).model_copy(update={"unjudged": ("model.performance.served", "model.label")})
    assert [watch.look(blind) for _ in range(10)] == [()] * 10
    assert watch.open == {f"model.{key}"}
    said = [message.kind for _ in range(2) for message in watch.look(report(Layer.MODEL))]
    assert said == [MessageKind.RESOLVED]


def test_what_was_seen_of_an_earlier_champion_clears_without_evidence_about_the_present_one() -> None:
    watch = Watch()
    watch.look(report(Layer.MODEL, symptom(Layer.MODEL, "performance.served")))
    watch.champion_since = watch.now
    blind = report(Layer.MODEL).model_copy(update={"unjudged": ("model.performance.served",)})
    assert [message.kind for _ in range(2) for message in watch.look(blind)] == [MessageKind.RESOLVED]


def test_a_layer_that_could_not_be_looked_at_resolves_nothing() -> None:
    watch = Watch()
    watch.look(report(Layer.DATA, symptom(Layer.DATA, "volume")))
    for _ in range(4):
        watch.look(report(Layer.DATA, symptom(Layer.DATA, "unseen"), outcome=Outcome.ERROR))
    assert watch.open == {"data.volume", "data.unseen"}
    for outcome in (Outcome.INCONCLUSIVE,) * 3:
        watch.look(report(Layer.DATA, outcome=outcome))
    assert watch.open == {"data.volume", "data.unseen"}


def test_a_quiet_hour_resolves_what_it_could_judge_and_nothing_else() -> None:
    watch = Watch()
    watch.look(report(Layer.SERVICE, symptom(Layer.SERVICE, "errors"), symptom(Layer.SERVICE, "agreement")))
    quiet = report(Layer.SERVICE, outcome=Outcome.INCONCLUSIVE)
    quiet = quiet.model_copy(update={"unjudged": ("service.errors", "service.latency")})
    for _ in range(5):
        watch.look(quiet)
    assert watch.open == {"service.errors"}


def test_warnings_wait_through_quiet_hours_and_pages_do_not() -> None:
    quiet = AlertsSection(quiet=(Weekly(since=time(13), until=time(15)),))
    watch = Watch(quiet, "Europe/Berlin")  # 12:00 UTC is 13:00 there
    both = report(Layer.DATA, symptom(Layer.DATA, "volume"), symptom(Layer.DATA, "drift", WARNING))
    told = [watch.look(both) for _ in range(4)]
    assert [[message.severity for message in each] for each in told] == [[PAGE], [], [WARNING], []]


def test_symptoms_with_the_same_news_come_in_one_message() -> None:
    many = [symptom(Layer.DATA, f"missing_rate.x{number}") for number in range(20)]
    (message,) = Watch().look(report(Layer.DATA, *many))
    assert len(message.keys) == 20
    assert message.subject.endswith("and 19 more")
    assert all(each.key in message.body for each in many)


def test_a_message_leads_to_the_dashboard_and_to_each_symptoms_own_section() -> None:
    found = [symptom(Layer.DATA, key) for key in ("volume", "missing_rate.income", "missing_rate.amount")]
    links = ["Dashboard: http://d", "What to do: gauntlet triage m"]
    folded = fold("m", [], [report(Layer.DATA, *found)], AlertsSection(), START, links=links, runbook="docs/runbook.md")
    assert folded.messages[0].body.splitlines()[-4:] == [
        *links,
        "Runbook: docs/runbook.md#alert-datamissing_rate",
        "Runbook: docs/runbook.md#alert-datavolume",
    ]


LOOKS = st.lists(
    st.tuples(*[
        st.tuples(
            st.sets(st.sampled_from("abc")),
            st.sampled_from([Outcome.PASSED, Outcome.ERROR, Outcome.INCONCLUSIVE]),
            st.sampled_from([PAGE, WARNING]),
        )
        for _ in Layer
    ]),
    max_size=12,
)


def reports_of(look: tuple[tuple[set[str], Outcome, Severity], ...]) -> list[LayerReport]:
    return [
        report(layer, *[symptom(layer, key, severity) for key in sorted(keys)], outcome=None if keys else outcome)
        for layer, (keys, outcome, severity) in zip(Layer, look, strict=True)
    ]


@settings(max_examples=150)
@given(LOOKS)
def test_whatever_comes_nothing_is_lost_and_nothing_is_told_twice(
    looks: list[tuple[tuple[set[str], Outcome, Severity], ...]],
) -> None:
    watch = Watch()
    told: dict[str, list[MessageKind]] = {}
    for look in looks:
        reports = reports_of(look)
        for key, kind in [(key, message.kind) for message in watch.look(*reports) for key in message.keys]:
            told.setdefault(key, []).append(kind)
        assert {failing.key for each in reports for failing in each.failing} <= watch.open, "what is wrong stands"
    for key, news in told.items():
        assert news[0] is MessageKind.RAISED, key
        for one, two in pairwise(news):
            assert not (one is MessageKind.RAISED and two is MessageKind.RAISED), f"{key} was told twice"
            assert not (one is MessageKind.RESOLVED and two is not MessageKind.RAISED), key
    for alert in watch.alerts.values():
        if alert.open and alert.cause is None:
            assert alert.sent_at is not None, f"{alert.key} stands and nobody knows"


@settings(max_examples=50)
@given(LOOKS)
def test_the_same_looks_give_the_same_alerts(looks: list[tuple[tuple[set[str], Outcome, Severity], ...]]) -> None:
    def run() -> tuple[dict[str, Alert], list[Message]]:
        watch, messages = Watch(), []
        for look in looks:
            messages += watch.look(*reports_of(look))
        return watch.alerts, messages

    assert run() == run()


@pytest.mark.parametrize("layer", list(Layer))
def test_every_layer_can_be_told(layer: Layer) -> None:
    (message,) = Watch().look(report(layer, symptom(layer, "x")))
    assert message.layer is layer


def test_a_product_metric_without_a_baseline_or_a_value_resolves_nothing_about_it() -> None:
    metric = WatchedMetric(sql="SELECT 1 AS value", least=3)
    usual, other = [10.0, 11.0, 9.0, 10.0], watched(Layer.PRODUCT, "visits", metric, 10.0, [10.0, 11.0, 9.0])

    def sales(found: Found) -> LayerReport:
        whole = merged([found, other])
        told = report(Layer.PRODUCT, *whole.symptoms, outcome=whole.outcome)
        return told.model_copy(update={"unjudged": whole.unjudged})

    watch = Watch()
    watch.look(sales(watched(Layer.PRODUCT, "sales", metric, 1.0, usual)))
    assert watch.open == {"product.sales"}
    for _ in range(4):
        watch.look(sales(watched(Layer.PRODUCT, "sales", metric, 1.0, [])))
    assert watch.open == {"product.sales"}, "its usual values have aged out: nobody knows whether it is well"
    for _ in range(4):
        watch.look(sales(unseen_metric(Layer.PRODUCT, "sales", "no table", "page")))
    assert watch.open == {"product.sales", "product.unseen.sales"}
    for _ in range(4):
        watch.look(sales(watched(Layer.PRODUCT, "sales", metric, 1.0, [])))
    assert watch.open == {"product.sales"}, "it can be computed again"
    for _ in range(4):
        watch.look(sales(watched(Layer.PRODUCT, "sales", metric, 10.0, usual)))
    assert watch.open == set()
