"""The pages in Airflow's UI: all pipelines, and what the hub knows of one.

==============  =============================================================================
`pages`         the web application: routes, headers, errors
`access`        who may see what: Airflow's user, and Airflow's rights on the DAG
`standing`      where a pipeline stands: what the pages and their JSON tell
`shown`         the same as people read it: moments, spans, labels in both languages
``templates``   the HTML, and one stylesheet; no script
==============  =============================================================================

Every Airflow process imports this for its plugin, tasks too, so nothing is imported before a page is asked for.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

PREFIX = "/fenxiang"
"""Where the pages are, under the address of Airflow."""

_LABEL = "Fenxiang 纷享"
_ROUTE = "fenxiang"


class Pages:
    """The web application, made when it is asked for the first time."""

    @cached_property
    def _app(self) -> Any:
        from fenxiang_sync.airflow.ui.pages import make_app

        return make_app()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def apps() -> list[dict[str, Any]]:
    """What Airflow's plugin calls ``fastapi_apps``."""
    return [{"app": Pages(), "url_prefix": PREFIX, "name": "Fenxiang pipelines"}]


def views() -> list[dict[str, Any]]:
    """What Airflow's plugin calls ``external_views``: under Browse, and as a tab of each DAG.

    The addresses are relative: Airflow's own address may have a path.
    """
    root = PREFIX.removeprefix("/")
    return [
        {
            "name": _LABEL,
            "href": f"{root}/pipelines",
            "destination": "nav",
            "category": "browse",
            "url_route": _ROUTE,
        },
        {
            "name": _LABEL,
            "href": f"{root}/pipelines/{{DAG_ID}}",
            "destination": "dag",
            "url_route": f"{_ROUTE}-dag",
        },
    ]
