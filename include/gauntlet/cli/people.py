"""``gauntlet approve | waive | rollout``: what only a person may decide, with a name and a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import AsJson, exit_codes, out, show_json
from gauntlet.cli.model import Model
from gauntlet.cli.who import BY, authorized, caller
from gauntlet.core.duration import parse_duration
from gauntlet.core.errors import SpecError
from gauntlet.core.records.base import Record
from gauntlet.core.records.rollout import CommandKind
from gauntlet.core.records.signoff import Topic
from gauntlet.core.roles import Action

Run = Annotated[str, typer.Option("--run", help="Id of the run that registered the candidate.")]
Why = Annotated[str, typer.Option("--reason", help="Why; recorded.")]


def sign_off(
    model: Model,
    topic: Annotated[Topic, typer.Argument(help="What you put your name to.")],
    reason: Annotated[str, typer.Option("--reason", help="What you have seen; recorded.")],
    by: Annotated[str, typer.Option("--by", help=BY)] = "",
    as_json: AsJson = False,
) -> None:
    """Say under your name what no machine can see: a back-up restored, a runbook tried, go live."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.sign_off import sign_off as keep

    with exit_codes():
        who = authorized(Action.APPROVE, model, by) if topic is Topic.GO_LIVE else caller(by)
        word = keep(services(), model, topic, by=who.name, reason=reason, account=who.account)
    _told(word, as_json, f"{model}: {word.by} signs {word.topic}: {word.reason}")


def approve(
    model: Model,
    run: Run,
    reason: Why,
    approver: Annotated[str, typer.Option("--approver", "--by", help=BY)] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say yes or no to a candidate: for the approval gate, and for a promotion that waits for a person."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.answer_approval import answer_approval

    with exit_codes():
        who = authorized(Action.APPROVE, model, approver)
        by, account = who.name, who.account
        fact = answer_approval(services(), model, run, approver=by, approved=not refuse, reason=reason, account=account)
    _told(fact, as_json, f"{who.signed} said {'no' if refuse else 'yes'}: {reason}")


def waive(
    model: Model,
    gate: Annotated[str, typer.Option("--gate", help="Which gate.")],
    run: Run,
    reason: Why,
    approver: Annotated[str, typer.Option("--approver", "--by", help=f"{BY} Not who started the run.")] = "",
    expires: Annotated[str, typer.Option(help="How long it counts, e.g. 24h.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Let one gate of one run count as satisfied for a while. Never smoke, golden, integrity or infrastructure."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.waive import waive as record

    with exit_codes():
        try:
            lasts = parse_duration(expires)
        except ValueError as error:
            raise SpecError(f"--expires: {error}") from None
        who = authorized(Action.WAIVE, model, approver)
        by, account = who.name, who.account
        fact = record(services(), model, run, gate, reason=reason, approver=by, lasts=lasts, account=account)
    _told(fact, as_json, f"{gate} of {run} is waived by {who.signed} for {expires}; clear its task to ask it again")


def rollout(
    model: Model,
    command: Annotated[CommandKind, typer.Argument(help="What to do; abort beats everything.")],
    reason: Why,
    until: Annotated[str | None, typer.Option(help="For extend and hold_until: ISO 8601.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="Instead of --until: how long, e.g. 2h.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pause, resume, extend, hold, promote a step or fully, or abort the rollout that is under way."""
    from gauntlet import pipeline

    with exit_codes():
        forward = command in {CommandKind.PROMOTE, CommandKind.PROMOTE_STEP}
        who = authorized(Action.PROMOTE if forward else Action.PAUSE, model)
        fact = pipeline.command_rollout(model, command.value, by=who.name, reason=reason, until=until, lasting=lasting)
    _told(fact, as_json, f"{command}: recorded; an abort is carried out at once, the rest by the next tick")


def _told(fact: Record, as_json: bool, sentence: str) -> None:
    if as_json:
        show_json(fact)
    else:
        out.print(sentence, markup=False)
