"""QeasyHook: what stands behind the connection type ``qeasy``."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from fenxiang_sync.airflow.reach import make_reach
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.targets.pace import Pace
from fenxiang_sync.targets.qeasy import QeasyToken
from fenxiang_sync.targets.wire import Wire


class QeasyHook(BaseHook):
    """Tests a Qeasy (轻易云) connection. A pipeline reaches Qeasy by its target, `QeasyStore`.

    :param qeasy_conn_id: the connection: host, login = app_key, password = app_secret; extra ``token_in``
        (``query``, ``header``), ``timeout``, ``proxy``, ``verify``, ``cert``.
    """

    conn_name_attr = "qeasy_conn_id"
    default_conn_name = "qeasy"
    conn_type = "qeasy"
    hook_name = "Qeasy (轻易云)"

    def __init__(self, qeasy_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.qeasy_conn_id = qeasy_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Get a token: whether that works, and a sentence about it."""
        try:
            return True, self._tested()
        except FenxiangSyncError as error:
            return False, str(error)

    def _tested(self) -> str:
        reach = make_reach()
        endpoint = reach.endpoint(self.qeasy_conn_id)
        pace = Pace(None, patience=0, now=reach.now, sleep=reach.sleep)
        with reach.session() as session:
            wire = Wire(session, endpoint, pace, now=reach.now)
            QeasyToken().open(endpoint, wire).ready()
        return f"{urlsplit(endpoint.url).netloc} gives a token for app_key {endpoint.login}"
