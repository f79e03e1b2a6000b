"""Deployment: what this Airflow gives to a run: the hub, the stage, connections, a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from fenxiang_sync.airflow.journal import Journal
from fenxiang_sync.airflow.reach import make_reach
from fenxiang_sync.airflow.readers import reader
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.hub import Hub
from fenxiang_sync.kingdee_source import KingdeeSource
from fenxiang_sync.pipeline import Pipeline, Source
from fenxiang_sync.source import Client, FenxiangClient
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run
from fenxiang_sync.targets.protocol import Reach


class Deployment:
    """Made inside a task; nothing of it is opened before it is asked for. Close it at the end of the task."""

    def __init__(self) -> None:
        self._clients: list[Client] = []

    @cached_property
    def settings(self) -> Settings:
        return Settings.load()

    @cached_property
    def hub(self) -> Hub:
        return Hub.connect(self.settings.hub_url())

    @cached_property
    def stage(self) -> Stage:
        return Stage(self.settings.stage_root())

    @cached_property
    def reach(self) -> Reach:
        return make_reach()

    def reader(self, source: Source | KingdeeSource) -> Client:
        """The client that a declared source is read by."""
        client = reader(source, lambda: self.reach)
        self._clients.append(client)
        return client

    def client(self, conn_id: str) -> FenxiangClient:
        """A client of Fenxiang, by the id of its connection."""
        # The http provider behind it costs 0.4 s to import: too much for parsing a DAG file, and for tasks without it.
        from fenxiang_sync.airflow.hook import FenxiangHook

        client = FenxiangHook(conn_id).client()
        self._clients.append(client)
        return client

    def close(self) -> None:
        """The task is over: what its clients had booked ahead is the next one's, what they have counted is stored."""
        for client in self._clients:
            client.close()

    def run(self, pipeline: Pipeline, context: Any) -> Run:
        """The run of a task. In a companion DAG (``account.lookback-2d``) its id begins with what is behind the
        pipeline's name: hub and stage know runs by pipeline and id, and two DAGs give the same ids."""
        run_id, dag_id = context["dag_run"].run_id, context["ti"].dag_id
        companion = dag_id.removeprefix(f"{pipeline.name}.")
        if companion != dag_id:
            run_id = f"{companion}.{run_id}"
        return Run(pipeline=pipeline, id=run_id, folder=self.stage.run(pipeline.name, run_id))

    def journal(self, run: Run, context: Any) -> Journal:
        return Journal(self.hub, run, context["dag_run"])

    def stage_limit(self) -> datetime:
        """Runs whose newest file is older than this are swept from the stage."""
        return self.now() - timedelta(days=self.settings.stage_retention_days)

    def sweep(self, pipeline: Pipeline) -> None:
        """Remove what is older than the settings say: of the pipeline's runs in the stage and the hub, and events."""
        now, settings = self.now(), self.settings
        longest = max(settings.stage_retention_days, settings.records_retention_days)
        records = now - timedelta(days=longest if pipeline.keep_records else settings.stage_retention_days)
        self.stage.sweep(pipeline.name, older_than=self.stage_limit(), records_older_than=records)
        events = now - timedelta(days=settings.events_retention_days)
        self.hub.forget_old(pipeline.name, events=events, readings=records)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
