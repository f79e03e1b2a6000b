"""What people see in Airflow's pages, in a real browser: the connection's form, the run's form, the DAG's words."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from fenxiang_sync.hub.late import LateArrival
from fenxiang_sync.window import to_ms
from tests.server_fixtures import Crm, Server

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

CHROMIUM = os.environ.get("FENXIANG_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    """A page of the running Airflow, logged in."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs Chromium: apt install chromium")
        pytest.skip("no Chromium here; install it, or name one in FENXIANG_TEST_CHROMIUM")
    server.rest.wait_parsed("account")
    password = json.loads((server.home / "passwords.json").read_text())["admin"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, base_url=server.rest.url)
        page.set_default_timeout(90_000)
        expect.set_options(timeout=60_000)
        page.goto("/auth/login")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        expect(page.get_by_role("link", name="Dags", exact=True)).to_be_visible()
        yield page
        browser.close()


def test_the_connection_to_fenxiang_has_a_form_of_its_own_that_hides_its_secrets(page: Page) -> None:
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").first.click()
    page.keyboard.type("Fenxiang")
    page.keyboard.press("Enter")
    for label in ("App ID (appId)", "App Secret (appSecret)", "Host (接口地址)"):
        expect(dialog.get_by_text(label, exact=True)).to_be_visible()
    dialog.get_by_text("Extra Fields", exact=True).first.click()
    code = dialog.locator("input[name*=permanent_code]")
    expect(code).to_have_attribute("type", "password")


def test_the_form_of_a_manual_run_asks_for_a_range_everything_or_a_dry_run(page: Page) -> None:
    page.goto("/dags/account")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    for label in ("Since (起始时间)", "Until (结束时间)", "Full load (全量)", "Dry run (空跑)"):
        expect(dialog.get_by_text(label)).to_be_visible()
    pickers = dialog.get_by_placeholder("Select date and time").or_(dialog.get_by_text("Select date and time"))
    expect(pickers).to_have_count(2)


def test_the_page_of_a_dag_says_what_becomes_of_each_field(page: Page) -> None:
    page.goto("/dags/account")
    expect(page.get_by_role("heading", name="客户 · account")).to_be_visible()
    page.get_by_role("button", name="Dag Docs").click()
    docs = page.get_by_role("dialog")
    for words in ("AccountObj (preset object", "Qeasy", "field_credit_limit__c", "decimal(scale=2)"):
        expect(docs.get_by_text(words).first).to_be_visible()


def test_the_tab_of_a_dag_shows_its_gap_with_the_command_and_what_lookback_would_have_caught_all(
    page: Page, crm: Crm
) -> None:
    hour, now = timedelta(hours=1), datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    crm.declare("shown", "title='订单'", f"start=datetime.fromisoformat('{(now - 5 * hour).isoformat()}')")
    crm.create(now - 2 * hour)
    crm.ready("shown")
    page.goto("/dags/shown")
    page.get_by_role("link", name="Fenxiang 纷享").click()
    expect(_inside(page).get_by_text("No run of it has planned yet")).to_be_visible()

    conf = {"since": (now - 3 * hour).isoformat(), "until": (now - hour).isoformat()}
    assert crm.run("shown", conf)["state"] == "success"
    late = LateArrival(record_id="r1", modified_ms=to_ms(now), least_ms=31 * 60_000, most_ms=47 * 60_000)
    with crm.server.hub() as hub:
        hub.note_late("shown", [late], found_by="reconcile", run="run-1", now=now)

    page.reload()
    inside = _inside(page)
    expect(inside.get_by_role("heading", name="订单")).to_be_visible()
    expect(
        inside.get_by_text("A lookback of 47 min would have caught all late records so far: 1; yours is 10 min.")
    ).to_be_visible()
    command = shlex.split(inside.locator("pre.command").inner_text())
    assert command[:4] == ["airflow", "dags", "trigger", "shown"]
    bounds = {name: datetime.fromisoformat(text) for name, text in json.loads(command[5]).items()}
    assert bounds == {"since": now - 5 * hour, "until": now - 3 * hour}
    expect(inside.locator("table.runs tbody tr")).to_have_count(1)

    page.goto("/dags/shown.reconcile/plugin/fenxiang-dag")
    expect(_inside(page).get_by_role("heading", name="订单")).to_be_visible()
    page.goto("/plugin/fenxiang")
    _inside(page).get_by_role("link", name="订单 · shown").click()
    expect(_inside(page).get_by_role("heading", name="订单")).to_be_visible()


def test_the_pages_of_the_pipelines_are_for_those_who_have_logged_in(server: Server) -> None:
    for path in ("pipelines", "pipelines/account", "api/pipelines", "api/pipelines/account"):
        answer = requests.get(f"{server.rest.url}/fenxiang/{path}", timeout=30)
        assert answer.status_code == 401, path


def _inside(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title='Fenxiang 纷享']")
