"""What the simulated targets share: reading a body, and answering as badly as a fault says."""

from __future__ import annotations

import gzip
import json
from typing import Any

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_knobs import Fault, TargetKnobs

_PAGE = "<html><head><title>Service</title></head><body>please try again later</body></html>"


def body_of(request: Request) -> Any:
    """The body as JSON, unpacked where it is gzip; ValueError where it is neither."""
    data = request.body
    if request.headers.get("Content-Encoding", "") == "gzip":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise ValueError("the body is no gzip") from error
    return json.loads(data)


def look_in(record: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def present(record: Any, path: str) -> bool:
    """Whether a required field is there: neither absent, null nor empty text."""
    value = look_in(record, path)
    return value is not None and value != ""


def misbehave(fault: Fault | None, knobs: TargetKnobs) -> Response | None:
    """The answer of a call that fails before anything is stored; None where the call is to be carried out."""
    match fault:
        case Fault.DROP_BEFORE:
            return Response(reset=True)
        case Fault.HANG_BEFORE:
            return Response(reset=True, delay_s=knobs.hang_s)
        case Fault.ERROR_BEFORE:
            return Response.json({"success": False, "message": "server error"}, 500)
        case Fault.UNAVAILABLE:
            return Response.html(_PAGE, 503)
        case Fault.HTML:
            return Response.html(_PAGE)
        case Fault.THROTTLED:
            response = Response.json({"success": False, "message": "too many requests"}, 429)
            response.headers["Retry-After"] = knobs.retry_after
            return response
        case Fault.THROTTLED_BARE:
            return Response.json({"success": False, "message": "too many requests"}, 429)
    return None


def spoil(response: Response, fault: Fault | None, knobs: TargetKnobs) -> Response:
    """What the caller sees of an answer whose work is done."""
    match fault:
        case Fault.DROP_AFTER_COMMIT:
            response.reset = True
        case Fault.HANG_AFTER_COMMIT:
            response.delay_s = knobs.hang_s
        case Fault.ERROR_AFTER_COMMIT:
            return Response.json({"success": False, "message": "server error"}, 500)
        case Fault.BAD_GATEWAY_AFTER_COMMIT:
            return Response.html(_PAGE, 502)
        case Fault.HTML_AFTER_COMMIT:
            return Response.html(_PAGE)
        case Fault.TRUNCATED_AFTER_COMMIT:
            response.truncate_at = len(response.body) // 2
    return response
