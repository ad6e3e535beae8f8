"""A person's command from the Airflow UI: a typed form, their name, and one command per run."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def test_the_form_asks_for_a_command_and_a_reason() -> None:
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import ParamValidationError

    from gauntlet.core.records.rollout import CommandKind
    from gauntlet.orchestration.rollout_command import FORM

    form = DAG("m__rollout_command", schedule=None, params=FORM).params
    assert form.get_param("command").schema["enum"] == [kind.value for kind in CommandKind]
    with pytest.raises(ParamValidationError):
        form.validate()
    for name, value in (("command", "dance"), ("reason", "x"), ("lasting", "soon")):
        with pytest.raises((ParamValidationError, ValueError)):
            form[name] = value
    form["command"], form["reason"], form["lasting"] = "extend", "wait for Monday", "36h"
    assert form.validate()["lasting"] == "36h"


def test_the_run_is_the_request_and_its_person_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from gauntlet import pipeline
    from gauntlet.orchestration import rollout_command

    told: list[dict[str, Any]] = []

    class Run:
        run_id = "manual__1"
        triggering_user_name = "ann"

    class Fact:
        kind, by, rollout, reason = "pause", "ann", "m-v2", "odd scores"

    def command_rollout(model: str, command: str, **said: Any) -> Any:
        told.append({"model": model, "command": command, **said})
        return Fact()

    said = {"command": "pause", "reason": "odd scores", "until": None, "lasting": None}
    monkeypatch.setattr(rollout_command, "get_current_context", lambda: {"dag_run": Run(), "params": said})
    monkeypatch.setattr(pipeline, "command_rollout", command_rollout)
    assert rollout_command.command.function("m") == "pause by ann for m-v2: odd scores"
    assert told == [{"model": "m", **said, "by": "ann", "request": "manual__1"}]
