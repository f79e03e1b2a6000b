"""Bad input as a user meets it: each time a sentence that names the thing, the value and the way out; the rest goes on.

What a single module makes of its own input is tested with that module; here it is what comes out at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_knobs import Fault
from fenxiang_sync import Field, Pipeline, QeasyStore, WriteApi, decimal, text
from fenxiang_sync.airflow import sync_dag
from fenxiang_sync.airflow.hook import FenxiangHook
from fenxiang_sync.airflow.operators import FAILURE, ExtractOperator
from fenxiang_sync.errors import (
    FenxiangSyncError,
    IncompleteError,
    QuotaError,
    RefusedError,
    SetupError,
    TokenError,
    TransientError,
)
from fenxiang_sync.source import FenxiangClient, Tokens, pages
from fenxiang_sync.source.retries import ONCE
from tests.airflow_fixtures import ROOT, ConnectionSetter
from tests.source_fixtures import ALL_TIME, client_of, credentials, serving
from tests.steps_fixtures import Bench, at, bench, manual, pipeline
from tests.targets_fixtures import rows, stand


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, records={"AccountObj": 5}) as running:
        yield running


class TestAHostThatDoesNotAnswer:
    def test_it_is_asked_for_a_token_a_few_times_and_not_again_for_every_try_of_the_call(self) -> None:
        with serving(lambda request: Response(reset=True)) as (url, asked):
            session, who, slept = requests.Session(), credentials(), []
            tokens = Tokens(session=session, base_url=url, credentials=who, sleep=slept.append)
            client = FenxiangClient(session=session, base_url=url, tokens=tokens, credentials=who, sleep=slept.append)
            with pytest.raises(TokenError, match="gave no whole answer: ConnectionError"):
                client.objects()
        assert len(asked.asked) <= 8

    def test_a_person_who_tests_the_connection_is_told_at_the_first_trouble(
        self, fenxiang: Mapping[str, Any], connection: ConnectionSetter
    ) -> None:
        with serving(lambda request: Response(reset=True)) as (url, asked):
            connection("fenxiang", **{**fenxiang, "host": url})
            good, said = FenxiangHook("fenxiang").test_connection()
        assert not good
        assert "gave no whole answer" in said
        assert len(asked.asked) == 1


class Spoiler:
    """An app before the simulator: what `spoil` makes of the body of each answered query."""

    def __init__(self, server: Simulator, spoil: Callable[[bytes], bytes]) -> None:
        self._crm, self._spoil = server.crm, spoil
        server.server.apps.insert(0, self)

    def handle(self, request: Request) -> Response | None:
        if not request.path.endswith("/data/query"):
            return None
        answer = self._crm.handle(request)
        if answer is not None:
            answer.body = self._spoil(answer.body)
        return answer


def warehouses(**words: Any) -> Pipeline:
    return pipeline("WarehouseObj", name="odd", **words)


class TestOneOddRecord:
    """It is delivered, or a dead letter that says why; the other records of its page arrive."""

    @pytest.mark.parametrize(
        ("value", "becomes"),
        [
            (b'"' + b"x" * 10_000_000 + b'"', "x" * 10_000_000),
            (rb'"a\u0000b"', "a\0b"),
            (rb'"cut \ud83d"', "cut ?"),
            (rb'"whole \ud83d\ude00"', "whole 😀"),
            (b"1180591620717411303424", "1180591620717411303424"),
            (b"-0.10", "-0.10"),
        ],
        ids=["10 MB", "NUL", "half a pair", "a pair", "70 bits", "exact"],
    )
    def test_odd_text_and_numbers_arrive(self, tmp_path: Path, value: bytes, becomes: str) -> None:
        with bench(tmp_path, WarehouseObj=3) as crm:
            odd = min(crm.simulator.tenant.visible("WarehouseObj"))
            Spoiler(crm.simulator, lambda body: with_name(body, odd, value))
            made = warehouses(fields=[Field("_id"), Field("name", convert=text)])
            report = crm.sync(made, manual(full=True))
            assert (report.read, report.delivered) == (3, 3)
            assert crm.held(made)[odd]["name"] == becomes

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            (b"NaN", "not a number (value 'NaN')"),
            (b"-Infinity", "not a number (value '-Infinity')"),
            (b"1e999", "has more than 100 digits"),
            (b"[" * 400 + b"]" * 400, "list"),
            (b'{"amount": 5}', "object"),
        ],
        ids=["NaN", "infinity", "1e999", "deep", "object"],
    )
    def test_what_fits_no_field_is_a_dead_letter(self, tmp_path: Path, value: bytes, says: str) -> None:
        with bench(tmp_path, WarehouseObj=3) as crm:
            odd = min(crm.simulator.tenant.visible("WarehouseObj"))
            made = warehouses(fields=[Field("_id"), Field("name", "number", convert=decimal())], number=None)
            Spoiler(crm.simulator, lambda body: with_name(NAME.sub(b'"name":"7"', body), odd, value))
            report = crm.sync(made, manual(full=True))
            assert (report.read, report.delivered, report.dead_letters) == (3, 2, 1)
            (letter,) = crm.hub.dead_letters("odd")
            assert (letter.record_id, letter.field) == (odd, "name")
            assert says in letter.reason

    @pytest.mark.parametrize("stamp", [b"null", b'"1767225600000"', b"1767225600000.5"])
    def test_one_without_a_usable_stamp_fails_the_run_by_name(self, tmp_path: Path, stamp: bytes) -> None:
        with bench(tmp_path, WarehouseObj=3) as crm:
            Spoiler(crm.simulator, lambda body: re.sub(rb'("last_modified_time":)\d+', rb"\g<1>" + stamp, body))
            with pytest.raises(IncompleteError, match=r"WarehouseObj: record \w+ came with last_modified_time"):
                crm.sync(warehouses(), manual(full=True))
            assert crm.hub.certified("odd") == []


NAME = re.compile(rb'"name":"[^"]*"')


def with_name(body: bytes, record_id: str, value: bytes) -> bytes:
    """The answer with another value (JSON) for the name of one record."""
    mark = f'"_id":"{record_id}"'.encode()
    records = re.split(rb"(?<=\{)(?=[^{}]*\"_id\":)", body)
    return b"".join(
        NAME.sub(lambda _: b'"name":' + value, record, count=1) if mark in record else record for record in records
    )


class TestAnAnswerOfAnOddShape:
    """It never counts as an empty page."""

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"", "instead of a JSON object"),
            (b"[]", "instead of a JSON object"),
            (b"null", "instead of a JSON object"),
            (b'{"errorCode":0', "instead of a JSON object"),
            (b"{}", "without an errorCode; is this host Fenxiang's?"),
            (b'{"errorCode":true,"data":{"dataList":[]}}', "errorCode True"),
            (b'{"errorCode":[0],"data":{"dataList":[]}}', r"errorCode \[0\]"),
            (b'{"errorCode":0}', "without a usable data"),
            (b'{"errorCode":0,"data":[]}', "without a usable data"),
            (b'{"errorCode":0,"data":{"dataList":null}}', "without a usable data.dataList"),
            (b'{"errorCode":0,"data":{"dataList":{}}}', "without a usable data.dataList"),
            (b'{"errorCode":0,"data":{"dataList":["a"]}}', "1 records that are no objects"),
        ],
    )
    def test_the_run_fails_with_what_came(self, tmp_path: Path, body: bytes, says: str) -> None:
        with bench(tmp_path, WarehouseObj=3) as crm:
            Spoiler(crm.simulator, lambda _: body)
            with pytest.raises((TransientError, RefusedError), match=says):
                list(pages(impatient(crm), object_name="WarehouseObj", window=ALL_TIME, projection=["_id"]))


def impatient(crm: Bench) -> FenxiangClient:
    return client_of(crm.simulator, retries=ONCE)


class TestARefusal:
    """Codes of permission: the sentence says where to allow what."""

    @pytest.mark.parametrize(
        ("code", "error", "says"),
        [
            (20014, RefusedError, "may not see this employee.*admin console"),
            (20020, RefusedError, "may not read this company.*authorisation"),
            (15003, RefusedError, "allow the app this interface"),
            (30003, QuotaError, "no Open API quota pack was bought"),
            (30002, QuotaError, "counted anew at 0:00"),
            (99999, RefusedError, "没有权限"),
        ],
    )
    def test_it_names_the_interface_the_code_and_the_way_out(
        self, tmp_path: Path, code: int, error: type[Exception], says: str
    ) -> None:
        with bench(tmp_path, WarehouseObj=3) as crm:
            answer = json.dumps({"errorCode": code, "errorMessage": "没有权限", "traceId": "t-1"}).encode()
            Spoiler(crm.simulator, lambda _: answer)
            with pytest.raises(error, match=rf"/cgi/crm/v2/data/query .*{code}.*{says}"):
                crm.sync(warehouses(), manual(full=True))
            assert len(crm.simulator.queries) == 1, "it is not asked again"


class TaskInstance(SimpleNamespace):
    """What an operator uses of a task instance."""

    dag_id = "warehouse"

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**getattr(self, "pushed", {}), key: value}


def failure_of(task_id: str) -> tuple[Exception, str]:
    """What a task of a small pipeline raises (extract: behind its plan), and what it leaves for the UI."""
    dag = sync_dag(warehouses())
    run = SimpleNamespace(dag_id="account", run_id="manual__1", run_type="manual", run_after=at(30), start_date=at(30))
    context = {"ti": TaskInstance(), "dag_run": run, "params": {"full": True}}
    task = dag.get_task("plan")
    if task_id == "extract":
        (segment,) = task.execute(context)
        task = ExtractOperator(task_id="extract", pipeline=warehouses(), segment=segment)
    with pytest.raises(FenxiangSyncError) as raised:
        task.execute(context)
    return raised.value, context["ti"].pushed[FAILURE]


class TestATaskThatFails:
    """It leaves the reason where people look: in the XCom `failure`, with the class of the error in front."""

    @pytest.fixture(autouse=True)
    def stage(self, fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")

    def test_a_stage_that_is_no_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", "/var/stage")
        error, said = failure_of("plan")
        assert isinstance(error, SetupError)
        assert said == f"SetupError: {error}"
        assert "AIRFLOW__FENXIANG__STAGE_URL" in said
        assert "file:///var/stage" in said

    def test_a_stage_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "stage").write_text("a file in the way")
        error, said = failure_of("plan")
        assert isinstance(error, SetupError)
        assert f"{tmp_path}/stage" in said
        assert "AIRFLOW__FENXIANG__STAGE_URL" in said

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
    def test_a_stage_that_is_full(self, tmp_path: Path, simulator: Simulator) -> None:
        (tmp_path / "stage").mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", tmp_path / "stage"], check=False)
        if mounted.returncode != 0:
            pytest.skip("mounting is not allowed here")
        try:
            for number in range(2000):
                name = hashlib.sha256(str(number).encode()).hexdigest()
                simulator.tenant.create("WarehouseObj", {"name": name}, modified_ms=1_790_000_000_000 + number)
            error, said = failure_of("extract")
        finally:
            subprocess.run(["umount", tmp_path / "stage"], check=True)
        assert isinstance(error, TransientError), "there may be space at the next try"
        assert "The stage is full" in said
        assert "No space left on device" in said

    @pytest.mark.parametrize(
        ("hub", "kind", "says"),
        [
            ({"conn_type": "postgres", "host": "127.0.0.1", "port": 9, "schema": "hub"}, TransientError, "127.0.0.1:9"),
            ({"conn_type": "postgres", "host": "127.0.0.1"}, SetupError, "needs a host and a database"),
            ({"conn_type": "mysql", "host": "127.0.0.1", "schema": "hub"}, SetupError, "the hub takes postgres"),
            ({"conn_type": "sqlite", "host": "/nowhere/hub.db"}, SetupError, "there is no folder /nowhere"),
            ({"conn_type": "sqlite", "host": "/"}, SetupError, "fenxiang_hub"),
        ],
        ids=["unreachable", "no database", "another kind", "no folder", "a folder"],
    )
    def test_a_hub_that_cannot_be_used(
        self, connection: ConnectionSetter, hub: dict[str, Any], kind: type[Exception], says: str
    ) -> None:
        connection("fenxiang_hub", login="hub", password="CanaryHub", **hub)
        error, said = failure_of("plan")
        assert isinstance(error, kind), error
        assert says in said
        assert "CanaryHub" not in said

    @pytest.mark.postgres
    def test_a_hub_with_options_that_postgresql_does_not_know(self, connection: ConnectionSetter) -> None:
        connection(
            "fenxiang_hub", conn_type="postgres", host="127.0.0.1", schema="test", password="CanaryHub",
            login="postgres", extra={"cursor": "dictcursor"},
        )  # fmt: skip
        error, said = failure_of("plan")
        assert isinstance(error, SetupError)
        assert "cursor" in said
        assert "CanaryHub" not in said

    def test_a_page_from_a_target_is_told_as_what_it_is(self) -> None:
        with stand() as made:
            made.targets.faults.inject(Fault.HTML, on="write")
            with pytest.raises(TransientError, match="answered with a web page"):
                made.send(WriteApi(upserts=True, tries=1), rows(1))
            made.targets.faults.inject(Fault.HTML, on="store")
            with pytest.raises(TransientError, match="answered with a web page"):
                made.send(QeasyStore(scheme="demo", upserts=True, tries=1), rows(1))


class TestParsing:
    """What a DAG processor does with every file, again and again."""

    def test_parsing_opens_no_socket_no_database_and_no_file_for_writing(self, tmp_path: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        done = subprocess.run(
            [sys.executable, "-c", AUDITED, *sorted(map(str, (ROOT / "dags").glob("*.py")))],
            env={**env, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = json.loads(done.stdout.splitlines()[-1])
        assert seen.pop("proof") == ["socket.connect", "sqlite3.connect", "write"], "the hook sees what it looks for"
        assert seen == {name: [] for name in ("account", "inventory_report", "warehouse")}

    def test_a_broken_file_leaves_the_other_dags(self, airflow_home: Path, tmp_path: Path) -> None:
        from airflow.dag_processing.dagbag import DagBag

        shutil.copytree(ROOT / "dags", tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__"))
        for name, text_ in BROKEN.items():
            (tmp_path / "dags" / f"{name}.py").write_text(text_, encoding="utf-8")
        bag = DagBag(str(tmp_path / "dags"))
        pipelines = {"account", "inventory_report", "warehouse"}
        companions = {f"{name}.{each}" for name in pipelines for each in ("reconcile", "replay", "retransform")}
        assert set(bag.dags) == pipelines | companions
        said = {Path(file).stem: error.strip() for file, error in bag.import_errors.items()}
        assert set(said) == set(BROKEN)
        assert said["typo"].endswith("object='Accountobj': did you mean 'AccountObj'?")
        assert said["word"].endswith("Pipeline has no 'sorce'; did you mean 'source'?"), said["word"]
        assert "also found in" in said["twice"], said["twice"]


BROKEN = {
    "typo": """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(name="a", source=Source(object="Accountobj"), fields=[Field("_id")], target=HubTarget()))
""",
    "word": """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(name="a", sorce=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget()))
""",
    "twice": """
from fenxiang_sync import Field, HubTarget, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(name="account", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget()))
""",
}

AUDITED = """
import json, os, pathlib, runpy, socket, sqlite3, sys
import airflow.sdk, airflow.timetables.interval, airflow.task.priority_strategy
import urllib3  # binds a socket once to see whether there is IPv6

events, watching = [], False
OPENED = {"socket.connect", "socket.getaddrinfo", "socket.bind", "sqlite3.connect"}

def hook(name, arguments):
    if not watching:
        return
    if name in OPENED:
        events.append(name)
    elif name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if not str(arguments[0]).endswith(".pyc") and "__pycache__" not in str(arguments[0]):
            events.append("write")

sys.addaudithook(hook)
seen = {}
for file in sys.argv[1:]:
    events.clear()
    watching = True
    module = runpy.run_path(file)
    watching = False
    assert module["dag"].tasks
    seen[pathlib.Path(file).stem] = list(events)

events.clear()
watching = True
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError:
    pass
sqlite3.connect(":memory:").close()
open(os.environ["AIRFLOW_HOME"] + "/proof", "w").close()
watching = False
seen["proof"] = [event for event in events if event != "socket.getaddrinfo"]
print(json.dumps(seen))
"""
