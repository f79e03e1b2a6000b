"""Drawn: the companies that this process has drawn last; one more of the same seed and counts begins with a copy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from fenxiang_simulator.catalog import ObjectDef
from fenxiang_simulator.shelf import Shelf

KEPT_COMPANIES = 8
Details = dict[str, dict[str, set[str]]]
"""Ids of details by their object and the id of their master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """The seeded records of all objects, with what follows from them."""

    definitions: Mapping[str, ObjectDef]
    shelves: Mapping[str, Shelf]
    details: Details

    def copy(self) -> Company:
        """Shelves and details to go on with. The records themselves are shared: they are never changed in place."""
        return Company(
            definitions=self.definitions,
            shelves={name: shelf.copy() for name, shelf in self.shelves.items()},
            details={name: {key: set(ids) for key, ids in held.items()} for name, held in self.details.items()},
        )


_companies: OrderedDict[Hashable, Company] = OrderedDict()


def find(key: Hashable, definitions: Mapping[str, ObjectDef]) -> Company | None:
    """A copy of the company that was kept under this key, if it was of these objects."""
    company = _companies.get(key)
    return company.copy() if company is not None and company.definitions == definitions else None


def keep(key: Hashable, company: Company) -> None:
    """Keep a copy, in the place of the oldest."""
    _companies[key] = company.copy()
    while len(_companies) > KEPT_COMPANIES:
        _companies.popitem(last=False)
