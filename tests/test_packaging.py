"""The built wheels in a clean environment, and the plugins folder in an Airflow with nothing else of this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.airflow]

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv", "build", "dist")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel per distribution, built from a copy of the checkout as anybody would build it."""
    folder = tmp_path_factory.mktemp("wheels")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout)
    for name in ("plugins", "simulator"):
        shutil.copytree(ROOT / name, checkout / name, ignore=NOT_SHIPPED)
    for project in (checkout, checkout / "simulator"):
        uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, project)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with an Airflow as the lock has it, and nothing of this project."""
    environment = tmp_path_factory.mktemp("stock") / "venv"
    uv("venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    requirements, lock = ROOT / "requirements.txt", ROOT / "requirements.lock"
    uv("pip", "install", "--quiet", "--python", python, "--requirement", requirements, "--constraint", lock)
    return python


@pytest.fixture(scope="module")
def installed(stock: Path, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment where the two wheels are installed on top of that."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    uv("venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    lock = ROOT / "requirements.lock"
    uv("pip", "install", "--quiet", "--python", python, "--constraint", lock, *wheels.values())
    return python


def uv(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "uv", *map(str, arguments)], check=True, cwd="/")


def ask(python: Path, home: Path, program: str, **settings: str) -> Any:
    """What a program prints as JSON on its last line, in an Airflow home of its own, away from this checkout."""
    env = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **settings}
    done = subprocess.run([python, "-c", program], env=env, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


LOOK = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_import_errors, get_plugin_info, get_timetables_plugins
from airflow.providers_manager import ProvidersManager
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag(sys.argv[1] if len(sys.argv) > 1 else None)
dags = {}
for dag_id, dag in bag.dags.items():
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    dags[dag_id] = type(DagSerialization.from_dict(stored).timetable).__name__
hook = ProvidersManager().hooks.get("fenxiang")
import fenxiang_sync
print(json.dumps({
    "dags": dags,
    "dag errors": bag.import_errors,
    "plugins": {each["name"]: str(each["source"]) for each in get_plugin_info()},
    "plugin errors": get_import_errors(),
    "timetables": sorted(get_timetables_plugins()),
    "hook": hook and hook.hook_class_name,
    "hook name": hook and hook.hook_name,
    "library": fenxiang_sync.__file__,
    "run as plugins": sorted({"window", "rows", "errors", "stage", "mapping"} & set(sys.modules)),
}))
"""
TIMETABLE = "fenxiang_sync.airflow.timetable.WindowTimetable"
NAMES = ("account", "inventory_report", "warehouse")
SHIPPED = {
    **dict.fromkeys(NAMES, "WindowTimetable"),
    **{f"{name}.reconcile": "CronTriggerTimetable" for name in NAMES},
    **{f"{name}.replay": "NullTimetable" for name in NAMES},
}


@pytest.fixture(scope="module")
def installed_look(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an Airflow sees where the wheels are installed, with the shipped DAG files."""
    home = tmp_path_factory.mktemp("home")
    look: dict[str, Any] = ask(installed, home, LOOK, AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"))
    return look


@pytest.fixture(scope="module")
def mounted_look(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an Airflow sees that has nothing of this project but its plugins and dags folders."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(PLUGINS, home / "plugins", ignore=NOT_SHIPPED)
    shutil.copytree(ROOT / "dags", home / "dags", ignore=NOT_SHIPPED)
    look: dict[str, Any] = ask(stock, home, LOOK)
    return look


def test_the_installed_wheel_is_a_provider_with_its_connection_types(installed: Path, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(tmp_path)}
    command = [installed.with_name("airflow"), "providers", "list", "--output", "json"]

    listed = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)

    assert "airflow-provider-fenxiang" in {provider["package_name"] for provider in listed}


def test_the_installed_wheel_gives_the_connection_type_and_its_hook(installed_look: dict[str, Any]) -> None:
    assert installed_look["hook"] == "fenxiang_sync.airflow.hook.FenxiangHook"
    assert installed_look["hook name"] == "Fenxiang CRM (纷享销客)"


def test_the_installed_wheel_registers_its_plugin_once(installed_look: dict[str, Any]) -> None:
    assert "airflow-provider-fenxiang" in installed_look["plugins"]["fenxiang"]
    assert installed_look["plugin errors"] == {}
    assert installed_look["timetables"].count(TIMETABLE) == 1


def test_the_shipped_dags_work_with_the_installed_wheel(installed_look: dict[str, Any]) -> None:
    assert installed_look["dag errors"] == {}
    assert installed_look["dags"].items() >= SHIPPED.items()
    assert "site-packages" in installed_look["library"]


def test_a_mounted_plugins_folder_registers_its_plugin_once(mounted_look: dict[str, Any]) -> None:
    assert "fenxiang_plugin.py" in mounted_look["plugins"]["fenxiang"]
    assert mounted_look["plugin errors"] == {}
    assert mounted_look["timetables"].count(TIMETABLE) == 1


def test_the_shipped_dags_work_with_a_mounted_plugins_folder(mounted_look: dict[str, Any]) -> None:
    assert mounted_look["dag errors"] == {}
    assert mounted_look["dags"].items() >= SHIPPED.items()
    assert "/plugins/fenxiang_sync/" in mounted_look["library"]


def test_the_library_in_a_mounted_plugins_folder_is_not_run_file_by_file(mounted_look: dict[str, Any]) -> None:
    assert mounted_look["run as plugins"] == []


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(wheels: dict[str, Path]) -> None:
    library = [path for path in PLUGINS.rglob("*") if path.is_file() and not {"__pycache__"} & set(path.parts)]
    expected = {str(path.relative_to(PLUGINS)) for path in library if path.name != ".airflowignore"}

    with zipfile.ZipFile(wheels["airflow_provider_fenxiang"]) as wheel:
        shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert shipped == {name for name in expected if ".egg-info/" not in name}


def test_the_simulator_is_a_distribution_of_its_own_that_needs_nothing_else(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    uv("venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    uv("pip", "install", "--quiet", "--no-index", "--python", python, wheels["fenxiang_simulator"])

    said = subprocess.run(
        [python.with_name("fenxiang-simulator"), "--help"], capture_output=True, text=True, check=True
    )

    assert "--port" in said.stdout
