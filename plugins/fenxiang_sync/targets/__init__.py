"""Targets: where rows go.

=================  ===================================================================================
``protocol``       `Target`, `Sender`, `Finder`, `Remover`, `Finishing`, `Answer`, `Delivery`, `Reach`: what a target is
``hub``            `HubTarget`: rows stay in the hub (写入空操作)
``files``          `FilesTarget`: the changes of each run as NDJSON or Parquet on any storage
``qeasy``          `QeasyStore`: batches into a scheme of Qeasy (轻易云)
``kingdee``        `KingdeeBatchSave`: documents and base data of Kingdee (金蝶云星空)
``fenxiang``       `FenxiangTarget`: records of an object of a Fenxiang CRM
``crm``            `Crm`: what that needs of a CRM
``sql``            `SqlTable`: a table of PostgreSQL, MySQL, MariaDB or SQLite
``write``          `WriteApi`: one object per POST
``rest``           `RestTarget`: what an HTTP target can say; the start of a new one
``sending``        `RestSender`: how its rows are sent, halved, sent again, looked up
``exchange``       `Exchange`: its calls, with the token renewed and the answer judged
``auth``           `Basic`, `Bearer`, `StaticKey`, `ClientCertificate`; `Header`, `Query`, `Cookie`
``login``          `TokenEndpoint`: a token that is asked for
``signature``      `HmacSignature`: each call is signed
``envelope``       how rows make a body: `Array`, `Single`, `Lines`, `Framed`
``meaning``        what an answer says about its call: `Meaning`, `Codes`, `Verdict`
``results``        what it tells of its rows: `Whole`, `Counters`, `ByIndex`, `ByKey`, `ErrorList`
``single``         `FindOne`, `RemoveOne`: calls about one row
``pace``           `Rate`, `Pace`: calls per time, cool-down
``wire``           `Wire`, `Call`, `Reply`: one HTTP call
=================  ===================================================================================
"""
