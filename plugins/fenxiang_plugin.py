"""What Airflow registers of this project beside its connection types: the one place for it.

Airflow finds this file in a mounted ``plugins/`` folder, and by entry point where the wheel is installed. Where both
hold, the folder's registration stands: a second one would be an import error in the UI, and in a task it would keep
Airflow from registering other people's plugins after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.timetable import WindowTimetable
from fenxiang_sync.airflow.ui import apps, views


class FenxiangPlugin(AirflowPlugin):
    """Timetable and priorities, which the scheduler must know by name; the pages, which the API server serves."""

    name = "fenxiang"
    timetables = [WindowTimetable]  # noqa: RUF012 - Airflow's own shape of a plugin
    priority_weight_strategies = [RunPriority]  # noqa: RUF012
    fastapi_apps = apps()
    external_views = views()


def __getattr__(name: str) -> Any:
    """`installed` is what the entry point loads: the plugin, or None where the plugins folder has given it."""
    if name != "installed":
        raise AttributeError(f"{__name__} has no {name!r}")
    from airflow import settings

    mounted = settings.PLUGINS_FOLDER and Path(__file__).is_relative_to(Path(settings.PLUGINS_FOLDER).absolute())
    return None if mounted else FenxiangPlugin
