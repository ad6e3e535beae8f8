"""``gauntlet score``: whole Parquet files through the champion, with the challenger's scores beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from gauntlet import pipeline
from gauntlet.cli.console import AsJson, exit_codes, out, show_json
from gauntlet.cli.model import Model
from gauntlet.core.errors import SpecError


def score(
    model: Model,
    source: Annotated[str, typer.Argument(help="Parquet: a file, a folder, or a pattern in quotes.")],
    target: Annotated[Path, typer.Argument(help="Folder for the scores, one file per source file.")],
    keep: Annotated[list[str] | None, typer.Option("--keep", help="A column to copy beside the scores.")] = None,
    challenger: Annotated[bool, typer.Option(help="Score with the challenger too.")] = True,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", help="Share of rows that serving.inputs may reject.", min=0, max=1)
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Score Parquet files as the server would: same release, same input policy, same bits."""
    from gauntlet.core.specs.batch import BatchSection

    with exit_codes():
        try:
            section = BatchSection(
                source=source,
                target=str(target),
                keep=tuple(keep or ()),
                challenger=challenger,
                max_rejected_share=max_rejected,
            )
        except ValidationError as error:
            raise SpecError("; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())) from None
        scores = pipeline.score_files(model, section)
    if as_json:
        show_json(scores)
        return
    out.print(f"version {scores.version_id}: {scores.reason}", markup=False)
    if scores.challenger_version_id is not None:
        out.print(f"beside it the challenger, version {scores.challenger_version_id}", markup=False)
    for what, count in scores.deviations.items():
        out.print(f"  {what}: {count} rows", markup=False)
    for one in scores.files:
        out.print(one.target, markup=False)
