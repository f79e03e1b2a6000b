"""Params: the typed form of a manual run, and what a run's context asks for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import pendulum
from airflow.sdk import Param

from fenxiang_sync.errors import ParamError
from fenxiang_sync.lookback import Lookback
from fenxiang_sync.steps import mend
from fenxiang_sync.steps.doubt import Choice
from fenxiang_sync.steps.letters import LOAD, TRANSFORM
from fenxiang_sync.steps.plan import Asked, Kind
from fenxiang_sync.steps.reconcile import Wanted

log = logging.getLogger(__name__)

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE)
_NAIVE = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)([T ](?P<time>\d\d:\d\d(:\d\d(\.\d+)?)?))?")


def run_params() -> dict[str, Param]:
    """The params of a pipeline's DAG. Left as they are, a manual run reads from the last certified moment to now."""
    return {
        "since": _moment(
            "Since (起始时间)",
            "Read changes from this moment on. Empty: from the end of the last certified span. "
            "从此时刻起读取变更；留空则从上次已核对的终点开始。",
        ),
        "until": _moment(
            "Until (结束时间)",
            "Read changes before this moment. Empty: up to now. 读到此时刻之前；留空则读到现在。",
        ),
        "full": Param(
            False,
            type="boolean",
            title="Full load (全量)",
            description="Read from the very beginning; leave Since empty. 从头读取全部数据；起始时间须留空。",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run (空跑)",
            description="Read and transform, and tell what would be sent; send nothing, certify nothing. "
            "Unpausing a DAG for it starts its schedule too. "
            "只读取和转换并报告将写入的内容，不写入目标；若为此打开暂停的 DAG，其调度也会开始。",
        ),
        "resend": Param(
            False,
            type="boolean",
            title="Send again (重新写入)",
            description="Send what is read even where the target has it by the ledger: for a target that was truncated "
            "or restored. An older version never replaces a newer one. "
            "无论台账是否显示目标已有，均重新写入所读取的数据；用于目标被清空或恢复之后。旧版本不会覆盖新版本。",
        ),
        "may_duplicate": Param(
            False,
            type="boolean",
            title="May duplicate (允许重复)",
            description="With Send again, at a target that only inserts: yes, what is still there will be there twice. "
            "目标只能插入时与“重新写入”同用：确认目标中仍存在的行将会重复。",
        ),
        "confirm_drops": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Confirm drops (确认删除)",
            description="The answer to a run that stopped with a question: the rows that records give no more may be "
            "deleted, of up to so many records. 对因大量记录的行将被删除而停止的运行的答复：允许的记录数上限。",
        ),
    }


def _moment(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], format="date-time", title=title, description=description)


def lookback_params() -> dict[str, Param]:
    """The params of a lookback's DAG: it knows itself what it reads."""
    return {name: param for name, param in run_params().items() if name == "dry_run"}


def lookback_asked(context: Mapping[str, Any], lookback: Lookback) -> Asked:
    """What a run of a lookback's DAG was asked for, however it was started."""
    return Asked(kind=Kind.LOOKBACK, over=lookback.over, dry_run=_flag(dict(context.get("params") or {}), "dry_run"))


def asked(context: Mapping[str, Any], *, timezone: str = "Asia/Shanghai") -> Asked:
    """What a run was asked for, from the context of its task. `timezone` is for hints in error messages alone.

    ========================== ================================================================
    scheduled                  the data interval; params are not looked at
    backfill                   the data interval; of the params only ``dry_run`` counts, since
                               Airflow copies one conf to every run of a backfill
    manual, CLI, REST, asset   the params; the data interval that Airflow infers is no window
    ========================== ================================================================

    Raises `ParamError` for params that cannot be meant. Keys of the context may be absent: a run without a logical
    date has no interval.
    """
    run = context["dag_run"]
    kind = _kind(str(getattr(run.run_type, "value", run.run_type)))
    given = dict(context.get("params") or {})
    _check_names(given)
    if kind is Kind.MANUAL:
        return _asked_by_hand(given, run.run_after, timezone)
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    ignored = [name for name in _OF_A_RUN if name != "dry_run" and kind is Kind.BACKFILL and given.get(name)]
    if ignored:
        log.warning("A backfill reads its data interval %s → %s; ignored: %s", start, end, ", ".join(ignored))
    dry_run = kind is Kind.BACKFILL and _flag(given, "dry_run")
    if start is None or end is None or start >= end:
        return Asked(kind=kind, dry_run=dry_run)
    return Asked(kind=kind, since=_utc(start), until=_utc(end), dry_run=dry_run)


def reconcile_params() -> dict[str, Param]:
    """The params of a pipeline's reconcile DAG. Left as they are, a run compares all that is certified, by counts."""
    return {
        "since": _moment(
            "Since (起始时间)",
            "Compare records modified from this moment on. Empty: all. 对账此时刻起修改的记录；留空则全部。",
        ),
        "until": _moment(
            "Until (结束时间)",
            "Compare records modified before this moment. Empty: all that is certified. "
            "对账此时刻之前修改的记录；留空则到已核对的终点。",
        ),
        "full": Param(
            False,
            type="boolean",
            title="Full sweep (逐条核对)",
            description="Compare id by id instead of by counts: one call for 100 records. "
            "逐条比对，每 100 条一次调用。",
        ),
        "deep": Param(
            None,
            type=["null", "boolean"],
            title="Deep (重读内容)",
            description="Read every content again, to find changes without a new stamp (formulas, labels). Empty: as "
            "declared. 重读全部内容，发现未更新修改时间的变化；留空则按声明。",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run (空跑)",
            description="Only say what differs: read nothing again, mark and remove nothing. "
            "只报告差异，不做任何更改。",
        ),
        "confirm_drops": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Confirm drops (确认删除)",
            description="The answer to a run that stopped with a question: up to so many records may be gone. "
            "对因大量记录消失而停止的对账的答复：允许消失的记录数上限。",
        ),
    }


def reconcile_wanted(context: Mapping[str, Any], *, timezone: str = "Asia/Shanghai") -> Wanted:
    """What a reconcile was asked for; raises `ParamError` for params that cannot be meant."""
    run = context["dag_run"]
    given = dict(context.get("params") or {})
    _check_names(given, tuple(reconcile_params()))
    if _kind(str(getattr(run.run_type, "value", run.run_type))) is Kind.SCHEDULED:
        return Wanted(scheduled=True)
    since, until = instant(given, "since", timezone), instant(given, "until", timezone)
    if since and until and since >= until:
        raise ParamError(f"Param since ({given['since']!r}) must be before until ({given['until']!r})")
    return Wanted(
        since=since,
        until=until,
        full=_flag(given, "full"),
        deep=None if given.get("deep") is None else _flag(given, "deep"),
        dry_run=_flag(given, "dry_run"),
        confirmed=_confirmed(given),
    )


def replay_params() -> dict[str, Param]:
    """The params of a pipeline's replay DAG. Left as they are, a run replays all open dead letters."""
    return {
        "run": _text("Run (运行)", "Only letters that this run met last. 只重试该运行最后遇到的死信。"),
        "stage": Param(
            None,
            type=["null", "string"],
            enum=[None, TRANSFORM, LOAD],
            title="Stage (阶段)",
            description="transform: the record fitted no row; load: the target refused it. "
            "transform：记录不符合映射；load：目标拒绝。",
        ),
        "error": _text("Error (错误类别)", "Only letters of this class of error. 只重试该错误类别。"),
        "records": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Records (记录)",
            description="Ids of records or rows, one a line; also for the rows in doubt. Empty: all. "
            "记录或行的 ID，每行一个；留空则全部。",
        ),
        "in_doubt": Param(
            Choice.NOTHING.value,
            type="string",
            enum=[each.value for each in Choice],
            title="Rows in doubt (存疑行)",
            description="resend: the target does not have them; accept: it has them. Look there first. "
            "resend：目标没有，重新发送；accept：目标已有。请先到目标核实。",
        ),
        "letters": Param(
            True,
            type="boolean",
            title="Dead letters (死信)",
            description="Off: only the rows in doubt. 关闭则只处理存疑行。",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run (空跑)",
            description="Only say what would become of them. 只报告结果，不做任何更改。",
        ),
    }


def replay_wanted(context: Mapping[str, Any]) -> mend.Wanted:
    """What a replay was asked for; a scheduled one takes what is due. Raises `ParamError` for params that cannot be
    meant."""
    given = dict(context.get("params") or {})
    _check_names(given, tuple(replay_params()))
    run = context["dag_run"]
    if _kind(str(getattr(run.run_type, "value", run.run_type))) is Kind.SCHEDULED:
        return mend.Wanted(due=True)
    records = given.get("records") or []
    if not isinstance(records, list) or not all(isinstance(each, str) for each in records):
        raise ParamError(f'Param records is {records!r}; give a list of ids, as in ["68ab…"]')
    return mend.Wanted(
        run=_word(given, "run"),
        stage=_word(given, "stage", (TRANSFORM, LOAD)),
        error=_word(given, "error"),
        records=records or None,
        letters=_flag({"letters": True, **given}, "letters"),
        in_doubt=Choice(_word(given, "in_doubt", tuple(Choice)) or Choice.NOTHING),
        dry_run=_flag(given, "dry_run"),
    )


def _text(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], title=title, description=description)


def _word(given: Mapping[str, Any], name: str, known: Sequence[str] = ()) -> str | None:
    value = given.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or (known and value not in known):
        raise ParamError(f"Param {name} is {value!r}; give {' or '.join(known) if known else 'text'}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class RetransformWanted:
    """What a retransform was asked for; `run` None: of all records that are kept."""

    run: str | None
    apply: bool


def retransform_params() -> dict[str, Param]:
    """The params of a pipeline's retransform DAG. Left as they are, a run tells what all kept records would become."""
    return {
        "run": Param(
            None,
            type=["null", "string"],
            title="Run (运行)",
            description="Only the records that this run has read: its run id. Empty: all, as they were read last. "
            "仅重新转换该次运行读取的记录；留空则为全部记录的最近版本。",
        ),
        "apply": Param(
            False,
            type="boolean",
            title="Apply (写入目标)",
            description="Deliver what differs. Off: only tell it. 将差异写入目标；不勾选则只报告差异。",
        ),
    }


def write_back_params() -> dict[str, Param]:
    """The params of a pipeline's write-back DAG. Left as they are, a run writes back what has changed."""
    return {
        "every": Param(
            False,
            type="boolean",
            title="Every record (全部)",
            description="Look at every record and not only at those that changed. 检查全部记录，而不仅是有变化的记录。",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run (空跑)",
            description="Only say how many would be written. 只报告将写入的数量，不做任何更改。",
        ),
    }


def write_back_asked(context: Mapping[str, Any]) -> dict[str, bool]:
    """What a write-back was asked for, by the names of its params; raises `ParamError` for what cannot be meant."""
    given = dict(context.get("params") or {})
    known = tuple(write_back_params())
    _check_names(given, known)
    return {name: _flag(given, name) for name in known}


def retransform_wanted(context: Mapping[str, Any]) -> RetransformWanted:
    """What a retransform was asked for; raises `ParamError` for params that cannot be meant."""
    given = dict(context.get("params") or {})
    _check_names(given, tuple(retransform_params()))
    run = given.get("run") or None
    if run is not None and not isinstance(run, str):
        raise ParamError(f"Param run is {run!r}; give the id of a run of the pipeline, or nothing for all records")
    return RetransformWanted(run=run, apply=_flag(given, "apply"))


def _kind(run_type: str) -> Kind:
    return {"scheduled": Kind.SCHEDULED, "backfill": Kind.BACKFILL}.get(run_type, Kind.MANUAL)


def _asked_by_hand(given: Mapping[str, Any], run_after: datetime, timezone: str) -> Asked:
    since, until = instant(given, "since", timezone), instant(given, "until", timezone)
    full = _flag(given, "full")
    if full and since:
        raise ParamError(f"Param since is {given['since']!r} and full is on; full reads from the beginning; give one")
    if since and until and since >= until:
        raise ParamError(f"Param since ({given['since']!r}) must be before until ({given['until']!r})")
    resend, may_duplicate = _flag(given, "resend"), _flag(given, "may_duplicate")
    if may_duplicate and not resend:
        raise ParamError("Param may_duplicate is on and resend is not; it says something about sending again alone")
    if resend and not since and not full:
        raise ParamError("Param resend is on; say what is sent again: since (and until), or full")
    if since and since >= run_after:
        raise ParamError(f"Param since is {given['since']!r}, which lies in the future; there is nothing to read yet")
    return Asked(
        kind=Kind.MANUAL,
        since=since,
        until=until,
        full=full,
        dry_run=_flag(given, "dry_run"),
        resend=resend,
        may_duplicate=may_duplicate,
        confirmed=_confirmed(given),
    )


_OF_A_RUN = ("since", "until", "full", "dry_run", "resend", "may_duplicate", "confirm_drops")


def _check_names(given: Mapping[str, Any], known: Sequence[str] = _OF_A_RUN) -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ParamError(f"Unknown param {name!r}; {hint}A run takes {', '.join(known)}")


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise ParamError(f"Param {name} is {value!r}; give true or false")
    return value


def _confirmed(given: Mapping[str, Any]) -> int:
    """Of how many records a person has said that they may go; 0 where nobody was asked."""
    confirmed = given.get("confirm_drops")
    if confirmed is not None and (type(confirmed) is not int or confirmed < 0):
        raise ParamError(f"Param confirm_drops is {confirmed!r}; give a number of records, from 0 on")
    return confirmed or 0


def instant(given: Mapping[str, Any], name: str, timezone: str) -> datetime | None:
    """The moment that one of the params says; None where it says none. Raises `ParamError` with the way to write it."""
    value = given.get(name)
    if value is None or value == "":
        return None
    text = str(value).strip().upper()
    if not isinstance(value, str) or not _INSTANT.fullmatch(text):
        raise ParamError(f"Param {name} is {value!r}{_what_is_wrong(text, timezone)}")
    try:
        return _utc(_parsed(text))
    except ValueError as error:
        raise ParamError(f"Param {name} is {value!r}, which is no moment in time: {error}") from error


def _what_is_wrong(text: str, timezone: str) -> str:
    naive = _NAIVE.fullmatch(text)
    if naive:
        moment = f"{naive['day']}T{naive['time'] or '00:00:00'}"
        try:
            aware = _parsed(moment, timezone)
        except ValueError:
            return ", which is no moment in time"
        return f", which has no time zone; write {moment}{aware.format('Z')} for {timezone}, or {moment}Z for UTC"
    return "; give a date, time and zone, for example 2026-11-22T08:00:00+08:00"


def _parsed(text: str, timezone: str = "UTC") -> pendulum.DateTime:
    """`timezone` counts where the text has none."""
    moment = pendulum.parse(text, tz=timezone)
    if not isinstance(moment, pendulum.DateTime):
        raise ValueError(f"{text!r} is not a date with a time")  # noqa: TRY004 - one error class for bad text
    return moment


def _utc(moment: datetime) -> datetime:
    return pendulum.instance(moment).in_timezone("UTC")
