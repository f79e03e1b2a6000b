"""One incremental sync by a tap of the Singer SDK, its records kept as a target with key properties keeps them: each
replaces the one before.

Run by the Python of a virtual environment with singer-sdk in it: ``python with_singer.py <folder>``; see
``bench_loss``.
"""

import contextlib
import copy
import io
import json
import sys
from pathlib import Path

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.pagination import OffsetPaginator

folder = Path(sys.argv[1])
given = json.loads((folder / "given.json").read_text())


class Pages(OffsetPaginator):
    def has_more(self, response):
        return bool(response.json().get("data", {}).get("dataList"))


class Records(RESTStream):
    name = "records"
    url_base = given["url"]
    path = given["path"]
    http_method = "POST"
    primary_keys = ("_id",)
    replication_key = "last_modified_time"
    is_sorted = True
    records_jsonpath = "$.data.dataList[*]"
    schema = th.PropertiesList(
        th.Property("_id", th.StringType),
        th.Property("name", th.StringType),
        th.Property("last_modified_time", th.IntegerType),
    ).to_dict()

    def get_new_paginator(self):
        return Pages(start_value=0, page_size=given["page_size"])

    def prepare_request_payload(self, context, next_page_token):
        body = copy.deepcopy(given["body"])
        search = body["data"]["search_query_info"]
        search["offset"] = next_page_token or 0
        search["filters"][0]["field_values"] = [str(self.get_starting_replication_key_value(context) or 0)]
        return body


class TapCrm(Tap):
    name = "tap-crm"
    config_jsonschema = th.PropertiesList().to_dict()

    def discover_streams(self):
        return [Records(tap=self)]


kept, state_file = folder / "held.json", folder / "state.json"
state = json.loads(state_file.read_text()) if state_file.exists() else {}
said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
with contextlib.redirect_stdout(said):
    TapCrm(config={}, state=state).sync_all()
held = dict(json.loads(kept.read_text())) if kept.exists() else {}
for line in said.buffer.getvalue().decode().splitlines():
    message = json.loads(line)
    if message["type"] == "RECORD":
        held[message["record"]["_id"]] = message["record"]["last_modified_time"]
    elif message["type"] == "STATE":
        state_file.write_text(json.dumps(message["value"]))
kept.write_text(json.dumps(list(held.items())))
