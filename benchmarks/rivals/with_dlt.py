"""One incremental sync by dlt (rest_api source, merge into DuckDB), as its documentation declares one for such an API.

Run by the Python of a virtual environment with dlt in it: ``python with_dlt.py <folder>``; see ``bench_loss``.
"""

import json
import sys
from pathlib import Path

import dlt
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator
from dlt.sources.rest_api import rest_api_source

folder = Path(sys.argv[1])
given = json.loads((folder / "given.json").read_text())
given["body"]["data"]["search_query_info"]["filters"][0]["field_values"] = ["{incremental.start_value}"]
source = rest_api_source(
    {
        "client": {
            "base_url": given["url"],
            "paginator": OffsetPaginator(
                limit=given["page_size"],
                offset_body_path="data.search_query_info.offset",
                limit_body_path="data.search_query_info.limit",
                total_path=None,
                stop_after_empty_page=True,
            ),
        },
        "resources": [
            {
                "name": "records",
                "primary_key": "_id",
                "write_disposition": "merge",
                "columns": {"last_modified_time": {"dedup_sort": "desc"}},  # the newest of two versions in one load
                "endpoint": {
                    "path": given["path"],
                    "method": "POST",
                    "json": given["body"],
                    "data_selector": "data.dataList",
                    "incremental": {"cursor_path": "last_modified_time", "initial_value": 0},
                },
            }
        ],
    }
)
pipeline = dlt.pipeline(
    "records",
    destination=dlt.destinations.duckdb(str(folder / "held.duckdb")),
    dataset_name="crm",
    pipelines_dir=str(folder / "pipelines"),
)
pipeline.run(source)
with pipeline.sql_client() as client, client.execute_query("SELECT _id, last_modified_time FROM records") as rows:
    (folder / "held.json").write_text(json.dumps([list(row) for row in rows.fetchall()]))
