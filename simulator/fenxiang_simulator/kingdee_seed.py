"""Kingdee seed: documents that the simulated Kingdee can be filled with: materials (物料) and stock (即时库存)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

FIRST_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC: where their stamps begin."""
LAST_MS = 1_793_491_200_000
"""2026-11-01 00:00 UTC."""
FIELDS = {
    "BD_MATERIAL": (
        "FName", "FSpecification", "FDescription", "FUseOrgId.FNumber", "FBaseUnitId.FNumber",
        "FMaterialGroup.FNumber", "FRefCost",
    ),
    "STK_Inventory": (
        "FMaterialId.FNumber", "FStockId.FNumber", "FStockOrgId.FNumber", "FBaseQty", "FLot.FNumber",
    ),
}  # fmt: skip
"""The field keys of each form besides its own id, number, statuses and stamps."""
_UNITS = ("Pcs", "kg", "m", "Set")


def documents(form: str, count: int) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Number, content and stamp (epoch ms) of each; the same every time. Raises `KeyError` for another form."""
    make: Callable[[random.Random, int], tuple[str, dict[str, Any]]] = {
        "BD_MATERIAL": _material, "STK_Inventory": _stock,
    }[form]  # fmt: skip
    chance = random.Random(f"{form} {count}")
    for place in range(count):
        stamp = chance.randrange(FIRST_MS, LAST_MS, 1000)
        yield *make(chance, place), stamp


def _material(chance: random.Random, place: int) -> tuple[str, dict[str, Any]]:
    number, unit = f"MAT{place:06d}", chance.choice(_UNITS)
    content = {
        "FName": f"物料 {place}",
        "FSpecification": f"{chance.randint(1, 99)}x{chance.randint(1, 99)} mm",
        "FDescription": " ",
        "FUseOrgId": {"FNumber": chance.choice(("100", "100", "200"))},
        "FBaseUnitId": {"FNumber": unit},
        "FMaterialGroup": {"FNumber": f"G{chance.randint(1, 9):02d}"},
        "FRefCost": chance.randint(100, 99_999) / 100,
    }
    return number, content


def _stock(chance: random.Random, place: int) -> tuple[str, dict[str, Any]]:
    content = {
        "FMaterialId": {"FNumber": f"MAT{chance.randint(0, 999):06d}"},
        "FStockId": {"FNumber": f"CK{chance.randint(1, 9):03d}"},
        "FStockOrgId": {"FNumber": "100"},
        "FBaseQty": chance.randint(0, 100_000) / 10,
        "FLot": {"FNumber": f"{chance.randint(1, 999):06d}"},
    }
    return f"STK{place:06d}", content
