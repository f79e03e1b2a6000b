"""fields: whether the object has the fields that a pipeline reads.

A field that is not there comes as null in every record, and a removed one would empty a column of the target, so a
run stops before it reads anything.
"""

from __future__ import annotations

import difflib

from fenxiang_sync.errors import DeclarationError, QuotaError, RefusedError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.source import FenxiangClient
from fenxiang_sync.source.auth import CREDENTIAL_CODES

ALWAYS = frozenset((
    "_id", "name", "version", "is_deleted", "create_time", "last_modified_time", "created_by", "last_modified_by",
    "owner", "record_type", "life_status", "life_status_before_invalid", "lock_status", "relevant_team",
    "owner_department", "owner_department_id", "data_own_department", "object_describe_api_name", "extend_obj_data_id",
))  # fmt: skip
"""System fields of every object, which a describe may leave out."""

COMPANIONS = ("__r", "__l", "__o", "__v", "__p", "__e", "__relation_ids")
"""What Fenxiang adds to a field's name for its label, its list, its other text … (vendor documentation)."""


def check_fields(pipeline: Pipeline, client: FenxiangClient) -> None:
    """One call; raises `DeclarationError` that names each unknown field and the nearest right name."""
    source = pipeline.source
    if not source.check_fields:
        return
    known = ALWAYS | set(_described(pipeline, client))
    unknown = [name for name in pipeline.mapping.projection if name not in known and _base(name) not in known]
    if unknown:
        said = "; ".join(_sentence(name, known) for name in unknown)
        raise DeclarationError(
            f"pipeline {pipeline.name!r}: {source.object} does not have every field that is read; mend the "
            f"declaration: {said} (Source(check_fields=False) reads without this check)"
        )


def _described(pipeline: Pipeline, client: FenxiangClient) -> list[str]:
    source = pipeline.source
    try:
        return list(client.describe(source.object).get("fields") or {})
    except QuotaError:
        raise
    except RefusedError as error:
        if error.code in CREDENTIAL_CODES:
            raise
        raise RefusedError(
            f"Fenxiang does not describe the object {source.object} of pipeline {pipeline.name!r}: {error}. Look its "
            f"API name up in the CRM, and whether the app of connection {source.connection!r} may use it",
            code=error.code,
        ) from error


def _base(name: str) -> str:
    for suffix in COMPANIONS:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _sentence(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name!r} is none of its fields" + (f", did you mean {near[0]!r}?" if near else "")
