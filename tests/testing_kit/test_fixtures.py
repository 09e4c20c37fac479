# SPDX-License-Identifier: Apache-2.0
"""The fixtures for tests of users' Dags."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pendulum
import pytest
from airflow.sdk import DAG

from airflow_provider_mpc.api.errors import MpcAuthenticationError, MpcJobNotFoundError, MpcTransportError
from airflow_provider_mpc.emulator import Emulator, EmulatorServer
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.operators.mpc import MpcEditingJobOutputOperator
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor
from airflow_provider_mpc.testing import MpcConnection, MpcMedia, hasten


def test_the_default_connection_leads_to_the_emulator(mpc_emulator: Emulator) -> None:
    job_id = mpc_emulator.job(["SUCCEEDED"])
    assert MpcHook().get_editing_job(job_id).status == "SUCCEEDED"
    assert MpcHook().test_connection()[0]


def test_without_the_emulator_no_connection_is_set() -> None:
    assert not [name for name in os.environ if name.startswith("AIRFLOW_CONN_MPC")]


@pytest.mark.parametrize("which", ["first", "second"])
def test_each_test_has_an_emulator_of_its_own(mpc_emulator: Emulator, which: str) -> None:
    assert mpc_emulator.calls() == 0
    # What is remembered of refused keys must not reach the next test.
    mpc_emulator.fault("signature", times=1)
    with pytest.raises(MpcAuthenticationError):
        MpcHook().get_editing_job(mpc_emulator.job())
    assert MpcHook().get_editing_job(mpc_emulator.job()).status == "WAITING"


@pytest.mark.parametrize("auth", ["aksk", "temporary", "token", "password", "agency"])
def test_a_connection_may_have_any_name_and_method(
    mpc_emulator: Emulator, mpc_connection: MpcConnection, auth: str
) -> None:
    conn_id = mpc_connection("studio", auth=auth)  # type: ignore[arg-type]
    assert MpcHook(conn_id).get_editing_job(mpc_emulator.job()).status == "WAITING"


def test_a_connection_may_have_further_fields(mpc_connection: MpcConnection) -> None:
    assert MpcHook(mpc_connection(timeout=7)).settings.timeout == 7


def test_many_calls_are_not_slowed_down(mpc_emulator: Emulator) -> None:
    job_id = mpc_emulator.job(["WAITING"])
    hook = MpcHook()
    # More than a minute's budget as it is by default.
    for _ in range(120):
        hook.get_editing_job(job_id)
    assert mpc_emulator.calls("list") == 120


def test_an_unknown_job_is_unknown_at_once(mpc_emulator: Emulator) -> None:
    with pytest.raises(MpcJobNotFoundError):
        MpcEditingJobOutputOperator(task_id="clip", job_id="999", deferrable=False).execute({})


def test_an_outage_can_be_played(mpc_emulator: Emulator, mpc_server: EmulatorServer) -> None:
    from airflow_provider_mpc.api.client import NO_RETRIES

    job_id = mpc_emulator.job()
    mpc_server.stop()
    with pytest.raises(MpcTransportError):
        MpcHook(retry=NO_RETRIES).get_editing_job(job_id)
    mpc_server.start()
    assert MpcHook(retry=NO_RETRIES).get_editing_job(job_id).status == "WAITING"


def test_created_jobs_really_cut_media(mpc_media: MpcMedia, mpc_emulator: Emulator) -> None:
    mpc_media.film("media", "in/film.mp4", seconds=3, size=(320, 180))
    place = {"bucket": "media", "location": mpc_emulator.region}
    hook = MpcHook()
    job_id = hook.create_editing_job(
        inputs=[{"input": {**place, "object": "in/film.mp4"}, "timeline_start": "1", "timeline_end": "2"}],
        output={**place, "object": "out/", "file_name": "clip.mp4"},
    )
    deadline = pendulum.now().add(seconds=60)
    while not (job := hook.get_editing_job(job_id)).state.ended:
        assert pendulum.now() < deadline
    assert job.output.uri == "obs://media/out/clip.mp4"
    assert mpc_media.path(job.output.uri).is_file()
    assert mpc_media.describe(job.output.uri)["duration_ms"] == job.editing_output.duration_ms
    assert job.editing_output.duration_ms == pytest.approx(1000, abs=100)


def test_waits_of_a_dag_are_hastened_and_nothing_else() -> None:
    from airflow.providers.standard.sensors.python import PythonSensor

    with DAG("a_dag", schedule=None) as dag:
        MpcEditingJobSensor(task_id="sensor", job_id="1")
        MpcEditingJobOutputOperator.partial(task_id="mapped").expand(job_id=["1", "2"])
        PythonSensor(task_id="other", python_callable=lambda: True, poke_interval=77)
    assert hasten(dag, 0.2) is dag
    assert dag.get_task("sensor").poke_interval == 0.2
    assert dag.get_task("mapped").partial_kwargs["poke_interval"] == 0.2
    assert dag.get_task("other").poke_interval == 77


def test_the_plugin_does_not_import_airflow_before_a_test_has_set_its_home(tmp_path: Path) -> None:
    probe = "import airflow_provider_mpc.testing, sys; print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
