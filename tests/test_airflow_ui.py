"""The pages in Airflow's UI: what they tell of a pipeline, and to whom."""

from __future__ import annotations

import doctest
import html
import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from fenxiang_sync import Source
from fenxiang_sync.declared import Declared
from fenxiang_sync.drift import Known, note_name
from fenxiang_sync.hub import Hub
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.window import to_ms
from tests.airflow_fixtures import ConnectionSetter
from tests.hub_fixtures import hub_file
from tests.ui_fixtures import ACCOUNT, CONTACT, NOW, SECRET, account, fill, served, token_of

__all__ = ["served"]

PAGE, LIST = f"/fenxiang/pipelines/{ACCOUNT}", "/fenxiang/pipelines"
Get = Callable[..., httpx.Response]


@pytest.fixture
def hub(connection: ConnectionSetter, tmp_path: Path, airflow_home: Path) -> Iterator[Hub]:
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    connection("fenxiang", conn_type="fenxiang", extra={"day_quota": 10_000})
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        yield hub


@pytest.fixture
def get(served: Any, hub: Hub) -> Get:
    """Ask the API server as a user does who has logged in in a browser; as nobody with ``user=None``."""

    def ask(path: str, user: str | None = "viewer", role: str | None = "viewer") -> httpx.Response:
        client = TestClient(served, follow_redirects=False)
        if user is not None:
            client.cookies.set("_token", token_of(user, role))
        return client.get(path)

    return ask


def words(page: httpx.Response) -> str:
    """What a page says, without tags."""
    assert page.status_code == 200, page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    body = re.sub(r"<style>.*?</style>", "", page.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def test_the_examples_in_the_docstrings_are_true() -> None:
    from fenxiang_sync.airflow.ui import shown

    assert doctest.testmod(shown).failed == 0


class TestChangesOfFields:
    def changed(self, hub: Hub) -> None:
        fill(hub)
        known = Known.read(None)
        for at_ms, names in ((1, ["name"]), (to_ms(NOW), ["name", "tax__c", "<b>"])):
            fields = {each: {"label": f"<{each}>", "type": "text", "is_active": names[1:] == []} for each in names}
            known = known.looked(ObjectDescription.read({"api_name": "AccountObj", "fields": fields}), at_ms)
        hub.revise(note_name("fenxiang", "AccountObj"), lambda *_: known.note())

    def test_they_are_shown_with_the_columns_that_they_go_into_and_the_way_out(self, get: Get, hub: Hub) -> None:
        fill(hub)
        assert "Nobody has looked yet" in words(get(PAGE))
        self.changed(hub)
        page = words(get(PAGE))
        assert "'name' (<name>) is switched off 2026-11-22 20:00 → name" in page
        assert "'tax__c' (<tax__c>) is new: text 2026-11-22 20:00" in page
        assert "fenxiang drift shown_account --accept" in page
        assert "<tax__c>" not in get(PAGE).text

    def test_programs_read_the_same(self, get: Get, hub: Hub) -> None:
        self.changed(hub)
        told = {each["field"]: each for each in get(f"/fenxiang/api/pipelines/{ACCOUNT}").json()["drift"]}
        assert set(told) == {"name", "tax__c"}
        assert (told["name"]["what"], told["name"]["columns"]) == ("is switched off", ["name"])
        assert told["tax__c"]["first_seen"] == "2026-11-22T12:00:00+00:00"


class TestThePageOfAPipeline:
    def test_it_says_what_it_is_and_up_to_when_it_is_certified(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = words(get(PAGE))
        assert "客户 shown_account" in page
        assert "AccountObj · fenxiang" in page
        assert "POST /write, one object per call (connection write_api)" in page
        assert "certified up to 水位 2026-11-22 19:00" in page

    def test_each_gap_comes_with_the_command_that_closes_it_and_what_to_fill_in(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = get(PAGE)
        commands = [
            shlex.split(html.unescape(each)) for each in re.findall(r'<pre class="command">(.*?)</pre>', page.text)
        ]
        assert [command[:5] for command in commands] == [["airflow", "dags", "trigger", ACCOUNT, "--conf"]] * 2
        assert [json.loads(command[5])["since"] for command in commands] == [
            "2026-11-12T09:00:00.000+00:00",
            "2026-10-01T00:00:00.000+00:00",
        ]
        said = words(page)
        assert "2026-11-12 17:00 → 22:00 5 h The next run closes it" in said
        assert "Older than reach_back (31 days): no run closes it by itself" in said
        assert (
            "Since (起始时间) 2026-11-12T17:00:00.000+08:00 and Until (结束时间) 2026-11-12T22:00:00.000+08:00" in said
        )

    def test_it_says_what_lookback_would_have_caught_all_late_records(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = words(get(PAGE))
        assert "A lookback of 47 min would have caught all late records so far: 37; yours is 10 min." in page
        assert "Source(lookback=timedelta(minutes=47))" in page
        assert "10 min 35 of 37 run 15 " in page
        assert "1 h 37 of 37 lookback 2 68ef47 31 min to 47 min late" in page

    def test_where_the_lookback_is_enough_it_says_so(self, get: Get, hub: Hub) -> None:
        fill(hub)
        Declared.of(account(source=Source(object="AccountObj", lookback=timedelta(hours=1))), ACCOUNT).note(hub)
        assert "Your lookback of 1 h would have caught all late records so far: 37." in words(get(PAGE))

    def test_runs_come_with_their_numbers_and_why_they_failed(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = words(get(PAGE))
        assert "1,432 1,200 214 3 9 2 4 1 2 14 4 min" in page
        assert "verify: IncompleteError 3 records are missing" in page
        assert "20,411 compared, 2 missing, 1 stale, 1 vanished" in page
        assert "dry run 空跑" in page

    def test_dead_letters_are_counted_with_the_newest_reasons_and_no_payload(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = get(PAGE)
        said = words(page)
        assert "5 RejectedError in transform" in said
        assert "The newest 3 of 5." in said
        assert "1 RefusedError in load" in said
        assert "/write: name too long" in said
        assert "payload-of-it" not in page.text
        assert "2 rows are in doubt" in said

    def test_what_stands_in_a_record_is_text_and_never_markup(self, get: Get, hub: Hub) -> None:
        fill(hub)
        assert "is no &lt;b&gt;number&lt;/b&gt;" in get(PAGE).text

    def test_the_calls_of_the_day_are_those_of_the_whole_app_against_the_quota(self, get: Get, hub: Hub) -> None:
        fill(hub)
        assert "calls today 今日调用 8,500 85 % of 10,000, the whole app" in words(get(PAGE))

    @pytest.mark.parametrize("companion", ["reconcile", "lookback-1d"])
    def test_the_tab_of_a_companion_dag_leads_to_the_pipeline(self, get: Get, hub: Hub, companion: str) -> None:
        fill(hub)
        assert "客户 shown_account" in words(get(f"{PAGE}.{companion}"))

    def test_a_dag_of_another_name_shows_its_pipeline_and_is_what_the_command_triggers(
        self, get: Get, hub: Hub
    ) -> None:
        fill(hub)
        Declared.of(account(), "shown_other").note(hub)
        page = words(get(f"{LIST}/shown_other"))
        assert "客户 shown_account" in page
        assert "airflow dags trigger shown_other --conf" in page

    def test_before_the_first_run_it_says_how_to_load_everything(self, get: Get) -> None:
        page = words(get(f"{LIST}/{CONTACT}"))
        assert "联系人 · shown_contact" in page
        assert "No run of it has planned yet" in page
        assert """airflow dags trigger shown_contact --conf '{"full": true}'""" in page
        assert "None is open" in page

    @pytest.mark.parametrize("dag_id", ["shown_other", "nobody", "nobody.reconcile", "%3Cscript%3E"])
    def test_the_tab_of_any_other_dag_says_that_it_is_none(self, get: Get, dag_id: str) -> None:
        answer = get(f"{LIST}/{dag_id}")
        assert answer.status_code == 404
        assert "is no pipeline of Fenxiang" in answer.text
        assert "<script" not in answer.text

    def test_as_json_it_tells_the_same(self, get: Get, hub: Hub) -> None:
        fill(hub)
        told = get(f"/fenxiang/api/pipelines/{ACCOUNT}").json()
        assert told["pipeline"] == ACCOUNT
        assert told["certified_until"] == "2026-11-22T11:00:00.000+00:00"
        assert [gap["next_run_closes_it"] for gap in told["coverage"]["gaps"]] == [False, True]
        assert shlex.split(told["coverage"]["gaps"][0]["command"])[3] == ACCOUNT
        assert (told["late"]["enough_s"], told["late"]["lookback_s"]) == (47 * 60, 600)
        assert told["dead_letters"]["open"] == 6
        assert [run["state"] for run in told["runs"]][:2] == ["running", "success"]
        assert (told["in_doubt"], told["calls"]["calls"]) == (2, 8_500)
        assert "payload-of-it" not in json.dumps(told)


class TestTheList:
    def test_it_has_all_pipelines_that_have_run_or_were_found_and_no_companion(self, get: Get, hub: Hub) -> None:
        fill(hub)
        page = get(LIST)
        assert re.findall(r'href="(.*?)"', page.text) == [f"pipelines/{ACCOUNT}", f"pipelines/{CONTACT}"]
        said = words(page)
        assert "2026-11-22 19:00" in said
        assert "37: 47 min, yours 10 min" in said
        assert "nothing yet 尚无" in said

    def test_as_json_it_tells_the_same(self, get: Get, hub: Hub) -> None:
        fill(hub)
        told = get("/fenxiang/api/pipelines").json()
        assert [(each["pipeline"], len(each["coverage"]["gaps"])) for each in told] == [(ACCOUNT, 2), (CONTACT, 0)]

    def test_the_root_leads_there(self, get: Get) -> None:
        answer = get("/fenxiang/")
        assert (answer.status_code, answer.headers["location"]) == (307, "pipelines")


ROUTES = ["/fenxiang/", LIST, PAGE, "/fenxiang/api/pipelines", f"/fenxiang/api/pipelines/{ACCOUNT}"]


class TestWhoMaySeeIt:
    @pytest.mark.parametrize("path", ROUTES)
    def test_nobody_without_a_log_in(self, get: Get, hub: Hub, path: str) -> None:
        fill(hub)
        answer = get(path, user=None)
        assert answer.status_code == 401
        assert ACCOUNT not in answer.text

    def test_every_route_that_there_is_was_tried(self) -> None:
        from fenxiang_sync.airflow.ui.pages import Guarded, make_app

        made = make_app()
        assert isinstance(made, Guarded)
        paths = {route.path for route in made._app.routes}  # type: ignore[attr-defined]
        assert paths == {path.removeprefix("/fenxiang").replace(ACCOUNT, "{dag_id}") for path in ROUTES}

    def test_a_token_that_is_none_is_refused(self, served: Any) -> None:
        client = TestClient(served, headers={"Authorization": "Bearer nonsense"})
        assert client.get(PAGE).status_code == 403

    def test_a_script_may_come_with_a_token_in_the_header(self, get: Get, served: Any) -> None:
        client = TestClient(served, headers={"Authorization": f"Bearer {token_of('script')}"})
        assert client.get("/fenxiang/api/pipelines").status_code == 200

    @pytest.mark.parametrize("path", [PAGE, f"/fenxiang/api/pipelines/{ACCOUNT}"])
    @pytest.mark.parametrize("user", ["contact-only", "companions-only"])
    def test_nobody_who_may_not_see_the_dag(self, get: Get, hub: Hub, path: str, user: str) -> None:
        fill(hub)
        for companion in ("", ".reconcile"):
            answer = get(path + companion, user=user)
            assert answer.status_code == 403
            assert "Airflow does not let you see the DAG" in answer.text
            assert "客户" not in answer.text

    def test_nobody_without_a_role(self, get: Get, hub: Hub) -> None:
        fill(hub)
        assert get(PAGE, role=None).status_code == 403
        assert get(f"{LIST}/nobody", role=None).status_code == 403, "what there is not is not told either"
        assert get("/fenxiang/api/pipelines", role=None).json() == []

    def test_the_list_has_what_the_user_may_see(self, get: Get, hub: Hub) -> None:
        fill(hub)
        assert [each["pipeline"] for each in get("/fenxiang/api/pipelines", user="contact-only").json()] == [CONTACT]
        assert ACCOUNT not in get(LIST, user="contact-only").text

    @pytest.mark.parametrize("path", [PAGE, f"/fenxiang/api/pipelines/{ACCOUNT}"])
    def test_reasons_are_for_those_who_may_read_the_logs(self, get: Get, hub: Hub, path: str) -> None:
        fill(hub)
        assert SECRET in get(path).text
        answer = get(path, user="without-logs")
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert "RejectedError" in answer.text


class TestTheAnswer:
    @pytest.mark.parametrize(("path", "user"), [(PAGE, "viewer"), (LIST, None), (f"{LIST}/nobody", "viewer")])
    def test_runs_no_script_is_framed_by_airflow_alone_and_is_not_stored(self, get: Get, path: str, user: str) -> None:
        answer = get(path, user=user)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["cache-control"] == "no-store"
        assert "<script" not in answer.text
        assert " style=" not in answer.text

    @pytest.mark.parametrize("path", [LIST, PAGE, "/fenxiang/api/pipelines"])
    def test_a_hub_that_is_away_is_a_sentence(self, get: Get, connection: ConnectionSetter, path: str) -> None:
        connection("fenxiang_hub", conn_type="postgres", host="127.0.0.1", port=9, schema="hub", password="hush-hush")
        answer = get(path)
        assert answer.status_code == 503
        assert "127.0.0.1:9 cannot be used now" in html.unescape(answer.text)
        assert "Traceback" not in answer.text
        assert "hush-hush" not in answer.text
