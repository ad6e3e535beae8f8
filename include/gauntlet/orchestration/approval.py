"""Asking a person inside Airflow: the run parks, holding no worker, until somebody answers or the time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from gauntlet import pipeline
from gauntlet.core.records.run import RunContext

APPROVE, REJECT = "Approve", "Reject"
FORM = {"reason": Param("", type="string", title="Reason", description="Recorded with your name.")}
UNSAID = "no reason given in Airflow"


class AskApproval(HITLOperator):
    """Airflow's human-in-the-loop request; the answer is recorded under the name of the Airflow user who gave it.

    The answer is not judged here: that is the gate ``approval``, the next task, which wants a yes, from somebody who
    may, and not from who asked for the run. Nobody's answer is recorded as nothing, so that a word given elsewhere
    (``gauntlet approve``) while the request was open still counts.
    """

    template_fields = (*HITLOperator.template_fields, "run_context")

    def __init__(self, *, run_context: Any, within: timedelta, **arguments: Any) -> None:
        super().__init__(
            subject="May this candidate be registered?",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=within,
            **arguments,
        )
        self.run_context = run_context

    def execute(self, context: Any) -> Any:
        """Show what the gates have said, and park."""
        run: RunContext = self.run_context
        self.body = pipeline.approval_question(run)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer, if there is one."""
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"]
        if event.get("timedout") or not user:
            self.log.info("nobody has answered within %s: silence is a reject", self.response_timeout)
            return None
        run: RunContext = self.run_context
        word = pipeline.answer_approval(
            run,
            approver=user["name"],
            approved=answer["chosen_options"] == [APPROVE],
            reason=str(answer["params_input"].get("reason") or "").strip() or UNSAID,
        )
        self.log.info("%s said %s: %s", word.approver, "yes" if word.approved else "no", word.reason)
        return None
