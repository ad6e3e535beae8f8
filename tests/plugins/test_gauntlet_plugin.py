"""The plugin: cheap to load, behind Airflow's login, one page and its data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.errors import InfrastructureError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]


def bearer(role: str) -> dict[str, str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ada", role=role))
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def some_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from datetime import UTC, datetime

    from gauntlet.core.registry import lookup
    from gauntlet.core.spec import load_spec

    monkeypatch.setenv("CREDIT_DEFAULT_DATA", str(tmp_path))
    spec = load_spec(ROOT / "include" / "models" / "credit_default.yaml")
    clock = SimpleNamespace(now=lambda: datetime.now(UTC))
    store = MemoryStore(clock)

    def aliases(model: str) -> dict[str, int]:
        raise InfrastructureError("MLflow at http://127.0.0.1:1 does not answer")

    services = SimpleNamespace(
        clock=clock,
        records=store.records,
        audit=store.audit,
        routing=store.routing,
        ledger=store.ledger,
        specs=SimpleNamespace(
            names=lambda: ("credit_default",), get=lambda model: lookup({"credit_default": spec}, model, "model")
        ),
        registry=SimpleNamespace(aliases=aliases),
    )
    monkeypatch.setattr("gauntlet.web.app.services", lambda: services)
    return services


def test_loading_the_plugin_imports_no_web_framework() -> None:
    """Every task process loads it."""
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules)\n"
        f"import runpy; runpy.run_path({str(ROOT / 'plugins' / 'gauntlet_plugin.py')!r})\n"
        "new = set(sys.modules) - before\n"
        "assert not any(name.startswith(('fastapi', 'airflow.api_fastapi', 'pandas')) for name in new), new"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_is_exactly_one_file_in_the_plugins_folder() -> None:
    """Airflow executes every file there and registers it under its bare name."""
    assert [path.name for path in (ROOT / "plugins").glob("*.py")] == ["gauntlet_plugin.py"]


@pytest.mark.parametrize("path", ["/gauntlet/", "/gauntlet/api/models", "/gauntlet/api/models/credit_default"])
def test_without_a_login_nothing_is_shown(airflow_api, some_services, path: str) -> None:
    assert airflow_api.get(path).status_code == 401


def test_a_viewer_sees_the_page_and_its_data(airflow_api, some_services) -> None:
    page = airflow_api.get("/gauntlet/", headers=bearer("viewer"))
    assert page.status_code == 200
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    found = airflow_api.get("/gauntlet/api/models", headers=bearer("viewer"))
    assert found.json() == {"models": ["credit_default"], "person": "ada", "roles": ["viewer"]}


def test_a_person_without_a_role_reads_no_model(airflow_api, some_services) -> None:
    assert airflow_api.get("/gauntlet/api/models", headers=bearer("")).status_code == 403


def test_a_registry_that_is_down_is_absent_and_not_guessed(airflow_api, some_services) -> None:
    found = airflow_api.get("/gauntlet/api/models/credit_default/registry", headers=bearer("viewer"))
    assert found.status_code == 200
    assert found.json()["aliases"] is None
    assert "does not answer" in found.json()["silence"]


def test_what_does_not_exist_is_named(airflow_api, some_services) -> None:
    missing = airflow_api.get("/gauntlet/api/models/credit_defualt", headers=bearer("viewer"))
    assert missing.status_code == 404
    assert "did you mean 'credit_default'?" in missing.text
    explained = airflow_api.get("/gauntlet/api/models/credit_default/explain/v_9", headers=bearer("viewer"))
    assert explained.status_code == 404


@pytest.mark.parametrize(
    ("role", "action", "code"),
    [
        ("viewer", "pause", 403),
        ("user", "pause", 404),  # allowed, but no rollout is under way
        ("user", "clear_quarantine", 403),
        ("op", "clear_quarantine", 403),
        ("admin", "clear_quarantine", 404),  # allowed, but nothing is in quarantine
    ],
)
def test_airflows_roles_decide_who_may_act(airflow_api, some_services, role: str, action: str, code: int) -> None:
    order = {"action": action, "reason": "seen in the logs", "digest": "d" * 64}
    headers = bearer(role) | {"X-Gauntlet": "act"}
    answer = airflow_api.post("/gauntlet/api/models/credit_default/actions", json=order, headers=headers)
    assert answer.status_code == code, answer.text


def test_a_refused_attempt_is_kept_with_the_name_airflow_knows(airflow_api, some_services) -> None:
    order = {"action": "clear_quarantine", "reason": "seen in the logs", "digest": "d" * 64}
    headers = bearer("op") | {"X-Gauntlet": "act"}
    airflow_api.post("/gauntlet/api/models/credit_default/actions", json=order, headers=headers)
    [entry] = some_services.audit.entries("credit_default")
    assert (entry.actor, entry.action) == ("ada", "refused")


def test_a_cookie_is_not_enough_to_act(airflow_api, some_services) -> None:
    """Airflow keeps its token in a cookie, which browsers also send with another site's request."""
    token = bearer("admin")["Authorization"].removeprefix("Bearer ")
    order = {"action": "pause", "reason": "seen in the logs"}
    address = "/gauntlet/api/models/credit_default/actions"
    cookie = {"Cookie": f"_token={token}"}
    assert airflow_api.post(address, json=order, headers=cookie).status_code == 403
    crossing = cookie | {"X-Gauntlet": "act", "Sec-Fetch-Site": "cross-site"}
    assert airflow_api.post(address, json=order, headers=crossing).status_code == 403
    assert airflow_api.post(address, json=order, headers=cookie | {"X-Gauntlet": "act"}).status_code == 404


def test_the_page_is_in_the_navigation_on_the_dag_and_on_its_runs() -> None:
    import runpy

    plugin = runpy.run_path(str(ROOT / "plugins" / "gauntlet_plugin.py"))["GauntletPlugin"]
    views = {view["destination"]: view["href"] for view in plugin.external_views}
    assert set(views) == {"nav", "dag", "dag_run"}
    assert "{DAG_ID}" in views["dag"]
    assert "{RUN_ID}" in views["dag_run"]


@pytest.mark.parametrize(
    ("user", "roles"),
    [
        (SimpleNamespace(role="ADMIN"), ("admin",)),
        (SimpleNamespace(role=None), ()),
        (SimpleNamespace(roles=[SimpleNamespace(name="Op"), SimpleNamespace(name="risk")]), ("op", "risk")),
    ],
)
def test_roles_are_read_from_any_auth_manager(airflow_database, user: SimpleNamespace, roles: tuple[str, ...]) -> None:
    from gauntlet.orchestration.access import roles_of

    assert roles_of(user) == roles
