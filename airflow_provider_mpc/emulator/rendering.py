# SPDX-License-Identifier: Apache-2.0
"""A job's standing as the list API writes it, in every variant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_mpc.emulator.jobs import CANCELLED, FAILED, SUCCEEDED, SUCCESSES, Reading
from airflow_provider_mpc.emulator.variants import Variants

ESSENTIAL = frozenset({"job_id", "status"})
TIMES = ("create_time", "start_time", "end_time")
# Fields a caller may script that make sense only once the job has ended.
END_FIELDS = frozenset(
    {"end_time", "output", "editing_output", "error_code", "error_msg", "description", "exec_description"}
)
UNDOCUMENTED = {"x_undocumented": {"list": [1, None, "é"], "flag": True}}


def mpc_time(when: float | None) -> str | None:
    """Return an epoch time as MPC writes it: ``yyyyMMddHHmmss`` in UTC."""
    if when is None:
        return None
    return datetime.fromtimestamp(when, UTC).strftime("%Y%m%d%H%M%S")


def render(wire_id: str | int, reading: Reading, variants: Variants) -> dict[str, Any] | None:
    """Return the job's entry in ``job_array``; ``None`` for one that reads as gone."""
    status = _status(reading, variants)
    if status is None:
        return None
    entry: dict[str, Any] = {
        "job_id": wire_number(str(wire_id)) if variants.numeric_ids else wire_id,
        "status": status,
        "progress": reading.progress,
        "create_time": mpc_time(reading.created_at),
        "start_time": mpc_time(reading.started_at),
        "end_time": mpc_time(reading.ended_at),
        "metadata": list(reading.metadata),
        "output": reading.output,
        "editing_output": reading.editing_output,
        **_reason(reading, variants),
        "user_data": reading.user_data,
    }
    if not variants.null_fields:
        entry = {name: value for name, value in entry.items() if value is not None}
    hidden = frozenset() if reading.ended else END_FIELDS
    entry |= {name: value for name, value in reading.fields.items() if name not in hidden}
    return _varied(entry, variants)


def render_unknown(job_id: str) -> dict[str, Any]:
    """Return the entry for a job nobody knows, where there is one."""
    return {"job_id": job_id, "status": "NO_TASK"}


def wire_number(text: str) -> str | int:
    """Return a text of digits as a number."""
    return int(text) if text.isascii() and text.isdigit() else text


def _status(reading: Reading, variants: Variants) -> str | None:
    if reading.status == CANCELLED:
        return variants.cancelled_as
    if reading.status == SUCCEEDED:
        return variants.succeeded_as
    return reading.status


def _reason(reading: Reading, variants: Variants) -> dict[str, str | None]:
    if reading.status in SUCCESSES and variants.success_code_10218:
        return {"error_code": "MPC.10218", "description": "The task is completed."}
    if reading.status == FAILED and variants.failed_without_reason:
        return {}
    return {"error_code": reading.error_code, "description": reading.description}


def _varied(entry: dict[str, Any], variants: Variants) -> dict[str, Any]:
    if variants.numeric_times:
        entry |= {name: wire_number(entry[name]) for name in TIMES if isinstance(entry.get(name), str)}
    missing = entry.keys() - ESSENTIAL if variants.missing_fields is True else variants.missing_fields
    if missing:
        entry = {name: value for name, value in entry.items() if name not in missing}
    return _with_extras(entry) if variants.extra_fields else entry


def _with_extras(value: Any) -> Any:
    """Return the value with an undocumented field in each of its objects."""
    if isinstance(value, Mapping):
        return {**{name: _with_extras(item) for name, item in value.items()}, **UNDOCUMENTED}
    if isinstance(value, list):
        return [_with_extras(item) for item in value]
    return value
