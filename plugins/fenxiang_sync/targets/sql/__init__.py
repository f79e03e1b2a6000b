"""SqlTable: rows go into a table of PostgreSQL, MySQL, MariaDB or SQLite.

=================  ===================================================================================
``table``          `SqlTable`: the declaration, and what it becomes when a pipeline fits it
``form``           `Form`, `SqlColumn`: the columns of the table, by name; `Numeric`, `Varchar`
``dialect``        `Dialect`, `Writer`: what a database calls a type, and how it takes many rows;
                   one each in ``postgresql``, ``mysql``, ``sqlite``, found by ``dialects``
``values``         one value of a row becomes what the driver is given, exactly or not at all
``layout``         `Layout`: the table's name, and the statements that make it
``schema``         `Schema`: the table is made, widened, or found wrong with a sentence
``connect``        `Session`: the engine of a connection, a transaction, its errors as ours
``faults``         `Meaning`: what an error of a database says about a row, or about the run
``sender``         a batch in one transaction, in which a bad row stands alone
=================  ===================================================================================
"""

from __future__ import annotations

from fenxiang_sync.targets.sql.form import Numeric, Varchar
from fenxiang_sync.targets.sql.table import SqlTable

__all__ = ["Numeric", "SqlTable", "Varchar"]
