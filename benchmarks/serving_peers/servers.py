"""The servers that ``../serving.py`` measures beside ours: ``python servers.py echo|short|fastapi PORT [MODEL]``."""

# No postponed annotations here: FastAPI resolves them in the module, and its import is local to its server.
import sys
from typing import Any

import uvicorn

OPTIONS: dict[str, Any] = {
    "http": "httptools",
    "loop": "uvloop",
    "ws": "none",
    "lifespan": "off",
    "log_config": None,
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
}
"""As our workers run uvicorn."""
ANSWER = (
    b'{"model":"bench","epoch":1,"request_id":"0-1","score":0.7639458842449688,"decision":1,"version":1,'
    b'"version_id":"v-one","arm":"stable","sticky":true}'
)
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
}


async def echo(_: Any, receive: Any, send: Any) -> None:
    """Read the body, answer as many bytes as ours, do nothing."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})


def short_way() -> Any:
    """The echo without ASGI, on the short way that ours takes for requests in one piece."""
    from gauntlet.serving.direct import direct_protocol
    from gauntlet.serving.http import response

    reply = response(200, ANSWER)
    return direct_protocol({"/v1/models/bench/predict": lambda _: reply})


def fastapi_app(model: str) -> Any:
    """What most people write: FastAPI, a data frame of one row, ``Booster.predict``."""
    import lightgbm
    import pandas as pd
    from fastapi import FastAPI, Request

    booster = lightgbm.Booster(model_file=model)
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, float]:
        row = (await request.json())["row"]
        return {"score": float(booster.predict(pd.DataFrame([row])[booster.feature_name()])[0])}

    return app


def main() -> None:
    """Serve one of them until told to stop."""
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind in {"echo", "short"}:
        options = OPTIONS | ({"http": short_way()} if kind == "short" else {})
        uvicorn.run(echo, host="127.0.0.1", port=port, interface="asgi3", **options)
    else:
        options = OPTIONS | {"lifespan": "auto"}
        uvicorn.run(fastapi_app(sys.argv[3]), host="127.0.0.1", port=port, **options)


if __name__ == "__main__":
    main()
