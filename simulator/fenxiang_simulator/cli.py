"""Cli: the console command ``fenxiang-simulator``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from fenxiang_simulator import directory, kingdee, tokens
from fenxiang_simulator.catalog import ObjectDef, from_describe
from fenxiang_simulator.faults import FAULTS
from fenxiang_simulator.knobs import Knobs, spoken
from fenxiang_simulator.simulator import PARTS, Simulator

CREDENTIALS = {
    "app_id": tokens.APPS[0],
    "app_secret": tokens.APP_SECRET,
    "permanent_code": tokens.PERMANENT_CODE,
    "open_user_id": directory.open_id(directory.ADMIN),
    "mobile": directory.EMPLOYEES[directory.ADMIN].mobile,
    "employee_id": directory.ADMIN,
    "corp_id": directory.CORP_ID,
    "ea": directory.EA,
    "qeasy_app_key": "demoappkey01",
    "qeasy_app_secret": "demo-qeasy-secret-20",
    "kingdee_user": kingdee.USER,
    "kingdee_acct_id": kingdee.ACCT_ID,
    "kingdee_app_id": kingdee.APP_ID,
    "kingdee_app_secret": kingdee.APP_SECRET,
}
MOST_PORT = 65535
_EPILOG = """\
examples:
  fenxiang-simulator
  fenxiang-simulator --port 8081 --records AccountObj=200000 --edits-per-second 5
  fenxiang-simulator --knob limit_mode=reject --knob visibility_lag_ms=3000 --fault busy=0.05
  fenxiang-simulator --objects my_object.json      # the answer of object/describe of your own tenant

`--list-knobs` and `--list-faults` print what can be set. Everything can be changed while it runs: see /_simulator.
"""


class WrongArgumentError(Exception):
    """What the person typed cannot be meant; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list_knobs:
        _say(_knob_list())
        return 0
    if options.list_faults:
        _say("\n".join(f"{name:16} {text}" for name, text in FAULTS.items()))
        return 0
    try:
        simulator = _simulator(options)
    except (WrongArgumentError, ValueError) as error:
        return _complain(str(error))
    except OSError as error:
        where = f"{options.host}:{options.port}"
        return _complain(f"cannot listen on {where}: {error.strerror}; choose another --port, or 0 for a free one")
    return _run(simulator, options.state_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fenxiang-simulator",
        description="Fenxiang CRM (纷享销客), Qeasy (轻易云), a Kingdee-like WebAPI and POST /write, on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=int, default=0, help="port (default: a free one)")
    add("--seed", type=int, default=7, help="the same seed gives the same records (default: 7)")
    add("--records", action="append", default=[], metavar="OBJECT=N", help="how many records of an object")
    add(
        "--objects",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="an object of yours, as describe says it",
    )
    add("--knob", action="append", default=[], metavar="NAME=VALUE", help="how the API behaves where nobody knows")
    add("--fault", action="append", default=[], metavar="FAULT=RATE", help="spoil this part of the calls, as busy=0.05")
    add("--edits-per-second", type=int, metavar="N", help="records change while you read")
    add("--only", choices=PARTS, help="start one part alone")
    add(
        "--state-file",
        type=Path,
        metavar="FILE",
        help="write the address and credentials there as JSON once it answers",
    )
    add("--list-knobs", action="store_true", help="print every knob with its values, and stop")
    add("--list-faults", action="store_true", help="print every fault, and stop")
    return parser


def _simulator(options: argparse.Namespace) -> Simulator:
    if not 0 <= options.port <= MOST_PORT:
        raise WrongArgumentError(
            f"port {options.port} is none; a port is between 1 and {MOST_PORT}, or 0 for a free one"
        )
    if options.state_file is not None and not options.state_file.parent.is_dir():
        raise WrongArgumentError(f"state file: there is no folder {options.state_file.parent}")
    knobs = Knobs()
    knobs.set({name: Knobs.parse(name, text) for name, text in map(_pair, options.knob)})
    if options.edits_per_second is not None:
        knobs.edits_per_second = options.edits_per_second
    rates = [(name, _rate(name, text)) for name, text in map(_pair, options.fault)]
    objects = [_object(path) for path in options.objects]
    counts = {name: _count(name, text) for name, text in map(_pair, options.records)}
    simulator = Simulator(
        seed=options.seed,
        knobs=knobs,
        host=options.host,
        port=options.port,
        records=counts,
        objects=objects,
        only=options.only,
    )
    for name, rate in rates:
        simulator.faults.rate(name, rate)
    return simulator


def _run(simulator: Simulator, state_file: Path | None) -> int:
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, ask_to_stop)
    with simulator:
        _say(_welcome(simulator))
        if state_file is not None:
            _write_state(state_file, simulator.url)
        stop.wait()
    if state_file is not None:
        state_file.unlink(missing_ok=True)
    _say(_farewell(simulator))
    return 0


def _write_state(path: Path, url: str) -> None:
    """Whole or not at all: whoever waits for the file reads it at once."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps({"url": url, **CREDENTIALS}, indent=2), encoding="utf-8")
    draft.replace(path)


def _welcome(simulator: Simulator) -> str:
    counts = simulator.report()["records"]
    records = "\n".join(
        f"  {name:28} {simulator.tenant.definition(name).label:6} {count:>8,}" for name, count in counts.items()
    )
    changed = {name: value for name, value in simulator.knobs.as_dict().items() if value != Knobs.choices()[name][0]}
    turned = ", ".join(f"{name}={spoken(value)}" for name, value in changed.items()) or "all at their defaults"
    faults = ", ".join(f"{name}={rate:g}" for name, rate in simulator.faults.as_dict()["rates"].items()) or "none"
    fenxiang = f"""
Fenxiang (纷享销客)
  app id          {CREDENTIALS["app_id"]}
  app secret      {CREDENTIALS["app_secret"]}
  permanent code  {CREDENTIALS["permanent_code"]}
  acting user     {CREDENTIALS["open_user_id"]}
                  (employee {CREDENTIALS["employee_id"]}, mobile {CREDENTIALS["mobile"]})
  company         {CREDENTIALS["corp_id"]}, ea {CREDENTIALS["ea"]}
{records}

Knobs: {turned}
Faults: {faults}
"""
    targets = f"""
Qeasy (轻易云)
  app key         {CREDENTIALS["qeasy_app_key"]}
  app secret      {CREDENTIALS["qeasy_app_secret"]}
Kingdee (金蝶云星空), under /k3cloud
  user            {CREDENTIALS["kingdee_user"]}
  account set     {CREDENTIALS["kingdee_acct_id"]}
  app id          {CREDENTIALS["kingdee_app_id"]}
  app secret      {CREDENTIALS["kingdee_app_secret"]}
POST /write needs no credentials.
"""
    parts = {"fenxiang": fenxiang, "targets": targets}
    shown = "".join(text for part, text in parts.items() if simulator.only in (None, part))
    return f"""\
Fenxiang simulator at {simulator.url}
{shown}
What was asked, the true state, knobs, faults: {simulator.url}/_simulator
Stop with Ctrl-C or SIGTERM."""


def _farewell(simulator: Simulator) -> str:
    if simulator.only == "targets":
        return "\nStopped."
    requests = simulator.requests
    paths = "\n".join(f"  {count:>8,} {path}" for path, count in sorted(requests.items())) or "  nobody called"
    return f"\nStopped. Calls of Fenxiang:\n{paths}"


def _knob_list() -> str:
    lines = []
    for name, choices in Knobs.choices().items():
        kind = "" if Knobs.is_closed(name) else "  (any whole number)"
        lines.append(f"{name:28} {' | '.join(map(spoken, choices))}{kind}")
    return "The first value is the default.\n" + "\n".join(lines)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise WrongArgumentError(f"{text!r} should be NAME=VALUE")
    return name, value


def _rate(name: str, text: str) -> float:
    if name not in FAULTS:
        raise WrongArgumentError(f"there is no fault {name!r}; the faults are: {', '.join(FAULTS)}")
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise WrongArgumentError(f"fault {name}={text}: the rate is a part between 0 and 1, as 0.05")
    return rate


def _count(name: str, text: str) -> int:
    try:
        return int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise WrongArgumentError(f"records {name}={text}: the number of records is a whole number") from None


def _object(path: Path) -> ObjectDef:
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongArgumentError(f"objects: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise WrongArgumentError(f"objects: {path} is no JSON: {error}") from None
    for key in ("data", "describe"):
        if isinstance(told, dict) and key in told:
            told = told[key]
    try:
        return from_describe(told)
    except ValueError as error:
        raise WrongArgumentError(f"objects: {path}: {error}") from None


def _complain(text: str) -> int:
    sys.stderr.write(f"fenxiang-simulator: {text}\n")
    return 2


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
