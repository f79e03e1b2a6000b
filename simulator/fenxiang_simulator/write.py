"""POST /write: the load interface of the article. One JSON object a call, refused without `id`."""

from __future__ import annotations

import threading
from typing import Any

from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.target_faults import body_of, misbehave, present, spoil
from fenxiang_simulator.target_knobs import Fault, Faults, TargetKnobs

NO_ID = "ID is required for data loading."


class WriteStore:
    """The true state of /write: `rows` in order of arrival (an upsert keeps the place of the first)."""

    def __init__(self, knobs: TargetKnobs, faults: Faults) -> None:
        self.rows: list[dict[str, Any]] = []
        self.requests = 0
        self.refused = 0
        self._places: dict[str, int] = {}
        self._knobs = knobs
        self._faults = faults
        self._lock = threading.Lock()

    def handle(self, request: Request) -> Response | None:
        if request.path != "/write":
            return None
        with self._lock:
            self.requests += 1
            if request.method != "POST":
                return Response.json({"message": "Method not allowed: POST one object."}, 405)
            fault = self._faults.draw("write")
            if fault is Fault.TOKEN_REFUSED:
                return Response.json({"message": "Unauthorized"}, 401)
            early = misbehave(fault, self._knobs)
            return early or spoil(self._take(request), fault, self._knobs)

    def report(self) -> dict[str, Any]:
        return {"requests": self.requests, "refused": self.refused, "rows": len(self.rows)}

    def _take(self, request: Request) -> Response:
        try:
            record = body_of(request)
        except ValueError:
            return self._refuse("The body is not JSON.")
        if not isinstance(record, dict):
            return self._refuse("One JSON object per call.")
        if not present(record, "id"):
            return self._refuse(NO_ID)
        for path in self._knobs.write_required:
            if not present(record, path):
                return self._refuse(f"{path} is required.")
        self._store(record)
        return Response.json({"message": "ok", "id": record["id"]})

    def _refuse(self, message: str) -> Response:
        self.refused += 1
        return Response.json({"message": message}, 400)

    def _store(self, record: dict[str, Any]) -> None:
        place = None if self._knobs.write_appends else self._places.get(str(record["id"]))
        if place is not None:
            self.rows[place] = record
            return
        self._places[str(record["id"])] = len(self.rows)
        self.rows.append(record)
