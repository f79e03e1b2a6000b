"""SqlTable: rows go into a table of PostgreSQL, MySQL, MariaDB or SQLite.

=================  ===================================================================================
``table``          `SqlTable`: the declaration, and what it becomes when a pipeline fits it
``form``           `Form`, `SqlColumn`: the columns of the table, by name; `Numeric`, `Varchar`
``dialects``       what each database calls a type, and how it takes many rows: `dialect_of`
``values``         one value of a row becomes what the driver is given, exactly or not at all
``schema``         the table is made, widened, or found wrong with a sentence
``connect``        the engine of a connection, and its errors as ours: `Session`, `Meaning`
``sender``         a batch in one transaction, in which a bad row stands alone
=================  ===================================================================================
"""

from __future__ import annotations

from fenxiang_sync.targets.sql.form import Numeric, Varchar
from fenxiang_sync.targets.sql.table import SqlTable

__all__ = ["Numeric", "SqlTable", "Varchar"]
