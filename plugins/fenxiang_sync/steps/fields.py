"""fields: whether the object has the fields that a pipeline reads.

A field that is not there comes as null in every record, and a removed one would empty a column of the target, so a
run stops before it reads anything.
"""

from __future__ import annotations

from fenxiang_sync.errors import DeclarationError, QuotaError, RefusedError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.schema import unknown, unknown_names
from fenxiang_sync.source import FenxiangClient
from fenxiang_sync.source.auth import CREDENTIAL_CODES
from fenxiang_sync.source.description import ObjectDescription


def check_fields(pipeline: Pipeline, client: FenxiangClient) -> None:
    """One call, and one for each detail object; raises `DeclarationError` that names each unknown field and the nearest
    right name."""
    source = pipeline.source
    if not source.check_fields:
        return
    found = list(unknown(pipeline, _described(pipeline, source.object, client)))
    for details in source.details:
        described = _described(pipeline, details.object, client)
        found += unknown_names(pipeline.asked_of(details), described, of=details.object)
    if found:
        raise DeclarationError(
            f"pipeline {pipeline.name!r}: {source.object} does not have every field that is read; mend the "
            f"declaration: {'; '.join(f'{each.field!r} {each.said}' for each in found)} (Source(check_fields=False) "
            "reads without this check)"
        )


def _described(pipeline: Pipeline, object_name: str, client: FenxiangClient) -> ObjectDescription:
    source = pipeline.source
    try:
        return ObjectDescription.read(client.describe(object_name))
    except QuotaError:
        raise
    except RefusedError as error:
        if error.code in CREDENTIAL_CODES:
            raise
        raise RefusedError(
            f"Fenxiang does not describe the object {object_name} of pipeline {pipeline.name!r}: {error}. Look its "
            f"API name up in the CRM, and whether the app of connection {source.connection!r} may use it",
            code=error.code,
        ) from error
