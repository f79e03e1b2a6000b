"""The documentation against the code: what it names exists, what it shows runs, what it quotes is said."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
import os
import re
import runpy
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import yaml
from sqlalchemy import create_engine
from typer.testing import CliRunner

import fenxiang_sync
from fenxiang_simulator import Simulator
from fenxiang_simulator.cli import _parser as simulator_parser
from fenxiang_sync import (
    Condition,
    Constant,
    DeadLetters,
    Field,
    Filter,
    HubTarget,
    IdCheck,
    KingdeeBatchSave,
    KingdeeSource,
    Logic,
    Operator,
    Pipeline,
    QeasyStore,
    Reconcile,
    Refusal,
    Source,
    Told,
    WriteApi,
    WriteBack,
    errors,
    formats,
    instant,
)
from fenxiang_sync.airflow import cli
from fenxiang_sync.airflow.params import reconcile_params, replay_params, run_params
from fenxiang_sync.airflow.provider import get_provider_info
from fenxiang_sync.airflow.retries import TRIES
from fenxiang_sync.airflow.settings import OPTIONS
from fenxiang_sync.convert import WORDS
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.hub import Hub, Settled, Status
from fenxiang_sync.rows import DeletePolicy, Outcome, Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.steps.reconcile import Reconciled
from fenxiang_sync.steps.verify import Report
from fenxiang_sync.targets.protocol import Delivery, Reach, Target
from tests.airflow_fixtures import ROOT, ConnectionSetter
from tests.hub_fixtures import hub_database, hub_file

README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
ADDING, OPERATIONS = (ROOT / "docs" / f"{name}.md" for name in ("adding-an-object", "operations"))
PAGES = [
    README,
    CHINESE,
    ROOT / "CHANGELOG.md",
    ROOT / "simulator" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
EXAMPLES = {"dags/account_table.py", "dags/archive.py", "dags/contact.py", "dags/stock_service.py"}
"""Files that a reader is told to make."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language; "" for those without."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)
    return [block for written_in, block in found if written_in == language]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def code_words(page: Path) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(level), name) for level, name in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for _, name in headings(page)}


def section(page: Path, name: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    level = next(level for level, found in headings(page) if found == name)
    _, _, rest = text(page).partition(f"\n{'#' * level} {name}\n")
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tables(part: str) -> list[list[list[str]]]:
    """The tables of a text, without their headings: rows of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", part + "\n", re.MULTILINE)
    return [[_cells(line) for line in table.splitlines()[2:]] for table in found]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The commands of the blocks without a language, as words, comments left out."""
    for block in blocks(page, ""):
        if re.match(r"(make|pip|fenxiang|airflow|python3|docker) ", block):
            joined = re.sub(r"\n  ", " ", block)
            yield from (words for line in joined.splitlines() if (words := shlex.split(line, comments=True)))


def spoken_commands(page: Path, program: str) -> list[list[str]]:
    """The commands of one program, in blocks and in backticks."""
    spoken = [shlex.split(word) for word in code_words(page) if word.startswith(f"{program} ")]
    return [words for words in [*shell_lines(page), *spoken] if words[0] == program]


# Links, paths, commands


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


@each_page
def test_every_path_of_the_checkout_exists(page: Path) -> None:
    for word in code_words(page):
        if re.match(r"(dags|plugins|demo|docs|simulator|tests|benchmarks)/[\w./-]*$", word) and word not in EXAMPLES:
            assert (ROOT / word).exists(), f"{page.name} names {word}"


@each_page
def test_every_make_target_exists(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):.*##", text(ROOT / "Makefile"), re.MULTILINE))
    assert {words[1] for words in spoken_commands(page, "make")} <= known


@each_page
def test_every_module_that_a_reader_is_told_to_run_is_there(page: Path) -> None:
    told = set(re.findall(r"python -m ([a-z_.]+)", text(page)))
    assert [name for name in sorted(told) if importlib.util.find_spec(name) is None] == []


@each_page
def test_every_fenxiang_command_exists_with_its_options(page: Path) -> None:
    for _, name, *arguments in spoken_commands(page, "fenxiang"):
        said = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"})
        assert said.exit_code == 0, f"{page.name} names fenxiang {name}"
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in said.output, f"{page.name} names fenxiang {name} {option}"


@each_page
def test_every_airflow_command_can_be_parsed(page: Path, airflow_home: Path) -> None:
    from airflow.cli.cli_parser import get_parser

    for words in spoken_commands(page, "airflow"):
        if words[1:] in (["db", "clean"], ["connections", "get"], ["connections", "export"]):
            words += [os.devnull] if words[1] == "connections" else ["--clean-before-timestamp", "2026-01-01"]
        given = ["2026-01-01" if word == "…" else word for word in words[1:]]
        get_parser().parse_args(given)


@each_page
def test_every_simulator_command_can_be_parsed(page: Path) -> None:
    for words in spoken_commands(page, "fenxiang-simulator"):
        simulator_parser().parse_args(words[1:])


def test_a_page_says_nothing_of_what_only_its_makers_have() -> None:
    for page in PAGES:
        assert not re.search(r"/work/|/tmp/spec|\bshared/|issue \d", text(page)), page.name


# Settings, connections, pools, containers


@each_page
def test_every_environment_variable_is_read_by_somebody(page: Path) -> None:
    from airflow.configuration import conf

    ours = {option.variable for option in OPTIONS}
    env_file = set(re.findall(r"^([A-Z_]+)=", text(ROOT / ".env.example"), re.MULTILINE))
    for name in set(re.findall(r"\bAIRFLOW__[A-Z_]+[A-Z]\b", text(page))):
        _, group, option = name.split("__", 2)
        assert name in ours or conf.has_option(group.lower(), option.lower()), f"{page.name} names {name}"
    for name in set(re.findall(r"`(AIRFLOW_ADMIN_\w+|AIRFLOW_PORT|\w+_KEY|\w+_SECRET|\w+_PASSWORD)`", text(page))):
        assert name in env_file, f"{page.name} names {name}"


def test_the_settings_are_those_of_the_section() -> None:
    (rows,) = tables(section(OPERATIONS, "Settings"))
    assert rows == [[f"`{option.name}`", f"`{option.variable}`", f"`{option.default}`"] for option in OPTIONS]


def test_the_connection_fields_are_those_of_the_form() -> None:
    form = next(one for one in get_provider_info()["connection-types"] if one["connection-type"] == "fenxiang")
    told = [row for table in tables(section(OPERATIONS, "Connections")) for row in table if "extra `" in row[1]]
    named = {name for row in told for name in re.findall(r"`(\w+)`", row[1])}
    assert named == set(form["conn-fields"])
    assert form["ui-field-behaviour"]["placeholders"]["host"] in section(OPERATIONS, "Connections")


def test_the_connection_of_the_variable_can_be_read(connection: ConnectionSetter) -> None:
    (variable,) = re.findall(r"^AIRFLOW_CONN_FENXIANG='(.*)'$", text(OPERATIONS), re.MULTILINE)
    from fenxiang_sync.airflow.connections import need

    connection("fenxiang", **json.loads(variable))
    assert need("fenxiang", "fenxiang").extra_dejson["mobile"]


def shipped_dags() -> list[Any]:
    return [runpy.run_path(str(file))["dag"] for file in sorted((ROOT / "dags").glob("*.py"))]


def test_the_pools_are_those_of_the_shipped_dags() -> None:
    (rows,) = tables(section(OPERATIONS, "Pools"))
    needed = {task.pool for dag in shipped_dags() for task in dag.tasks if task.pool.startswith("fenxiang-")}
    assert {row[0].strip("`") for row in rows} == needed


def test_the_services_are_those_of_the_compose_file() -> None:
    compose = yaml.safe_load(re.sub(r"\$\{[^}]*\}", "x", text(ROOT / "docker-compose.yaml")))
    (rows,) = tables(section(OPERATIONS, "Containers"))
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])} == set(compose["services"])
    for profile in re.findall(r"--profile (\w+)", text(OPERATIONS)):
        assert any(profile in service.get("profiles", ()) for service in compose["services"].values())
    assert all(f"`{volume}`" in section(OPERATIONS, "Containers") for volume in compose["volumes"])


# Runs


def test_the_params_are_those_of_the_form() -> None:
    rows = tables(section(OPERATIONS, "Manual runs"))[0]
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows))) == set(run_params())


def test_the_numbers_of_verify_are_those_of_its_report() -> None:
    rows = tables(section(OPERATIONS, "Reading a run"))[1]
    names = {field.name for field in dataclasses.fields(Report)} - {"segments", "dry_run"}
    assert {row[0].strip("`") for row in rows} == names


def test_the_params_and_numbers_of_a_reconcile_are_those_of_its_form_and_report() -> None:
    _, params, numbers = tables(section(OPERATIONS, "Reconcile (对账)"))
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in params))) == set(reconcile_params())
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in numbers))
    assert told == [field.name for field in dataclasses.fields(Reconciled)]


def test_the_params_and_numbers_of_a_replay_are_those_of_its_form_and_its_task(tmp_path: Path) -> None:
    numbers, params = tables(section(OPERATIONS, "Replay"))
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in params))) == set(replay_params())
    made = Run(pipeline=pipeline(), id="r", folder=Stage(tmp_path).run("p", "r"))
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        told = mend(made, Wanted(), hub=hub, reach=reach(), clock=lambda: datetime.now(UTC))
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in numbers))) == set(told)


def test_the_delete_policies_are_all_there() -> None:
    (rows,) = tables(section(ADDING, "Deleted records"))
    assert [row[0].strip("`") for row in rows[:3]] == [f"DeletePolicy.{policy.name}" for policy in DeletePolicy]


def test_the_numbers_of_load_are_the_outcomes() -> None:
    (row,) = [row for row in tables(section(OPERATIONS, "Reading a run"))[0] if row[0] == "of `load`"]
    assert re.findall(r"`(\w+)`", row[1]) == [outcome.value for outcome in Outcome]


def error_classes(root: type[Exception]) -> Iterator[type[Exception]]:
    for one in root.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from error_classes(one)


def test_every_class_of_errors_has_its_row_with_its_tries() -> None:
    rows = {row[0].strip("`"): row[1] for row in tables(section(OPERATIONS, "When a task fails"))[0]}
    met = {
        one.__name__: one for one in error_classes(errors.FenxiangSyncError) if not issubclass(one, errors.RecordError)
    }
    assert set(rows) == set(met)
    for name, tries in rows.items():
        meant = next(number for error, number, _ in TRIES if issubclass(met[name], error))
        assert tries == ("–" if name == "DeclarationError" else str(meant)), name


# The hub's SQL


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Hub, sqlite3.Connection]]:
    path = tmp_path / "hub.db"
    with Hub.connect(f"sqlite:///{path}") as made:
        database = sqlite3.connect(path)
        yield made, database
        database.close()


def sql() -> list[str]:
    """The statements of the page, with what it says to write on SQLite."""
    for_sqlite = re.sub(r"to_timestamp\((.+?) / 1000\.0( \+ 1)?\)", r"datetime(\1 / 1000, 'unixepoch')", _all_sql())
    return [each.strip() for each in for_sqlite.split(";") if each.strip()]


def _all_sql() -> str:
    return re.sub(r"^--.*$", "", "\n".join(blocks(OPERATIONS, "sql")), flags=re.MULTILINE)


def test_every_statement_runs_on_the_hub(hub: tuple[Hub, sqlite3.Connection]) -> None:
    assert len(sql()) >= 2
    assert "to_timestamp" not in "".join(sql())
    for statement in sql():
        hub[1].execute(statement)


@pytest.mark.postgres
def test_every_statement_runs_on_postgresql_as_it_is_written(tmp_path: Path) -> None:
    with hub_database("postgresql", tmp_path) as url:
        Hub.connect(url).close()
        engine = create_engine(url)
        with engine.begin() as connection:
            for statement in filter(str.strip, _all_sql().split(";")):
                connection.exec_driver_sql(statement)
        engine.dispose()


def row(hash_: str, modified_ms: int) -> Row:
    return Row(
        id="WH123", source_id="a", number=None, modified_ms=modified_ms, version=1, content={"a": hash_}, hash=hash_
    )


def test_the_statuses_are_those_of_the_hub() -> None:
    part = section(OPERATIONS, "Looking things up in the hub")
    (line,) = re.findall(r"^`status` is .*$", part, re.MULTILINE)
    assert [int(number) for number in re.findall(r"\d+", line)] == [status.value for status in Status]


# Declarations


def test_every_word_of_a_declaration_is_explained() -> None:
    page = text(ADDING)
    assert [word for word in fenxiang_sync.__all__ if not re.search(rf"\b{word}\b", page)] == []


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (Pipeline, "Pipeline"),
        (Source, "Source"),
        (KingdeeSource, "KingdeeSource"),
        (Reconcile, "Reconcile"),
        (DeadLetters, "DeadLetters"),
    ],
)
def test_the_words_are_those_of_the_class(declared: type, name: str) -> None:
    (rows,) = tables(section(ADDING, name))
    told = {word: row[1] for row in rows for word in re.findall(r"`(\w+)`", row[0])}
    fields = {field.name: field for field in dataclasses.fields(declared)}
    assert set(told) == set(fields)
    for word, field in fields.items():
        assert (told[word] == "–") == (field.default is dataclasses.MISSING), word


def test_defaults_that_the_page_names_are_the_defaults() -> None:
    assert (Source(object="AccountObj").page_size, Source(object="AccountObj").segment_records) == (100, 40_000)
    assert str(Source(object="AccountObj").lookback) == "0:10:00"
    assert str(Source(object="AccountObj").settle) == "0:00:05"
    of_kingdee = KingdeeSource(form="BD_MATERIAL")
    assert (of_kingdee.page_size, of_kingdee.segment_records) == (2_000, 40_000)
    assert (str(of_kingdee.lookback), str(of_kingdee.settle)) == ("0:10:00", "0:00:05")
    assert pipeline().reach_back.days == 31
    assert (pipeline().schedule, pipeline().timezone) == ("0 * * * *", "Asia/Shanghai")
    for target in (QeasyStore(scheme="demo"), WriteApi()):
        assert (target.batch_rows, target.max_bytes, target.tries, target.patience) == (100, 1_000_000, 4, 60)
        assert not target.upserts


def test_the_converters_are_all_there() -> None:
    (rows,) = tables(section(ADDING, "Converters"))
    assert {re.findall(r"\w+", cell[0])[0] for cell in rows} == set(WORDS)


def test_the_formats_are_all_there() -> None:
    (rows,) = tables(section(ADDING, "Formats"))
    told = {re.findall(r"\w+", cell[0])[0] for cell in rows}
    assert told == {name for name in vars(formats) if name in fenxiang_sync.__all__} - {"Kind", "Unmatched"} - set(
        WORDS
    )


def test_operators_and_logic_are_all_there() -> None:
    assert all(f"`{operator}`" in section(ADDING, "Source") for operator in Operator)
    assert all(f"`{logic.name}`" in section(ADDING, "Conditions") for logic in Logic)


def test_the_id_check_table_is_what_the_ledger_decides(hub: tuple[Hub, sqlite3.Connection]) -> None:
    (rows,) = tables(section(ADDING, "Id check"))
    now = datetime.now(UTC)
    ledger, sent = hub[0], row("x", 10)
    for check, (name, _, *told) in zip(IdCheck, rows, strict=True):
        assert name == f"`IdCheck.{check.name}`"
        ledger.claim(check, [sent], run="r", id_check=check, lease_s=900, now=now)
        first = ledger.settle(check, [Settled(row=sent, outcome=Outcome.DELIVERED)], run="r", now=now)
        again = ledger.preview(check, [row("x", 11)], id_check=check) + ledger.preview(
            check, [row("y", 11)], id_check=check
        )
        said = ["sent" if decision.claimed else "unchanged" for decision in again]
        assert first == 0
        assert [cell.strip("*").split(":")[0] for cell in told] == ["sent", *said]


# What the pages say about mistakes


def pipeline(**words: Any) -> Pipeline:
    usual = {"name": "p", "source": Source(object="AccountObj"), "fields": [Field("_id")], "target": HubTarget()}
    return Pipeline(**{**usual, **words})


def with_field(*entries: Field | Constant) -> Pipeline:
    return pipeline(fields=[Field("_id"), *entries])


MISTAKES: dict[str, Callable[[], object]] = {
    '`Source(object="Account")`': lambda: pipeline(source=Source(object="Account")),
    '`Source(object="stock_c")`': lambda: pipeline(source=Source(object="stock_c")),
    '`Source(object="客户")`': lambda: pipeline(source=Source(object="客户")),
    '`Field("客户名称")`': lambda: with_field(Field("客户名称")),
    "`Pipeline(shedule=…)`": lambda: pipeline(shedule="0 * * * *"),
    '`name="Contact List"`': lambda: pipeline(name="Contact List"),
    '`schedule="0 0 * * * *"`': lambda: pipeline(schedule="0 0 * * * *"),
    '`convert="text"`': lambda: with_field(Field("name", convert="text")),  # type: ignore[arg-type]
    "`convert=lambda v: v`": lambda: with_field(Field("name", convert=lambda v: v)),
    "two fields with one target path": lambda: with_field(Field("name"), Field("owner", "name")),
    "a path that is also an object": lambda: with_field(Field("name", "a"), Field("owner", "a.b")),
    '`required=True, default="x"`': lambda: with_field(Field("name", required=True, default="x")),
    'no `Field("_id")` and no `key`': lambda: pipeline(fields=[Field("name")]),
    "`target=HubTarget`": lambda: pipeline(target=HubTarget),
    "`start=datetime(2026, 1, 1)`": lambda: pipeline(start=datetime(2026, 1, 1)),  # noqa: DTZ001
    '`Source(get_fields="image__c")`': lambda: pipeline(source=Source(object="ProductObj", get_fields="image__c")),
    '`Source(drift="warn")`': lambda: pipeline(source=Source(object="AccountObj", drift="warn")),  # type: ignore[arg-type]
    "`id_check=True`": lambda: pipeline(id_check=True),
    '`instant("Asia/Shanghai", "%Y-%m-%d")`': lambda: instant("Asia/Shanghai", "%Y-%m-%d"),
    "`conditions=[Condition(…)]`": lambda: pipeline(conditions=[Condition("a", Logic.EQ, 1)]),
    '`WriteBack(fields={"name": Refusal()})`': lambda: pipeline(write_back=WriteBack(fields={"name": Refusal()})),
    '`Told("Nummer")`': lambda: pipeline(
        target=KingdeeBatchSave(form="BD_Customer"), write_back=WriteBack(fields={"erp__c": Told("Nummer")})
    ),
    "a filter on `last_modified_time`": lambda: pipeline(
        source=Source(object="AccountObj", filters=[Filter("last_modified_time", Operator.GTE, 0)])
    ),
}


def test_every_mistake_is_answered_as_the_page_says() -> None:
    (rows,) = tables(section(ADDING, "Mistakes, and what is said about them"))
    assert [row[0] for row in rows if row[0] not in MISTAKES] == []
    assert len(rows) == len(MISTAKES)
    for written, said in rows:
        with pytest.raises(DeclarationError) as caught:
            MISTAKES[written]()
        assert said.strip("`") in str(caught.value), written


def test_a_reject_reads_as_the_page_shows() -> None:
    from fenxiang_sync import integer
    from fenxiang_sync import text as as_text

    declared = with_field(
        Field("warehouseId", "id", required=True), Field("capacity", convert=integer), Field("owner", convert=as_text)
    )
    record = {"_id": "a", "last_modified_time": 1, "capacity": "12x", "owner": ["FSUID_demo"]}
    with pytest.raises(errors.RecordError) as caught:
        declared.mapping.row(record)
    (shown,) = [block for block in blocks(ADDING, "") if "←" in block]
    assert str(caught.value).split("; ", 1)[0] in shown
    assert all(line in str(caught.value) for line in shown.splitlines())


# What the pages show


def run_block(source: str, name: str) -> dict[str, Any]:
    """A Python block, run as a module of its own; what it defines."""
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module.__dict__


def python_blocks() -> Iterator[Any]:
    """Of the recipes none: they show parts of files, all of which tests/test_examples.py plays."""
    for page in (each for each in PAGES if each.name != "recipes.md"):
        for number, source in enumerate(blocks(page, "python"), start=1):
            yield pytest.param(source, id=f"{page.relative_to(ROOT)}:{number}")


@pytest.fixture
def crm(connection: ConnectionSetter, airflow_home: Path) -> Iterator[Simulator]:
    """The simulator behind the connection `fenxiang`."""
    with Simulator(seed=7, records={"ContactObj": 5}) as simulator:
        connection(
            "fenxiang",
            conn_type="fenxiang",
            host=simulator.url,
            login="FSAID_demo001",
            password="demo-secret",
            extra={"permanent_code": "demo-perm", "open_user_id": "FSUID_demo0000000000000000000000001"},
        )
        yield simulator


@pytest.mark.parametrize("source", python_blocks())
def test_every_python_block_runs(
    source: str, crm: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contact = ModuleType("dags.contact")
    exec(blocks(ADDING, "python")[0], contact.__dict__)
    monkeypatch.setitem(sys.modules, "dags", ModuleType("dags"))
    monkeypatch.setitem(sys.modules, "dags.contact", contact)
    run_block(source, "shown")
    if "print(" in source and "def test_" not in source:
        assert capsys.readouterr().out


def test_the_first_declaration_makes_the_row_that_is_shown() -> None:
    record, shown = (json.loads(block) for block in blocks(ADDING, "json")[:2])
    contact = run_block(blocks(ADDING, "python")[0], "shown")["contact"]
    assert contact.mapping.row(record).content == shown


def shown_target(name: str) -> type:
    (source,) = [block for block in blocks(ADDING, "python") if f"class {name}" in block]
    found: type = run_block(source, "shown")[name]
    return found


def reach() -> Reach:
    def no_endpoint(conn_id: str) -> Any:
        raise AssertionError(conn_id)

    return Reach(endpoint=no_endpoint, session=requests.Session, sleep=lambda seconds: None, now=lambda: 0.0)


def test_the_targets_that_are_shown_are_targets(tmp_path: Path) -> None:
    service, folder = shown_target("StockService")(), shown_target("FolderTarget")(folder=str(tmp_path / "rows"))
    assert isinstance(service, Target)
    shown = pipeline(target=service).describe_markdown()
    assert shown.count("stock service, depot main (connection stock_service)") == 1
    assert pipeline(target=folder).target is folder
    with folder.open(reach()) as sender:
        answers = sender.send([row("x", 1), dataclasses.replace(row("x", 1), id="a/b")])
    assert [answer.delivery for answer in answers] == [Delivery.DELIVERED, Delivery.REFUSED]
    assert json.loads((tmp_path / "rows" / "WH123.json").read_text()) == {"a": "x"}


def test_the_dag_of_ones_own_reads_what_the_operator_wrote(tmp_path: Path) -> None:
    (source,) = [block for block in blocks(ADDING, "python") if "FenxiangQueryOperator(" in block]
    dag = run_block(source.replace("\nproducts()\n", "\nmade = products()\n"), "shown")["made"]
    assert {task.pool for task in dag.tasks} == {"fenxiang-fenxiang-preset", "default_pool"}
    with gzip.open(tmp_path / "records-00-00001.ndjson.gz", "wt") as lines:
        lines.write('{"name": "a"}\n{"name": "a"}\n{"name": "b"}\n')
    (tmp_path / "extracted.json").write_text("{}")
    assert dag.get_task("count_names").python_callable({"path": str(tmp_path)}) == 2


# Two languages


def without_comments(block: str) -> list[str]:
    return [line for line in (re.sub(r"\s+#.*$", "", line) for line in block.splitlines()) if line]


def test_both_readmes_have_the_same_sections() -> None:
    assert [level for level, _ in headings(CHINESE)] == [level for level, _ in headings(README)]


def test_both_readmes_show_the_same_commands_and_code() -> None:
    shown = [
        [without_comments(block) for language in ("", "python") for block in blocks(page, language)]
        for page in (README, CHINESE)
    ]
    assert shown[0] == shown[1]


def test_both_readmes_lead_to_the_same_places() -> None:
    targets = [set(re.findall(r"\]\(([^)\s]+)\)", text(page))) for page in (README, CHINESE)]
    assert targets[0] - {CHINESE.name} <= targets[1] - {README.name}


def test_both_readmes_explain_the_same_rows() -> None:
    rows = [[len(table) for table in tables(text(page))] for page in (README, CHINESE)]
    assert rows[0] == rows[1]


def test_the_changelog_names_the_version_of_the_project() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', text(ROOT / "pyproject.toml"), re.MULTILINE)
    assert f"## [{version}]" in text(ROOT / "CHANGELOG.md")
