"""FenxiangTarget: rows become records of a Fenxiang CRM (纷享销客), the way back from an ERP.

::

    target    the declaration            known    what the CRM holds, looked up by the match field
    sender    a batch of rows            records  several of them at once, those of one value in their order
    parcels   its rows on their way      values   the CRM's forms of values, and when two are the same
    removal   voiding and deleting       details  the lines of a header
    unfit     what of a declaration does not fit the object's description
"""

from fenxiang_sync.targets.fenxiang.target import FenxiangTarget

__all__ = ["FenxiangTarget"]
