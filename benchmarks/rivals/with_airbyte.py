"""One incremental sync by Airbyte's CDK (a declarative source), its records kept as an Airbyte destination keeps them
with deduplication: by primary key, the newest by the cursor.

Run by the Python of a virtual environment with airbyte-cdk in it: ``python with_airbyte.py <folder>``; see
``bench_loss``.
"""

import json
import logging
import sys
from pathlib import Path

from airbyte_cdk.models import (
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
    Type,
)
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

folder = Path(sys.argv[1])
given = json.loads((folder / "given.json").read_text())
body = given["body"]
search = body["data"]["search_query_info"]
del search["limit"], search["offset"]  # the paginator puts them
search["filters"][0]["field_values"] = ["{{ stream_interval['start_time'] }}"]
schema = {
    "type": "object",
    "properties": {"_id": {"type": "string"}, "last_modified_time": {"type": "integer"}, "name": {"type": "string"}},
}
manifest = {
    "version": "7.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["records"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "records",
            "primary_key": ["_id"],
            "schema_loader": {"type": "InlineSchemaLoader", "schema": schema},
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": given["url"],
                    "path": given["path"],
                    "http_method": "POST",
                    "request_body_json": body,
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["data", "dataList"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "pagination_strategy": {
                        "type": "OffsetIncrement",
                        "page_size": given["page_size"],
                        "inject_on_first_request": True,
                    },
                    "page_size_option": {
                        "type": "RequestOption",
                        "inject_into": "body_json",
                        "field_path": ["data", "search_query_info", "limit"],
                    },
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "body_json",
                        "field_path": ["data", "search_query_info", "offset"],
                    },
                },
            },
            "incremental_sync": {
                "type": "DatetimeBasedCursor",
                "cursor_field": "last_modified_time",
                "datetime_format": "%ms",
                "start_datetime": {"type": "MinMaxDatetime", "datetime": "0", "datetime_format": "%ms"},
            },
        }
    ],
}
catalog = ConfiguredAirbyteCatalogSerializer.load(
    {
        "streams": [
            {
                "stream": {
                    "name": "records",
                    "json_schema": schema,
                    "supported_sync_modes": ["full_refresh", "incremental"],
                },
                "sync_mode": "incremental",
                "destination_sync_mode": "append_dedup",
                "cursor_field": ["last_modified_time"],
                "primary_key": [["_id"]],
            }
        ]
    }
)
kept, state_file = folder / "held.json", folder / "state.json"
held = dict(json.loads(kept.read_text())) if kept.exists() else {}
state = [AirbyteStateMessageSerializer.load(json.loads(state_file.read_text()))] if state_file.exists() else []
source = ConcurrentDeclarativeSource(catalog=catalog, config={}, state=state, source_config=manifest)
for message in source.read(logging.getLogger("airbyte"), {}, catalog, state):
    if message.type is Type.RECORD:
        record = message.record.data
        held[record["_id"]] = max(held.get(record["_id"], 0), record["last_modified_time"])
    elif message.type is Type.STATE:
        state_file.write_text(json.dumps(AirbyteStateMessageSerializer.dump(message.state)))
kept.write_text(json.dumps(list(held.items())))
