# SPDX-License-Identifier: Apache-2.0
"""The form for a connection, its Test button, and the command that tests one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mpc.connection import AUTH_METHODS, CONNECTION_TYPE, FIELDS, HOOK_NAME
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from scripts.live_airflow import LiveAirflow

SHOWN = [field for field in FIELDS if field.in_form]
EXTRA = [field for field in SHOWN if field.in_extra]
STANDARD_ORDER = [
    "Description",
    "Endpoint",
    "Access key (AK) or IAM user",
    "Secret key (SK), password or token",
    "Port",
]


def _open_form(page: Any, airflow: LiveAirflow, conn_id: str) -> Any:
    page.set_viewport_size({"width": 1280, "height": 1550})
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(conn_id)
    form.get_by_role("combobox").fill("huawei")
    page.get_by_role("option", name=HOOK_NAME, exact=True).click()
    form.get_by_role("button", name="Standard Fields").wait_for()
    return form


def _show_extra(form: Any) -> None:
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    form.get_by_text(EXTRA[-1].help).wait_for()
    _standard(form, "host").wait_for(state="hidden")


def _labels(form: Any) -> list[str]:
    found = [label.inner_text().strip() for label in form.locator("label:visible").all()]
    return [label.split("\n")[0].rstrip(" *") for label in found if not label.startswith("Connection")]


def _standard(form: Any, name: str) -> Any:
    return form.locator(f"[name={name}]")


def _extra(form: Any, name: str) -> Any:
    return form.locator(f"[name=element_{name}]")


def _choose(form: Any) -> None:
    form.get_by_label("Authentication method").press("ArrowDown")


def _without_request_id(text: str) -> str:
    return " ".join(re.sub(r"request id [\w\s-]+", "request id ", text).split())


def test_every_field_shows_with_label_help_and_placeholder(
    page: Any, airflow: LiveAirflow, shoot: Callable[..., None]
) -> None:
    form = _open_form(page, airflow, "mpc_default")
    assert _labels(form) == STANDARD_ORDER
    for field in SHOWN:
        if not field.in_extra:
            assert _standard(form, field.name).get_attribute("placeholder") == field.placeholder
    assert _standard(form, "password").get_attribute("type") == "password"
    shoot(form, "connection-form")

    _show_extra(form)
    assert _labels(form) == [field.label for field in EXTRA]
    for field in EXTRA:
        assert form.get_by_text(field.help, exact=True).is_visible()
        if field.examples:
            offered = form.locator(f"#list_{field.name} option")
            assert [one.get_attribute("value") for one in offered.all()] == list(field.examples)
        if field.secret:
            assert _extra(form, field.name).get_attribute("type") == "password"
    shoot(form, "connection-form-extra")


def test_the_authentication_method_is_a_choice_in_words(page: Any, airflow: LiveAirflow) -> None:
    form = _open_form(page, airflow, "mpc_default")
    _show_extra(form)
    _choose(form)
    page.get_by_role("option").last.wait_for()
    assert [option.inner_text() for option in page.get_by_role("option").all()] == list(AUTH_METHODS.values())


def test_no_label_is_cut_off(page: Any, airflow: LiveAirflow) -> None:
    form = _open_form(page, airflow, "mpc_default")

    def cut_off() -> list[str]:
        texts: list[str] = form.evaluate(
            """form => [...form.querySelectorAll("label, span, p, div[class*=placeholder]")]
                .filter(one => one.offsetParent && one.clientWidth > 2 && getComputedStyle(one).overflow !== "visible"
                               && one.scrollWidth > one.clientWidth + 1)
                .map(one => one.innerText)"""
        )
        return texts

    assert cut_off() == []
    _show_extra(form)
    assert cut_off() == []


def test_saved_values_come_back_and_secrets_do_not(page: Any, airflow: LiveAirflow, shoot: Callable[..., None]) -> None:
    standard = {"host": "https://mpc.example.com", "login": "AKEXAMPLE", "port": "8443"}
    extra = {
        "region": "cn-north-4",
        "project_id": "0123456789abcdef0123456789abcdef",
        "domain_name": "an-account",
        "iam_endpoint": "https://iam.example.com",
        "verify": "false",
        "timeout": "12.5",
    }
    form = _open_form(page, airflow, "mpc_saved")
    for name, value in standard.items():
        _standard(form, name).fill(value)
    _standard(form, "password").fill("secret-canary")
    _show_extra(form)
    for name, value in extra.items():
        _extra(form, name).fill(value)
    _extra(form, "security_token").fill("token-canary")
    _choose(form)
    page.get_by_role("option", name=AUTH_METHODS["aksk"]).click()
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")

    stored = airflow.api("GET", "connections/mpc_saved")
    assert stored["conn_type"] == CONNECTION_TYPE
    kept = json.loads(stored["extra"])
    assert {name: kept[name] for name in extra} == extra
    assert kept["auth_method"] == "aksk"

    page.goto(f"{airflow.url}/connections")
    page.get_by_role("row").filter(has_text="mpc_saved").get_by_role("button", name="Edit Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Standard Fields").wait_for()
    for name, value in standard.items():
        assert _standard(form, name).input_value() == value
    _show_extra(form)
    for name, value in extra.items():
        assert _extra(form, name).input_value() == value
    assert _extra(form, "auth_method").input_value() == "aksk"
    shoot(form, "connection-form-filled")
    assert "canary" not in page.content()
    assert "canary" not in _extra(form, "security_token").input_value()


def _connection(server: EmulatorServer, **changes: Any) -> dict[str, Any]:
    connection = server.connection()
    extra = {**connection["extra"], **changes.pop("extra", {})}
    return {**connection, **changes, "extra": json.dumps({name: value for name, value in extra.items() if value})}


@pytest.mark.parametrize(
    ("conn_id", "changes", "works", "words"),
    [
        ("mpc_default", {}, True, "MPC answers at {url} for project {project}, with AK/SK."),
        ("mpc_wrong_secret", {"password": "wrong-secret-canary"}, False, "Secret key (SK)"),
        ("mpc_wrong_region", {"extra": {"region": "cn-east-3", "project_id": ""}}, False, "cn-east-3"),
        ("mpc_wrong_project", {"extra": {"project_id": "f" * 32}}, False, "Project ID"),
        ("mpc_no_region", {"host": None, "port": 443, "extra": {"region": ""}}, False, "'Region' (region) is empty"),
    ],
)
def test_the_test_button_and_the_command_say_what_is_wrong(
    page: Any,
    airflow: LiveAirflow,
    emulator: Emulator,
    emulator_server: EmulatorServer,
    shoot: Callable[..., None],
    conn_id: str,
    changes: dict[str, Any],
    works: bool,
    words: str,
) -> None:
    airflow.set_connection(conn_id, **_connection(emulator_server, **changes))
    page.set_viewport_size({"width": 1280, "height": 640})
    page.goto(f"{airflow.url}/connections")
    row = page.get_by_role("row").filter(has_text=conn_id)
    with page.expect_response(lambda response: "/connections/test" in response.url) as answer:
        row.get_by_role("button", name="Test Connection").click()
    told = answer.value.json()
    assert told["status"] is works
    assert words.format(url=emulator_server.url, project=emulator.project_id) in told["message"]
    page.get_by_text(told["message"]).first.wait_for()
    shoot(page, f"test-button-{'works' if works else conn_id.removeprefix('mpc_').replace('_', '-')}")
    assert "canary" not in page.content()

    command = airflow.cli("connections", "test", conn_id, check=False)
    assert (command.returncode == 0) is works
    # Of a success, Airflow's command shows no more than that it is one.
    assert _without_request_id("Connection success!" if works else told["message"]) in _without_request_id(
        command.stdout
    )
