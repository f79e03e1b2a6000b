"""fields: whether the object has the fields that a pipeline reads.

A field that is not there comes as null in every record, and a removed one would empty a column of the target, so a
run stops before it reads anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from fenxiang_sync.errors import DeclarationError, QuotaError, RefusedError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.schema import Finding, of_lines, unknown, unknown_of_details
from fenxiang_sync.source import Client, FenxiangClient
from fenxiang_sync.source.auth import CREDENTIAL_CODES
from fenxiang_sync.source.description import ObjectDescription


def described(pipeline: Pipeline, client: Client) -> ObjectDescription | None:
    """The description of the pipeline's object, with one call; None where its fields are not to be checked."""
    source = pipeline.source
    return _described(pipeline, source.object, client) if source.check_fields else None


def of_details(pipeline: Pipeline, client: Client, *, fitting: bool = False) -> Iterator[Finding]:
    """The fields of details that are read, or filtered by, and not there, with one call for each detail object; with
    `fitting` what else does not fit as well."""
    for details in pipeline.source.details:
        found = _described(pipeline, details.object, client)
        yield from unknown_of_details(pipeline, details, found)
        if fitting:
            yield from of_lines(pipeline, details, found)


def check_fields(pipeline: Pipeline, found: ObjectDescription, client: Client) -> None:
    """Raise `DeclarationError` that names each unknown field, those of details too, and the nearest right name."""
    source = pipeline.source
    missing = [*unknown(pipeline, found), *of_details(pipeline, client)]
    if missing:
        raise DeclarationError(
            f"pipeline {pipeline.name!r}: {source.object} does not have every field that is read; mend the "
            f"declaration: {'; '.join(f'{each.field!r} {each.said}' for each in missing)} (Source(check_fields=False) "
            "reads without this check)"
        )


def _described(pipeline: Pipeline, object_name: str, client: Client) -> ObjectDescription:
    source = pipeline.source
    try:
        return ObjectDescription.read(FenxiangClient.of(client).describe(object_name))
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
