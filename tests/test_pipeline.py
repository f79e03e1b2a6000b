"""Pipeline: a declaration is checked as a whole, and what is wrong is said with a way out."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest

import fenxiang_sync
from fenxiang_sync import (
    Bounds,
    Condition,
    Constant,
    Field,
    Filter,
    HubTarget,
    IdCheck,
    Logic,
    Operator,
    Pipeline,
    Source,
    choice,
    decimal,
    first,
    instant,
    integer,
    label,
    pipeline,
    text,
)
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.window import to_ms

PACKAGE = Path(fenxiang_sync.__file__).parent


def declared(**words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": "account",
            "source": Source(object="AccountObj"),
            "fields": [Field("_id"), Field("name", convert=text)],
            "target": HubTarget(),
        }
        | words
    )


def refused(**words: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        declared(**words)
    said = str(caught.value)
    assert repr(words.get("name", "account")) in said
    return said


def source_refused(**words: Any) -> str:
    return refused(source=Source(**{"object": "AccountObj"} | words))


def in_new_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PACKAGE.parent), "PYTHONHASHSEED": "random"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(pipeline).failed == 0


class TestAGoodDeclaration:
    def test_the_least_that_is_needed_is_a_name_a_source_fields_and_a_target(self) -> None:
        account = declared()
        assert account.mapping.key == "_id"
        assert account.mapping is account.mapping
        assert (account.schedule, account.timezone, account.id_check) == (
            "0 * * * *",
            "Asia/Shanghai",
            IdCheck.UPSERT_ON_CHANGE,
        )

    def test_it_is_frozen_and_its_lists_too(self) -> None:
        account = declared(tags=["crm"], fields=[Field("_id")])
        assert (account.tags, account.fields) == (("crm",), (Field("_id"),))
        with pytest.raises(dataclasses.FrozenInstanceError):
            account.name = "other"  # type: ignore[misc]

    def test_it_can_be_copied_and_changed(self) -> None:
        account = declared()
        assert copy.deepcopy(account).mapping.content({"_id": "a"}) == {"_id": "a", "name": None}
        assert dataclasses.replace(account, key="name").mapping.key == "name"

    @pytest.mark.parametrize("schedule", [None, "@daily", "*/5 8-18 * * MON-FRI", "0 0 29 2 *"])
    def test_any_cron_expression_that_comes_is_fine(self, schedule: str | None) -> None:
        assert declared(schedule=schedule).schedule == schedule

    @pytest.mark.parametrize(
        "start",
        [
            datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Shanghai")),
            pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
            datetime(2025, 12, 31, 16, tzinfo=UTC),
        ],
    )
    def test_a_start_of_any_kind_is_the_same_moment(self, start: datetime) -> None:
        moment = declared(start=start).start
        assert moment is not None
        assert to_ms(moment) == 1767196800000

    @pytest.mark.parametrize("name", ["AccountObj", "object_inventory_report__c", "BpmInstance", "field_Ab12C__c"])
    def test_any_well_formed_object_name_is_fine(self, name: str) -> None:
        assert declared(source=Source(object=name)).source.object == name


class TestWhatCannotBeMeant:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("Account Sync", "'account_sync' would do"),
            ("1account", "'account' would do"),
            ("客户", "Chinese goes into title"),
            ("../etc", "'etc' would do"),
            ("", "lower-case letter"),
            ("a" * 101, "at most 100"),
            (None, "give text"),
        ],
    )
    def test_a_name_is_a_slug(self, name: Any, says: str) -> None:
        assert says in refused(name=name)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("accountobj", "did you mean 'AccountObj'"),
            ("Account", "did you mean 'AccountObj'"),
            ("object_report_c", "did you mean 'object_report__c'"),
            ("客户", "give the object's API name"),
            ("Account Obj", "give the object's API name"),
            ("", "give the object's API name"),
            (None, "give the object's API name"),
        ],
    )
    def test_an_object_is_named_by_its_api_name(self, name: Any, says: str) -> None:
        assert says in source_refused(object=name)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ({"page_size": 0}, "1 to 100 records a page"),
            ({"page_size": 101}, "1 to 100 records a page"),
            ({"page_size": True}, "1 to 100 records a page"),
            ({"segment_records": 99}, "a page (100) or more"),
            ({"lookback": timedelta(minutes=-1)}, "lookback=-1 min is negative"),
            ({"lookback": 600}, "lookback=600: give a timedelta"),
            ({"settle": timedelta(seconds=-1)}, "settle"),
            ({"connection": "fen xiang"}, "id of an Airflow connection"),
            ({"connection": None}, "id of an Airflow connection"),
            ({"bounds": "auto"}, "of Bounds"),
            ({"filters": "normal"}, "give a list of Filter"),
            ({"filters": Filter("a", Operator.EQ, "b")}, "give a list of Filter"),
            ({"filters": [("a", "EQ", "b")]}, "is no Filter"),
            ({"filters": [Filter("last_modified_time", Operator.GTE, 1)]}, "belongs to the window"),
            ({"filters": [Filter("_id", Operator.GT, "a")]}, "belongs to the window"),
        ],
    )
    def test_a_source_reads_what_fenxiang_gives(self, words: dict[str, Any], says: str) -> None:
        assert says in source_refused(**words)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ({"schedule": "0 * * *"}, "is no cron expression"),
            ({"schedule": "hourly"}, "is no cron expression"),
            ({"schedule": "0 0 * * * *"}, "is no cron expression"),
            ({"schedule": "61 * * * *"}, "is no cron expression"),
            ({"schedule": "@dayly"}, "did you mean '@daily'"),
            ({"schedule": "0 0 31 2 *"}, "never comes"),
            ({"schedule": timedelta(hours=1)}, "give a cron expression"),
            ({"timezone": "Asia/Shangai"}, "did you mean 'Asia/Shanghai'"),
            ({"timezone": "Beijing"}, "is no time zone"),
            ({"timezone": None}, "is no time zone"),
            ({"start": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
            ({"start": date(2026, 1, 1)}, "give a datetime"),
            ({"start": 1767196800}, "give an aware datetime"),
            ({"start": "2026-01-01"}, "give an aware datetime"),
            ({"reach_back": timedelta(days=-1)}, "reach_back"),
            ({"reach_back": 31}, "reach_back=31: give a timedelta"),
        ],
    )
    def test_times_are_said_with_their_zone(self, words: dict[str, Any], says: str) -> None:
        assert says in refused(**words)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ({"fields": []}, "give at least Field('_id')"),
            ({"fields": None}, "give at least Field('_id')"),
            ({"fields": Field("_id")}, "give a list"),
            ({"fields": [Field("name")]}, "_id is mapped 0 times"),
            ({"fields": [Field("_id", "id")], "key": "ids"}, "did you mean 'id'"),
            ({"target": HubTarget}, "is no target"),
            ({"target": "hub"}, "is no target"),
            ({"source": "AccountObj"}, "give Source(object="),
            ({"number": "客户编号"}, "API name of the field"),
            ({"number": "total_num"}, "put into pages by Fenxiang"),
            ({"id_check": True}, "IdCheck.SKIP_EXISTING"),
            ({"tags": "crm"}, "give a list of texts"),
            ({"tags": [1]}, "give a list of texts"),
            ({"title": None}, "title=None: give text"),
        ],
    )
    def test_every_other_word_is_checked_too(self, words: dict[str, Any], says: str) -> None:
        assert says in refused(**words)

    def test_all_that_is_wrong_is_said_at_once(self) -> None:
        said = refused(schedule="hourly", timezone="Mars", fields=[Field("a", convert="int"), Field("b", "a")])  # type: ignore[arg-type]
        assert said.count("\n- ") == 5
        assert "Field('a'): convert='int' is text" in said

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: declared(shedule=None), "Pipeline has no 'shedule'; did you mean 'schedule'?"),
            (lambda: Source(object="AccountObj", pagesize=5), "Source has no 'pagesize'; did you mean 'page_size'?"),
            (lambda: Source("AccountObj"), r"Source('AccountObj', …): name each argument: Source(object=…)"),
        ],
    )
    def test_a_misspelt_word_is_named_with_the_nearest(self, build: Any, says: str) -> None:
        with pytest.raises(DeclarationError) as caught:
            build()
        assert says in str(caught.value)


RICH: dict[str, Any] = {
    "source": Source(object="AccountObj", filters=[Filter("life_status", Operator.IN, ["normal", "in_change"])]),
    "fields": [
        Field("_id"),
        Field("account_level", "level", convert=choice({"1": "A", "2": "B"})),
        Field("owner", "owner.name", convert=label, required=True),
        Field("amount", convert=decimal(scale=2), default=0),
        Constant("origin", "a|b"),
    ],
}


class TestConfigHash:
    def test_it_is_the_same_in_every_process(self) -> None:
        code = (
            "from fenxiang_sync import Pipeline, Source, Field, HubTarget, choice;"
            "print(Pipeline(name='account', source=Source(object='AccountObj'), target=HubTarget(),"
            "fields=[Field('_id'), Field('level', convert=choice({'1', '2', '3', '4'}))]).config_hash)"
        )
        here = declared(fields=[Field("_id"), Field("level", convert=choice({"4", "3", "2", "1"}))])
        assert {in_new_process(code) for _ in range(3)} == {here.config_hash}

    @pytest.mark.parametrize(
        "words",
        [
            {"fields": [Field("_id"), Field("name")]},
            {"fields": [Field("_id"), Field("name", convert=text, default="-")]},
            {"fields": [Field("_id"), Field("name", convert=first(text))]},
            {"fields": [Field("_id"), Field("name", convert=text), Constant("a", 1)]},
            {"source": Source(object="ContactObj")},
            {"source": Source(object="AccountObj", filters=[Filter("a", Operator.EQ, "b")])},
            {"key": "name"},
            {"id_check": IdCheck.OVERWRITE},
        ],
    )
    def test_it_changes_with_what_reaches_the_target(self, words: dict[str, Any]) -> None:
        assert declared(**words).config_hash != declared().config_hash

    @pytest.mark.parametrize(
        "words", [{"title": "客户"}, {"schedule": None}, {"tags": ["crm"]}, {"reach_back": timedelta(days=1)}]
    )
    def test_it_does_not_change_with_when_or_how_it_is_shown(self, words: dict[str, Any]) -> None:
        assert declared(**words).config_hash == declared().config_hash


class TestTheDagPage:
    def test_each_target_path_has_a_line(self) -> None:
        page = declared(**RICH).describe_markdown()
        assert "| `level` | `account_level` | choice({'1': 'A', '2': 'B'}) |  |" in page
        assert "| `owner.name` | `owner` | label | required |" in page
        assert "| `amount` | `amount` | decimal(scale=2) | default 0 |" in page

    def test_a_bar_in_a_value_does_not_break_the_table(self) -> None:
        page = declared(**RICH).describe_markdown()
        assert "| `origin` |  | constant 'a\\|b' |  |" in page

    def test_it_says_what_is_read_where_it_goes_and_how_to_start_it(self) -> None:
        page = declared(**RICH, title="客户", description="All customers.", schedule="15 * * * *").describe_markdown()
        for said in (
            "### 客户",
            "All customers.",
            "AccountObj (preset object, connection `fenxiang`) where `life_status IN normal, in_change`",
            HubTarget().describe(),
            "`15 * * * *` (Asia/Shanghai)",
            "10 min before it",
            "airflow backfill create --dag-id account --from-date",
        ):
            assert said in page


class TestTheWordsOfTheLibrary:
    def test_importing_the_library_imports_next_to_nothing(self) -> None:
        code = "import sys, json, fenxiang_sync; print(json.dumps(sorted(sys.modules)))"
        loaded = set(json.loads(in_new_process(code)))
        assert not loaded & {"requests", "sqlalchemy", "pendulum", "msgspec", "croniter", "airflow", "dataclasses"}
        assert {name for name in loaded if name.startswith("fenxiang_sync")} == {"fenxiang_sync"}

    def test_every_word_that_is_listed_is_there(self) -> None:
        for word in fenxiang_sync.__all__:
            assert getattr(fenxiang_sync, word) is not None
        assert set(fenxiang_sync.__all__) <= set(dir(fenxiang_sync))

    def test_a_word_that_is_not_there_is_said_to_be_missing(self) -> None:
        with pytest.raises(AttributeError, match=r"fenxiang_sync has no 'Feild'; it has .*Bounds, Computed, Condition"):
            fenxiang_sync.Feild  # noqa: B018

    def test_the_words_are_the_real_things(self) -> None:
        assert instant("UTC").written == 'instant("UTC")'
        assert integer("5") == 5
        assert isinstance(declared().source.bounds, Bounds)


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ([Condition("a", Logic.EQ, 1)], "is no list of conditions"),
        ([[]], "is no list of conditions"),
        ([["a = 1"]], "'a = 1' is no Condition; write Condition(field, Logic.EQ, value)"),
        ([[Condition("a", Logic.BETWEEN, 1)]], "takes a pair"),
    ],
)
def test_conditions_that_cannot_be_meant_are_named(conditions: object, says: str) -> None:
    assert says in refused(conditions=conditions)


def test_fields_of_conditions_are_asked_for() -> None:
    assert "field_x__c" in declared(conditions=[[Condition("field_x__c", Logic.NOTNULL)]]).mapping.projection
