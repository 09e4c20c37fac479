# SPDX-License-Identifier: Apache-2.0
"""Every situation in every mode, through Airflow's own worker and triggerer, against the one table."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.triggers.base import TriggerEvent
from harness import MODES, Outcome, TaskLife
from outcome_table import PAGE, ROWS, VARIANTS, Row, page_with_table, table

from airflow_provider_mpc.api.errors import MpcError
from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

CASES = [
    pytest.param(row, variant, mode, id=f"{row.situation} - {variant} - {mode}")
    for row, variant, mode in itertools.product(ROWS, VARIANTS, MODES)
    if row.end_in(mode, variant) is not None
]

# Retries tell a final failure from another; the operator has no soft_fail and its like, and does not reschedule.
OPERATORS_CASES = [("retries=2", "poke"), ("retries=2", "deferrable")]


def options_of(mode: str) -> dict[str, Any]:
    return {"deferrable": True} if mode == "deferrable" else {"deferrable": False, "mode": mode}


def make_sensor(mode: str, job_id: Any, options: Mapping[str, Any]) -> MpcEditingJobSensor:
    timeout = options.get("execution_timeout")
    more = {"execution_timeout": timedelta(seconds=timeout)} if timeout else {}
    return MpcEditingJobSensor(
        task_id="wait",
        job_id=job_id,
        **{"poke_interval": 0.1, "timeout": 60, "retry_delay": timedelta(0)} | options_of(mode) | dict(options) | more,
    )


def make_operator(mode: str, job_id: Any, options: Mapping[str, Any]) -> MpcEditingJobOutputOperator:
    timeout = options.get("execution_timeout")
    more = {"execution_timeout": timedelta(seconds=timeout)} if timeout else {}
    return MpcEditingJobOutputOperator(
        task_id="wait",
        job_id=job_id,
        deferrable=mode == "deferrable",
        **{"poke_interval": 0.1, "timeout": 60, **options, **more},
    )


def run(row: Row, variant: str, mode: str, emulator: Emulator, make: Callable[..., Any] = make_sensor) -> Outcome:
    env = dict(row.world.get("env", {}))
    if "connection" in row.world:
        env["AIRFLOW_CONN_MPC_DEFAULT"] = row.world["connection"]
    job_id = row.arrange(emulator) or emulator.job(["SUCCEEDED"])
    options = {**row.options, **VARIANTS[variant]}
    life = TaskLife(
        lambda: make(mode, job_id, options),
        params={"nothing": None},
        triggerer=row.world.get("triggerer", True),
    )
    wait = MpcEditingJobTrigger.run
    change = row.world.get("event", lambda payload: payload)

    async def changed(trigger: MpcEditingJobTrigger) -> AsyncIterator[TriggerEvent]:
        if "crash" in row.world:
            raise row.world["crash"]
        async for event in wait(trigger):
            yield TriggerEvent(change(event.payload))

    with mock.patch.object(MpcEditingJobTrigger, "run", changed), mock.patch.dict(os.environ, env):
        return life.run()


@pytest.mark.parametrize(("row", "variant", "mode"), CASES)
def test_outcome_is_that_of_the_table(row: Row, variant: str, mode: str, emulator: Emulator) -> None:
    outcome = run(row, variant, mode, emulator)

    end = row.end_in(mode, variant)
    assert end is not None
    told = (outcome.state, outcome.error_name)
    assert told == (end.state(variant), end.error), f"{outcome.error!r}\n" + "\n".join(outcome.log)
    if end.error is None:
        assert {"return_value", "output_uri", "duration_ms", "size_byte"} == outcome.xcoms.keys()
    else:
        assert outcome.xcoms == {}
    if isinstance(outcome.error, MpcError):
        assert isinstance(outcome.error, AirflowException)
        assert isinstance(outcome.error, AirflowFailException) is not outcome.error.retryable
    assert (outcome.deferrals > 0) is (
        mode == "deferrable" and end.error not in ("MpcConfigurationError", "MpcInputError")
    )
    # One look every 0.1 s is asked for: no fault makes it more.
    assert emulator.calls("list") <= 30


@pytest.mark.parametrize(("row", "variant", "mode"), [case for case in CASES if case.values[1:] in OPERATORS_CASES])
def test_operator_ends_as_the_sensor_does(row: Row, variant: str, mode: str, emulator: Emulator) -> None:
    outcome = run(row, variant, mode, emulator, make_operator)
    end = row.end_in(mode, variant)
    assert end is not None
    told = (outcome.state, outcome.error_name)
    assert told == (end.state(variant), end.error), f"{outcome.error!r}\n" + "\n".join(outcome.log)


def test_docs_hold_the_table() -> None:
    assert PAGE.read_text() == page_with_table(PAGE.read_text()), "run: python tests/airflow/outcome_table.py"
    assert table() in PAGE.read_text()
