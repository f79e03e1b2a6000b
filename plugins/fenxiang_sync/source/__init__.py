"""Source: Fenxiang CRM over its Open API: who asks, how fast, what, and what an answer means.

::

    wire       one POST, judged as HTTP           codes     what an errorCode means
    auth       credentials, the shared token      pacing    at the quota, never over it
    retries    again in place                     allowance which calls still count, for all processes
    metering   the calls of the day               client    reading calls, by all of these
    query      filters and searches               reader    one window, page by page
    ordering   how a server sorts ids             paging    every record of a window
    census     what the server holds, compared with what is held here
    slices     a window cut where its records lie            details   the detail records of headers
    protocol   what the steps ask of any source              object    how an object of the CRM answers that
    writer     records looked up by a field, and written
"""

from fenxiang_sync.source import census, slices
from fenxiang_sync.source.auth import Credentials, MemoryTokenStore, Style, Token, Tokens, TokenStore
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.metering import Meter
from fenxiang_sync.source.object import FenxiangObject
from fenxiang_sync.source.pacing import Pace, Paces, SharedPace
from fenxiang_sync.source.paging import Bounds, pages
from fenxiang_sync.source.protocol import Checkable, Client, Gettable, Origin, Page, Piece, Readable, Sighting, Slice
from fenxiang_sync.source.query import Filter, Operator, SearchQuery, data_path, is_custom
from fenxiang_sync.source.retries import Retries

__all__ = [
    "Bounds",
    "Checkable",
    "Client",
    "Credentials",
    "FenxiangClient",
    "FenxiangObject",
    "Filter",
    "Gettable",
    "MemoryTokenStore",
    "Meter",
    "Operator",
    "Origin",
    "Pace",
    "Paces",
    "Page",
    "Piece",
    "Readable",
    "Retries",
    "SearchQuery",
    "SharedPace",
    "Sighting",
    "Slice",
    "Style",
    "Token",
    "TokenStore",
    "Tokens",
    "census",
    "data_path",
    "is_custom",
    "pages",
    "slices",
]
