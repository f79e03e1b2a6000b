"""Access: the DAGs of the pipelines as Airflow knows them, and what it lets a user see of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel, DagTag
from airflow.utils.session import create_session
from sqlalchemy import and_, exists, label, or_, select

TAG = "fenxiang"
"""The tag that `sync_dag` gives to its DAGs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDag:
    """A DAG in Airflow's database."""

    dag_id: str
    title: str
    paused: bool
    tagged: bool


def may_read(user: BaseUser, dag_id: str) -> bool:
    """Whether Airflow lets this user see the DAG."""
    return _may(user, dag_id, None)


def may_read_reasons(user: BaseUser, dag_id: str) -> bool:
    """Whether the user may see why records and runs failed. A reason quotes values of a record, as the logs of tasks
    do: so it takes the right to those."""
    return _may(user, dag_id, DagAccessEntity.TASK_LOGS)


def find(dag_id: str) -> KnownDag | None:
    """The DAG, None where Airflow does not know it."""
    with create_session() as session:
        found = session.execute(_DAGS.where(DagModel.dag_id == dag_id)).one_or_none()
    return None if found is None else KnownDag(**found._asdict())


def readable(user: BaseUser, dag_ids: Collection[str]) -> list[KnownDag]:
    """Those of `dag_ids` that Airflow has, and the DAGs of pipelines that it has found besides; of them the ones that
    the user may see. The companions of a pipeline, which have a dot in their names, are not among them."""
    of_pipelines = or_(DagModel.dag_id.in_(dag_ids), and_(_TAGGED, ~DagModel.dag_id.contains(".")))
    with create_session() as session:
        found = session.execute(_DAGS.where(of_pipelines, ~DagModel.is_stale).order_by(DagModel.dag_id)).all()
    may = get_auth_manager().get_authorized_dag_ids(user=user)
    return [KnownDag(**each._asdict()) for each in found if each.dag_id in may]


_TAGGED = exists().where(DagTag.dag_id == DagModel.dag_id, DagTag.name == TAG)
_DAGS = select(
    DagModel.dag_id,
    label("title", DagModel.dag_display_name),
    DagModel.is_paused.label("paused"),
    _TAGGED.label("tagged"),
)


def _may(user: BaseUser, dag_id: str, entity: DagAccessEntity | None) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)
