"""A receipt where people look for it: metrics, a tag, one JSON file and one HTML table in MLflow."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gauntlet.core.gates.verdict import number
from gauntlet.core.records.gates import GateReceipt, Measurement

if TYPE_CHECKING:
    from gauntlet.core.ports import Services

HEADING = ("outcome", "measured", "slice", "observed", "", "limit", "candidate", "champion", "interval", "rows")
TAG_LENGTH = 4000
UNFIT = re.compile(r"[^A-Za-z0-9_\-./ ]+")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px system-ui;margin:2em}}table{{border-collapse:collapse}}td,th{{padding:.3em .8em;text-align:left;
border-bottom:1px solid #ccc}}.passed{{color:#137333}}.waived,.inconclusive{{color:#9a6700}}
.failed,.error{{color:#b3261e}}
</style><h1>{title}</h1><p class="{outcome}">{reason}</p><table><tr>{heading}</tr>{body}</table>
<p>candidate {candidate}<br>champion {champion}<br>holdout {holdout}<br>spec {spec}<br>code {code}</p></html>
"""


def log_receipt(services: Services, mlflow_run: str, receipt: GateReceipt) -> None:
    """Log a receipt to the run of its candidate; logging the same one again changes nothing but its time."""
    gate = receipt.verdict.gate
    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, prefix="gate-") as name:
        folder = Path(name) / gate
        folder.mkdir()
        (folder / "receipt.json").write_text(receipt.model_dump_json(indent=2), encoding="utf-8")
        (folder / "receipt.html").write_text(page(receipt), encoding="utf-8")
        services.registry.log(
            mlflow_run,
            metrics=dict(_metrics(receipt)),
            tags={f"gauntlet.gate.{gate}": f"{receipt.verdict.outcome}: {receipt.verdict.reason}"[:TAG_LENGTH]},
            artifacts={f"gates/{gate}": folder},
        )


def _metrics(receipt: GateReceipt) -> Iterator[tuple[str, float]]:
    gate = receipt.verdict.gate
    yield f"gate.{gate}.satisfied", float(receipt.satisfied)
    for item in receipt.verdict.measurements:
        if item.observed is not None:
            where = f".{UNFIT.sub('_', item.slice)}" if item.slice else ""
            yield f"gate.{gate}.{UNFIT.sub('_', item.metric)}{where}", item.observed


def page(receipt: GateReceipt) -> str:
    """One self-contained HTML page."""
    verdict = receipt.verdict
    return PAGE.format(
        title=html.escape(f"{verdict.gate}: {verdict.outcome}"),
        outcome=verdict.outcome,
        reason=html.escape(verdict.reason),
        heading="".join(f"<th>{name}</th>" for name in HEADING),
        body="".join(_row(item) for item in verdict.measurements),
        candidate=receipt.candidate,
        champion=receipt.champion or "none",
        holdout=receipt.holdout,
        spec=receipt.spec_digest,
        code=receipt.code_digest,
    )


def _row(item: Measurement) -> str:
    interval = f"[{number(item.interval[0])}, {number(item.interval[1])}]" if item.interval else ""
    cells = (
        item.outcome,
        item.metric,
        item.slice or "",
        number(item.observed),
        item.comparator,
        number(item.limit),
        "" if item.candidate is None else number(item.candidate),
        "" if item.champion is None else number(item.champion),
        interval,
        "" if item.n is None else number(item.n),
    )
    shown = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
    return f'<tr class="{item.outcome}" title="{html.escape(item.sentence, quote=True)}">{shown}</tr>'
