"""FenxiangTarget: the declaration of an object of a Fenxiang CRM as a target."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.crm import Described, Record
from fenxiang_sync.targets.fenxiang.details import Details
from fenxiang_sync.targets.fenxiang.known import ID, value_of
from fenxiang_sync.targets.fenxiang.sender import FenxiangSender
from fenxiang_sync.targets.fenxiang.unfit import Unfit, unfit
from fenxiang_sync.targets.fenxiang.values import given
from fenxiang_sync.targets.protocol import Reach, Sender

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_MOST_ROWS = 500
_MOST_AT_ONCE = 16
_OWN = frozenset((
    "version", "is_deleted", "life_status", "life_status_before_invalid", "lock_status", "last_modified_by",
    "relevant_team", "owner_department", "owner_department_id", "object_describe_api_name", "extend_obj_data_id",
    "dataObjectApiName", "total_num", "searchAfterId",
))  # fmt: skip
"""Fields that the CRM sets itself."""
_COMPANIONS = ("__r", "__l", "__o", "__v", "__p", "__e", "__relation_ids")
_TIMES = ("create_time", "last_modified_time")


@dataclass(frozen=True, kw_only=True)
class FenxiangTarget:
    """Rows become records of `object` in the CRM that `connection` leads to (create, update, 作废, 恢复, 删除).

    The target paths of the pipeline are the object's field API names. `match` is the field by which a row's record is
    looked up, best one that the CRM keeps unique (唯一性), and the key of rows that create records; ``"_id"`` for rows
    that bring the record's id. What is there with the same values costs no write; else what differs is updated; null
    empties a field. A row with no record is created, or refused with `creates` False. More than one record with the
    value: the row is refused with their ids.

    `owner` (负责人) is whom new records belong to, by default the acting user; a row's own ``owner`` goes before it. An
    update never changes it. `details` are lists of the row that become detail records (从对象) of a new record, by
    their object; an existing record whose lines differ is refused. `trigger_workflow` and `trigger_approval` let the
    CRM start its workflows and approvals (its own default is to). `specify_time` and `specify_created_by` let a new
    record bring ``create_time``, ``last_modified_time`` and ``created_by``. `recovers`: a voided record with the value
    is brought back; with False voided records are never looked at, and a new one is created.

    `at_once` rows of a batch are written at a time, within the quota. `sample` rows are looked up after each segment.
    Moments and days become epoch milliseconds. A row can be flagged (作废), or deleted after that. Of each row it tells
    the ``_id`` of its record.

    >>> FenxiangTarget(object="ProductObj", match="product_code").describe()
    'Fenxiang object ProductObj, by product_code (connection fenxiang)'
    """

    object: str
    match: str
    connection: str = "fenxiang"
    creates: bool = True
    owner: str | Sequence[str] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    trigger_workflow: bool = False
    trigger_approval: bool = False
    specify_time: bool = False
    specify_created_by: bool = False
    recovers: bool = True
    batch_rows: int = 100
    at_once: int = 4
    sample: int = 0
    _columns: Sequence[Column] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if found := list(self._problems()):
            raise DeclarationError("FenxiangTarget " + "; ".join(found))
        object.__setattr__(self, "owner", (self.owner,) if isinstance(self.owner, str) else tuple(self.owner))
        object.__setattr__(self, "details", dict(self.details))

    def _problems(self) -> Iterator[str]:
        for word in ("object", "connection"):
            value: Any = getattr(self, word)
            if not isinstance(value, str) or not value or (word == "object" and not _NAME.fullmatch(value)):
                yield f"{word}={value!r}: give {_EXAMPLES[word]}"
        match: Any = self.match
        if match != ID and not (isinstance(match, str) and _NAME.fullmatch(match)):
            yield f"match={match!r}: give the API name of the field that records are looked up by, or '_id'"
        for word in _SWITCHES:
            if not isinstance(getattr(self, word), bool):
                yield f"{word}={getattr(self, word)!r}: give True or False"
        for word, low, high in (("batch_rows", 1, _MOST_ROWS), ("at_once", 1, _MOST_AT_ONCE), ("sample", 0, 10_000)):
            number = getattr(self, word)
            if type(number) is not int or not low <= number <= high:
                yield f"{word}={number!r}: give a number from {low} to {high}"
        yield from self._people_problems()
        yield from self._update_problems()

    def _people_problems(self) -> Iterator[str]:
        owner: Any = self.owner
        people = [owner] if isinstance(owner, str) else owner
        if not isinstance(people, Sequence) or not all(isinstance(each, str) and each for each in people):
            yield f"owner={owner!r}: give the id of an employee as records have it, such as '1000' or 'FSUID_…'"
        details: Any = self.details
        texts = isinstance(details, Mapping) and all(isinstance(x, str) and x for each in details.items() for x in each)
        if not texts:
            yield (
                f"details={details!r}: give a dict of detail objects and the lists of the row that they come from, as "
                'in {"SalesOrderProductObj": "lines"}'
            )

    def _update_problems(self) -> Iterator[str]:
        if self.creates and self.match == ID:
            yield "match='_id' finds records that are there; say creates=False, or match by a field that you fill"
        if self.creates is False:
            for word in ("owner", "details", "specify_time", "specify_created_by"):
                if getattr(self, word):
                    yield f"{word}={getattr(self, word)!r} is for new records; with creates=False there are none"

    @property
    def upserts(self) -> bool:
        """Updates may be sent twice; a create may not, and is looked up instead."""
        return not self.creates

    @property
    def connections(self) -> Sequence[str]:
        return (self.connection,)

    @property
    def removals(self) -> AbstractSet[DeletePolicy]:
        """Records that this target did not create are not removed by it."""
        return frozenset((DeletePolicy.FLAG, DeletePolicy.DELETE)) if self.creates else frozenset()

    @property
    def tells(self) -> AbstractSet[str]:
        """The id of the record that a row went into (`Telling`)."""
        return frozenset((ID,))

    def describe(self) -> str:
        only = "" if self.creates else ", updates only"
        return f"Fenxiang object {self.object}, by {self.match}{only} (connection {self.connection})"

    def fit(self, columns: Sequence[Column], *, key: str) -> FenxiangTarget:
        """The same target for rows of these columns; raises `DeclarationError` where no record can be made of them."""
        if found := [*self._column_problems(columns), *self._key_problems(columns, key)]:
            raise DeclarationError(f"target {self.describe()}: " + "; ".join(found))
        fitted = copy(self)
        object.__setattr__(fitted, "_columns", tuple(columns))
        return fitted

    def _column_problems(self, columns: Sequence[Column]) -> Iterator[str]:
        paths = [column.path for column in columns]
        if self.match not in paths:
            near = difflib.get_close_matches(self.match, paths, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, paths[:8]))}"
            yield f"match={self.match!r} is no target path of the fields; {hint}"
        for name, path in self.details.items():
            if path not in paths:
                yield f"details: {name}: no field goes to the path {path!r}"
        for path in paths:
            if path != self.match and path not in self.details.values():
                yield from (f"field {path!r}: {problem}" for problem in self.path_problems(path))

    def _key_problems(self, columns: Sequence[Column], key: str) -> Iterator[str]:
        """A row whose match value changes would make a second record, and one that goes would take the record with it
        that another row has by now."""
        if self.creates and key != self.match and self.match in [column.path for column in columns]:
            yield (
                f"the rows' id is {key!r}, and their records are told by {self.match!r}: a row with another "
                f"{self.match} would leave its record behind, and two rows with one would share it; say "
                f"key={self.match!r}"
            )

    def path_problems(self, path: str) -> Iterator[str]:
        """Why no field of the object can be written at this path."""
        if "." in path:
            yield "a record of the CRM is flat; give the API name of one of its fields"
        elif path == ID:
            yield "the CRM gives ids itself; let the row's id go to the match field, or say match='_id', creates=False"
        elif path in _OWN or path.endswith(_COMPANIONS):
            yield "the CRM sets it itself; leave it out"
        elif path == "owner" and not self.creates:
            yield "an update cannot change the owner, and this target only updates (creates=False); leave it out"
        elif path in _TIMES and not self.specify_time:
            yield "it is the CRM's own unless the target says specify_time=True"
        elif path == "created_by" and not self.specify_created_by:
            yield "it is the CRM's own unless the target says specify_created_by=True"

    @property
    def fields(self) -> Sequence[str]:
        """The fields of the object that are written."""
        lists = set(self.details.values())
        return tuple(column.path for column in self._fitted() if column.path not in lists and column.path != ID)

    def content(self, row: Row) -> tuple[Record, Mapping[str, Sequence[Record]]]:
        """A row's values in the CRM's terms, and its lines by detail object; raises `ValueError` with a sentence. A
        field that the row does not have at all is left as it is."""
        kinds = {column.path: column.kind for column in self._fitted()}
        values: dict[str, Any] = {}
        for name in (each for each in self.fields if each in row.content):
            try:
                values[name] = given(name, row.content[name], kinds[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if self.match in values:
            values[self.match] = value_of(values[self.match])
        return values, {
            name: _lines(row, path) for name, path in self.details.items() if row.content.get(path) is not None
        }

    @contextmanager
    def open(self, reach: Reach) -> Iterator[Sender]:
        """Open the CRM; nothing is called before there is a row."""
        self._fitted()
        with closing(reach.crm(self.connection)) as crm:
            yield FenxiangSender(self, crm, reach)

    def check(self, reach: Reach) -> None:
        """Ask for the description of the object, and change nothing; raises `SetupError` where rows do not fit it."""
        with closing(reach.crm(self.connection)) as crm:
            found = list(self.unfit(crm.describe(self.object)))
            details = Details(crm, self.object)
            for name in self.details:
                details.link(name)
        for each in found:
            if not each.serious:
                log.warning("%s: %s", self.describe(), each)
        if serious := [str(each) for each in found if each.serious]:
            raise SetupError("; ".join(serious))

    def unfit(self, described: Described) -> Iterator[Unfit]:
        """What of this declaration does not fit the description of its object."""
        lists = set(self.details.values())
        columns = [column for column in self._fitted() if column.path not in lists]
        owned = self.creates and "owner" not in [column.path for column in columns]
        return unfit(columns, described, match=self.match, creates=self.creates, given={"owner"} if owned else set())

    def _fitted(self) -> Sequence[Column]:
        if not self._columns:
            raise DeclarationError(f"{self.describe()} has no fields yet; it gets those of the Pipeline it is given to")
        return self._columns


_SWITCHES = ("creates", "trigger_workflow", "trigger_approval", "specify_time", "specify_created_by", "recovers")
_EXAMPLES = {
    "object": "the object's API name, as in 'ProductObj' or 'object_warehouse__c'",
    "connection": "the id of an Airflow connection, as in 'fenxiang'",
}


def _lines(row: Row, path: str) -> Sequence[Record]:
    lines = row.content[path]
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path}: details are a list of objects, as Lines gives")
    return lines
