"""docker-compose.yaml, Dockerfile and .env.example: against the Compose specification, and against what they name."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from compose_spec import PyCompose

from demo import dotenv
from demo.local import free_port

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yaml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
ONE_SHOT = {"hub-database", "init", "demo-connections"}
IMAGE_FOLDERS = {"/opt/airflow/logs", "/opt/airflow/stage", "/var/lib/postgresql/data"}
"""Where a named volume is given to the image's own user: folders that exist in the image, and belong to it."""


def read_env(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def interpolated(env: dict[str, str]) -> str:
    """The compose file as docker compose reads it with these variables; a required one that is missing is an error."""

    def value(match: re.Match[str]) -> str:
        set_to = env.get(match["name"], "")
        if set_to or match["kind"] is None:
            return set_to
        if match["kind"] == "?":
            raise LookupError(f"{match['name']} {match['rest']}")
        return match["rest"]

    return VARIABLE.sub(value, TEXT).replace("$$", "$")


ENV = read_env(dotenv.filled(EXAMPLE))
COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(ENV))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW_SERVICES = [name for name, service in SERVICES.items() if service["image"].startswith("fenxiang-airflow")]


def test_the_file_follows_the_compose_specification() -> None:
    parsed = PyCompose.from_json(json.dumps(COMPOSE))

    assert set(parsed.to_dict()["services"]) == set(SERVICES)


def test_a_key_that_the_specification_does_not_know_is_found() -> None:
    broken = json.dumps(COMPOSE).replace('"healthcheck"', '"healthchecks"', 1)

    with pytest.raises(ValueError, match="healthchecks"):
        PyCompose.from_json(broken)


def test_every_variable_is_in_the_example_and_every_example_is_read() -> None:
    assert {match["name"] for match in VARIABLE.finditer(TEXT)} == set(read_env(EXAMPLE))


def test_a_secret_has_no_default_and_its_absence_is_said_with_the_way_out() -> None:
    secrets = [name for name, value in read_env(EXAMPLE).items() if not value]

    assert set(secrets) >= {"FERNET_KEY", "JWT_SECRET", "API_SECRET_KEY", "POSTGRES_PASSWORD", "AIRFLOW_ADMIN_PASSWORD"}
    for secret in secrets:
        with pytest.raises(LookupError, match=rf"{secret} is not set. Run python3 -m demo.dotenv first"):
            interpolated({name: value for name, value in ENV.items() if name != secret})


def test_the_documented_command_writes_every_secret_at_random_and_for_its_owner_only(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path)

    assert dotenv.main(tmp_path) == 0
    written = read_env((tmp_path / ".env").read_text())
    assert dotenv.main(tmp_path) == 1, "a second call must not replace the secrets of running databases"

    assert all(written.values())
    assert len({value for name, value in written.items() if not read_env(EXAMPLE)[name]}) == 7
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert read_env((tmp_path / ".env").read_text()) == written


def test_the_documented_command_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    shutil.copy(ROOT / ".env.example", tmp_path)
    for module in ("__init__.py", "dotenv.py"):
        shutil.copy(ROOT / "demo" / module, tmp_path / "demo")

    subprocess.run([sys.executable, "-I", "-S", "-c", RUN_DOTENV], cwd=tmp_path, check=True)

    assert (tmp_path / ".env").exists()


RUN_DOTENV = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_module('demo.dotenv', run_name='__main__')"


def test_every_service_runs_as_somebody_else_than_root_and_can_gain_nothing() -> None:
    for name, service in SERVICES.items():
        assert service["user"] in {"50000:0", "postgres", "redis"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_image_is_pinned() -> None:
    base = re.findall(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    for image in {service["image"] for service in SERVICES.values()} | set(base):
        assert re.search(r":[a-z-]*\d+\.\d+(\.\d+)?(-[\w.]+)?$", image), image


def test_the_image_holds_the_airflow_and_the_python_of_the_lock() -> None:
    (tag,) = re.findall(
        r"^FROM apache/airflow:slim-([\d.]+)-python([\d.]+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    lock = (ROOT / "requirements.lock").read_text()

    assert f"apache-airflow=={tag[0]}\n" in lock
    assert f"--python-version {tag[1]} " in lock


def test_ports_are_open_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports == ["127.0.0.1:8080:8080"]


def test_every_service_that_stays_up_has_a_healthcheck_and_comes_up_again() -> None:
    for name, service in SERVICES.items():
        if name in ONE_SHOT:
            assert service["restart"] == "on-failure"
            assert "healthcheck" not in service
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_a_service_waits_for_services_that_exist_and_can_reach_the_awaited_state() -> None:
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            awaited = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert condition["condition"] == awaited, f"{name} waits for {other}"
            assert SERVICES[other].get("profiles", []) == [] or SERVICES[other]["profiles"] == service["profiles"]


def test_no_service_that_runs_tasks_or_serves_starts_before_init_has_ended() -> None:
    for name in set(AIRFLOW_SERVICES) - {"init", "simulator"}:
        assert "init" in SERVICES[name]["depends_on"], name


def test_the_simulator_comes_with_the_profile_demo_only_and_gets_no_secret() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]} == {
        "simulator",
        "demo-connections",
    }
    assert not SERVICES["simulator"]["environment"]


def test_every_host_in_an_address_is_a_service() -> None:
    hosts = set()
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            hosts |= set(re.findall(r"(?:@|http://)([a-z-]+)(?=[:/])", str(value)))
        hosts |= {service["environment"]["PGHOST"]} if "PGHOST" in service.get("environment", {}) else set()
    hosts |= {connection["host"].removeprefix("http://") for connection in demo_connections().values()}

    assert hosts - {"localhost"} <= set(SERVICES)
    assert hosts >= {"postgres", "redis", "api-server", "simulator"}


def test_every_mounted_path_exists_and_every_volume_is_declared_and_writable() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source, target, *mode = mount.split(":")
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {mount}"
                assert mode == ["ro"], f"{name}: {mount}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {mount}"
                assert target in IMAGE_FOLDERS, f"{name}: {mount}"
    assert "mkdir -p /opt/airflow/stage" in (ROOT / "Dockerfile").read_text()


def test_every_file_that_the_image_is_built_from_exists_and_is_let_through() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = [
        path for line in re.findall(r"^COPY --chown=\S+ (.+) \S+$", dockerfile, re.MULTILINE) for path in line.split()
    ]
    let_through = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert sorted(copied) == sorted(let_through)
    assert all((ROOT / path).exists() for path in copied)


def test_workers_share_the_stage_that_the_tasks_are_told_to_use() -> None:
    for name in set(AIRFLOW_SERVICES) - {"simulator", "demo-connections"}:
        folder = SERVICES[name]["environment"]["AIRFLOW__FENXIANG__STAGE_URL"].removeprefix("file://")
        assert f"stage:{folder}" in SERVICES[name]["volumes"], name


@pytest.mark.airflow
def test_every_setting_is_one_that_airflow_or_a_provider_knows(tmp_path: Path) -> None:
    known = set()
    section = ""
    for line in run_airflow(tmp_path, "-m", "airflow", "config", "list", "--defaults").splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            section = heading[1].upper().replace(".", "_")
        elif option := re.match(r"# (\w+) = ?", line):
            known.add(f"AIRFLOW__{section}__{option[1].upper()}")

    settings = {name for service in SERVICES.values() for name in service.get("environment", {}) if "__" in name}
    assert len(settings) > 10
    assert settings - known == set()


@pytest.mark.airflow
def test_airflow_understands_every_command_line(tmp_path: Path) -> None:
    lines = list(airflow_command_lines())

    assert {line.split()[0] for line in lines} >= {"api-server", "scheduler", "celery", "db", "users", "jobs"}
    assert run_airflow(tmp_path, "-c", PARSE, *lines).splitlines()[-1] == f"understood {len(lines)}"


PARSE = """
import shlex, sys
from airflow.cli.cli_parser import get_parser
parser = get_parser()
for line in sys.argv[1:]:
    parser.parse_args(shlex.split(line))
print("understood", len(sys.argv) - 1)
"""


def airflow_command_lines() -> Iterator[str]:
    """What the services give to `airflow`, in a shell or through the image's entry point."""
    for service in (SERVICES[name] for name in AIRFLOW_SERVICES):
        command = service["command"]
        if isinstance(command, str):
            yield command.removeprefix("airflow ")
        scripts = [*(command if isinstance(command, list) else []), *service.get("healthcheck", {}).get("test", [])]
        for script in scripts:
            yield from re.findall(r"^airflow (.+)$", script.replace("\\\n", " "), re.MULTILINE)


def run_airflow(home: Path, *arguments: str) -> str:
    """What a Python with the compose file's Airflow settings prints; fails with what it says where it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    chosen = ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__CORE__EXECUTOR")
    settings = {name: SERVICES["init"]["environment"][name] for name in chosen}
    done = subprocess.run(
        [sys.executable, *arguments], env={**env, **settings, "AIRFLOW_HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_simulator_takes_the_options_that_it_is_given() -> None:
    service = SERVICES["simulator"]
    said = subprocess.run(
        [Path(sys.executable).with_name(service["entrypoint"][0]), "--help"], capture_output=True, text=True, check=True
    )

    for option in (word for word in service["command"] if word.startswith("--")):
        assert option in said.stdout


def test_the_console_command_of_the_simulator_is_its_distributions() -> None:
    project = tomllib.loads((ROOT / "simulator" / "pyproject.toml").read_text())["project"]

    assert SERVICES["simulator"]["entrypoint"] == list(project["scripts"])


def demo_connections() -> dict[str, dict[str, Any]]:
    stored: dict[str, dict[str, Any]] = json.loads((ROOT / "demo" / "connections.json").read_text())
    return stored


def test_the_demo_connections_lead_to_the_simulator_under_the_names_that_the_dags_use() -> None:
    port = int(SERVICES["simulator"]["command"][3])

    assert set(demo_connections()) == {"fenxiang", "qeasy", "write_api"}
    assert {(each["host"], each["port"]) for each in demo_connections().values()} == {("http://simulator", port)}


def test_init_makes_the_pools_that_the_tasks_of_the_dags_wait_for() -> None:
    assert "fenxiang setup" in " ".join(SERVICES["init"]["command"])


@pytest.mark.postgres
def test_the_hubs_role_and_database_are_made_once_and_follow_a_new_password() -> None:
    service = SERVICES["hub-database"]
    name = f"compose_test_{os.getpid()}"
    script = service["command"][2].replace("fenxiang_hub", f"{name}_hub").replace("'fenxiang'", f"'{name}'")
    script = re.sub(r"\b(ROLE|OWNER) fenxiang\b", rf"\1 {name}", script)
    server = {"PGHOST": "127.0.0.1", "PGUSER": "postgres", "PGDATABASE": "postgres", "PATH": os.environ["PATH"]}
    hub = {"host": "127.0.0.1", "dbname": f"{name}_hub", "user": name}
    try:
        for password in ("first", "second"):
            subprocess.run(["sh", "-ec", script], env={**server, "HUB_PASSWORD": password}, check=True)
        connection = psycopg2.connect(**hub, password="second")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_get_userbyid(datdba), rolsuper FROM pg_database, pg_roles "
                "WHERE datname = current_database() AND rolname = current_user"
            )
            assert cursor.fetchone() == (name, False)
        connection.close()
    finally:
        for statement in (f"DROP DATABASE IF EXISTS {name}_hub", f"DROP ROLE IF EXISTS {name}"):
            subprocess.run(["psql", "--quiet", "--command", statement], env=server, check=True)


def test_redis_takes_its_password_from_its_standard_input(tmp_path: Path) -> None:
    port = str(free_port())
    command = copy.copy(SERVICES["redis"]["command"])
    command[2] = command[2].replace("requirepass", f"port {port}\\nbind 127.0.0.1\\nrequirepass")
    env = {"REDISCLI_AUTH": "a-password", "PATH": os.environ["PATH"]}
    server = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        ask = ["redis-cli", "-p", port, "ping"]
        while "PONG" not in subprocess.run(ask, env=env, capture_output=True, text=True).stdout:
            assert server.poll() is None
        stranger = subprocess.run(ask, env={"PATH": env["PATH"]}, capture_output=True, text=True)
        assert "NOAUTH" in stranger.stdout + stranger.stderr
        assert "a-password" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    finally:
        server.kill()
        server.wait()
