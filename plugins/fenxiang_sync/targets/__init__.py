"""Targets: where rows go.

=================  ===================================================================================
``protocol``       `Target`, `Sender`, `Finder`, `Remover`, `Answer`, `Delivery`, `Reach`: what a target is
``hub``            `HubTarget`: rows stay in the hub (写入空操作)
``qeasy``          `QeasyStore`: batches into a scheme of Qeasy (轻易云)
``sql``            `SqlTable`: a table of PostgreSQL, MySQL, MariaDB or SQLite
``write``          `WriteApi`: one object per POST
``rest``           `RestTarget`, `RestSender`: what HTTP targets share; the start of a new one
``results``        how an answer tells of its rows: `Whole`, `Counters`, `ByIndex`, `ByKey`, `ErrorList`
``meaning``        what a status or a code says about a call: `Meaning`, `Codes`
``login``          `TokenAuth`: a token from an endpoint
``pace``           `Rate`, `Pace`: calls per time, cool-down
``wire``           `Wire`, `Reply`: one HTTP call
=================  ===================================================================================
"""
