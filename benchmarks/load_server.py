# SPDX-License-Identifier: Apache-2.0
"""
A server light enough not to be the bottleneck: MPC's query of clipping tasks and dbt Cloud's status of a job run.

Both look at the same jobs and obey the same limiter. It takes commands on its standard input and answers on its
standard output, a JSON object a line: ``{"begin": epoch}`` sets the beginning, ``{"report": true}`` tells the calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mpc.emulator.limiter import Limiter
from airflow_provider_mpc.emulator.replies import ApiError
from benchmarks.jobs import FIRST_ID, Jobs

PHRASES = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}
MPC_TIME = "20261122080910"
DBT_TIME = "2026-11-22 08:09:10.123456+00:00"
DBT_RUNNING = 3
DBT_SUCCESS = 10


def mpc_job(job_id: str, ended: bool) -> dict[str, Any]:
    """Return a job as MPC's documentation shows one."""
    job: dict[str, Any] = {
        "job_id": job_id,
        "status": "SUCCEEDED" if ended else "PROCESSING",
        "progress": 100 if ended else 40,
        "create_time": MPC_TIME,
        "start_time": MPC_TIME,
        "metadata": [],
    }
    if not ended:
        return job
    stream = {"bitrate": 2048, "bitrate_bps": 2_097_152, "duration": "61", "duration_ms": "61234"}
    video = {"width": 1920, "height": 1080, "frame_rate": 25, "codec": "H264", "dynamic_range": "SDR", "rotate": 0.0}
    audio = {"codec": "AAC", "sample": 48000, "channels": 2}
    return job | {
        "end_time": MPC_TIME,
        "metadata": [{"name": "title", "value": "Evening news"}, {"name": "language", "value": "en"}],
        "output": {
            "bucket": "media-out",
            "location": "cn-north-4",
            "object": f"clips/{job_id}",
            "file_name": f"{job_id}.mp4",
        },
        "editing_output": {
            "duration": 61,
            "duration_ms": 61234,
            "format": "MP4",
            "size": 15_360,
            "size_byte": 15_728_640,
            "video_info": video | stream,
            "audio_info": [audio | stream],
        },
    }


def dbt_run(run_id: str, ended: bool) -> dict[str, Any]:
    """Return a run as dbt Cloud's API v2 shows one."""
    nothing = ("trigger", "job", "environment", "git_sha", "status_message", "deferring_run_id", "blocked_by")
    data: dict[str, Any] = {
        "id": int(run_id),
        "trigger_id": int(run_id),
        "account_id": 1,
        "environment_id": 2,
        "project_id": 3,
        "job_definition_id": 4,
        "status": DBT_SUCCESS if ended else DBT_RUNNING,
        "dbt_version": "latest",
        "git_branch": "main",
        "owner_thread_id": None,
        "artifacts_saved": ended,
        "has_docs_generated": False,
        "has_sources_generated": False,
        "notifications_sent": False,
        "created_at": DBT_TIME,
        "updated_at": DBT_TIME,
        "dequeued_at": DBT_TIME,
        "started_at": DBT_TIME,
        "finished_at": DBT_TIME if ended else None,
        "last_heartbeat_at": DBT_TIME,
        "run_steps": [],
        "status_humanized": "Success" if ended else "Running",
        "in_progress": not ended,
        "is_complete": ended,
        "is_success": ended,
        "is_error": False,
        "is_cancelled": False,
        "duration": "00:01:01",
        "queued_duration": "00:00:01",
        "run_duration": "00:01:00",
        "href": f"https://cloud.getdbt.com/deploy/1/projects/3/runs/{run_id}/",
        **dict.fromkeys(nothing),
    }
    return {"status": {"code": 200, "is_success": True, "user_message": "Success!"}, "data": data}


@dataclass
class Load:
    """
    What the server knows.

    :param ends: when each job ends, in seconds after the beginning.
    :param limiter: refuses calls over the limit, if there is one.
    """

    ends: list[float]
    limiter: Limiter
    began: float = 0.0
    calls: list[tuple[float, int, bool]] = field(default_factory=list)
    """Each call: seconds after the beginning, number of the listening port, whether it was refused."""

    def begin(self, when: float) -> None:
        """Forget what was before and count from now on."""
        self.began = when
        self.calls = []
        self.limiter.reset()

    def ended(self, job_id: str) -> bool:
        """Whether a job has ended. One that nobody has drawn an end for always has."""
        index = int(job_id) - FIRST_ID
        return not 0 <= index < len(self.ends) or time.time() >= self.began + self.ends[index]

    def answer(self, target: str, port: int) -> tuple[int, bytes]:
        """Return status and body for a request's path and query."""
        path, _, query = target.partition("?")
        api = "list" if path.endswith("/editing/jobs") else "runs" if "/runs/" in path else ""
        if not api:
            return 404, b"{}"
        refusal: ApiError | None = None
        try:
            self.limiter.admit("benchmark", api, time.monotonic())
        except ApiError as error:
            refusal = error
        self.calls.append((time.time() - self.began, port, refusal is not None))
        if refusal is not None:
            return 429, json.dumps(refusal.body).encode()
        if api == "runs":
            run_id = path.rstrip("/").rpartition("/")[2]
            return 200, json.dumps(dbt_run(run_id, self.ended(run_id))).encode()
        job_ids = [part.partition("=")[2] for part in query.split("&") if part.startswith("job_id=")]
        return 200, json.dumps({"job_array": [mpc_job(one, self.ended(one)) for one in job_ids]}).encode()


class Connection(asyncio.Protocol):
    """One client's connection: GET requests, one after the other."""

    def __init__(self, load: Load, port: int) -> None:
        self._load = load
        self._port = port
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that has arrived in full."""
        assert self._transport is not None
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            status, body = self._load.answer(head.split(b" ", 2)[1].decode("ascii"), self._port)
            self._transport.write(
                f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: application/json\r\n"
                f"X-Request-Id: benchmark\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )


async def serve(load: Load, ports: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda port=number: Connection(load, port), "127.0.0.1", 0, backlog=4096)
        for number in range(ports)
    ]
    _say({"ports": [server.sockets[0].getsockname()[1] for server in servers]})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        if "begin" in command:
            load.begin(command["begin"])
            _say({"began": load.began})
        else:
            _say({"calls": load.calls})


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=json.loads, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--ports", type=int, default=1)
    arguments = parser.parse_args()
    load = Load(Jobs(**arguments.jobs).ends(), Limiter(calls_per_minute=arguments.limit))
    asyncio.run(serve(load, arguments.ports))


if __name__ == "__main__":
    main()
