"""The simulator from outside: knobs, the control paths, the command, and a client that others published."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_simulator.knobs import Setting
from tests.simulator_fixtures import Api

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(records={"AccountObj": 30}) as running:
        yield running


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)


def get(simulator: Simulator, path: str) -> Any:
    response = requests.get(f"{simulator.url}/_simulator{path}", timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


def post(simulator: Simulator, path: str, body: Any, status: int = 200) -> Any:
    response = requests.post(f"{simulator.url}/_simulator{path}", json=body, timeout=10)
    assert response.status_code == status, response.text
    return response.json()


# Knobs


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in Knobs.choices().items() for v in values])
def test_every_choice_of_every_knob_can_be_set_and_typed(name: str, value: Setting) -> None:
    knobs = Knobs()
    knobs.set({name: value})
    assert knobs.as_dict()[name] == value
    typed = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    assert Knobs.parse(name, typed) == value


def test_the_first_choice_is_the_default() -> None:
    assert Knobs().as_dict() == {name: values[0] for name, values in Knobs.choices().items()}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"limit_mode": "shout"}, "knob limit_mode cannot be 'shout'; it is one of: clamp, honour, reject"),
        ({"burst_code": 1}, "knob burst_code cannot be 1; it is one of: 30004, 14001"),
        ({"void_bumps_lmt": 1}, "knob void_bumps_lmt cannot be 1; it is one of: yes, no"),
        ({"visibility_lag_ms": -1}, "knob visibility_lag_ms cannot be -1; it is a whole number from 0 up"),
        ({"visibility_lag_ms": "soon"}, "knob visibility_lag_ms cannot be 'soon'; it is a whole number from 0 up"),
        ({"limit_mod": "clamp"}, "there is no knob 'limit_mod'; the knobs are: backdated_stamp, "),
    ],
)
def test_a_wrong_knob_is_a_sentence_and_changes_nothing(setting: dict[str, Setting], sentence: str) -> None:
    knobs = Knobs()
    with pytest.raises(ValueError) as error:
        knobs.set({"between": "half-open", **setting})

    assert str(error.value).startswith(sentence)
    assert knobs == Knobs()


def test_an_attribute_is_checked_too() -> None:
    with pytest.raises(ValueError, match="knob voided cannot be 'maybe'"):
        Knobs().voided = "maybe"


# Control paths


def test_the_control_paths_are_listed(simulator: Simulator) -> None:
    listed = get(simulator, "")

    assert {"/_simulator/report", "/_simulator/queries", "/_simulator/knobs", "/_simulator/edit"} <= set(listed)


def test_the_report_counts_requests_by_path(api: Api, simulator: Simulator) -> None:
    api.rows("AccountObj")
    api.query("NothingObj")
    report = get(simulator, "/report")

    assert report["requests"] == {"/cgi/corpAccessToken/get/V2": 1, "/cgi/crm/v2/data/query": 2}
    assert report["error_codes"] == {"32000": 1}
    assert report["records"]["AccountObj"] == 30
    assert set(report["targets"]) == {"qeasy", "write", "kingdee"}


def test_every_query_is_kept_as_it_was_asked_without_credentials(api: Api, simulator: Simulator) -> None:
    api.rows("AccountObj", ("last_modified_time", "GTE", ["5"]), orders=[("_id", True)], fields=["_id"], limit=10)
    api.query("AccountObj", ("name", "NEQ", ["x"]))
    api.rows("ProductObj")
    first, refused = get(simulator, "/queries?object=AccountObj")

    at = first.pop("at_ms")
    assert abs(at - simulator.clock.now_ms()) < 60_000
    assert first == {
        "path": "/cgi/crm/v2/data/query",
        "object": "AccountObj",
        "user": "1000",
        "filters": [{"field_name": "last_modified_time", "operator": "GTE", "field_values": ["5"]}],
        "orders": [["_id", True]],
        "offset": 0,
        "limit": 10,
        "projection": ["_id"],
        "total": "exact",
        "rows": 10,
        "code": 0,
    }
    assert (refused["rows"], refused["code"]) == (None, 32000)
    assert api.token not in requests.get(f"{simulator.url}/_simulator/queries", timeout=10).text
    assert len(simulator.queries) == 3


def test_the_state_is_what_the_user_can_see(api: Api, simulator: Simulator) -> None:
    state = get(simulator, "/state/AccountObj")
    assert state["count"] == 30
    for row in api.rows("AccountObj"):
        row.pop("total_num")
        row.pop("searchAfterId")
        assert state["records"][row["_id"]] == row

    assert get(simulator, "/state/AccountObj?user=1002")["count"] < 30
    some = next(iter(get(simulator, "/state/ProductObj?style=header")["records"].values()))
    assert some["owner"][0].isdigit()
    assert get(simulator, "/state/PersonnelObj")["count"] == 0


def test_records_are_edited_from_outside(simulator: Simulator) -> None:
    new = post(simulator, "/edit", {"action": "create", "object": "AccountObj", "data": {"name": "外部"}})["id"]
    same = {"object": "AccountObj", "id": new}
    post(simulator, "/edit", {"action": "update", **same, "data": {"name": "改"}, "last_modified_time": 1790000000000})
    post(simulator, "/edit", {"action": "change_owner", **same, "owner": "1004"})
    assert simulator.tenant.records("AccountObj")[new]["name"] == "改"
    assert simulator.tenant.records("AccountObj")[new]["owner"] == ["1004"]
    for action, status in (("invalid", "invalid"), ("recover", "normal"), ("invalid", "invalid")):
        post(simulator, "/edit", {"action": action, **same})
        assert simulator.tenant.records("AccountObj")[new]["life_status"] == status
    post(simulator, "/edit", {"action": "delete", **same})
    assert new not in simulator.tenant.records("AccountObj")
    assert (
        sum(post(simulator, "/edit", {"action": "random", "object": "AccountObj", "times": 20})["edits"].values()) > 5
    )


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/edit", {"action": "paint", "object": "AccountObj"}, "no edit 'paint'; the edits are: create, update"),
        (
            "/edit",
            {"action": "update", "object": "AccountObj", "id": "x"},
            "参数错误 (errorCode 32000): 数据不存在或已被删除: x",
        ),
        ("/edit", {"action": "create", "object": "NoObj"}, "参数错误 (errorCode 32000): 对象不存在: NoObj"),
        ("/knobs", {"voided": "maybe"}, "knob voided cannot be 'maybe'; it is one of: visible"),
        ("/knobs", ["voided"], "POST /_simulator/knobs takes a JSON object"),
        ("/faults", {"fault": "x", "rate": 0.1}, "there is no fault 'x'"),
        ("/faults", {"busy": 0.1}, 'say {"fault"'),
    ],
)
def test_a_wrong_control_request_is_400_with_a_sentence(
    simulator: Simulator, path: str, body: Any, sentence: str
) -> None:
    assert post(simulator, path, body, 400)["error"].startswith(sentence)


def test_an_unknown_control_path_says_where_the_list_is(simulator: Simulator) -> None:
    assert post(simulator, "/nothing", {}, 404)["error"] == "no /_simulator/nothing here; see /_simulator"


def test_knobs_faults_clock_and_tokens_are_changed_from_outside(api: Api, simulator: Simulator) -> None:
    api.rows("AccountObj")
    changed = post(simulator, "/knobs", {"limit_mode": "reject", "calls": 7})
    assert (changed["values"]["limit_mode"], simulator.knobs.calls) == ("reject", 7)
    assert changed["choices"]["limit_mode"] == ["clamp", "honour", "reject"]

    post(simulator, "/faults", {"fault": "busy", "next": 1, "path": "/query"})
    assert api.query("AccountObj")["errorCode"] == -1
    post(simulator, "/faults", {"fault": "busy", "rate": 1})
    assert api.query("AccountObj")["errorCode"] == -1
    assert post(simulator, "/faults", {"clear": True})["rates"] == {}

    before = simulator.clock.now_ms()
    assert post(simulator, "/clock", {"advance": 600})["now_ms"] >= before + 600_000
    post(simulator, "/tokens/revoke", {})
    assert api.query("AccountObj")["errorCode"] == 20016


def test_a_reset_brings_the_seeded_records_back(api: Api, simulator: Simulator) -> None:
    before = simulator.tenant.records("AccountObj")
    simulator.editor.edit("AccountObj", 50)
    api.rows("AccountObj")
    post(simulator, "/reset", {})

    assert simulator.tenant.records("AccountObj") == before
    assert simulator.report()["requests"] == {}
    assert simulator.queries == []


def test_one_part_can_be_started_alone() -> None:
    with Simulator(only="fenxiang") as alone:
        assert requests.post(f"{alone.url}/write", json={"id": "1"}, timeout=10).status_code == 404
        assert Api(alone).query("AccountObj")["errorCode"] == 0
    with Simulator(only="targets") as alone:
        assert Api(alone).post("/cgi/crm/v2/data/query", {}).status_code == 404
    with pytest.raises(ValueError, match="only cannot be 'all'; it is one of: fenxiang, targets"):
        Simulator(only="all")


def test_a_stopped_simulator_answers_nobody(simulator: Simulator) -> None:
    session = requests.Session()
    url = f"{simulator.url}/_simulator/report"
    assert session.get(url, timeout=10).ok
    simulator.stop()

    with pytest.raises(requests.ConnectionError):
        session.get(url, timeout=10)


# The command


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fenxiang_simulator", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "simulator")}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_what_one_needs_and_stops_cleanly(tmp_path: Path, sign: signal.Signals) -> None:
    state = tmp_path / "url.json"
    arguments = command(
        *("--records", "AccountObj=77", "--knob", "limit_mode=reject", "--fault", "slow=0.25", "--state-file", state)
    )
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while "Stop with Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
        said = "".join(lines)
        url = lines[0].split()[-1]
        while not state.exists():
            assert process.poll() is None
        told = json.loads(state.read_text(encoding="utf-8"))
        report = requests.get(f"{url}/_simulator/report", timeout=10).json()
        process.send_signal(sign)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert "nobody called" in rest
    assert url.startswith("http://127.0.0.1:")
    assert report["records"]["AccountObj"] == 77
    for needed in ("FSAID_demo001", "demo-secret", "demo-perm", "FSUID_demo0000000000000000000000001", "13800000000"):
        assert needed in said
    assert "Knobs: limit_mode=reject\nFaults: slow=0.25\n" in said
    assert told["url"] == url
    assert told["app_id"] == "FSAID_demo001"
    assert not state.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--knob", "voided=maybe"),
            "knob voided cannot be 'maybe'; it is one of: visible, hidden, visible_if_filtered",
        ),
        (("--knob", "voided"), "'voided' should be NAME=VALUE"),
        (("--fault", "bussy=0.1"), "there is no fault 'bussy'; the faults are: redirect"),
        (("--fault", "busy=5"), "fault busy=5: the rate is a part between 0 and 1, as 0.05"),
        (("--records", "AccountObj=many"), "records AccountObj=many: the number of records is a whole number"),
        (("--records", "AccountObj=-5"), "there cannot be -5 records of AccountObj"),
        (("--port", "99999"), "port 99999 is none; a port is between 1 and 65535, or 0 for a free one"),
        (("--state-file", "/nowhere/x.json"), "state file: there is no folder /nowhere"),
        (("--records", "AcountObj=5"), "no object 'AcountObj' here; the objects are: AccountObj"),
        (("--objects", "/nowhere.json"), "objects: cannot read /nowhere.json: No such file or directory"),
        (("--edits-per-second", "-1"), "knob edits_per_second cannot be -1; it is a whole number from 0 up"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(f"fenxiang-simulator: {sentence}")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(simulator: Simulator) -> None:
    port = simulator.url.rsplit(":", 1)[1]
    done = run("--port", port)

    assert done.returncode == 2
    assert done.stderr == (
        f"fenxiang-simulator: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another --port, or 0 for a free one\n"
    )


def test_the_lists_name_every_knob_and_fault() -> None:
    knobs = run("--list-knobs").stdout
    assert all(name in knobs for name in Knobs.choices())
    assert "token_expired" in run("--list-faults").stdout


def test_an_object_of_ones_own_is_filled_by_its_types(tmp_path: Path) -> None:
    from fenxiang_simulator.catalog import from_describe

    fields = {
        "field_size__c": {"label": "尺寸", "type": "number", "decimal_places": 2},
        "field_kind__c": {"label": "类别", "type": "select_one", "options": [{"label": "甲", "value": "a"}]},
        "field_day__c": {"label": "日期", "type": "date", "is_required": True},
        "account__c": {"label": "客户", "type": "object_reference", "target_api_name": "AccountObj"},
    }
    own = from_describe({"api_name": "object_own__c", "display_name": "自建对象", "fields": fields})
    with Simulator(objects=[own], records={"object_own__c": 40, "AccountObj": 5}) as simulator:
        rows = Api(simulator).rows("object_own__c")

    assert len(rows) == 40
    assert all(isinstance(each["field_day__c"], int) for each in rows)
    assert {each.get("field_kind__c__r") for each in rows} <= {"甲", None}
    assert any("account__c__r" in each for each in rows)
    with pytest.raises(ValueError, match="an object must look like the inner describe of object/describe"):
        from_describe({"name": "x"})


def test_the_answer_of_describe_can_be_given_to_the_command_as_it_is(api: Api, tmp_path: Path) -> None:
    answer = api.call("/cgi/crm/v2/object/describe", {"data": {"apiName": "object_inventory_report__c"}})
    answer["data"]["describe"]["api_name"] = "object_mine__c"
    file, state = tmp_path / "mine.json", tmp_path / "state.json"
    file.write_text(json.dumps(answer), encoding="utf-8")
    with subprocess.Popen(
        command("--objects", file, "--records", "object_mine__c=3", "--state-file", state),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        while "Stop with Ctrl-C" not in said[-1]:
            said.append(process.stdout.readline())
        process.terminate()

    assert any(line.split() == ["object_mine__c", "库存报表", "3"] for line in said)


# A client that others published


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `fxiaoke-python` from the package index, and of what it imports."""
    folder = tmp_path_factory.mktemp("published")
    arguments = ["install", "--quiet", "--no-deps", "--target", str(folder), "fxiaoke-python==0.0.3", "six"]
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode:
        reason = f"fxiaoke-python cannot be installed here: {done.stderr.strip().splitlines()[-1:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


PROGRAM = """
import json, sys
import requests
from requests.adapters import HTTPAdapter
from fxiaoke.api import FxiaokeApi
from fxiaoke.baseObj import baseObj
from fxiaoke.op_create import createObj
from fxiaoke.op_get import getObj
from fxiaoke.op_query import queryObj

class Elsewhere(HTTPAdapter):
    def send(self, request, **more):
        request.url = request.url.replace("https://open.fxiaoke.com", sys.argv[1])
        return super().send(request, **more)

api = FxiaokeApi.init("FSAID_demo001", "demo-secret", "demo-perm", "FSUID_demo0000000000000000000000001")
api._session.requests.mount("https://open.fxiaoke.com", Elsewhere())
query = queryObj(api)
accounts = [each["_id"] for each in query.execute("AccountObj", orders=[{"fieldName": "_id", "isAsc": True}])]
reports = query.execute("object_inventory_report__c", fieldProjection=["_id", "name"])
made = createObj(api).execute({"name": "来自别人的客户端"}, {}, "AccountObj")
print(json.dumps({
    "accounts": accounts,
    "total": reports.total(),
    "report": next(reports),
    "made": made["dataId"],
    "got": getObj(api).execute(made["dataId"], "AccountObj"),
    "described": baseObj(api, "AccountObj").describe("AccountObj"),
}))
"""


def test_a_client_published_by_others_works_unpatched_but_for_its_host(published: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    with Simulator(records={"AccountObj": 250}) as simulator:
        accounts = set(simulator.tenant.records("AccountObj"))
        done = subprocess.run(
            [sys.executable, program, simulator.url],
            env={**os.environ, "PYTHONPATH": str(published), "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        held = simulator.tenant.records("AccountObj")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["accounts"]) == accounts
    assert told["total"] == 500
    assert set(told["report"]) == {"_id", "name"}
    assert told["got"]["name"] == held[told["made"]]["name"] == "来自别人的客户端"
    assert told["described"]["describe"]["api_name"] == "AccountObj"
    assert simulator.report()["tokens"]["calls"] == 1
