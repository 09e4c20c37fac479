# SPDX-License-Identifier: Apache-2.0
"""What Airflow reads at start-up, held to Airflow's own schemas."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseOperatorLink
from airflow.triggers.base import BaseTrigger
from harness import AIRFLOW

from airflow_provider_mpc import connection
from airflow_provider_mpc.configuration import OPTIONS
from airflow_provider_mpc.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parents[2]


def schema(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text())
    return read


def values(node: Any) -> Iterator[Any]:
    yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values(inner)


def test_info_is_valid_for_this_airflow() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_connection_form_is_valid_for_this_airflow() -> None:
    wanted = schema("provider.yaml.schema.json")
    (connection_type,) = get_provider_info()["connection-types"]
    jsonschema.validate(
        [connection_type], {**wanted["properties"]["connection-types"], "definitions": wanted.get("definitions", {})}
    )
    assert AIRFLOW < (3, 2) or "conn-fields" in wanted["properties"]["connection-types"]["items"]["properties"]


def test_info_holds_no_null_and_is_json() -> None:
    info = get_provider_info()
    assert json.loads(json.dumps(info)) == info
    assert None not in list(values(info))


def test_form_shows_each_field_once() -> None:
    (form,) = get_provider_info()["connection-types"]
    shown = [one for one in connection.FIELDS if one.in_form]
    assert set(form["conn-fields"]) == {one.name for one in shown if one.in_extra}
    assert set(form["ui-field-behaviour"]["relabeling"]) == {one.name for one in shown if not one.in_extra}
    assert {one.name for one in shown if not one.in_extra} | set(form["ui-field-behaviour"]["hidden-fields"]) == {
        *("login", "password", "host", "port", "schema")
    }
    for name, shape in form["conn-fields"].items():
        (declared,) = (one for one in shown if one.name == name)
        assert shape["label"] == declared.label
        assert (shape["schema"].get("format") == "password") is declared.secret
        assert "null" in shape["schema"]["type"], "an optional field"


def test_each_named_class_and_module_is_there() -> None:
    info = get_provider_info()
    (form,) = info["connection-types"]
    kinds = {"hooks": BaseHook, "sensors": BaseOperator, "operators": BaseOperator, "triggers": BaseTrigger}
    for part, kind in kinds.items():
        for name in (name for entry in info[part] for name in entry["python-modules"]):
            module = importlib.import_module(name)
            own = [one for one in vars(module).values() if getattr(one, "__module__", "") == name]
            assert any(isinstance(one, type) and issubclass(one, kind) for one in own), name
    hook = _load(form["hook-class-name"])
    assert (hook.conn_type, hook.hook_name) == (form["connection-type"], form["hook-name"])
    assert hook.conn_name_attr == "mpc_conn_id"
    for link in info["extra-links"]:
        assert issubclass(_load(link), BaseOperatorLink)


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_hook_tells_old_airflow_the_same_field_names() -> None:
    told = _load(connection.HOOK_CLASS).get_ui_field_behaviour()
    assert told["hidden_fields"] == ["schema"]
    assert told["relabeling"] == connection.ui_field_behaviour()["relabeling"]


def test_every_option_has_its_default_in_the_info() -> None:
    options = get_provider_info()["config"]["mpc"]["options"]
    assert set(options) == {one.name for one in OPTIONS}
    assert {name: float(option["default"]) for name, option in options.items()} == {
        one.name: one.default for one in OPTIONS
    }


@pytest.mark.parametrize("where", ["airflow.configuration", "airflow.providers.common.compat.sdk"])
def test_options_are_read_from_both_configurations(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = importlib.import_module(where).conf
    monkeypatch.setenv("AIRFLOW__MPC__OUTAGE_TOLERANCE", "12.5")
    assert conf.getfloat("mpc", "outage_tolerance") == 12.5


@pytest.mark.parametrize("text", ["many", "nan", "inf", "-1", "1e10"])
def test_option_without_sense_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_mpc.api.errors import MpcConfigurationError

    monkeypatch.setenv("AIRFLOW__MPC__MISSING_GRACE", text)
    (option,) = (one for one in OPTIONS if one.name == "missing_grace")
    with pytest.raises(MpcConfigurationError, match=r"\[mpc\] missing_grace"):
        option.get()


def imported_by(code: str, tmp_path: Path) -> set[str]:
    """Return the modules that a fresh interpreter has, once it has run some code, and had not before ``# then``."""
    before, _, after = code.partition("# then\n")
    program = f"import sys\n{before}\nhad = set(sys.modules)\n{after}\nprint('\\n'.join(set(sys.modules) - had))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_info_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "# then\nfrom airflow_provider_mpc.get_provider_info import get_provider_info\nget_provider_info()"
    names = imported_by(code, tmp_path)
    assert "airflow_provider_mpc.connection" in names
    assert not {"airflow", "requests", "pydantic", "urllib3", "pendulum"} & names
    assert not [name for name in names if name.startswith("airflow_provider_mpc.api")]


@pytest.mark.parametrize("module", ["sensors", "operators"])
def test_dag_files_pay_for_nothing_heavy(module: str, tmp_path: Path) -> None:
    names = imported_by(f"import airflow.sdk\n# then\nimport airflow_provider_mpc.{module}.mpc", tmp_path)
    heavy = ("requests", "urllib3", "airflow.triggers", "airflow.models", "airflow_provider_mpc.triggers")
    heavy += ("airflow_provider_mpc.api.client", "airflow_provider_mpc.api.models", "airflow_provider_mpc.polling")
    assert f"airflow_provider_mpc.{module}.mpc" in names
    assert not [name for name in names if name.startswith(heavy)]


def test_making_a_sensor_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import airflow.sdk
# then
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor
MpcEditingJobSensor(task_id="wait", job_id=["1", 2], deferrable=True)
MpcEditingJobSensor(task_id="wait", job_id="{{ params.job_id }}", mode="reschedule")
"""
    names = imported_by(code, tmp_path)
    assert not {"requests", "airflow_provider_mpc.api.client", "airflow_provider_mpc.api.models"} & names
