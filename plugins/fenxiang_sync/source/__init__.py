"""Source: Fenxiang CRM over its Open API: who asks, how fast, what, and what an answer means.

::

    wire       one POST, judged as HTTP           codes     what an errorCode means
    auth       credentials, the shared token      pacing    evenly below the quota
    retries    again in place                     client    reading calls, by all of these
    metering   the calls of the day
    query      filters and searches               reader    one window, page by page
    ordering   how a server sorts ids             paging    every record of a window
    census     what the server holds, compared with what is held here
"""

from fenxiang_sync.source import census
from fenxiang_sync.source.auth import Credentials, MemoryTokenStore, Style, Token, Tokens, TokenStore
from fenxiang_sync.source.client import FenxiangClient, Page
from fenxiang_sync.source.metering import Meter
from fenxiang_sync.source.pacing import Pace, Paces
from fenxiang_sync.source.paging import Bounds, pages
from fenxiang_sync.source.query import Filter, Operator, SearchQuery, data_path, is_custom
from fenxiang_sync.source.retries import Retries

__all__ = [
    "Bounds",
    "Credentials",
    "FenxiangClient",
    "Filter",
    "MemoryTokenStore",
    "Meter",
    "Operator",
    "Pace",
    "Paces",
    "Page",
    "Retries",
    "SearchQuery",
    "Style",
    "Token",
    "TokenStore",
    "Tokens",
    "census",
    "data_path",
    "is_custom",
    "pages",
]
