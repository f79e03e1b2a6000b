"""Control: the simulator's own paths, for tests and people in other processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fenxiang_simulator import directory
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.faults import FAULTS
from fenxiang_simulator.server import Request, Response
from fenxiang_simulator.wire import Wire

if TYPE_CHECKING:
    from fenxiang_simulator.simulator import Simulator

PREFIX = "/_simulator"
EDITS = ("create", "update", "approve", "invalid", "recover", "delete", "change_owner", "random")


class Control:
    """Answers ``/_simulator/…`` with JSON. A wrong request is 400 with a sentence under ``error``."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._paths: dict[str, tuple[str, Callable[[Request], Any]]] = {
            "": ("GET: this list", self._index),
            "/report": ("GET: requests, violations, injected faults, edits, numbers of records", self._report),
            "/queries": ("GET: every query as it was asked (?object=AccountObj)", self._queries),
            "/state/<object>": ("GET: visible records by id (?user=1000&style=body|header&voided=yes)", self._state),
            "/knobs": ("GET: all with their choices; POST {name: value}: change some", self._knobs),
            "/faults": (
                'GET; POST {"fault": "busy", "rate": 0.05} or {"fault": …, "next": 2, "path": "/data/query"}; '
                'POST {"refuse": id, "code": 201112011}: get refuses this record; POST {"clear": true}',
                self._faults,
            ),
            "/edit": (
                'POST {"action": "update", "object": …, "id": …, "data": {…}}, or {"action": "random", "times": 5}',
                self._edit,
            ),
            "/kingdee": (
                'GET: documents (?form=BD_MATERIAL), queries; POST {"action": "edit" or "erase", "form": …, '
                '"number": …, "data": {…}}, {"action": "end_sessions"}, or {"knobs": {"kingdee_most_rows": 50}}',
                self._kingdee,
            ),
            "/clock": ('GET; POST {"advance": seconds}', self._clock),
            "/push": (
                'GET: deliveries; POST {"url": …, "aes_key": …, "objects": […]}: push there; POST {"stop": true}',
                self._push,
            ),
            "/tokens/revoke": ("POST: every token is refused from now on", self._revoke),
            "/reset": ("POST: the seeded records again, every count forgotten", self._reset),
        }

    def handle(self, request: Request) -> Response | None:
        if request.path != PREFIX and not request.path.startswith(f"{PREFIX}/"):
            return None
        path = request.path.removeprefix(PREFIX).rstrip("/")
        key = "/state/<object>" if path.startswith("/state/") else path
        if key not in self._paths:
            return Response.json({"error": f"no {request.path} here; see {PREFIX}"}, 404)
        try:
            return Response.json(self._paths[key][1](request))
        except ApiError as error:
            return Response.json({"error": f"{error}: {error.description or ''}".rstrip(": ")}, 400)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Response.json({"error": str(error) or repr(error)}, 400)

    def _index(self, _request: Request) -> Any:
        return {PREFIX + path: text for path, (text, _) in self._paths.items()}

    def _report(self, _request: Request) -> Any:
        return self._simulator.report()

    def _queries(self, request: Request) -> Any:
        wanted = request.query.get("object")
        return [each.as_dict() for each in self._simulator.queries if wanted in (None, each.object)]

    def _state(self, request: Request) -> Any:
        name = request.path.rsplit("/", 1)[1]
        tenant, query = self._simulator.tenant, request.query
        voided = {"yes": True, "no": False}.get(query.get("voided", ""))
        wire = Wire(tenant, name, open_ids=query.get("style", "body") == "body")
        visible = tenant.visible(name, query.get("user", directory.ADMIN), voided=voided)
        return {"object": name, "count": len(visible), "records": {key: wire.full(r) for key, r in visible.items()}}

    def _knobs(self, request: Request) -> Any:
        knobs = self._simulator.knobs
        if request.method == "POST":
            knobs.set(_object(request))
        return {"values": knobs.as_dict(), "choices": knobs.choices()}

    def _faults(self, request: Request) -> Any:
        faults = self._simulator.faults
        if request.method == "POST":
            order = _object(request)
            if order.get("clear"):
                faults.clear()
            elif "refuse" in order:
                faults.refuse(str(order["refuse"]), int(order.get("code", 201112011)))
            elif "rate" in order:
                faults.rate(order["fault"], float(order["rate"]), order.get("path", ""))
            elif "fault" in order:
                faults.next(
                    order["fault"],
                    int(order.get("next", 1)),
                    path=order.get("path", ""),
                    skip=int(order.get("skip", 0)),
                )
            else:
                raise ValueError(
                    'say {"fault": …, "rate": …}, {"fault": …, "next": …}, {"refuse": id} or {"clear": true}'
                )
        return {**faults.as_dict(), "known": FAULTS}

    def _edit(self, request: Request) -> Any:
        order = _object(request)
        action, name = order.get("action"), str(order.get("object"))
        tenant = self._simulator.tenant
        user = str(order.get("user", directory.ADMIN))
        if action not in EDITS:
            raise ValueError(f"no edit {action!r}; the edits are: {', '.join(EDITS)}")
        if action == "random":
            self._simulator.editor.edit(name, int(order.get("times", 1)))
            return {"edits": dict(self._simulator.editor.done)}
        record_id = str(order.get("id", ""))
        if action == "create":
            stamp = order.get("last_modified_time")
            record_id = tenant.create(name, order.get("data", {}), user=user, modified_ms=stamp)
        elif action == "update":
            stamp = order.get("last_modified_time")
            tenant.update(name, record_id, order.get("data", {}), user=user, modified_ms=stamp)
        elif action in ("approve", "invalid", "recover"):
            getattr(tenant, action)(name, record_id, user=user)
        elif action == "delete":
            tenant.delete(name, record_id)
        else:
            tenant.change_owner(name, record_id, str(order.get("owner")), user=user)
        return {"id": record_id}

    def _kingdee(self, request: Request) -> Any:
        kingdee, knobs = self._simulator.targets.kingdee, self._simulator.targets.knobs
        if request.method == "POST":
            order = _object(request)
            form, number, action = str(order.get("form")), str(order.get("number")), order.get("action")
            if "knobs" in order:
                knobs.set(order["knobs"])
            elif action == "edit":
                stamp = order.get("last_modified_time")
                return {"id": kingdee.edit(form, number, order.get("data", {}), modified_ms=stamp).id}
            elif action == "erase":
                kingdee.erase(form, number)
            elif action == "end_sessions":
                kingdee.end_sessions()
            else:
                raise ValueError(f"no action {action!r}; the actions are: edit, erase, end_sessions")
        wanted = request.query.get("form")
        return {
            "forms": kingdee.report()["forms"],
            "documents": [asdict(bill) for bill in kingdee.bills(wanted)] if wanted else [],
            "queries": [each.as_dict() for each in kingdee.queries if wanted in (None, each.seen.form)],
        }

    def _clock(self, request: Request) -> Any:
        clock = self._simulator.clock
        if request.method == "POST":
            clock.advance(float(_object(request)["advance"]))
        return {"now_ms": clock.now_ms(), "advanced_s": clock.offset, "skew_ms": self._simulator.knobs.clock_skew_ms}

    def _push(self, request: Request) -> Any:
        push = self._simulator.push
        if request.method == "POST":
            order = _object(request)
            if order.get("stop"):
                push.unsubscribe()
            else:
                push.subscribe(str(order["url"]), str(order["aes_key"]), order.get("objects", ()))
        return push.as_dict()

    def _revoke(self, _request: Request) -> Any:
        self._simulator.tokens.revoke()
        return {"revoked": True}

    def _reset(self, _request: Request) -> Any:
        self._simulator.reset()
        return {"reset": True}


def _object(request: Request) -> Mapping[str, Any]:
    try:
        body = request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        raise TypeError(f"POST {request.path} takes a JSON object; see GET {PREFIX}")
    return body
