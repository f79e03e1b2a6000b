"""The web application behind the pages: every route asks Airflow who the user is, and what they may see."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fenxiang_sync.airflow.ui import access, shown
from fenxiang_sync.airflow.ui.standing import Standing, open_hub
from fenxiang_sync.declared import Declared
from fenxiang_sync.errors import FenxiangSyncError

_LIST_RUNS = 1


def make_app() -> ASGIApp:
    """The application; Airflow mounts it, and serves it behind its own log-in."""
    app = FastAPI(
        title="Fenxiang pipelines",
        dependencies=[Depends(get_user)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(FenxiangSyncError, _hub_failed)
    app.get("/", include_in_schema=False)(_root)
    app.get("/pipelines")(_list_page)
    app.get("/pipelines/{dag_id}")(_page)
    app.get("/api/pipelines")(_list_json)
    app.get("/api/pipelines/{dag_id}")(_json)
    return Guarded(app)


class Guarded:
    """The application with headers on everything that it answers: nothing is stored, no script runs, and only pages
    of the same origin (Airflow's UI) may frame it."""

    def __init__(self, app: ASGIApp) -> None:
        digest = b64encode(hashlib.sha256(shown.STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        self._app = app
        self._headers = [
            (b"content-security-policy", f"{policy}; frame-ancestors 'self'".encode()),
            (b"x-frame-options", b"SAMEORIGIN"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers)


def _root() -> Response:
    return RedirectResponse("pipelines", status_code=307)


def _list_page(user: GetUserDep) -> Response:
    return HTMLResponse(shown.pipelines(_readable(user)))


def _list_json(user: GetUserDep) -> Response:
    return JSONResponse([each.to_json(reasons=False) for _, each in _readable(user)])


def _page(dag_id: str, user: GetUserDep) -> Response:
    dag, standing, reasons = _one(user, dag_id)
    return HTMLResponse(shown.pipeline(dag, standing, reasons=reasons))


def _json(dag_id: str, user: GetUserDep) -> Response:
    _, standing, reasons = _one(user, dag_id)
    return JSONResponse(standing.to_json(reasons=reasons))


def _readable(user: BaseUser) -> list[tuple[access.KnownDag, Standing]]:
    """The pipelines that the user may see."""
    with open_hub() as hub:
        by_dag = {each.dag_id: each for each in Declared.all(hub).values()}
        dags = access.readable(user, list(by_dag))
        return [(dag, Standing.of(by_dag.get(dag.dag_id) or _not_run(dag), hub, runs=_LIST_RUNS)) for dag in dags]


def _one(user: BaseUser, dag_id: str) -> tuple[access.KnownDag | None, Standing, bool]:
    """The pipeline of a DAG, whether its own or a companion of it; and whether the user may see reasons."""
    _need(access.may_read(user, dag_id), dag_id)
    with open_hub() as hub:
        declared = _pipeline_of(dag_id, Declared.all(hub))
        _need(access.may_read(user, declared.dag_id), declared.dag_id)
        reasons = access.may_read_reasons(user, declared.dag_id)
        return access.find(declared.dag_id), Standing.of(declared, hub), reasons


def _pipeline_of(dag_id: str, declared: Mapping[str, Declared]) -> Declared:
    """What is declared of the pipeline that a DAG belongs to; raises the answer where it belongs to none."""
    own = next((each for each in declared.values() if each.dag_id == dag_id), None)
    name = dag_id.partition(".")[0]  # a companion is called <pipeline>.reconcile, <pipeline>.lookback-2d
    if found := own or declared.get(name):
        return found
    dag = access.find(name)
    if dag is None or not dag.tagged:
        raise HTTPException(404, f"{dag_id} is no pipeline of Fenxiang, nor does it belong to one")
    return _not_run(dag)


def _not_run(dag: access.KnownDag) -> Declared:
    """A pipeline that no run has told the hub of yet."""
    return Declared(name=dag.dag_id, dag_id=dag.dag_id)


def _need(allowed: bool, dag_id: str) -> None:
    if not allowed:
        raise HTTPException(403, f"Airflow does not let you see the DAG {dag_id}")


async def _refused(request: Request, error: Any) -> Response:
    return _failed(request, error.status_code, str(error.detail), error.headers)


async def _hub_failed(request: Request, error: Exception) -> Response:
    """A wrong setting, or a hub that cannot be reached now."""
    return _failed(request, 503, str(error))


def _failed(request: Request, status: int, said: str, headers: Mapping[str, str] | None = None) -> Response:
    if request.url.path.removeprefix(request.scope.get("root_path", "")).startswith("/api/"):
        return JSONResponse({"detail": said}, status, headers=headers)
    return HTMLResponse(shown.failure(status, said), status, headers=headers)
