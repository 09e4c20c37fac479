# SPDX-License-Identifier: Apache-2.0
"""
A sensor that begins in the triggerer: what Airflow gets for it, and when that would go wrong silently.

Airflow renders such a trigger's arguments in the triggerer, where it resolves no upstream output and answers no
``xcom_pull``: the trigger would wait for a job with an odd name, or the task would stay deferred for ever. Both
are refused when the Dag is parsed. Facts from ``airflow.jobs.triggerer_job_runner`` of 3.3.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.api.errors import MpcInputError
from airflow_provider_mpc.configuration import BACKSTOP_SECONDS
from airflow_provider_mpc.templating import is_known

if TYPE_CHECKING:
    from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor

# What Airflow works out from the run itself. Of the rest some asks the API server what it answers to tasks only: ti,
# task_state_store, prev_*_success …
_KNOWN_TO_TRIGGERS = frozenset(
    {
        "dag",
        "dag_run",
        "data_interval_end",
        "data_interval_start",
        "ds",
        "ds_nodash",
        "logical_date",
        "macros",
        "params",
        "run_id",
        "task",
        "ts",
        "ts_nodash",
        "ts_nodash_with_tz",
    }
)
_TRIGGER = "airflow_provider_mpc.triggers.mpc.MpcEditingJobTrigger"


def start_trigger_args(sensor: MpcEditingJobSensor) -> Any:
    """
    Return the ``StartTriggerArgs`` of a sensor.

    :raises MpcInputError: the sensor cannot begin in the triggerer; the text says why.
    """
    from airflow.triggers.base import BaseTrigger, StartTriggerArgs

    if not sensor.deferrable:
        raise MpcInputError("start_from_trigger=True and deferrable=False contradict each other")
    renders_templates = hasattr(BaseTrigger, "render_template_fields")
    for name in sensor.template_fields:
        _check(name, getattr(sensor, name), renders_templates)
    execution_timeout = sensor.execution_timeout
    return StartTriggerArgs(
        trigger_cls=_TRIGGER,
        next_method="execute_complete",
        trigger_kwargs={
            "job_id": list(sensor.job_id) if isinstance(sensor.job_id, (tuple, set, frozenset)) else sensor.job_id,
            "mpc_conn_id": sensor.mpc_conn_id,
            "poke_interval": sensor.poke_interval,
            "exponential_backoff": sensor.exponential_backoff,
            "max_wait": None if sensor.max_wait is None else sensor.max_wait.total_seconds(),
            "outage_tolerance": -1.0 if sensor.silent_fail else None,
            "timeout": sensor.timeout,
            "execution_timeout": None if execution_timeout is None else execution_timeout.total_seconds(),
        },
        timeout=timedelta(seconds=sensor.timeout + BACKSTOP_SECONDS),
    )


def _check(name: str, value: Any, renders_templates: bool) -> None:
    if isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            _check(name, one, renders_templates)
        return
    if is_known(value):
        return
    advice = "Leave start_from_trigger out: the task then starts on a worker and defers at once."
    if not isinstance(value, str):
        raise MpcInputError(
            f"start_from_trigger=True needs a literal or templated {name}; an upstream task's output is not "
            "resolved in the triggerer",
            advice=advice,
        )
    others = sorted(_names(value) - _KNOWN_TO_TRIGGERS)
    if others:
        raise MpcInputError(
            f"start_from_trigger=True with {name}={value!r}: the triggerer may never render {', '.join(others)}, as "
            "for an xcom_pull, and the task would stay deferred for ever",
            advice=f"A template may use {', '.join(sorted(_KNOWN_TO_TRIGGERS))}. {advice}",
        )
    if not renders_templates:
        raise MpcInputError(
            f"start_from_trigger=True with {name}={value!r}: this Airflow does not render templates in the triggerer",
            advice="It does from 3.3 on. " + advice,
        )


def _names(template: str) -> set[str]:
    """Return what a template asks Airflow for: the names of its context."""
    import jinja2
    from jinja2 import meta

    try:
        # Only read, never rendered.
        parsed = jinja2.Environment().parse(template)  # noqa: S701
        return set(meta.find_undeclared_variables(parsed))
    except jinja2.TemplateError as error:
        raise MpcInputError(f"{template!r} is no template: {error}") from None
