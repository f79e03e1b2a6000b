"""drops: too many records at once whose rows are to be deleted are a question to a person, asked before any of them is.

A condition that was turned round, a key that was changed, a field that reads something else by now: each takes the rows
of many records in one run, and what is deleted is gone. The bound is that of the reconcile's own drop guard. Records
that somebody has voided in the CRM do not count: that was meant.

A question stays open until it is answered: the next run reads the same records again, and would else take its share of
them unasked, as would each run after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fenxiang_sync.errors import QuestionError
from fenxiang_sync.hub import Due, Hub
from fenxiang_sync.reconcile import Reconcile
from fenxiang_sync.rows import DeletePolicy
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.run import Run
from fenxiang_sync.targets.crm import IntoCrm
from fenxiang_sync.window import Window

_DUE = "due-"
"""What the documents of a run are called that say of how many records each of its segments takes rows away."""
_ASKED = "drops "
"""What the note of a pipeline is called that says which run asked last, and under which declaration."""
_ALWAYS = Window(0, 2**62)


def ask_first(run: Run, folder: Folder, due: Sequence[Due], *, hub: Hub, confirmed: int) -> None:
    """Raise `QuestionError` where the segments of the run take the rows of more records than may go at once.

    `confirmed` is up to how many records a person has said may go. Rows that are only flagged can be brought back, so
    nobody is asked about them, unless that voids records of a CRM: one that does not list them brings none back. A
    segment that is tried again counts as it did at first, unless the declaration was mended meanwhile.
    """
    deletes = run.pipeline.removes is DeletePolicy.DELETE
    if not (due or confirmed) or not (deletes or isinstance(run.pipeline.target, IntoCrm)):
        return
    name = f"{_DUE}{folder.path.name}"
    records = max(_records(run, name), len({each.source_id for each in due}))
    if due:
        run.folder.save(name, {"records": records, "config_hash": run.pipeline.config_hash})
    total = sum(_records(run, each.removesuffix(".json")) for each in run.folder.names(_DUE))
    known = hub.listed(run.pipeline.name).count(_ALWAYS)
    asked = _open_question(run, hub)
    unasked = 0 if asked else (run.pipeline.reconcile or Reconcile()).most(known)
    if due and total > max(unasked, confirmed):
        _note(run, hub, {"run": run.id, "config_hash": run.pipeline.config_hash})
        bound = (
            f"run {asked} has asked, and none goes before that is answered"
            if asked
            else f"up to {unasked:,} go unasked"
        )
        done = "deleted" if deletes else "voided (作废) in the CRM"
        raise QuestionError(
            f"The rows of {total:,} of {known:,} records would be {done}, since they give them no more (the first is "
            f"{due[0].id!r} of record {due[0].source_id}); {bound}. Of this segment nothing is "
            f"{done}. If the declaration is wrong, mend it and clear the run. If they are to go, trigger a run over "
            f"the same time with confirm_drops={total}; dry_run says how many there are in all"
        )
    if asked and total <= confirmed:
        _note(run, hub, {})


def _open_question(run: Run, hub: Hub) -> str:
    """The run that has asked under this declaration, and was not answered; "" where there is none."""
    noted = hub.noted(f"{_ASKED}{run.pipeline.name}") or {}
    return str(noted["run"]) if noted.get("config_hash") == run.pipeline.config_hash else ""


def _note(run: Run, hub: Hub, says: dict[str, Any]) -> None:
    hub.revise(f"{_ASKED}{run.pipeline.name}", lambda _noted, _now: says)


def _records(run: Run, name: str) -> int:
    """What a document of the run says, 0 where it is of another declaration."""
    said = run.folder.load(name)
    return int(said["records"]) if said and said["config_hash"] == run.pipeline.config_hash else 0
