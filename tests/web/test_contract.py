"""The page's API against its own OpenAPI document: whatever is sent, the answer is no 5xx and fits its schema."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance
from tests.web.conftest import GATES, MODEL, NIGHTS, House

from gauntlet.simulation.history import run_name, served

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = 15


def documented(house: House):
    """The page shows its OpenAPI to nobody; a test takes it from the application."""
    app = house.opened("ada").app
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    return schema


def real_names(case, house: House) -> None:
    """Names that exist in half of the cases, so that more than the look-up is reached."""
    known = {
        "model": MODEL,
        "run": run_name(len(str(case.query)) % NIGHTS),
        "rollout": f"{MODEL}-v{NIGHTS}",
        "feature": "feature_001",
        "kind": "drift",
        "subject": "champion",
    }
    for name in case.path_parameters or {}:
        if name in known:
            case.path_parameters[name] = known[name]
    if isinstance(case.body, dict) and case.body.get("digest"):
        case.body["digest"] = served(house.past, NIGHTS - 2).release_digest


def test_no_request_breaks_the_page_and_every_answer_fits_its_schema(house: House) -> None:
    codes: Counter[int] = Counter()
    operations = [found.ok() for found in documented(house).get_all_operations()]
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def ask(case) -> None:
            for known in (False, True):
                if known:
                    real_names(case, house)
                response = case.call(headers={"X-Person": "ada", "X-Gauntlet": "act"})
                codes[response.status_code] += 1
                checks = [not_a_server_error]
                if response.status_code == 200 and "application/json" in response.headers["content-type"][0]:
                    checks.append(response_schema_conformance)
                case.validate_response(response, checks=checks)

        ask()
    assert len(operations) >= 18
    assert codes[200] > GATES * len(operations)
    assert codes[404] + codes[422] > 0
    assert not [code for code in codes if code >= 500]
