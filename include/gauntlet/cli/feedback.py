"""``gauntlet slices | counterfactual``: whom the model serves worse, and what the other version would have said."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet import pipeline
from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, out, show_json, show_table
from gauntlet.cli.model import Model
from gauntlet.core.errors import MissingRecord
from gauntlet.core.records.feedback import AuditedSlice, Counterfactual, CounterfactualPart, Flips


def slices(
    model: Model,
    now: Annotated[bool, typer.Option("--now", help="Audit now, whether it is due or not.")] = False,
    as_json: AsJson = False,
) -> None:
    """How every slice of those who were served fares, as of the newest audit.

    Ends with 0 when some could be judged and none is worse off than it was, else with 1.
    """
    from gauntlet import views
    from gauntlet.bootstrap import services

    with exit_codes():
        found = pipeline.audit_slices(model, by_hand=True) if now else views.feedback(services(), model).audit
        if found is None:
            raise MissingRecord(f"{model}: no slice audit yet; gauntlet slices {model} --now makes one")
    if as_json:
        show_json(found)
    else:
        title = f"{model}: {found.rows:,} answers since {found.since:%Y-%m-%d %H:%M} UTC, {found.labelled:,} labelled"
        heading = ("slice", "outcome", "rows", "labels", "decides 1", "")
        show_table(title, heading, [_slice_row(one) for one in found.slices])
        for note in found.notes:
            out.print(note, markup=False)
        out.print(found.reason, markup=False)
    raise typer.Exit(DONE if found.outcome.satisfied else REJECTED)


def _slice_row(one: AuditedSlice) -> tuple[str, ...]:
    return (
        one.name,
        one.outcome,
        f"{one.rows:,}",
        "-" if one.coverage is None else f"{one.coverage:.0%} of {one.due:,}",
        _rate(one.decision_rate, one.decision_interval),
        one.sentence.removeprefix(f"{one.name}: "),
    )


def counterfactual(
    model: Model,
    rollout: Annotated[str | None, typer.Option("--rollout", help="Its name; default: the newest.")] = None,
    window: Annotated[str | None, typer.Option("--window", help="Instead: everything of the last 7d, 12h, ...")] = None,
    as_json: AsJson = False,
) -> None:
    """What the version that did not answer would have said: how many decisions differ, for whom, and what came of them.

    From the shadow on both versions score every request of a rollout. Labels that have matured since are counted.
    """
    from gauntlet.bootstrap import services
    from gauntlet.core.duration import parse_duration
    from gauntlet.core.errors import SpecError
    from gauntlet.stages.counterfactual import counterfactual as sum_up

    with exit_codes():
        try:
            length = None if window is None else parse_duration(window)
        except ValueError as error:
            raise SpecError(f"--window: {error}") from None
        found = sum_up(services(), model, rollout=rollout, window=length)
    if as_json:
        show_json(found)
        return
    for one in found:
        _show(one)


def _show(one: Counterfactual) -> None:
    heading = ("", "rows", "score", "differ", "0 to 1", "1 to 0", "loss")
    title = f"{one.challenger} beside {one.champion}, {one.since:%Y-%m-%d %H:%M} to {one.until:%Y-%m-%d %H:%M} UTC"
    show_table(title, heading, [_part_row(part) for part in (one.whole, *one.slices)])
    rows = [
        (
            each.request_id,
            f"{each.at:%m-%d %H:%M:%S}",
            f"{each.champion_score:.4g}, {each.challenger_score:.4g}",
            f"{_said(each.champion_decision)}, {_said(each.challenger_decision)}",
            "pending" if each.label is None else f"{each.label:g}",
        )
        for each in one.largest
    ]
    show_table("Farthest apart", ("request", "UTC", "scores", "decisions", "label"), rows)
    if one.explored:
        out.print(f"{one.explored:,} of these were decided by the exploration reserve", markup=False)
    for note in one.notes:
        out.print(note, markup=False)
    out.print(one.reason, markup=False)


def _part_row(part: CounterfactualPart) -> tuple[str, ...]:
    return (
        part.name,
        f"{part.rows:,}",
        _signed(part.difference, part.difference_interval),
        _rate(part.share, part.differ_interval),
        _flips(part.to_positive),
        _flips(part.to_negative),
        _signed(part.loss, part.loss_interval),
    )


def _flips(flips: Flips) -> str:
    return f"{flips.rows:,}" + (f" ({flips.positives} of {flips.labelled} with label 1)" if flips.labelled else "")


def _rate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" + (f" [{interval[0]:.1%}, {interval[1]:.1%}]" if interval else "")


def _signed(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.4g}" + (f" [{interval[0]:+.4g}, {interval[1]:+.4g}]" if interval else "")


def _said(decision: int | None) -> str:
    return "-" if decision is None else str(decision)
