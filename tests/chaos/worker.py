"""Worker: a process that does tasks of pipelines, told one a line, until it is killed or its input ends."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from fenxiang_sync import FenxiangTarget, KingdeeSource
from fenxiang_sync.errors import FenxiangSyncError, IncompleteError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.kingdee import KingdeeClient
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import Client, FenxiangClient, Paces, SharedPace, Tokens
from fenxiang_sync.source.retries import Retries
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Asked, Kind, Plan, Run, extract, load, plan, reconcile, transform, verify
from fenxiang_sync.steps.doubt import Choice
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.targets.protocol import Endpoint, Reach
from tests.chaos.pipelines import PIPELINES
from tests.steps_fixtures import CREDENTIALS
from tests.targets_fixtures import kingdee_connection
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


class Worker:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stage = Stage(Path(setting.folder) / "stage")
        self._hub = Hub.connect(setting.hub_url)

    def client(self, pipeline: Pipeline) -> Client:
        """Of what the pipeline reads."""
        if isinstance(pipeline.source, KingdeeSource):
            return KingdeeClient(self.reach(), pipeline.source.connection)
        return self.crm()

    def crm(self) -> FenxiangClient:
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
            endpoint=self._endpoint,
            session=self._session,
            sleep=time.sleep,
            now=time.time,
            crm=lambda conn_id: FenxiangWriter(self.crm()),
        )

    def _endpoint(self, conn_id: str) -> Endpoint:
        given = kingdee_connection(self._setting.url) if conn_id == "kingdee" else {"url": self._setting.url}
        return Endpoint(conn_id=conn_id, **given)

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.mount("http://", _ImpatientAdapter(self._setting.timeout))
        return session

    def do(self, task: dict[str, Any]) -> Any:
        """One task: {pipeline, run, step, segment, since, until}. plan answers with the numbers of its segments."""
        pipeline = PIPELINES[task["pipeline"]]
        run = Run(pipeline=pipeline, id=task["run"], folder=self._stage.run(pipeline.name, task["run"]))
        step, client = task["step"], self.client(pipeline)
        if step == "reconcile":
            return self._reconcile(run, client)
        if step == "mend":
            return self._mend(run)
        if step == "plan":
            bounds = {name: datetime.fromtimestamp(task[name], UTC) for name in ("since", "until")}
            made = plan(run, Asked(kind=Kind.SCHEDULED, **bounds), client=client, hub=self._hub, sleep=time.sleep)
            return [segment.index for segment in made.segments]
        if step == "verify":
            report = verify(run, client=client, hub=self._hub, reach=self.reach(), clock=_now)
            return report.to_json()
        segment = Plan.of(run).segments[task["segment"] - 1]
        if step == "extract":
            return extract(run, segment, client=client, hub=self._hub)
        if step == "transform":
            return transform(run, segment)
        return load(run, segment, hub=self._hub, reach=self.reach(), clock=_now)

    def _reconcile(self, run: Run, client: Client) -> dict[str, Any]:
        """All of a reconcile in one task. A person has confirmed that whatever is gone may go."""
        hub, reach = self._hub, self.reach()
        reconcile.survey(run, reconcile.Wanted(full=True, confirmed=10**6), hub=hub, now=_now())
        reconcile.compare(run, client=client, hub=hub, clock=_now)
        reconcile.confirm(run, client=client, hub=hub, clock=_now)
        for segment in reconcile.segments(run, hub=hub):
            reconcile.fetch(run, segment, client=client)
            transform(run, segment)
            reconcile.deliver(run, segment, hub=hub, reach=reach, clock=_now)
        removed = reconcile.remove(run, hub=hub, reach=reach, clock=_now)
        return reconcile.report(run, removed, reconcile.count(run, hub=hub, reach=reach)).to_json()

    def _mend(self, run: Run) -> dict[str, Any]:
        """Letters are tried again; what is in doubt is sent again where the target looks before it writes."""
        looks = isinstance(run.pipeline.target, FenxiangTarget)
        wanted = Wanted(in_doubt=Choice.RESEND if looks else Choice.NOTHING)
        return mend(run, wanted, hub=self._hub, reach=self.reach(), clock=_now)


class _ImpatientAdapter(HTTPAdapter):
    """Gives up on an answer after the time-out (connect, silence)."""

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__()
        self._timeout = timeout

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        return super().send(request, *args, **{**options, "timeout": self._timeout})


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
