"""Reconcile (对账) as plain functions: survey → compare → confirm → per segment fetch → transform → deliver → conclude.

=============  =========================================================================================
``survey``     which time is compared, in which form, and what that costs in calls
``compare``    the source against the ledger, slice by slice: what is missing, outdated, voided, absent
``confirm``    each absent record is asked for by its id: deleted, voided, or hidden from the acting user?
``fetch``      what is missing or outdated is read again, for the ordinary transform
``deliver``    the ordinary load, which counts what came late
``remove``     rows whose record is voided or gone go to the target's delete policy
``count``      does the target hold what the ledger says?
``report``     the numbers, added up
=============  =========================================================================================
"""

from fenxiang_sync.steps.reconcile.compare import compare
from fenxiang_sync.steps.reconcile.confirm import confirm
from fenxiang_sync.steps.reconcile.count import count
from fenxiang_sync.steps.reconcile.deliver import deliver
from fenxiang_sync.steps.reconcile.fetch import fetch, segments
from fenxiang_sync.steps.reconcile.remove import remove
from fenxiang_sync.steps.reconcile.report import Reconciled, report
from fenxiang_sync.steps.reconcile.survey import Form, Survey, Wanted, survey

__all__ = [
    "Form",
    "Reconciled",
    "Survey",
    "Wanted",
    "compare",
    "confirm",
    "count",
    "deliver",
    "fetch",
    "remove",
    "report",
    "segments",
    "survey",
]
