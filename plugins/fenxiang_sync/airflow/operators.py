"""The tasks of a pipeline's DAG, and an operator for DAGs of one's own: each fetches what Airflow holds and calls
one step."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

import pendulum
from airflow.sdk import Asset, AssetAlias, BaseOperator

from fenxiang_sync.airflow.deployment import Deployment
from fenxiang_sync.airflow.journal import Journal
from fenxiang_sync.airflow.params import asked, lookback_asked
from fenxiang_sync.errors import FenxiangSyncError, ParamError
from fenxiang_sync.lookback import Lookback
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import FenxiangObject, Filter, Slice, slices
from fenxiang_sync.steps import Asked, Plan, Run, Segment, drift, extract, load, plan, transform, verify
from fenxiang_sync.steps.extract import Reading, read
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.verify import clean, judge
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

LABEL = "{{ task.segment['label'] }}{{ told | default('') }}"
"""What the grid shows for one segment: its time range and, when a task has ended, what came of it."""

FAILURE = "failure"
"""The XCom key under which a failed task says why and what to do, for those who do not open the log."""


class PipelineOperator(BaseOperator):
    """One task of a pipeline's run: `step` does it, and its numbers are the task's return value."""

    ui_color = "#e8f1fb"

    def __init__(self, *, pipeline: Pipeline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Any) -> Any:
        deployment = Deployment()
        try:
            return self.step(self.run_of(deployment, context), deployment, context)
        except FenxiangSyncError as error:
            context["told"] = f" · {type(error).__name__}"
            context["ti"].xcom_push(key=FAILURE, value=f"{type(error).__name__}: {error}")
            with suppress(FenxiangSyncError):  # the reason of the failure may be the hub or the stage itself
                self.journal_of(deployment, context).failed(self.task_id, error)
            log.debug("Where it was raised", exc_info=error)
            raise error.with_traceback(None) from None  # a log that ends with what to do, not with a page of our files
        finally:
            deployment.close()

    def run_of(self, deployment: Deployment, context: Any) -> Run:
        return deployment.run(self.pipeline, context)

    def journal_of(self, deployment: Deployment, context: Any) -> Journal:
        return deployment.journal(self.run_of(deployment, context), context)

    @abstractmethod
    def step(self, run: Run, deployment: Deployment, context: Any) -> Any:
        """Do this task's part of the run; what it returns is the task's return value."""


class PlanOperator(PipelineOperator):
    """Decides the windows and returns the segments to map over; for a run of `lookback`, the last hours or days."""

    def __init__(self, *, lookback: Lookback | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lookback = lookback

    def step(self, run: Run, deployment: Deployment, context: Any) -> list[dict[str, Any]]:
        deployment.sweep(run.pipeline)
        made = plan(
            run,
            self._asked(context),
            client=deployment.reader(self.pipeline.source),
            hub=deployment.hub,
            sleep=deployment.sleep,
            most_segments=deployment.settings.most_segments,
        )
        deployment.journal(run, context).started(made)
        log.info("%s: segments to read: %d", made.window, len(made.segments))
        if made.drift:
            for alias in self.outlets:
                asset = Asset(name=alias.name, uri=f"{outlet(self.pipeline).uri}/drift")
                context["outlet_events"][alias].add(asset, extra=drift.event(self.pipeline, made.drift))
        return [self._told(segment) for segment in made.segments]

    def _asked(self, context: Any) -> Asked:
        if self.lookback is not None:
            return lookback_asked(context, self.lookback)
        return asked(context, timezone=self.pipeline.timezone)

    def _told(self, segment: Segment) -> dict[str, Any]:
        count = "" if segment.count is None else f" · ~{segment.count:,}"
        label = f"{segment.index:03d} · {span_label(segment.window, self.pipeline.timezone)}{count}"
        return {"index": segment.index, "count": segment.count, "label": label, **segment.window.to_json()}


class SegmentOperator(PipelineOperator):
    """One step of one segment; `segment` is an entry of the plan's return value."""

    template_fields: Sequence[str] = ("segment",)

    def __init__(self, *, segment: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment = segment

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, int]:
        given: Mapping[str, Any] = self.segment
        numbers = self.segment_step(run, self.segment_of(run, given["index"]), deployment)
        context["told"] = " · " + ", ".join(f"{value:,} {name}" for name, value in numbers.items() if value)
        log.info("%s%s", given["label"], context["told"])
        return numbers

    def segment_of(self, run: Run, index: int) -> Segment:
        return Plan.of(run).segment(index)

    @abstractmethod
    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        """Do this task's part of the segment; returns its numbers."""


class ExtractOperator(SegmentOperator):
    """Reads the segment into the stage."""

    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        hub = deployment.hub if self.pipeline.got else None
        return extract(run, segment, client=deployment.reader(self.pipeline.source), hub=hub)


class TransformOperator(SegmentOperator):
    """Maps the segment's records to rows."""

    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        return transform(run, segment, hub=deployment.hub if self.pipeline.mapping.lookups else None)


class LoadOperator(SegmentOperator):
    """Delivers the segment's rows."""

    def segment_step(self, run: Run, segment: Segment, deployment: Deployment) -> dict[str, int]:
        planned = Plan.of(run)
        return load(
            run,
            segment,
            hub=deployment.hub,
            reach=deployment.reach,
            clock=deployment.now,
            dry_run=planned.dry_run,
            resend=planned.resend,
            confirmed=planned.confirmed,
            watch=Watch.of(run, planned, segment.window, deployment.hub),
        )


class VerifyOperator(PipelineOperator):
    """Compares with the source, certifies, cleans the stage; returns the numbers of the run."""

    def step(self, run: Run, deployment: Deployment, context: Any) -> dict[str, Any]:
        report = verify(
            run,
            client=deployment.reader(self.pipeline.source),
            hub=deployment.hub,
            reach=deployment.reach,
            clock=deployment.now,
        )
        numbers = report.to_json()
        log.info("%s", ", ".join(f"{value:,} {name}" for name, value in numbers.items() if type(value) is int))
        for window in report.certified:
            log.info("Certified: %s", window)
        deployment.journal(run, context).finished(Plan.of(run), report)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = numbers
        judge(run, report, deployment.hub)
        if not report.dry_run:  # what a dry run would send, and rejects, is there to look at until it is swept by age
            clean(run, keep_records=run.pipeline.keep_records)
        return numbers


class FenxiangQueryOperator(BaseOperator):
    """Read every record of an object in a window into the stage; for DAGs of one's own.

    Returns ``{"path", "records", "since", "until"}``: the folder holds ``records-*.ndjson.gz``, one record a line as
    Fenxiang sent it. Pages by ``_id`` inside the closed window, so that edits meanwhile lose nothing.

    :param object_name: API name: ``AccountObj``, ``stock__c``. (templated)
    :param fields: field names to read; ``_id`` and ``last_modified_time`` always come along.
    :param since: start of the window, inclusive; an aware datetime or ISO text (templated). By default the run's
        data interval.
    :param until: end of the window, exclusive. By default the run's data interval.
    :param filters: more conditions, all of which hold.
    :param fenxiang_conn_id: the connection.

    Give the task the pool of its connection and interface (`fenxiang_sync.airflow.pool_name`) to stay inside the
    quota together with the pipelines::

        FenxiangQueryOperator(
            task_id="accounts",
            object_name="AccountObj",
            fields=["name", "owner"],
            pool=pool_name("fenxiang", "AccountObj"),
        )
    """

    template_fields: Sequence[str] = ("object_name", "since", "until")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        object_name: str,
        fields: Sequence[str],
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        filters: Sequence[Filter] = (),
        fenxiang_conn_id: str = "fenxiang",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.object_name = object_name
        self.fields = fields
        self.since = since
        self.until = until
        self.filters = filters
        self.fenxiang_conn_id = fenxiang_conn_id

    def execute(self, context: Any) -> dict[str, Any]:
        deployment = Deployment()
        window = Window.between(
            _moment(self.since, "since", context.get("data_interval_start")),
            _moment(self.until, "until", context.get("data_interval_end")),
        )
        ti = context["ti"]
        task = f"{ti.dag_id}.{ti.task_id}"
        deployment.stage.sweep(task, older_than=deployment.stage_limit())
        folder = deployment.stage.run(task, context["dag_run"].run_id) / f"map-{ti.map_index}"
        projection = tuple(dict.fromkeys(("_id", "last_modified_time", *self.fields)))
        with closing(deployment):
            client = deployment.client(self.fenxiang_conn_id)
            origin = FenxiangObject(client, self.object_name, self.filters)
            reading = Reading(origin=origin, projection=projection)
            ranges = [piece.slice for piece in slices.cut(client, self.object_name, window, self.filters)]
            numbers = read(reading, ranges or [Slice(window)], folder, client=client)
        return {"path": str(folder), "records": numbers["read"], **window.to_json()}


def outlet(pipeline: Pipeline) -> Asset:
    """The asset that a pipeline's verify task updates; consumers schedule on it."""
    return Asset(name=pipeline.name, uri=f"fenxiang://{pipeline.source.connection}/{pipeline.name}")


def drift_outlet(pipeline: Pipeline) -> AssetAlias:
    """What the plan task of a pipeline tells changes of the object's description by; there is an event only where
    something has changed."""
    return AssetAlias(f"{pipeline.name}.drift")


def _moment(value: datetime | str | None, name: str, interval_bound: datetime | None) -> datetime:
    if value is None:
        value = interval_bound
    if value is None:
        raise ParamError(f"This run has no data interval; give {name}=… to FenxiangQueryOperator")
    moment = pendulum.parse(value, tz=None) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ParamError(f"{name}={value!r} is no moment with a time zone; write for example 2026-01-01T00:00:00+08:00")
    return moment


def span_label(window: Window, timezone: str) -> str:
    zone = pendulum.timezone(timezone)
    since, until = (moment.astimezone(zone) for moment in (window.since, window.until))
    return f"{since:%Y-%m-%d %H:%M} → {until:{'%H:%M' if until.date() == since.date() else '%Y-%m-%d %H:%M'}}"
