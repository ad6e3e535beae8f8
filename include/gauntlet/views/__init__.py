"""Read models: what the CLI, the demo and the page inside Airflow show; and the page's few actions.

A read model never decides. An action (:mod:`gauntlet.views.actions`) asks whether this person may, and calls the
stage that does it: one function per route of the page.
"""

from __future__ import annotations

from gauntlet.views.actions import Done, Order, Person, act
from gauntlet.views.alert_list import Alerts, alerts
from gauntlet.views.audit_trail import Trail, trail
from gauntlet.views.canaries import RolloutPage, Rollouts, rollout, rollouts
from gauntlet.views.drift_map import DriftMap, FeaturePage, drift, feature
from gauntlet.views.explanation import Explanation, Sentence, explain
from gauntlet.views.facts import Night, Status, night, nights, status
from gauntlet.views.feedback import Feedback, feedback
from gauntlet.views.incident import Triage, triage
from gauntlet.views.links import Places, mlflow_address, report_page
from gauntlet.views.run_page import RunPage, run
from gauntlet.views.runbooks import runbook
from gauntlet.views.serving_now import Models, Registry, Serving, models, registry, serving
from gauntlet.views.strips import NightStrips, strip
from gauntlet.views.traffic import Live, live
from gauntlet.views.trends import Trend, trend

__all__ = [
    "Alerts",
    "Done",
    "DriftMap",
    "Explanation",
    "FeaturePage",
    "Feedback",
    "Live",
    "Models",
    "Night",
    "NightStrips",
    "Order",
    "Person",
    "Places",
    "Registry",
    "RolloutPage",
    "Rollouts",
    "RunPage",
    "Sentence",
    "Serving",
    "Status",
    "Trail",
    "Trend",
    "Triage",
    "act",
    "alerts",
    "drift",
    "explain",
    "feature",
    "feedback",
    "live",
    "mlflow_address",
    "models",
    "night",
    "nights",
    "registry",
    "report_page",
    "rollout",
    "rollouts",
    "run",
    "runbook",
    "serving",
    "status",
    "strip",
    "trail",
    "trend",
    "triage",
]
