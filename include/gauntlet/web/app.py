"""Routes of the page: each is one call into :mod:`gauntlet.views`. Reads only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from gauntlet import views
from gauntlet.bootstrap import services
from gauntlet.core.errors import GauntletError, InfrastructureError
from gauntlet.core.records.base import Record

STATIC = Path(__file__).parent / "static"
HEADERS = {
    # The page is an iframe of Airflow's own UI and of nobody else's; it loads nothing from elsewhere.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NIGHTS = 60


class Models(Record):
    """The names of all models."""

    models: tuple[str, ...]


def create_app(dependencies: Sequence[Any]) -> FastAPI:
    """The application; ``dependencies`` refuse who may not read (401, 403) before any route is reached."""
    app = FastAPI(title="Gauntlet", dependencies=list(dependencies), docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_with_headers)
    app.get("/")(index)
    app.get("/api/models")(models)
    app.get("/api/models/{model}")(status)
    app.get("/api/explain/{subject:path}")(explain)
    app.add_exception_handler(GauntletError, _not_found)
    # Static files carry no data; a mount has no dependencies of its own.
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def index() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


def models() -> Models:
    """Which models there are."""
    return Models(models=services().specs.names())


def status(model: str) -> views.Status:
    """What serves, and the newest nights."""
    return views.status(services(), model, NIGHTS)


def explain(subject: str) -> views.Explanation:
    """Why a version serves, or a run ended as it did."""
    return views.explain(services(), subject)


def _not_found(_: Request, error: Exception) -> Response:
    code = 503 if isinstance(error, InfrastructureError) else 404
    return Response(content=str(error), status_code=code, media_type="text/plain", headers=HEADERS)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response
