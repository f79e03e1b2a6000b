"""JSON as the hub keeps it: money stays exact, since a Decimal is written as the number it is and read back as one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def dumps(value: Any) -> str:
    """
    >>> dumps({"amount": Decimal("10.50")})
    '{"amount":10.50}'
    """
    return _encoder.encode(value).decode()


def loads(text: str | None) -> Any:
    """What `dumps` wrote; None for None. A Decimal without a fraction comes back as the equal int.

    >>> loads('{"amount":10.50}')
    {'amount': Decimal('10.50')}
    """
    return None if text is None else _decoder.decode(text)


def clean(text: str, limit: int | None = None) -> str:
    """Text that both databases take (no NUL, no lone surrogate), cut to `limit` characters.

    >>> clean("a\\x00b", 2)
    'a\\ufffd'
    """
    return text[:limit].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
