"""The shape of the project: who imports whom, and what Airflow finds in the plugins folder."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.airflow_fixtures import ROOT

PLUGINS = ROOT / "plugins"
LIBRARY = PLUGINS / "fenxiang_sync"
SIMULATOR = ROOT / "simulator"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield str(node.module)


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("file", sorted(LIBRARY.rglob("*.py")), ids=lambda file: str(file.relative_to(PLUGINS)))
def test_imports_go_one_way(file: Path) -> None:
    part = file.relative_to(LIBRARY).parts[0]
    modules = set(imported(file))
    assert not any(belongs(module, "fenxiang_simulator") for module in modules)
    if part != "airflow":
        assert not any(belongs(module, "airflow") or belongs(module, "fenxiang_sync.airflow") for module in modules)
    if part in ("source", "targets"):  # Kingdee as a source stands on both
        assert not any(belongs(module, "fenxiang_sync.kingdee") for module in modules)
    if part == "source":
        assert not any(belongs(module, "fenxiang_sync.targets") for module in modules)
    if part == "targets":
        assert not any(belongs(module, "fenxiang_sync.source") for module in modules)


@pytest.mark.parametrize("file", sorted((SIMULATOR / "fenxiang_simulator").rglob("*.py")), ids=lambda file: file.name)
def test_the_simulator_needs_nothing_but_python(file: Path) -> None:
    allowed = {*sys.stdlib_module_names, "fenxiang_simulator"}
    assert {module.split(".")[0] for module in imported(file)} <= allowed


def test_the_import_contracts_of_pyproject_hold() -> None:
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={"PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout


def test_no_module_under_plugins_is_named_like_one_of_python() -> None:
    top_level = {path.stem for path in PLUGINS.iterdir() if path.suffix == ".py" or path.is_dir()}
    everywhere = {path.stem for path in PLUGINS.rglob("*.py")} - {"__init__"}
    assert not (top_level | everywhere) & set(sys.stdlib_module_names)


def loaded_from_plugins(folder: Path, *, path: Path | None = None) -> Mapping[str, object]:
    """What a process of Airflow's own registers from a plugins folder, told as JSON."""
    program = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from airflow import plugins_manager
from airflow.sdk import plugins_manager as of_tasks
core, errors = plugins_manager._get_plugins()
task, task_errors = of_tasks._get_plugins()
print(json.dumps({
    "core": [plugin.name for plugin in core],
    "task": [plugin.name for plugin in task],
    "errors": {**errors, **task_errors},
    "timetables": list(plugins_manager.get_timetables_plugins()),
    "pages": sorted({"fastapi", "fenxiang_sync.hub", "fenxiang_sync.airflow.ui.pages"} & set(sys.modules)),
    "stray": sorted({"hook", "client", "plan", "store", "errors"} & set(sys.modules)),
}))
"""
    environment = {
        "AIRFLOW_HOME": str(folder.parent),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(path or ""),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, cwd=folder.parent
    )
    assert done.returncode == 0, done.stderr
    answer: Mapping[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def mounted(folder: Path, *, ignore: bool = True) -> Path:
    """A plugins folder as a container sees the mounted one."""
    folder.mkdir()
    for entry in PLUGINS.iterdir():
        if not entry.name.startswith("__") and (ignore or entry.name != ".airflowignore"):
            (folder / entry.name).symlink_to(entry)
    return folder


def installed(folder: Path) -> Path:
    """A folder on the path that looks like an installed wheel: the modules, and what its metadata says.

    Where this environment has the project installed (as ``make test`` does), its metadata are there already.
    """
    mounted(folder)
    project = PROJECT["project"]
    if any(each.name == project["name"] for each in distributions()):
        return folder
    metadata = folder / "airflow_provider_fenxiang-0.1.0.dist-info"
    metadata.mkdir()
    header = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (metadata / "METADATA").write_text("".join(f"{name}: {value}\n" for name, value in header.items()))
    lines: list[str] = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def test_a_mounted_plugins_folder_registers_one_plugin_and_nothing_of_the_library(tmp_path: Path) -> None:
    found = loaded_from_plugins(mounted(tmp_path / "plugins"))
    assert found["core"] == found["task"] == ["fenxiang"]
    assert found["errors"] == {}
    assert found["stray"] == []
    assert found["pages"] == [], "what serves the pages is imported in processes that serve none"
    assert found["timetables"] == ["fenxiang_sync.airflow.timetable.WindowTimetable"]


def test_the_ignore_file_is_load_bearing(tmp_path: Path) -> None:
    found = loaded_from_plugins(mounted(tmp_path / "plugins", ignore=False))
    assert found["stray"], "Airflow no longer scans the library: the .airflowignore can go"


def test_an_installed_wheel_registers_one_plugin(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    found = loaded_from_plugins(tmp_path / "plugins", path=installed(tmp_path / "site"))
    assert found["core"] == found["task"] == ["fenxiang"]
    assert found["errors"] == {}


def test_installed_and_mounted_at_once_there_is_still_one_plugin_and_no_error(tmp_path: Path) -> None:
    found = loaded_from_plugins(mounted(tmp_path / "plugins"), path=installed(tmp_path / "site"))
    assert found["core"] == found["task"] == ["fenxiang"]
    assert found["errors"] == {}
