"""Routes of the page inside Airflow: each is one call into :mod:`gauntlet.views`.

Who may read and who is asking is settled by the dependencies that are handed in, before any route is reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import gauntlet
from gauntlet import views
from gauntlet.bootstrap import services
from gauntlet.core.errors import Conflict, GauntletError, InfrastructureError, NotPermitted, Rejection, SpecError
from gauntlet.core.records.base import Record
from gauntlet.settings import settings

STATIC = Path(__file__).parent / "static"
DOCUMENTS = Path(gauntlet.__file__).parents[2] / "docs"
HEADERS = {
    # The page is an iframe of Airflow's own UI and of nobody else's; it loads nothing from elsewhere.
    # Styles may be set from scripts: charts place their tooltips so.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
REPORT_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""A report is our own HTML about other people's data: it may show itself and run nothing."""
ASKED_BY_THE_PAGE = "x-gauntlet"
CODES: tuple[tuple[type[GauntletError], int], ...] = (
    (NotPermitted, 403),
    (SpecError, 404),
    (Rejection, 409),
    (Conflict, 409),
    (InfrastructureError, 503),
)

Model = Annotated[str, InPath(pattern=r"^[a-z][a-z0-9_]{1,62}$")]
Name = Annotated[str, InPath(min_length=1, max_length=250)]
Nights = Annotated[int, Query(ge=1, le=2000)]
Skip = Annotated[int, Query(ge=0, le=100_000)]
Sequence64 = Annotated[int | None, Query(ge=0, lt=2**63)]
TrailKind = Annotated[Literal["all", "decisions"], Query()]


def create_app(dependencies: Sequence[Any]) -> FastAPI:
    """The application; ``dependencies`` refuse who may not (401, 403) and put a Person at ``request.state.person``."""
    app = FastAPI(title="Gauntlet", dependencies=list(dependencies), docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_with_headers)
    app.get("/", response_class=FileResponse)(index)
    one = "/api/models/{model}"
    for path, function, answer in (
        ("/api/models", models, views.Models),
        (one, serving, views.Serving),
        (f"{one}/registry", registry, views.Registry),
        (f"{one}/nights", strip, views.NightStrips),
        (f"{one}/runs/{{run}}", run, views.RunPage),
        (f"{one}/drift", drift, views.DriftMap),
        (f"{one}/runs/{{run}}/features/{{feature}}", feature, views.FeaturePage),
        (f"{one}/trend", trend, views.Trend),
        (f"{one}/rollouts", rollouts, views.Rollouts),
        (f"{one}/rollouts/{{rollout}}", rollout, views.RolloutPage),
        (f"{one}/live", live, views.Live),
        (f"{one}/alerts", alerts, views.Alerts),
        (f"{one}/triage", triage, views.Triage),
        (f"{one}/feedback", feedback, views.Feedback),
        (f"{one}/audit", trail, views.Trail),
        (f"{one}/explain/{{subject:path}}", explain, views.Explanation),
    ):
        app.get(path, responses={200: {"model": answer}}, response_class=Response)(function)
    app.get(f"{one}/runs/{{run}}/reports/{{kind}}", response_class=Response)(report)
    app.get(f"{one}/runbook", response_class=Response)(runbook)
    app.post(f"{one}/actions", responses={200: {"model": views.Done}}, dependencies=[Depends(same_site)])(act)
    app.add_exception_handler(GauntletError, _refused)
    # Static files carry no data; a mount has no dependencies of its own.
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


# ---- who asks --------------------------------------------------------------------------------------


def person(request: Request) -> views.Person:
    """Whom the handed-in dependencies have recognised; nobody is refused."""
    who = getattr(request.state, "person", None)
    if not isinstance(who, views.Person):
        raise HTTPException(401, "nobody is logged in")
    return who


Who = Annotated[views.Person, Depends(person)]


def same_site(request: Request) -> None:
    """An action comes from the page itself: another site can send neither this header nor this origin."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if ASKED_BY_THE_PAGE not in request.headers or site != "same-origin":
        raise HTTPException(403, "actions are taken from the page only")


def places() -> views.Places:
    """What a browser can reach."""
    current = settings()
    return views.Places(
        mlflow=current.mlflow_link,
        grafana=current.grafana_url,
        documents=DOCUMENTS,
    )


# ---- reads -----------------------------------------------------------------------------------------


def index() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


def models(who: Who) -> Response:
    """Which models this person may read."""
    return _json(views.models(services(), who))


def serving(model: Model, who: Who) -> Response:
    """What serves, what waits, and what this person may do."""
    return _json(views.serving(services(), places(), model, who))


def registry(model: Model) -> Response:
    """Whether the registry agrees."""
    return _json(views.registry(services(), model))


def strip(model: Model, limit: Nights = 60, skip: Skip = 0) -> Response:
    """Nights as strips."""
    return _json(views.strip(services(), model, limit, skip))


def run(model: Model, run: Name) -> Response:
    """One run in full."""
    return _json(views.run(services(), places(), model, run))


def drift(model: Model, nights: Nights = 60) -> Response:
    """Features by nights."""
    return _json(views.drift(services(), model, nights))


def feature(model: Model, run: Name, feature: Name) -> Response:
    """One feature of one check, with both windows."""
    return _json(views.feature(services(), model, run, feature))


def trend(model: Model, nights: Nights = 60) -> Response:
    """Metrics over the nights."""
    return _json(views.trend(services(), model, nights))


def rollouts(model: Model) -> Response:
    """The newest rollouts."""
    return _json(views.rollouts(services(), model))


def rollout(model: Model, rollout: Name) -> Response:
    """One rollout, look by look."""
    return _json(views.rollout(services(), model, rollout))


def feedback(model: Model) -> Response:
    """Slices as they were audited, and what the other version would have said."""
    return _json(views.feedback(services(), model))


def live(model: Model, minutes: Annotated[int, Query(ge=1, le=1440)] = 5) -> Response:
    """Traffic as it is now."""
    return _json(views.live(services(), model, minutes))


def alerts(model: Model) -> Response:
    """What has been raised."""
    return _json(views.alerts(services(), model, places()))


def triage(model: Model) -> Response:
    """An incident in the order that finds causes."""
    return _json(views.triage(services(), model))


def trail(model: Model, limit: Nights = 100, before: Sequence64 = None, kind: TrailKind = "all") -> Response:
    """The audit log, page by page."""
    return _json(views.trail(services(), model, limit, before, every=kind == "all"))


def explain(model: Model, subject: Name) -> Response:
    """Why a version serves, or a run ended as it did."""
    return _json(views.explain(services(), subject, model))


def report(model: Model, run: Name, kind: Annotated[str, InPath(pattern="^(contract|drift)$")]) -> Response:
    """A run's data docs or drift report."""
    page = views.report_page(services(), model, run, kind)
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def runbook(model: Model) -> Response:
    """The owner's runbook."""
    page = views.runbook(services(), places(), model)
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


# ---- actions ---------------------------------------------------------------------------------------


def act(model: Model, order: views.Order, who: Who) -> Response:
    """Do what a person asks for, in their name."""
    return _json(views.act(services(), model, order, who))


# ---- answers ---------------------------------------------------------------------------------------


def _json(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")


def _refused(_: Request, error: Exception) -> Response:
    code = next((code for kind, code in CODES if isinstance(error, kind)), 404)
    return Response(content=str(error), status_code=code, media_type="text/plain", headers=HEADERS)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
