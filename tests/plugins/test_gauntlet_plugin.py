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
def some_services(monkeypatch: pytest.MonkeyPatch):
    from datetime import UTC, datetime

    store = MemoryStore(SimpleNamespace(now=lambda: datetime.now(UTC)))

    def aliases(model: str) -> dict[str, int]:
        raise InfrastructureError("MLflow at http://127.0.0.1:1 does not answer")

    def get(model: str) -> object:
        from gauntlet.core.registry import lookup

        return lookup({"credit_default": object()}, model, "model")

    services = SimpleNamespace(
        records=store.records,
        audit=store.audit,
        routing=store.routing,
        specs=SimpleNamespace(names=lambda: ("credit_default",), get=get),
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
    names = airflow_api.get("/gauntlet/api/models", headers=bearer("viewer"))
    assert names.json() == {"models": ["credit_default"]}


def test_a_registry_that_is_down_is_absent_and_not_guessed(airflow_api, some_services) -> None:
    status = airflow_api.get("/gauntlet/api/models/credit_default", headers=bearer("viewer"))
    assert status.status_code == 200
    assert status.json()["aliases"] is None
    assert status.json()["nights"] == []


def test_what_does_not_exist_is_named(airflow_api, some_services) -> None:
    missing = airflow_api.get("/gauntlet/api/models/credit_defualt", headers=bearer("viewer"))
    assert missing.status_code == 404
    assert "did you mean 'credit_default'?" in missing.text
    assert airflow_api.get("/gauntlet/api/explain/v_9", headers=bearer("viewer")).status_code == 404
