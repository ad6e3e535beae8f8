"""The page of a check: ranked, drawn, with its past, and with the sentence of each verdict."""

from __future__ import annotations

import html
import re

import pytest
from tests.stages.drift.conftest import DAY, START, Bench, portfolio

from gauntlet.core.records.drift import DriftReport
from gauntlet.stages.check_drift import check_drift


def page_of(bench: Bench, report: DriftReport) -> str:
    assert report.page_uri is not None
    assert report.page_sha256 is not None
    return bench.services.blobs.fetch(report.page_uri, report.page_sha256).read_text(encoding="utf-8")


@pytest.mark.usefixtures("champion")
def test_features_are_ranked_and_each_has_its_sentence_and_both_distributions(bench: Bench) -> None:
    bench.source.table = portfolio(3000, 2, income=0.7)
    report = check_drift(bench.services, bench.run(START))
    page = page_of(bench, report)
    shown = re.findall(r'<summary><span class="name">([^<]+)</span>', page)
    assert shown == [one.feature for one in report.features if one.segment is None]
    assert shown[0] == "income"
    text = html.unescape(page)
    for one in report.features:
        assert one.sentence in text
        for statistic in one.statistics:
            assert statistic.sentence in text
    for one in shown:
        drawing = re.search(rf'aria-label="shares of {one}, reference and current">(.*?)</svg>', page, re.DOTALL)
        assert drawing is not None
        assert drawing[1].count('class="r"') == drawing[1].count('class="c"') >= 2
    for found in (report.joint, report.prediction, report.label, report.domain):
        assert found is None or found.sentence in text
    assert report.reason in text
    assert len(page.encode()) < 500_000


@pytest.mark.usefixtures("champion")
def test_the_strip_shows_every_earlier_check_of_the_champion_oldest_first(bench: Bench) -> None:
    incomes = [1.0, 0.7, 1.0]
    for night, income in enumerate(incomes):
        bench.source.table = portfolio(3000, 2 + night, START + night * DAY, income=income)
        check_drift(bench.services, bench.run(START + night * DAY))
    bench.source.table = portfolio(3000, 9, START + 3 * DAY)
    page = page_of(bench, check_drift(bench.services, bench.run(START + 3 * DAY)))
    row = page[page.index('<span class="name">income</span>') :]
    strip = re.search(r'aria-label="earlier checks">(.*?)</svg>', row, re.DOTALL)
    assert strip is not None
    outcomes = re.findall(r'<rect class="(\w+)"', strip[1])
    assert [one == "failed" for one in outcomes] == [income < 1.0 for income in incomes]
    moments = re.findall(r"<title>([\d-]+) ", strip[1])
    assert moments == [f"{START + night * DAY:%Y-%m-%d}" for night in range(3)]
