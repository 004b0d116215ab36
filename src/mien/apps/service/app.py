"""The application: routes, the page, one engine behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from mien import __version__
from mien.apps.service import pictures, stream, videos
from mien.apps.service.errors import Code, Refused
from mien.apps.service.guard import Guard, error_response
from mien.apps.service.metrics import CONTENT_TYPE
from mien.apps.service.schema import ErrorAnswer, Health, Limits, ModelAnswer, ModelDetail
from mien.apps.service.state import Service, service_of
from mien.card import USE_WARNING
from mien.config import ServeConfig
from mien.runtime.classifier import Model

WEB: Final = Path(__file__).parent.parent / "web"
"""The page's files."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine."""

_CODE_OF: Final[dict[int, Code]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}


def create_app(
    model: Model,
    config: ServeConfig | None = None,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
) -> FastAPI:
    """An ASGI application that offers a model.

    Args:
        model: reads the faces.
        config: what is taken, and how much of it; none takes the defaults.
        token: what a client must show; none asks for nothing.
        hosts: names, without port, that the service answers to; None answers to any.
    """
    service = Service(model, config or ServeConfig())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.engine.close()

    app = FastAPI(
        title="mien",
        version=__version__,
        summary="Reads facial expressions.",
        description=f"{USE_WARNING} Pictures are read in memory and not kept.",
        license_info={"name": "MIT", "identifier": "MIT"},
        # FastAPI's own pages load their scripts from elsewhere; the page's own one does not.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(pictures.router)
    app.include_router(videos.router)
    app.include_router(stream.router)
    _add_own_routes(app)
    _add_error_answers(app)
    app.mount("/static", StaticFiles(directory=WEB), name="static")
    app.add_middleware(Guard, metrics=service.metrics, token=token, hosts=hosts)
    return app


def _add_own_routes(app: FastAPI) -> None:
    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html")

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(WEB / "docs.html")

    @app.get(
        "/v1/model",
        responses={401: {"model": ErrorAnswer, "description": "No token, or a wrong one."}},
        summary="The model, its card and the service's limits",
    )
    async def model(service: Annotated[Service, Depends(service_of)]) -> ModelAnswer:
        return _model_answer(service)

    @app.get(
        "/healthz",
        responses={503: {"model": Health, "description": "Being stopped."}},
        summary="Whether the service takes work",
    )
    async def health(service: Annotated[Service, Depends(service_of)], response: Response) -> Health:
        if service.engine.stopping:
            response.status_code = 503
            return Health(status="stopping")
        return Health(status="ok")

    @app.get(
        "/metrics",
        responses={
            200: {"content": {"text/plain": {}}},
            401: {"model": ErrorAnswer, "description": "No token, or a wrong one."},
        },
        response_class=Response,
        summary="Counts for Prometheus",
    )
    async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:])) or "the request"
        return error_response(Refused("invalid", f"{where}: {first['msg']}."))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODE_OF.get(error.status_code, "bad_request")
        response = error_response(Refused(code, f"{error.detail}."))
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        response = error_response(
            Refused("internal", "something went wrong here; the server's log says what.")
        )
        # uvicorn ends the connection after a fault, which a client that keeps it must know.
        response.headers["Connection"] = "close"
        return response


def _model_answer(service: Service) -> ModelAnswer:
    card, config = service.model.card, service.config
    views = {"all": list(card.labels), **{name: list(names) for name, names in card.views.items()}}
    return ModelAnswer(
        mien=__version__,
        model=ModelDetail(
            **service.model_name.model_dump(),
            labels=list(card.labels),
            views=views,
            size=card.size,
            abstain_threshold=card.abstain_threshold,
            temperature=card.temperature,
            prior=dict(card.prior),
        ),
        card=json.loads(card.to_json()),
        limits=Limits(
            deadline_seconds=config.deadline,
            **{name: value for name, value in asdict(config).items() if name in Limits.model_fields},
        ),
    )
