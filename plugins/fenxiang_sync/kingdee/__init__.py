"""Kingdee as a source: a form of Kingdee Cloud Galaxy (金蝶云星空), read by its bill query.

::

    query    one ExecuteBillQuery as its text: keys, values, moments      client   the session, paced; rows of a query
    form     every document of a form in a window, which is an `Origin`

It speaks by the wire, the log-in and the pace of the targets, since `KingdeeBatchSave` has them for the same server;
neither `source` nor `targets` knows of it.
"""

from fenxiang_sync.kingdee.client import KingdeeClient
from fenxiang_sync.kingdee.form import KingdeeForm

__all__ = ["KingdeeClient", "KingdeeForm"]
