"""Read models: what the CLI, the demo and the page inside Airflow show; and the page's few actions.

A read model never decides. An action (:mod:`gauntlet.views.actions`) asks whether this person may, and calls the
stage that does it: one function per route of the page.
"""

from __future__ import annotations

from gauntlet.views.explanation import Explanation, Sentence, explain
from gauntlet.views.facts import Night, Status, night, nights, status

__all__ = ["Explanation", "Night", "Sentence", "Status", "explain", "night", "nights", "status"]
