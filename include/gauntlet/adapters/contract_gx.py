"""The data contract, evaluated by Great Expectations on DuckDB.

First every expectation yes or no, in as few scans as GX can; then details and example rows for those
that failed. Values of protected and personal columns are never asked for, so they cannot be shown.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.outcome import Outcome, worst
from gauntlet.core.records.data import ContractReport, DatasetRef, ExpectationResult
from gauntlet.core.spec import ModelSpec

if TYPE_CHECKING:
    from gauntlet.adapters.contract_suite import Check
    from gauntlet.adapters.gx_duckdb import DuckDBExecutionEngine

NAMED = 10
"""Most failed expectations in a message."""
EXAMPLES = 5
INDEX = "gauntlet_index"
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class GreatExpectationsContract:
    """Implements :class:`~gauntlet.core.ports.ContractEngine`."""

    memory_mb: int = 1024
    threads: int = 0

    def check(self, spec: ModelSpec, dataset: DatasetRef, path: Path, page: Path) -> ContractReport:
        """Evaluate every expectation, write the page, and beside it ``<page stem>.suite.json``."""
        start = time.perf_counter()
        with _quiet():
            from gauntlet.adapters.contract_suite import build_checks
            from gauntlet.adapters.gx_duckdb import open_engine

            checks = build_checks(spec, dataset)
            suite = _suite(spec, checks)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.with_suffix(".suite.json").write_bytes(suite)
            engine = open_engine(path, dataset.source_columns, self.memory_mb, self.threads)
            try:
                results = _Evaluation(engine, spec, dataset).run(checks)
            finally:
                engine.close()
                engine.engine.dispose()
        report = _report(dataset, checks, results, sha256_bytes(suite), time.perf_counter() - start)
        page.write_text(_page(spec, dataset, report, results), encoding="utf-8")
        return report


@contextmanager
def _quiet() -> Generator[None]:
    """GX without telemetry, without the warnings of its imports, and without its log of column types."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _suite(spec: ModelSpec, checks: Sequence[Check]) -> bytes:
    """The suite as Great Expectations writes it, in one canonical byte form."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name=spec.model, expectations=[check.expectation for check in checks])
    document = json.loads(json.dumps(suite.to_json_dict(), default=str))
    document["meta"] = {"great_expectations_version": gx.__version__}
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True)
class _Evaluation:
    """One suite on one snapshot."""

    engine: DuckDBExecutionEngine
    spec: ModelSpec
    dataset: DatasetRef

    def run(self, checks: Sequence[Check]) -> list[ExpectationResult]:
        """Schema first; then values of the columns that are as the schema says; then details of what failed."""
        schema = [check for check in checks if check.schema]
        answers = self._ask(schema, details=False)
        broken = {
            column for check, ok in zip(schema, answers, strict=True) if not ok.success for column in check.columns
        }
        values = [check for check in checks if not check.schema and broken.isdisjoint(check.columns)]
        values = values if self.dataset.rows else []
        asked = [*schema, *values]
        answers += self._ask(values, details=False)
        failed = [check for check, answer in zip(asked, answers, strict=True) if not answer.success]
        detailed = dict(zip(map(id, failed), self._ask(failed, details=True), strict=True))
        return [
            self._result(check, detailed.get(id(check), answer)) for check, answer in zip(asked, answers, strict=True)
        ]

    def _ask(self, checks: Sequence[Check], *, details: bool) -> list[Any]:
        """GX's answers, in the order of the checks."""
        answers: list[Any] = [None] * len(checks)
        for on_source in (False, True):
            for masked in (False, True):
                chosen = [
                    (index, check)
                    for index, check in enumerate(checks)
                    if check.on_source is on_source and (not details or check.masked is masked)
                ]
                if chosen and (details or not masked):
                    for answer in self._validate(chosen, on_source, self._format(details, masked)):
                        answers[answer.expectation_config.meta[INDEX]] = answer
        return answers

    def _validate(
        self, chosen: Sequence[tuple[int, Check]], on_source: bool, result_format: dict[str, Any]
    ) -> list[Any]:
        configurations = []
        for index, check in chosen:
            configuration = check.expectation.configuration
            configuration.meta = {INDEX: index}
            configurations.append(configuration)
        validator = self._validator(on_source)
        answers: list[Any] = validator.graph_validate(
            configurations=configurations, runtime_configuration={"result_format": result_format}
        )
        return answers

    def _validator(self, on_source: bool) -> Any:
        from great_expectations.core.batch import Batch
        from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
        from great_expectations.validator.validator import Validator

        from gauntlet.adapters.gx_duckdb import SNAPSHOT, SOURCE

        table = SOURCE if on_source else SNAPSHOT
        data: Any = SqlAlchemyBatchData(execution_engine=self.engine, table_name=table, create_temp_table=False)
        validator = Validator(execution_engine=self.engine, batches=[Batch(data=data)])
        validator.metrics_calculator.show_progress_bars = False
        return validator

    def _format(self, details: bool, masked: bool) -> dict[str, Any]:
        if not details:
            return {"result_format": "BOOLEAN_ONLY"}
        if masked:
            return {"result_format": "BASIC", "partial_unexpected_count": 0}
        return {
            "result_format": "SUMMARY",
            "partial_unexpected_count": EXAMPLES,
            "unexpected_index_column_names": [self._index],
        }

    @property
    def _index(self) -> str:
        """What example rows are named by: the key, unless it is withheld."""
        key = self.spec.source.columns.key
        withheld = {*self.spec.contract.pii, *self.spec.source.columns.protected}
        return key if key and key not in withheld and key in self.dataset.columns else "row_key"

    def _result(self, check: Check, answer: Any) -> ExpectationResult:
        outcome = _outcome(answer)
        return ExpectationResult(
            expectation=check.expectation.configuration.type,
            column=check.column,
            outcome=outcome,
            sentence=check.sentence,
            observed="as expected" if outcome is Outcome.PASSED else _observed(check, answer),
            unexpected=answer.result.get("unexpected_count"),
            rows=self.dataset.rows,
            examples=() if check.masked else _examples(answer.result, self._index),
        )


def _outcome(answer: Any) -> Outcome:
    """Only an answered yes is a pass."""
    if _exception(answer) is not None or answer.success is None:
        return Outcome.ERROR
    return Outcome.PASSED if answer.success is True else Outcome.FAILED


def _exception(answer: Any) -> str | None:
    information = answer.exception_info or {}
    entries = [information] if "raised_exception" in information else list(information.values())
    raised = [entry for entry in entries if entry.get("raised_exception")]
    return str(raised[0].get("exception_message") or "no message") if raised else None


def _observed(check: Check, answer: Any) -> str:
    """What was seen, in words; of a withheld column only how many rows."""
    if (message := _exception(answer)) is not None:
        return "could not be evaluated" + ("" if check.masked else f": {message.strip().splitlines()[0][:200]}")
    result = answer.result
    if "unexpected_count" in result:
        share = result.get("unexpected_percent") or 0.0
        return f"not so in {result['unexpected_count']:,} of {result['element_count']:,} rows ({share:.3g} %)"
    if "observed_value" not in result:
        return "not so"
    return (
        "observed value withheld"
        if check.masked and not check.schema
        else f"observed {_shown(result['observed_value'])}"
    )


def _examples(result: dict[str, Any], index: str) -> tuple[str, ...]:
    rows = result.get("partial_unexpected_index_list")
    if rows:
        return tuple(_row(row, index) for row in rows[:EXAMPLES])
    values = [value for value in result.get("partial_unexpected_list") or () if value is not None]
    return tuple(_row(value, index) if isinstance(value, dict) else _shown(value) for value in values[:EXAMPLES])


def _row(row: dict[str, Any], index: str) -> str:
    named = [f"{index}={_shown(row[index])}"] if index in row else []
    return ": ".join([*named, ", ".join(f"{name}={_shown(value)}" for name, value in row.items() if name != index)])


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ---- the report ------------------------------------------------------------------------------------


def _report(
    dataset: DatasetRef,
    checks: Sequence[Check],
    results: Sequence[ExpectationResult],
    suite_digest: str,
    seconds: float,
) -> ContractReport:
    failed = tuple(result for result in results if not result.outcome.satisfied)
    return ContractReport(
        outcome=worst(result.outcome for result in results),
        reason=_reason(failed, len(results), len(checks)),
        dataset=dataset.sha256,
        evaluated=len(results),
        failed=failed,
        suite_digest=suite_digest,
        page_uri=None,
        seconds=round(seconds, 3),
    )


def _reason(failed: Sequence[ExpectationResult], asked: int, total: int) -> str:
    if not failed:
        return f"all {asked} expectations hold"
    skipped = (
        f" ({total - asked} more not asked of columns that are missing or of another type)" if asked < total else ""
    )
    named = "; ".join(_named(result) for result in failed[:NAMED])
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return f"{len(failed)} of {asked} expectations do not hold{skipped}: {named}{more}"


def _named(result: ExpectationResult) -> str:
    examples = f", as in {'; '.join(result.examples[:2])}" if result.examples else ""
    return f"[{result.sentence}] {result.observed}{examples}"


def _page(spec: ModelSpec, dataset: DatasetRef, report: ContractReport, results: Sequence[ExpectationResult]) -> str:
    import great_expectations as gx
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    headline = report.reason if not report.failed else report.reason.split(":")[0] + "."
    return environment.get_template("contract.html").render(
        spec=spec,
        dataset=dataset,
        report=report,
        headline=headline,
        results=sorted(results, key=lambda result: result.outcome.satisfied),
        gx_version=gx.__version__,
        withheld=sorted({*spec.contract.pii, *spec.source.columns.protected}),
    )
