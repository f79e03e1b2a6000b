"""Import of a Qeasy (轻易云) scheme (方案): its metadata (元数据) becomes a DAG file, and a report of what became of each
part.

=================  ===================================================================================
``metadata``       `read`: bounded reading of the JSON into a `Scheme` of typed nodes
``references``     references ``{{a.b}}`` in a value
``variables``      the time variables, and what they mean for a window
``expressions``    ``_function``: an expression of MySQL becomes a Python function
``mysql``          what those functions call: MySQL's functions, exact, and with errors that are told
``reader``         the source side: object, window, filters, conditions, lookbacks
``entries``        request nodes become fields, look-ups and lines
``writer``         the target side: which target, with which settings
``importer``       `Importer`: the DAG file of a scheme
``report``         `Report`: taken over, changed, without counterpart, unknown
=================  ===================================================================================
"""
