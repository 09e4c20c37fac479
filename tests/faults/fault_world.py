# SPDX-License-Identifier: Apache-2.0
"""
Real sockets, and waits that cost nothing.

The provider's clock is the machine's plus what was skipped. A pause on a worker is skipped at once; the event loop
skips to its next timer when no call is under way. Only time limits of sockets are waited for really.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.bases import sensor as airflow_sensor
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_mpc import connection, waiting
from airflow_provider_mpc.api import auth, budget, client, iam, replies, signing
from airflow_provider_mpc.api.client import MpcClient
from airflow_provider_mpc.api.transport import Reply, Transport
from airflow_provider_mpc.emulator import EmulatorServer
from airflow_provider_mpc.emulator.connection import as_json
from airflow_provider_mpc.hooks.mpc import MpcHook
from airflow_provider_mpc.sensors import mpc as sensors
from airflow_provider_mpc.sensors.mpc import MpcEditingJobSensor
from airflow_provider_mpc.triggers import connections
from airflow_provider_mpc.triggers import mpc as triggers
from airflow_provider_mpc.triggers.mpc import MpcEditingJobTrigger

PATHS = ("hook", "poke", "deferred")
WAITS = 12
"""Jobs in a test: two calls' worth."""
JOB_SECONDS = 240.0
INTERVAL = 30.0
TOLERANCE = 400.0
TIMEOUT = 1500.0
HOST_NAME = "mpc.cloud.example"
_READ_THE_TIME = (
    airflow_sensor,
    auth,
    budget,
    client,
    connections,
    iam,
    replies,
    sensors,
    triggers,
    waiting,
)


class Clock:
    """The machine's clock and what was skipped; stands in for the module ``time``."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._lock = threading.Lock()
        self._actions: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self._skipped

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Skip so many seconds; what is planned for them happens in its turn."""
        ends = self.monotonic() + max(0.0, seconds)
        while self._actions and self._actions[0][0] <= ends:
            at, _, action = heapq.heappop(self._actions)
            self._skip_to(at)
            action()
        self._skip_to(ends)

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Plan an action."""
        heapq.heappush(self._actions, (self.monotonic() + seconds, next(self._order), action))

    def _skip_to(self, at: float) -> None:
        with self._lock:
            self._skipped += max(0.0, at - self.monotonic())


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop that skips to its next timer, unless a thread is at work for it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.threads_at_work = 0
        super().__init__(_SkippingSelector(self))

    def time(self) -> float:
        return self.clock.monotonic()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        self.threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._work_is_done)
        return future

    def _work_is_done(self, _: object) -> None:
        self.threads_at_work -= 1


class _SkippingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if self._loop.threads_at_work:
            return super().select(timeout)
        ready = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "everything waits for ever"
            self._loop.clock.sleep(timeout)
        return ready


class Front:
    """
    Stands before the emulator, passes all through, and can be gone or show another certificate.

    :param contexts: the TLS contexts for a good and for a refused certificate; none: it speaks plain HTTP.
    """

    def __init__(self, to_port: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None) -> None:
        self._to_port = to_port
        self._good, self._bad = contexts or (None, None)
        self._context = self._good
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.up()

    def up(self) -> None:
        """Take connections."""
        self._context = self._good
        if self._listener is None:
            listener = socket.create_server(("127.0.0.1", self.port))
            self._listener, self.port = listener, listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and break those there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # A blocked accept() ends only by shutdown.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.drop()

    def show_the_other_certificate(self) -> None:
        self._context = self._bad
        self.drop()

    def drop(self) -> None:
        """Break the connections there are."""
        taken, self._open = self._open, []
        for one in taken:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner: socket.socket) -> None:
        try:
            self._open.append(inner)
            if self._context is not None:
                inner = self._context.wrap_socket(inner, server_side=True)
                self._open.append(inner)
            outer = socket.create_connection(("127.0.0.1", self._to_port))
        except OSError:
            inner.close()
            return
        threading.Thread(target=self._copy, args=(outer, inner), daemon=True).start()
        self._copy(inner, outer)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@dataclass
class Sent:
    """A call that left the provider, to MPC, IAM or the metadata service."""

    at: float
    method: str
    url: str
    reply: Reply | None = None

    @property
    def to_mpc(self) -> bool:
        return "/editing/jobs" in self.url


@dataclass
class Ended:
    """How one task ended: with a result or an error."""

    result: Any = None
    error: BaseException | None = None

    @property
    def how(self) -> str:
        return "success" if self.error is None else type(self.error).__name__


@dataclass
class Task:
    """What a worker gives a task."""

    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    @property
    def context(self) -> Any:
        return {"ti": self}


class World:
    """
    An emulator, a clock and the ways into the provider.

    :param server: its emulator is the cloud.
    """

    def __init__(self, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.emulator = server.emulator
        self.clock = Clock()
        self.sent: list[Sent] = []
        self.events: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.fronts: list[Front] = []
        self.no_name_found = threading.local()
        self.before_send: Callable[[int], None] = lambda number: None
        self.began = self.clock.monotonic()
        self.emulator.reset()
        self._monkeypatch = monkeypatch
        account = self.emulator.account
        self._kept = (self.emulator.clock, account.token_seconds, account.password)
        for owner in (self.emulator, self.emulator.faults, account):
            monkeypatch.setattr(owner, "_clock" if owner is self.emulator.faults else "clock", self.clock.time)
        self._skip_time(monkeypatch)
        self._watch_calls(monkeypatch)
        self._own_names(monkeypatch)
        self.connect()

    def _skip_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in _READ_THE_TIME:
            if hasattr(module, "time"):
                monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(
            budget, "CallBudget", partial(budget.CallBudget, clock=self.clock.monotonic, jitter=lambda: 0.5)
        )
        sdk_date = signing.sdk_date
        monkeypatch.setattr(signing, "sdk_date", lambda: sdk_date(datetime.fromtimestamp(self.clock.time(), UTC)))
        make = connection.ConnectionSettings.client

        def skipping(settings: Any, **arguments: Any) -> MpcClient:
            made = make(settings, **arguments)
            made.clock, made.sleep = self.clock.monotonic, self.clock.sleep
            return made

        monkeypatch.setattr(connection.ConnectionSettings, "client", skipping)

    def _watch_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send = Transport.send
        lock = threading.Lock()

        def watched(transport: Transport, method: str, url: str, **arguments: Any) -> Reply:
            with lock:
                sent = Sent(self.clock.monotonic() - self.began, method, url)
                self.sent.append(sent)
                number = len(self.sent)
            self.before_send(number)
            sent.reply = send(transport, method, url, **arguments)
            return sent.reply

        monkeypatch.setattr(Transport, "send", watched)

    def _own_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        look_up = socket.getaddrinfo

        def found(host: Any, *arguments: Any, **more: Any) -> Any:
            if host == HOST_NAME:
                if getattr(self.no_name_found, "now", False):
                    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
                host = "127.0.0.1"
            return look_up(host, *arguments, **more)

        monkeypatch.setattr(socket, "getaddrinfo", found)

    def close(self) -> None:
        for front in self.fronts:
            front.down()
        self.emulator.reset()
        _, self.emulator.token_seconds, self.emulator.password = self._kept

    # Where the connection leads.

    def connect(self, auth: Any = "aksk", url: str | None = None, **extra: Any) -> None:
        """Write the connection ``mpc_default``, with credentials of its own."""
        self._fields = self.server.connection(auth)
        if url is not None:
            scheme, _, host = url.partition("://")
            name, _, port = host.partition(":")
            self._fields |= {"host": f"{scheme}://{name}", "port": int(port)}
        self.edit(**extra)

    def edit(self, **extra: Any) -> None:
        """Write the connection anew, with the same credentials."""
        self._fields["extra"] |= extra
        self._monkeypatch.setenv("AIRFLOW_CONN_MPC_DEFAULT", as_json(self._fields))

    def front(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None) -> Front:
        """Put a front before the emulator."""
        front = Front(self.server.port, contexts)
        self.fronts.append(front)
        return front

    def jobs(self, count: int = WAITS, seconds: float = JOB_SECONDS) -> list[str]:
        """Add jobs that succeed after so many seconds."""
        states = ["WAITING", "PROCESSING", "SUCCEEDED"]
        return [self.emulator.job(states, by="clock", seconds=seconds) for _ in range(count)]

    # What happened.

    @property
    def now(self) -> float:
        """Seconds since the test began."""
        return self.clock.monotonic() - self.began

    @property
    def calls(self) -> list[Sent]:
        """The calls to MPC."""
        return [sent for sent in self.sent if sent.to_mpc]

    def most_calls_in(self, seconds: float) -> int:
        """Return the largest number of calls to MPC in a span of time."""
        times = [sent.at for sent in self.calls]
        return max((sum(1 for other in times if at - seconds < other <= at) for at in times), default=0)

    # The ways into the provider.

    def go(self, path: str, job_ids: Sequence[str], **arguments: Any) -> list[Ended]:
        """Ask for jobs, or wait for them; return how each task ended."""
        if path == "hook":
            return [self.ask(job_ids)]
        if path == "poke":
            return [self.poke(job_ids, **arguments)]
        return self.defer(job_ids, **arguments)

    def ask(self, job_ids: Sequence[str], hook: MpcHook | None = None) -> Ended:
        """Ask once for all jobs."""
        return _ended(partial((hook or MpcHook()).get_editing_jobs, list(job_ids)))

    def sensor(self, job_id: Any, **arguments: Any) -> MpcEditingJobSensor:
        arguments = {"poke_interval": INTERVAL, "timeout": TIMEOUT, **arguments}
        return MpcEditingJobSensor(task_id="wait", job_id=job_id, **arguments)

    def poke(self, job_ids: Sequence[str], **arguments: Any) -> Ended:
        """Wait on a worker, one task for all jobs."""
        sensor = self.sensor(list(job_ids), deferrable=False, **arguments)
        return _ended(partial(sensor.execute, Task().context))

    def defer(self, job_ids: Sequence[str], **arguments: Any) -> list[Ended]:
        """Wait in a triggerer, a task for each job; what a database holds goes through JSON."""
        sensors = [self.sensor(job_id, deferrable=True, **arguments) for job_id in job_ids]
        deferred = [_deferred(sensor) for sensor in sensors]
        if any(isinstance(one, Ended) for one in deferred):
            return [one if isinstance(one, Ended) else Ended(result="deferred") for one in deferred]
        rows = [json.loads(json.dumps(one.trigger.serialize()[1])) for one in deferred]
        self.rows += rows
        events = self.run(lambda: _events_of(rows))
        self.events += events
        return [
            _ended(partial(sensor.resume_execution, one.method_name, {"event": event}, Task().context))
            for sensor, one, event in zip(sensors, deferred, events, strict=True)
        ]

    def run(self, scenario: Callable[[], Any]) -> Any:
        """Run a scenario in a loop that skips its waits; nothing may be left running."""
        loop = SkippingLoop(self.clock)

        async def main() -> Any:
            result = await scenario()
            for _ in range(5):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left running: {left}"
            return result

        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()


def _deferred(sensor: MpcEditingJobSensor) -> Any:
    ended = _ended(partial(sensor.execute, Task().context))
    return ended.error if isinstance(ended.error, TaskDeferred) else ended


async def _events_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    async def only_event(row: dict[str, Any]) -> dict[str, Any]:
        events = [event async for event in MpcEditingJobTrigger(**row).run()]
        assert len(events) == 1, f"{len(events)} events"
        payload: dict[str, Any] = json.loads(json.dumps(events[0].payload))
        return payload

    return await asyncio.gather(*(only_event(row) for row in rows))


def _ended(work: Callable[[], Any]) -> Ended:
    try:
        return Ended(result=work())
    except (Exception, TaskDeferred) as error:
        return Ended(error=error)


def two_certificates(folder: Path) -> tuple[tuple[ssl.SSLContext, ssl.SSLContext], Path]:
    """Return the contexts of two self-signed certificates, and the file that makes the first one good."""
    from raw_server import self_signed

    made = []
    for name in ("good", "other"):
        (folder / name).mkdir()
        made.append(self_signed(folder / name))
    return (made[0][0], made[1][0]), made[0][1]
