"""Worker: a process that does tasks of pipelines, told one a line, until it is killed or its input ends."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from fenxiang_sync import Field, HubTarget, Pipeline, Source, WriteApi
from fenxiang_sync.errors import FenxiangSyncError, IncompleteError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.source import FenxiangClient, Paces, SharedPace, Tokens
from fenxiang_sync.source.retries import Retries
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Plan, Run, extract, load, plan, reconcile, transform, verify
from fenxiang_sync.targets.protocol import Endpoint, Reach
from tests.steps_fixtures import CREDENTIALS
from tests.token_fixtures import FileTokenStore

TOKEN_LEASE_S = 10.0
"""Longer than a token call and the pause before the next one take here."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a worker is told when it starts. `calls` in 20 s are the quota; `timeout` is (connect, silence)."""

    url: str
    folder: str
    hub_url: str
    calls: int
    timeout: tuple[float, float]

    def line(self) -> str:
        return json.dumps(asdict(self))


def _pipeline(name: str, object_name: str, id_field: str, target: Any) -> Pipeline:
    source = Source(
        object=object_name,
        page_size=50,
        segment_records=200,
        lookback=timedelta(seconds=10),
        settle=timedelta(seconds=1),
    )
    fields = [Field("_id", id_field), *(Field(each) for each in ("name", "life_status", "version"))]
    return Pipeline(
        name=name, source=source, fields=[*fields, Field("last_modified_time")], target=target, schedule=None
    )


PIPELINES = {
    one.name: one
    for one in (
        _pipeline("account", "AccountObj", "_id", HubTarget()),
        _pipeline("warehouse", "object_warehouse__c", "id", WriteApi(batch_rows=10)),
    )
}
"""One into the hub, one to a target that adds a row whenever it is sent one; each on an interface of its own."""


class Worker:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stage = Stage(Path(setting.folder) / "stage")
        self._hub = Hub.connect(setting.hub_url)

    def client(self) -> FenxiangClient:
        """As the hook makes one for a task, but that it waits for less."""
        session, url, setting = requests.Session(), self._setting.url, self._setting
        store = FileTokenStore(Path(setting.folder) / "token.json", setting.hub_url, ttl_s=TOKEN_LEASE_S)
        tokens = Tokens(
            session=session,
            base_url=url,
            credentials=CREDENTIALS,
            store=store,
            timeout=setting.timeout,
            retries=Retries(calls=8, first=0.2, longest=2.0),
        )
        return FenxiangClient(
            session=session,
            base_url=url,
            tokens=tokens,
            credentials=CREDENTIALS,
            pace=Paces(shared=self._shared_pace),
            timeout=setting.timeout,
            retries=Retries(first=0.1, longest=2.0),
        )

    def _shared_pace(self, path: str) -> SharedPace:
        return SharedPace(self._setting.calls, 20, path=path, revise=lambda change: self._hub.revise("calls", change))

    def reach(self) -> Reach:
        return Reach(
            endpoint=lambda conn_id: Endpoint(conn_id=conn_id, url=self._setting.url),
            session=requests.Session,
            sleep=time.sleep,
            now=time.time,
        )

    def do(self, task: dict[str, Any]) -> Any:
        """One task: {pipeline, run, step, segment, since, until}. plan answers with the numbers of its segments."""
        pipeline = PIPELINES[task["pipeline"]]
        run = Run(pipeline=pipeline, id=task["run"], folder=self._stage.run(pipeline.name, task["run"]))
        step = task["step"]
        if step == "reconcile":
            return self._reconcile(run)
        if step == "plan":
            bounds = {name: datetime.fromtimestamp(task[name], UTC) for name in ("since", "until")}
            made = plan(
                run, Asked(kind=Kind.SCHEDULED, **bounds), client=self.client(), hub=self._hub, sleep=time.sleep
            )
            return [segment.index for segment in made.segments]
        if step == "verify":
            report = verify(run, client=self.client(), hub=self._hub, reach=self.reach(), clock=_now)
            return report.to_json()
        segment = Plan.of(run).segments[task["segment"] - 1]
        if step == "extract":
            return extract(run, segment, client=self.client())
        if step == "transform":
            return transform(run, segment)
        return load(run, segment, hub=self._hub, reach=self.reach(), clock=_now)

    def _reconcile(self, run: Run) -> dict[str, Any]:
        """All of a reconcile in one task: nothing goes wrong any more when it runs."""
        hub, reach = self._hub, self.reach()
        reconcile.survey(run, reconcile.Wanted(full=True), hub=hub, now=_now())
        reconcile.compare(run, client=self.client(), hub=hub, clock=_now)
        reconcile.confirm(run, client=self.client(), hub=hub, clock=_now)
        for segment in reconcile.segments(run, hub=hub):
            reconcile.fetch(run, segment, client=self.client())
            transform(run, segment)
            reconcile.deliver(run, segment, hub=hub, reach=reach, clock=_now)
        removed = reconcile.remove(run, hub=hub, reach=reach, clock=_now)
        return reconcile.report(run, removed, reconcile.count(run, hub=hub, reach=reach)).to_json()


def _now() -> datetime:
    return datetime.now(UTC)


def _tries(error: FenxiangSyncError) -> int:
    """As `fenxiang_sync.airflow.retries` gives a task."""
    if isinstance(error, IncompleteError):
        return 2
    return 6 if isinstance(error, TransientError) else 1


def main() -> None:
    setting = json.loads(sys.argv[1])
    worker = Worker(Setting(**{**setting, "timeout": tuple(setting["timeout"])}))
    for line in sys.stdin:
        try:
            answer = {"done": worker.do(json.loads(line))}
        except FenxiangSyncError as error:
            answer = {"error": f"{type(error).__name__}: {error}", "tries": _tries(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
