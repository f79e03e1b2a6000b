"""Journal: what the hub remembers of each run, however it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fenxiang_sync.declared import Declared
from fenxiang_sync.errors import DeadLettersError
from fenxiang_sync.hub import Hub, RunRecord
from fenxiang_sync.steps import Kind, Plan, Run
from fenxiang_sync.steps.mend import REPLAY
from fenxiang_sync.steps.reconcile import Reconciled, Survey
from fenxiang_sync.steps.reconcile.survey import RECONCILE
from fenxiang_sync.steps.verify import Report
from fenxiang_sync.steps.written import KIND as WRITE_BACK
from fenxiang_sync.window import Window


class Journal:
    """The entry of one run: running, then success with its numbers or failed with the reason."""

    def __init__(self, hub: Hub, run: Run, dag_run: Any) -> None:
        self._hub = hub
        self._run = run
        self._dag_run = dag_run

    def started(self, plan: Plan) -> None:
        numbers = {"segments": len(plan.segments), "dry_run": plan.dry_run}
        self._write("running", _span(plan), numbers, kind=plan.kind.value)
        if plan.kind is not Kind.LOOKBACK:  # its DAG is a companion
            Declared.of(self._run.pipeline, self._dag_run.dag_id).note(self._hub)

    def finished(self, plan: Plan, report: Report) -> None:
        self._write("success", _span(plan), report.to_json(), requests=report.requests, kind=plan.kind.value)

    def failed(self, task: str, error: Exception) -> None:
        planned = Plan.of(self._run) if self._run.folder.load("plan") else None
        self._fail(task, error, _span(planned) if planned else None, planned.kind.value if planned else "")

    def _fail(self, task: str, error: Exception, window: Window | None, kind: str = "") -> None:
        told: dict[str, Any] = {"task": task, "error": type(error).__name__, "reason": str(error)}
        if isinstance(error, DeadLettersError):  # the run is complete, and its numbers are known
            told = {**(self._run.folder.load("report") or {}), **told}
        self._write("failed", window, told, requests=told.get("requests", 0), kind=kind)

    def _write(
        self, state: str, window: Window | None, numbers: dict[str, Any], requests: int = 0, kind: str = ""
    ) -> None:
        now = datetime.now(UTC)
        self._hub.record_run(
            RunRecord(
                pipeline=self._run.pipeline.name,
                run=self._run.id,
                kind=kind or self._kind(),
                state=state,
                window=window,
                started_at=self._dag_run.start_date or now,
                finished_at=None if state == "running" else now,
                config_hash=self._run.pipeline.config_hash,
                requests=requests,
                numbers=numbers,
            )
        )

    def _kind(self) -> str:
        """Of a run that has no plan yet: how Airflow calls it, or in a companion DAG what that is (``lookback``)."""
        companion = self._run.id.removesuffix(self._dag_run.run_id)
        run_type = self._dag_run.run_type
        return companion.split("-")[0].rstrip(".") or str(getattr(run_type, "value", run_type))


class ReconcileJournal(Journal):
    """The same for a reconcile; its kind is in the survey."""

    def surveyed(self, made: Survey) -> None:
        numbers = {"compared": made.held, "estimated": made.calls, "form": made.form.value, "dry_run": made.dry_run}
        self._write("running", made.span, numbers, kind=made.kind)

    def reconciled(self, made: Survey, report: Reconciled) -> None:
        self._write("success", made.span, report.to_json(), requests=report.requests, kind=made.kind)

    def failed(self, task: str, error: Exception) -> None:
        made = Survey.of(self._run) if self._run.folder.load("survey") else None
        self._fail(task, error, made.span if made else None, made.kind if made else RECONCILE)


class ReplayJournal(Journal):
    """The same for a replay, which has no window."""

    kind = REPLAY

    def began(self, dry_run: bool) -> None:
        self._write("running", None, {"dry_run": dry_run}, kind=self.kind)

    def ended(self, numbers: dict[str, Any]) -> None:
        self._write("success", None, numbers, kind=self.kind)

    def failed(self, task: str, error: Exception) -> None:
        self._fail(task, error, None, kind=self.kind)


class WriteBackJournal(ReplayJournal):
    """The same for a write-back."""

    kind = WRITE_BACK


def _span(plan: Plan) -> Window | None:
    windows = [each for each in (*plan.windows, plan.window) if not each.empty]
    return Window(min(windows).since_ms, max(each.until_ms for each in windows)) if windows else None
