"""Crm: what a target needs of a Fenxiang CRM. Whoever opens a target gives it; the targets call Fenxiang by it alone.

Each call is paced, counted, signed, and tried again in place where that is safe. All of them raise:

=====================  =================================================================================
`RecordError`          the CRM refuses this record, and took nothing of it; or, rarely, it ran out of time
`AnswerLostError`      the call went out, and what came of it is not known
`TransientError`       it was not carried out, and may be later (too many calls, no network, the token)
`RefusedError`         the CRM refuses whoever calls, or the object: the next record would be refused too
`SetupError`           the connection lacks something
=====================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from fenxiang_sync.errors import SetupError

Record = Mapping[str, Any]
"""A record as Fenxiang sends it: by field API name, with what is empty left out."""


class DescribedField(Protocol):
    """What is known of one field; as `fenxiang_sync.source.description.FieldDescription` has it."""

    @property
    def label(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def required(self) -> bool: ...

    @property
    def unique(self) -> bool: ...

    @property
    def active(self) -> bool: ...

    @property
    def refers_to(self) -> str: ...

    @property
    def decimals(self) -> int | None: ...


class Described(Protocol):
    """What is known of an object."""

    @property
    def name(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, DescribedField]: ...


class Crm(Protocol):
    """One CRM, called as one acting user. For the threads of one process."""

    def user(self) -> str:
        """The acting user, in the form that people have in records: ``FSUID_…``, or an employee id."""
        ...

    def describe(self, object_name: str) -> Described:
        """The object's fields."""
        ...

    def find(
        self, object_name: str, field: str, values: Sequence[str], *, fields: Sequence[str], voided: bool = False
    ) -> Sequence[Record]:
        """The records whose `field` is one of `values` (at most 100), with these `fields`, as queries show them now.

        `voided` asks so that voided ones are listed, too, where the CRM hides them unless they are asked for. A page
        may come empty by mistake: who decides by what is not there asks twice.
        """
        ...

    def create(
        self,
        object_name: str,
        values: Record,
        *,
        details: Mapping[str, Sequence[Record]],
        trigger_workflow: bool,
        trigger_approval: bool,
        specify_time: bool,
        specify_created_by: bool,
    ) -> str | None:
        """A new record, with its detail records by their object; its id, None where the answer has none.

        Never made again once it went out: twice is two records.
        """
        ...

    def update(
        self, object_name: str, record_id: str, changes: Record, *, trigger_workflow: bool, trigger_approval: bool
    ) -> None:
        """Change fields; None empties one."""
        ...

    def invalid(self, object_name: str, record_id: str) -> None:
        """Void a record (作废). One that is voided is refused."""
        ...

    def recover(self, object_name: str, record_id: str) -> None:
        """Bring a voided record back (恢复). One that is not voided is refused."""
        ...

    def delete(self, object_name: str, record_id: str) -> None:
        """Delete a voided record for good. One that is not voided, or not there, is refused."""
        ...

    def close(self) -> None:
        """Nothing more is called for now."""
        ...


class Finding(Protocol):
    """One thing of a declaration that does not fit a description, as a sentence."""

    @property
    def serious(self) -> bool: ...


@runtime_checkable
class IntoCrm(Protocol):
    """A target whose rows become records of an object of a CRM."""

    @property
    def connection(self) -> str: ...

    @property
    def object(self) -> str: ...

    @property
    def creates(self) -> bool:
        """Whether it makes new records."""
        ...

    def unfit(self, described: Described) -> Iterator[Finding]:
        """What of it does not fit the description of its object."""
        ...


def no_crm(conn_id: str) -> Crm:
    """The CRMs of a reach that leads to none."""
    raise SetupError(f"connection {conn_id!r}: no Fenxiang CRM can be reached from here")
