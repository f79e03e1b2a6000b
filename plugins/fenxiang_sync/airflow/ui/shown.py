"""What the pages show, as people read it: labels in both languages, moments in the pipeline's zone, the HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fenxiang_sync.airflow.ui.access import KnownDag
from fenxiang_sync.airflow.ui.standing import Standing
from fenxiang_sync.hub import RunRecord
from fenxiang_sync.lateness import spoken
from fenxiang_sync.source.metering import NEARLY
from fenxiang_sync.window import Window

_TEMPLATES = Path(__file__).with_name("templates")
STYLE = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
"""The one stylesheet, which stands in every page."""

KINDS = {
    "scheduled": "scheduled 定时",
    "manual": "manual 手动",
    "backfill": "backfill 回填",
    "lookback": "lookback 漏单补救",
    "reconcile": "reconcile 对账",
    "sweep": "sweep 逐条对账",
    "fill": "fill 补字段",
    "write_back": "write-back 回写",
}
STATES = {"running": "running 运行中", "success": "success 成功", "failed": "failed 失败"}
NUMBERS = {
    "read": ("read", "读取"),
    "delivered": ("delivered", "已写入"),
    "unchanged": ("unchanged", "未变化"),
    "stale": ("stale", "旧版本"),
    "filtered": ("filtered", "已过滤"),
    "in_doubt": ("in doubt", "存疑"),
    "dead_letters": ("dead letters", "死信"),
    "repaired": ("repaired", "补读"),
    "late": ("late", "迟到"),
}
_IN_A_RECONCILE = {"read": "fetched", "stale": "superseded"}
"""Where a reconcile says the same under another name: its own `stale` is another thing."""
_FOUND = ("compared", "missing", "stale", "returned", "voided", "left", "hidden", "vanished", "unclear", "removed")
_MOST_SPANS = 50
_MOST_CHANGES = 30
_STRIP = timedelta(days=31)
_STRIP_WIDTH = 1000
_THINNEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A certified span or a gap; a gap comes with what closes it."""

    window: Window
    gap: bool
    heals: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span in the strip, in thousandths of its width."""

    x: float
    width: float
    gap: bool


def pipelines(found: Sequence[tuple[KnownDag, Standing]]) -> str:
    """The page of all pipelines."""
    return _render("pipelines.html", found=found)


def pipeline(dag: KnownDag | None, standing: Standing, *, reasons: bool) -> str:
    """The page of one; `reasons` says whether it shows why records and runs failed."""
    spans = _spans(standing)
    return _render(
        "pipeline.html",
        dag=dag,
        one=standing,
        declared=standing.declared,
        reasons=reasons,
        spans=spans[:_MOST_SPANS],
        more_spans=len(spans) - _MOST_SPANS,
        most_changes=_MOST_CHANGES,
        strip=_strip(standing),
        zone=ZoneInfo(standing.declared.timezone),
    )


def failure(status: int, said: str) -> str:
    """The page instead of one that cannot be shown."""
    return _render("failure.html", status=status, said=said)


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        style=STYLE, kinds=KINDS, states=STATES, numbers=NUMBERS, number=_number, found_by=_found, nearly=NEARLY
    )
    environment.filters.update(
        moment=_moment,
        span=_span,
        zone=ZoneInfo,
        iso=_iso,
        ms=_ms,
        spoken=spoken,
        ago=_ago,
        whole=lambda value: f"{value:,}",
    )
    return environment


def _spans(standing: Standing) -> list[Span]:
    """Certified spans and gaps, the newest first."""
    coverage = standing.coverage
    healing = set(coverage.healing)
    gaps = [
        Span(window=each, gap=True, heals=each in healing, command=coverage.command(each)) for each in coverage.gaps
    ]
    certified = [Span(window=each, gap=False) for each in coverage.certified]
    return sorted([*gaps, *certified], key=lambda span: span.window, reverse=True)


def _strip(standing: Standing) -> list[Bar]:
    """The last days before the watermark as bars from left to right; a gap is never too thin to be seen."""
    coverage = standing.coverage
    if not coverage.certified:
        return []
    end = coverage.certified[-1].until_ms
    begin = max(min([*coverage.certified, *coverage.gaps]).since_ms, end - _STRIP // timedelta(milliseconds=1))
    scale = _STRIP_WIDTH / (end - begin)
    bars = []
    for gap, windows in ((False, coverage.certified), (True, coverage.gaps)):
        for each in windows:
            since, until = max(each.since_ms, begin), each.until_ms
            if until > begin:
                width = max((until - since) * scale, _THINNEST if gap else 0)
                bars.append(Bar(x=round((since - begin) * scale, 1), width=round(width, 1), gap=gap))
    return bars


def _number(run: RunRecord, name: str) -> int | None:
    if run.kind in ("reconcile", "sweep"):
        name = _IN_A_RECONCILE.get(name, name)
    value = run.numbers.get(name)
    return value if type(value) is int else None


def _found(run: RunRecord) -> str:
    """What a reconcile found, in a line; empty for other runs."""
    if run.kind not in ("reconcile", "sweep"):
        return ""
    return ", ".join(f"{run.numbers[name]:,} {name}" for name in _FOUND if run.numbers.get(name))


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    """
    >>> _moment(datetime(2026, 10, 1, 0, 0, 0, 1000, tzinfo=UTC), ZoneInfo("Asia/Shanghai"))
    '2026-10-01 08:00:00.001'
    """
    there = moment.astimezone(zone)
    if there.microsecond:
        return f"{there:%Y-%m-%d %H:%M:%S}.{there.microsecond // 1000:03d}"
    return f"{there:%Y-%m-%d %H:%M:%S}" if there.second else f"{there:%Y-%m-%d %H:%M}"


def _span(window: Window, zone: ZoneInfo) -> str:
    """
    >>> shanghai = ZoneInfo("Asia/Shanghai")
    >>> _span(Window.between(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, 1, tzinfo=UTC)), shanghai)
    '2026-10-01 08:00 → 09:00'
    """
    since, until = _moment(window.since, zone), _moment(window.until, zone)
    day = since[:10]
    return f"{since} → {until.removeprefix(day).lstrip()}"


def _iso(moment: datetime, zone: ZoneInfo) -> str:
    """As the form of a manual run takes it."""
    return moment.astimezone(zone).isoformat(timespec="milliseconds")


def _ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def _ago(moment: datetime) -> str:
    return f"{spoken(max(datetime.now(UTC) - moment, timedelta(0)))} ago"
