"""What Airflow is told: the forms of the connections and the configuration section."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from fenxiang_sync.airflow.provider import get_provider_info
from fenxiang_sync.airflow.settings import OPTIONS
from tests.test_layout import PROJECT, installed


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an Airflow with the wheel installed makes of it."""
    home = tmp_path_factory.mktemp("home")
    program = """
import json, logging, sys
logging.disable(logging.CRITICAL)
import airflow
light = sorted(module for module in sys.modules if module.startswith("fenxiang_sync"))
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
form = [meta.model_dump(mode="json") for meta in HookMetaService.hook_meta_data()]
imported = "fenxiang_sync.airflow.hook" in sys.modules
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(json.dumps({
    "light": light,
    "form": {meta["connection_type"]: meta for meta in form},
    "hook_imported": imported,
    "stage_url": conf.get("fenxiang", "stage_url"),
    "hooks": {name: manager.hooks[name].hook_class_name for name in ("fenxiang", "qeasy")},
    "version": manager.providers["airflow-provider-fenxiang"].version,
}))
"""
    environment = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(installed(home / "site")),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, cwd=home
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_fits_airflows_schema_of_a_provider() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_it_names_the_distribution_that_it_is_in() -> None:
    assert get_provider_info()["package-name"] == PROJECT["project"]["name"]


def test_airflow_starts_without_importing_more_than_the_declaration(told: Any) -> None:
    assert set(told["light"]) <= {
        "fenxiang_sync",
        "fenxiang_sync.errors",
        "fenxiang_sync.airflow",
        "fenxiang_sync.airflow.provider",
        "fenxiang_sync.airflow.settings",
    }


def test_the_form_has_a_field_for_each_thing_that_a_connection_may_hold(told: Any) -> None:
    fields = told["form"]["fenxiang"]["extra_fields"]
    assert set(fields) == {
        *("permanent_code", "style", "open_user_id", "mobile", "employee_id"),
        *("calls", "per_seconds", "share", "day_quota", "day_limit", "timeout", "proxy", "verify"),
    }
    assert fields["permanent_code"]["schema"]["format"] == "password"
    assert fields["style"]["schema"]["enum"] == ["body", "header"]
    assert told["hook_imported"] is False


def test_the_standard_fields_have_the_vendors_names(told: Any) -> None:
    standard = told["form"]["fenxiang"]["standard_fields"]
    assert standard["login"]["title"] == "App ID (appId)"
    assert standard["password"]["title"] == "App Secret (appSecret)"
    assert standard["host"]["placeholder"] == "https://open.fxiaoke.com"


@pytest.mark.parametrize("conn_type", ["fenxiang", "qeasy"])
def test_every_label_is_in_both_languages_and_every_default_fits_its_field(told: Any, conn_type: str) -> None:
    for name, field in told["form"][conn_type]["extra_fields"].items():
        title = field["schema"]["title"]
        assert title.isascii() is False, f"{name}: {title}"
        assert field["description"], name
        if field["value"] is not None:
            jsonschema.validate(field["value"], field["schema"])


def test_both_connection_types_lead_to_a_hook_that_can_be_made(told: Any) -> None:
    assert told["hooks"] == {
        "fenxiang": "fenxiang_sync.airflow.hook.FenxiangHook",
        "qeasy": "fenxiang_sync.airflow.qeasy.QeasyHook",
    }


def test_the_configuration_section_is_airflows_with_its_defaults(told: Any) -> None:
    assert told["stage_url"].startswith("file://")
    options = get_provider_info()["config"]["fenxiang"]["options"]
    assert {name: option["default"] for name, option in options.items()} == {o.name: o.default for o in OPTIONS}


def test_the_version_is_the_distributions(told: Any) -> None:
    assert told["version"] == PROJECT["project"]["version"]
