"""The auth manager of `tests.ui_fixtures`, which Airflow is told by name."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

from tests.ui_fixtures import ACCOUNT, CONTACT


class Rights(SimpleAuthManager):
    """An auth manager as a company has it, with rights by DAG and by part of one. Users are as their names say."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        dag_id = (details and details.id) or ""
        if user.username == "contact-only" and not dag_id.startswith(CONTACT):
            return False
        if user.username == "companions-only" and dag_id in (ACCOUNT, CONTACT):
            return False
        if user.username == "without-logs" and access_entity is DagAccessEntity.TASK_LOGS:
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
