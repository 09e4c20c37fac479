# SPDX-License-Identifier: Apache-2.0
"""The v2 editing API of MPC: list, create, delete."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.jobs import DEFAULT_LIFE, ScriptedJob
from airflow_provider_mpc.emulator.orders import ClipOrder, parse_order
from airflow_provider_mpc.emulator.rendering import render, render_unknown, wire_number
from airflow_provider_mpc.emulator.replies import mpc_error
from airflow_provider_mpc.emulator.state import Emulator
from airflow_provider_mpc.emulator.verification import check_project_caller

MAX_IDS = 10


async def list_jobs(emulator: Emulator, call: Call) -> Response:
    """``GET /v2/{project_id}/editing/jobs?job_id=…``"""
    _enter(emulator, call)
    job_ids = call.job_ids
    if not 1 <= len(job_ids) <= MAX_IDS or "" in job_ids:
        raise mpc_error("MPC.10202")
    entries = []
    variants = emulator.variant
    for wire_id, reading in emulator.jobs.poll(list(dict.fromkeys(job_ids)), emulator.clock()):
        entry = render(wire_id, reading, variants)
        if entry is not None:
            entries.append(entry)
        elif variants.unknown_id_behaviour == "no_task":
            entries.append(render_unknown(str(wire_id)))
        elif variants.unknown_id_behaviour == "error":
            raise mpc_error("MPC.10211", status=variants.unknown_id_status)
    return JSONResponse({"job_array": entries[::-1] if variants.reverse_order else entries})


async def create_job(emulator: Emulator, call: Call) -> Response:
    """``POST /v2/{project_id}/editing/jobs``"""
    _enter(emulator, call)
    order = parse_order(call.headers.get("content-type", ""), call.body, emulator.region)
    job_id = emulator.jobs.new_id()
    if emulator.media_root is None:
        emulator.jobs.add(_made_up_job(emulator, job_id, order))
    else:
        try:
            emulator.jobs.add(emulator.studio.take(job_id, order, emulator.job_seconds))
        except RuntimeError as error:
            raise mpc_error("MPC.10050", str(error), 500) from error
    variants = emulator.variant
    body = {variants.create_id_key: wire_number(job_id) if variants.numeric_ids else job_id}
    return JSONResponse(body, variants.create_status)


async def delete_job(emulator: Emulator, call: Call) -> Response:
    """``DELETE /v2/{project_id}/editing/jobs/{job_id}``: cancels a job that still waits."""
    _enter(emulator, call)
    now = emulator.clock()
    job = emulator.jobs.get(call.path_values["job_id"])
    if job is None or job.look(now).status is None:
        raise mpc_error("MPC.10211", status=emulator.variant.unknown_id_status)
    if not emulator.jobs.cancel(job, now):
        code = "MPC.10212" if job.look(now).ended else "MPC.10213"
        raise mpc_error(code, status=emulator.variant.delete_refusal_status)
    return Response(status_code=204)


def _enter(emulator: Emulator, call: Call) -> None:
    """Let an authenticated call within the limits in."""
    check_project_caller(call, emulator.account, emulator.variant)
    emulator.limiter.admit(call.path_values["project_id"], call.api, emulator.clock())


def _made_up_job(emulator: Emulator, job_id: str, order: ClipOrder) -> ScriptedJob:
    now = emulator.clock()
    fields: dict[str, object] = {"metadata": order.metadata}
    if order.user_data is not None:
        fields["user_data"] = order.user_data
    return ScriptedJob(
        job_id,
        DEFAULT_LIFE,
        by="clock",
        created_at=now,
        ends_at=now + emulator.job_seconds,
        output=order.output.as_output(job_id),
        fields=fields,
    )
