"""``gauntlet drift | gates selftest | ab plan``: measuring without acting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from gauntlet.cli.console import DONE, REJECTED, AsJson, err, exit_codes, out, show_json, show_table, write_file
from gauntlet.cli.model import Model
from gauntlet.core.errors import SpecError

gates = typer.Typer(help="The gates themselves.", no_args_is_help=True)
ab = typer.Typer(help="A/B comparisons.", no_args_is_help=True)


def drift(
    reference: Annotated[Path, typer.Argument(help="Parquet or CSV.")],
    current: Annotated[Path, typer.Argument(help="Parquet or CSV.")],
    exact: Annotated[bool, typer.Option("--exact", help="Exact statistics instead of certified intervals.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page here.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Leave out this column.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare any two files, column by column, without a spec.

    Ends with 1 when something drifted, a column is in one file only, or there is too little to tell.
    What is not compared is named.
    """
    from gauntlet.stages.drift_files import compare_files

    with exit_codes(), Progress(console=err, transient=True, disable=as_json) as bar:
        task = bar.add_task("reading")
        compared = compare_files(
            reference,
            current,
            mode="exact" if exact else "profile",
            exclude=tuple(exclude or ()),
            progress=lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
        )
    if html is not None:
        with exit_codes():
            write_file(html, compared.page)
    report = compared.report
    if as_json:
        show_json(report)
    else:
        rows = [(each.feature, each.outcome, each.sentence) for each in report.features]
        show_table("", ("column", "outcome", "finding"), rows)
        for left in report.left_out:
            out.print(f"not compared: {left.column}: {left.why}", markup=False)
        out.print(f"{report.action}: {report.reason}", markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


@gates.command()
def selftest(
    model: Model,
    run: Annotated[str | None, typer.Option("--run", help="A finished run; default: the newest that trained.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show each gate known-bad variants of a real run, and see that it refuses them."""
    from gauntlet import views
    from gauntlet.bootstrap import services
    from gauntlet.stages.gates_selftest import selftest as examine

    with exit_codes():
        nights = views.nights(services(), model, 100)
        subject = next((n.run for n in nights if n.receipts and run in (None, n.run.run)), None)
        if subject is None:
            raise SpecError(f"{model}: no run {run or ''} has asked its gates yet; run gauntlet run {model} first")
        report = examine(services(), subject)
    if as_json:
        show_json(report)
    else:
        told = {True: "refused", False: "LET THROUGH", None: "not tried"}
        rows = [(each.gate, each.mutation, told[each.caught], each.reason) for each in report.results]
        show_table("", ("gate", "known-bad variant", "", "why"), rows)
        out.print(report.reason, markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


@ab.command()
def plan(
    baseline: Annotated[float, typer.Argument(help="The metric now: a rate, or a mean with --sd.")],
    change: Annotated[float, typer.Argument(help="The change to see, e.g. 0.002.")],
    sd: Annotated[float | None, typer.Option(help="Standard deviation: plan for a mean, not a rate.")] = None,
    share: Annotated[float, typer.Option(help="Share of traffic in the canary.")] = 0.5,
    power: Annotated[float, typer.Option(help="Chance to see the change when it is there.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Chance to see one when there is none.")] = 0.05,
    per_second: Annotated[float | None, typer.Option(help="Requests per second, for the time it takes.")] = None,
    as_json: AsJson = False,
) -> None:
    """How many requests, and how long, until a change of a rate or a mean shows."""
    from gauntlet.core.ab import plan_means, plan_proportions

    with exit_codes():
        try:
            if sd is None:
                needed = plan_proportions(
                    baseline, change, share=share, power=power, alpha=alpha, per_second=per_second
                )
            else:
                needed = plan_means(
                    change, sd, baseline=baseline, share=share, power=power, alpha=alpha, per_second=per_second
                )
        except ValueError as error:
            raise SpecError(str(error)) from None
    if as_json:
        show_json(needed)
    else:
        out.print(needed.sentence, markup=False)


@ab.command()
def report(
    model: Model,
    as_json: AsJson = False,
) -> None:
    """What the newest rollout says about every metric, canary against stable.

    The interval of the lift holds at any time. The p-values hold once, at the horizon that was planned.
    """
    from gauntlet.bootstrap import services
    from gauntlet.stages.ab_report import ab_report

    with exit_codes():
        found = ab_report(services(), model)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            one.metric,
            f"{one.stable_mean:.5g} of {one.stable_n}",
            f"{one.canary_mean:.5g} of {one.canary_n}",
            f"{one.lift:+.4g} [{one.interval[0]:+.4g}, {one.interval[1]:+.4g}]",
            f"{one.t_p_value:.3g} / {one.mann_whitney_p:.3g}",
            _or_dash(one.cohens_d),
            f"{_or_dash(one.better)} / {_or_dash(one.expected_loss)}",
            f"{_or_dash(one.cuped_lift)}" + (f" (-{one.variance_removed:.0%} variance)" if one.cuped_interval else ""),
        )
        for one in found
    ]
    heading = ("metric", "stable", "canary", "lift", "p: t / MW", "Cohen's d", "P(higher) / loss", "CUPED lift")
    show_table("", heading, rows)
    for one in found:
        out.print(one.sentence, markup=False)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


__all__ = ["ab", "drift", "gates"]
