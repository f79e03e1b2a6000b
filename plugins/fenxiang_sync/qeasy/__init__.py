"""Import of a Qeasy (轻易云) scheme (方案): its metadata (元数据) becomes a DAG file and a report.

=================  ===================================================================================
``metadata``       `read`: bounded reading of the JSON into a `Scheme` of typed nodes
``references``     references ``{{a.b}}`` in a value
``expressions``    ``_function`` and SQL as trees, and what can be told of one
``functions``      `Function`: an expression becomes a Python function of the DAG file
``mysql``          what those functions call: MySQL's functions, exact, and with errors that are told
``variables``      the time variables, and what they mean for a window
``reading``        `Reading`: what of the source side goes into a declaration
``reader``         the source side: object, schedule, formats, lists, lookbacks
``queries``        its filters: window, lookback, `Filter`
``bills``          a form of Kingdee in its place: keys, pages
``bill_filters``   its FilterString: stamp, window, `where`
``filter_strings`` a FilterString, cut into what must all hold
``bounds``         bounds of a stamp: window, lookback, settle time
``conditions``     its conditions
``values``         types, parsers and constants of nodes
``names``          which field a reference means
``entries``        request nodes become fields, look-ups and lines
``lookups``        _findCollection becomes `Lookup`
``writer``         the target side: which target, with which settings
``crm``            data/create and data/update of the CRM: object, match, flags
``write_backs``    what the target tells: primaryWriteback, callBackStrategy
``importer``       `Importer`: the DAG file of a scheme
``report``         `Report`: taken over, changed, without counterpart, unknown
=================  ===================================================================================
"""
