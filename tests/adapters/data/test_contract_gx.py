"""The data contract on Great Expectations: what breaks it is found and named, nothing passes vacuously."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.adapters.data.applications import AS_OF, HOUR, START, applications, replace, spec

from gauntlet.adapters.contract_gx import GreatExpectationsContract
from gauntlet.core.digest import sha256_bytes, sha256_file
from gauntlet.core.errors import SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import ContractReport, DatasetRef


@dataclass
class Checked:
    report: ContractReport
    page: Path

    @property
    def sentences(self) -> list[str]:
        return [result.sentence for result in self.report.failed]


Check = Callable[..., Checked]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Evaluate a contract on a snapshot made of a table."""

    def check(table: pa.Table | None = None, source_columns: tuple[str, ...] = (), **changes: Any) -> Checked:
        table = snapshot() if table is None else table
        path = tmp_path / "snapshot.parquet"
        pq.write_table(table, path)
        dataset = DatasetRef(
            uri=str(path),
            sha256=sha256_file(path),
            rows=table.num_rows,
            columns=tuple(table.column_names),
            size_bytes=path.stat().st_size,
            first_event=START,
            last_event=START + 599 * HOUR,
            as_of=AS_OF,
            window_start=None,
            window_end=AS_OF,
            query="",
            source_columns=source_columns or tuple(table.column_names),
        )
        page = tmp_path / "out" / "contract.html"
        return Checked(
            GreatExpectationsContract(memory_mb=256, threads=2).check(spec(**changes), dataset, path, page), page
        )

    return check


def snapshot(**columns: Any) -> pa.Table:
    table = applications()
    return replace(table, {"row_key": pa.array(range(1000, 1600), pa.uint64()), **columns})


def test_a_good_snapshot_holds(check: Check) -> None:
    report = check().report
    assert (report.outcome, report.failed) == (Outcome.PASSED, ())
    assert report.evaluated == 25
    assert report.reason == f"all {report.evaluated} expectations hold"


@pytest.mark.parametrize(
    ("columns", "contract", "sentence", "observed"),
    [
        ({}, {"contract.rows": [601, None]}, "the table has at least 601 rows", "observed 600"),
        ({}, {"contract.rows": [1, 10]}, "the table has between 1 and 10 rows", "observed 600"),
        (
            {"amount": [-5.0] * 6 + [1.0] * 594},
            {},
            "amount lies at or above 0.0",
            "not so in 6 of 600 rows (1 %)",
        ),
        ({"amount": ["much"] * 600}, {}, "amount is a number", "observed VARCHAR"),
        ({"employed": [0.5] * 600}, {}, "employed is a boolean or 0/1", "observed DOUBLE"),
        ({"region": ["west"] + ["north"] * 599}, {}, "region is one of north, south, east", "1 of 600"),
        ({"income": pa.nulls(600, pa.float64())}, {}, "income is null in at most 0.2 of the rows", "600 of 600"),
        ({"open_loans": pa.nulls(600, pa.int64())}, {}, "open_loans is not null in every row", "600 of 600"),
        ({"defaulted": [2] + [0] * 599}, {}, "defaulted is 0 or 1", "1 of 600"),
        ({"defaulted": pa.array([None] + [0] * 599, pa.int64())}, {}, "defaulted is never null", "1 of 600"),
        ({"id": [1, *range(1, 600)]}, {}, "id is unique", "2 of 600"),
        (
            {},
            {"contract.columns": {"amount": {"mean": [0, 10]}}},
            "the mean of amount lies between 0.0 and 10.0",
            "observed 8",
        ),
        ({}, {"contract.columns": {"customer": {"regex": "^c[0-4]"}}}, "customer matches ^c[0-4]", "of 600"),
        ({}, {"contract.columns": {"customer": {"unique": True}}}, "customer is unique", "600 of 600"),
        (
            {},
            {"contract.columns": {"applied_at": {"maximum": "2026-01-02"}}},
            "applied_at lies at or below 2026-01-02",
            "575 of",
        ),
        (
            {},
            {"contract.columns": {"open_loans": {"maximum": 1, "mostly": 0.9}}},
            "open_loans lies at or below 1.0 in",
            "of 600",
        ),
        ({}, {"contract.columns": {"gone": {}}}, "there is a column gone", "not so"),
        ({}, {"contract.unique_together": [["region", "gender"]]}, "region, gender are unique together", "600 of 600"),
        (
            {"loaded_at": applications().column("settled_at")},
            {"contract.relations": [{"left": "settled_at", "op": "<", "right": "loaded_at"}]},
            "settled_at < loaded_at where both are present",
            "600 of 600",
        ),
        (
            {},
            {"contract.relations": [{"left": "id", "op": "==", "right": "open_loans"}]},
            "id == open_loans where both are present",
            "of 600",
        ),
        ({}, {"contract.freshness": "1h"}, "the newest applied_at is at most 1h older", "observed 2026-01-25"),
    ],
)
def test_what_breaks_the_contract_is_named(
    check: Check, columns: dict[str, Any], contract: dict[str, Any], sentence: str, observed: str
) -> None:
    report = check(snapshot(**columns), **contract).report
    assert report.outcome is Outcome.FAILED
    assert len(report.failed) == 1, [result.sentence for result in report.failed]
    assert report.failed[0].sentence.startswith(sentence)
    assert observed in report.failed[0].observed
    assert sentence in report.reason


@pytest.mark.parametrize(
    "relation", [("applied_at", "<", "loaded_at"), ("loaded_at", ">=", "applied_at"), ("income", "<=", "income")]
)
def test_relations_hold_where_both_are_present(check: Check, relation: tuple[str, str, str]) -> None:
    left, op, right = relation
    assert check(**{"contract.relations": [{"left": left, "op": op, "right": right}]}).report.outcome is Outcome.PASSED


def test_freshness_allows_for_the_label_delay(check: Check) -> None:
    stale = AS_OF - (START + 599 * HOUR)
    hours = stale // timedelta(hours=1)
    assert check(**{"contract.freshness": f"{hours}h"}).report.outcome is Outcome.PASSED
    assert check(**{"contract.freshness": f"{hours - 1}h"}).report.outcome is Outcome.FAILED
    delayed = {"contract.freshness": "24h", "source.label_delay": f"{hours - 24}h"}
    assert check(**delayed).report.outcome is Outcome.PASSED


def test_no_rows_never_pass(check: Check) -> None:
    report = check(snapshot().slice(0, 0)).report
    assert report.outcome is Outcome.FAILED
    assert report.failed[0].sentence == "the table has between 10 and 100000 rows"


def test_columns_of_nulls_never_pass_whatever_is_allowed(check: Check) -> None:
    nothing = {"amount": pa.nulls(600, pa.float64())}
    for contract in (
        {"max_null": 1.0},
        {"max_null": 1.0, "minimum": 0, "mean": [0, 1]},
        {"max_null": 1, "unique": True},
    ):
        assert check(snapshot(**nothing), **{"contract.columns": {"amount": contract}}).report.outcome is Outcome.FAILED


def test_a_column_of_another_type_is_reported_once(check: Check) -> None:
    contract = {"amount": {"minimum": 0, "maximum": 9e9, "mean": [0, 9e9], "unique": False}}
    checked = check(snapshot(amount=["1"] * 600), **{"contract.columns": contract})
    assert checked.sentences == ["amount is a number"]
    assert "more not asked of columns that are missing or of another type" in checked.report.reason


def test_columns_may_have_any_name(check: Check) -> None:
    names = ["at", "order", "capital-gain", "with space", 'quo"te', "Größe", "select"]
    table = snapshot(**{name: [1.0] * 599 + [50.0] for name in names})
    contract = {name: {"type": "number", "maximum": 10, "mean": [0, 2]} for name in names}
    report = check(table, **{"contract.columns": contract}).report
    assert [result.column for result in report.failed] == names
    assert {result.outcome for result in report.failed} == {Outcome.FAILED}


def test_what_cannot_be_evaluated_is_an_error_not_a_pass(check: Check) -> None:
    report = check(**{"contract.columns": {"region": {"regex": "("}}}).report
    assert report.outcome is Outcome.ERROR
    assert "could not be evaluated" in report.failed[0].observed


def test_further_columns_are_refused_when_the_spec_says_so(check: Check) -> None:
    exact = {"contract.exact_columns": True}
    table = snapshot().drop(["unused", "settled_at"])
    known = tuple(name for name in table.column_names if name != "row_key")
    assert check(table, known, **exact).report.outcome is Outcome.PASSED
    checked = check(table, (*known, "surprise"), **exact)
    assert checked.sentences == ["the source has no columns beyond those the spec names"]


def test_the_message_names_ten_with_examples(check: Check) -> None:
    columns = {f"gone_{i}": {} for i in range(14)}
    reason = check(**{"contract.columns": columns}).report.reason
    assert reason.startswith("14 of ")
    assert reason.count("[there is a column") == 10
    assert reason.endswith("; and 4 more")
    report = check(snapshot(amount=[1.0] * 599 + [-7.5])).report
    assert report.failed[0].examples == ("id=600: amount=-7.5",)
    assert "as in id=600: amount=-7.5" in report.reason


def test_without_a_key_examples_are_named_by_row_key(check: Check) -> None:
    report = check(snapshot(amount=[-7.5] + [1.0] * 599), **{"source.columns.key": None}).report
    assert report.failed[0].examples == ("row_key=1000: amount=-7.5",)


def test_values_of_protected_and_personal_columns_appear_nowhere(check: Check) -> None:
    secret = {"gender": ["SECRET-G"] * 600, "customer": ["SECRET-C"] * 600, "amount": [-31337.25] * 600}
    contract = {
        "contract.pii": ["customer", "amount", "id"],
        "contract.columns": {
            "gender": {"values": ["f", "m"]},
            "customer": {"regex": "^c", "unique": True},
            "amount": {"minimum": 0, "mean": [0, 1]},
        },
        "contract.unique_together": [["customer", "region"]],
        "contract.relations": [{"left": "open_loans", "op": "<", "right": "amount"}],
    }
    checked = check(snapshot(**secret), **contract)
    assert len(checked.report.failed) == 7
    files = "".join(path.read_text() for path in checked.page.parent.iterdir())
    told = checked.report.model_dump_json() + files
    for word in ("SECRET", "31337", "id=1"):
        assert word not in told
    assert "600 of 600" in told
    assert "Values of amount, customer, gender, id are withheld" in checked.page.read_text()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_page_is_self_contained_and_escapes(check: Check) -> None:
    checked = check(snapshot(region=["<script>alert(1)</script>"] * 600))
    text = checked.page.read_text()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert "script" not in page.tags
    assert "http" not in text.replace("http-equiv", "")
    assert "&lt;script&gt;" in text


def test_the_suite_is_great_expectations_own(check: Check) -> None:
    checked = check()
    import great_expectations as gx  # once imported by the adapter, which silences its warnings

    suite = checked.page.with_suffix(".suite.json")
    assert checked.report.suite_digest == sha256_bytes(suite.read_bytes())
    document = json.loads(suite.read_text())
    loaded = gx.ExpectationSuite(name=document["name"], expectations=document["expectations"])
    assert len(loaded.expectations) == checked.report.evaluated
    assert check().report.suite_digest == checked.report.suite_digest


def test_contracts_that_make_no_sense_are_refused(check: Check) -> None:
    with pytest.raises(SpecError, match=r"contract\.freshness needs source\.columns\.event_time"):
        check(**{
            "contract.freshness": "1h",
            "source.columns.event_time": None,
            "source.columns.known_at": None,
            "split": {"kind": "random"},
        })
    with pytest.raises(SpecError, match=r"contract\.columns\.applied_at: 'soon' is no time"):
        check(**{"contract.columns": {"applied_at": {"minimum": "soon"}}})
