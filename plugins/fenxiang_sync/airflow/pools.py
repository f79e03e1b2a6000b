"""Pools: one slot per connection and interface, so that one task at a time owns that quota and paces itself.

A task whose pool does not exist waits for ever, and only the scheduler's log says so: ``fenxiang setup`` makes the
pools that the DAG files need, ``fenxiang check`` names those that are missing.
"""

from __future__ import annotations

from fenxiang_sync.kingdee_source import KingdeeSource
from fenxiang_sync.pipeline import Source
from fenxiang_sync.source import is_custom
from fenxiang_sync.targets.protocol import Target

PREFIX = "fenxiang-"
DEFAULT = "default_pool"
"""Airflow's own pool, for tasks that call nobody."""


def pool_name(conn_id: str, object_name: str) -> str:
    """The pool of every task that calls this object's query path.

    >>> pool_name("fenxiang", "AccountObj"), pool_name("fenxiang", "stock__c")
    ('fenxiang-fenxiang-preset', 'fenxiang-fenxiang-custom')
    """
    return f"{PREFIX}{conn_id}-{'custom' if is_custom(object_name) else 'preset'}"


def source_pool(source: Source | KingdeeSource) -> str:
    """The pool of every task that asks this source. What is read from Kingdee shares one with what is written there:
    a limit of its server holds for both."""
    if isinstance(source, KingdeeSource):
        return f"{PREFIX}target-{source.connection}"
    return pool_name(source.connection, source.object)


def reading_pool(source: Source | KingdeeSource) -> str:
    """The pool of a task that reads this source's records.

    Where each record costs a call of `get`, that interface's own: others may query meanwhile, for hours of a first
    load. The few queries between those calls are kept within their quota by the allowance that all share.

    >>> reading_pool(Source(object="ProductObj", get_fields=("image__c",)))
    'fenxiang-fenxiang-preset-get'
    """
    return f"{source_pool(source)}-get" if source.get_fields else source_pool(source)


def target_pool(target: Target) -> str:
    """The pool of every task that delivers to this target: the limit of a target holds per connection, too."""
    return f"{PREFIX}target-{target.connections[0]}" if target.connections else DEFAULT
