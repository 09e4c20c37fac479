# SPDX-License-Identifier: Apache-2.0
"""A real Airflow on this machine: scheduler, Dag processor, triggerer and API server.

For the demo, for tests that must see a task really deferred, and for tests that kill components::

    with LiveAirflow(connections={"mpc_default": uri}) as airflow:
        airflow.add_dag(Path("example_dags/example_mpc_pipeline.py"), "example_mpc_pipeline")
        run_id = airflow.trigger_dag("example_mpc_pipeline", {"job_id": "1234"})
        assert airflow.wait_for_run("example_mpc_pipeline", run_id) == "success"
        print(airflow.xcom("example_mpc_pipeline", run_id, "wait_for_clip"))

Everything listens on 127.0.0.1 only, on ports that were free. It is driven through Airflow's public REST API,
never through the database.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import requests

from scripts import reaper

ROOT = Path(__file__).resolve().parent.parent

#: Component name → arguments of the ``airflow`` command. The part of a name before the first ``_`` or digit
#: says what kind it is, so ``triggerer_2`` is a second triggerer. ``{port}`` is the API server's port, ``{home}``
#: the home folder.
COMPONENTS: Mapping[str, Sequence[str]] = {
    "api-server": ("api-server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
_JOB_TYPES = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
_HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
T = TypeVar("T")

FINAL_RUN_STATES = ("success", "failed")


class LiveAirflowError(RuntimeError):
    """Airflow did not come up, died, refused a request, or did not get somewhere in time."""


def free_port() -> int:
    """
    Return a TCP port of 127.0.0.1 that nothing listens on.

    It lies below the range the system hands out to outgoing connections, so none of those takes it meanwhile.
    """
    for _ in range(200):
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LiveAirflowError("No free TCP port between 20000 and 32000 on 127.0.0.1.")


def kind_of(name: str) -> str:
    """Return what kind of component a name stands for: ``triggerer_2`` is a ``triggerer``."""
    return re.split(r"[_\d]", name, maxsplit=1)[0]


@dataclass
class _Component:
    name: str
    arguments: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    sessions: set[int] = field(default_factory=set)
    killed: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self, lines: int = 25) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


class LiveAirflow:
    """
    A whole Airflow, started on entering and gone on leaving.

    Nothing stays behind after an exception or an interrupt either, nor when this process is killed.

    :param home: ``AIRFLOW_HOME``; a temporary folder, removed at the end, if not given
    :param dags: Dag files to start with; more can come by :meth:`add_dag`
    :param connections: connection id → URI or JSON text, handed to every component by environment
    :param env: further environment for every component; it wins over what this class sets
    :param sql_alchemy_conn: metadata database; SQLite under ``home`` if not given
    :param executor: ``[core] executor``
    :param components: component name → arguments of the ``airflow`` command; :data:`COMPONENTS` if not given
    :param component_env: component name → further environment for it alone; it wins over ``env``
    :param parallelism: tasks running at once; deferred ones do not count
    :param schedules: also start the runs that the Dags' schedules ask for, not only those triggered
    :param start_timeout: seconds until everything must be healthy
    :param keep_home: leave a temporary ``home`` behind, to look at its logs

    A killed triggerer's work is taken over after ``[triggerer] triggerer_health_check_threshold`` (30 s);
    tests that wait for that may shorten it through ``env``.
    """

    def __init__(
        self,
        *,
        home: Path | None = None,
        dags: Sequence[Path] = (),
        connections: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        sql_alchemy_conn: str | None = None,
        executor: str = "LocalExecutor",
        components: Mapping[str, Sequence[str]] | None = None,
        component_env: Mapping[str, Mapping[str, str]] | None = None,
        parallelism: int = 4,
        schedules: bool = False,
        start_timeout: float = 120.0,
        keep_home: bool = False,
    ) -> None:
        self._temporary = home is None and not keep_home
        self.home = (home or Path(tempfile.mkdtemp(prefix="live-airflow-"))).resolve()
        self.dags_folder = self.home / "dags"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start_timeout = start_timeout
        #: Seconds that the last :meth:`start` took, by step.
        self.timings: dict[str, float] = {}
        self._dags = list(dags)
        self._sqlite = None if sql_alchemy_conn else self.home / "airflow.db"
        self._connections = dict(connections or {})
        self._settings = self._make_settings(
            sql_alchemy_conn or f"sqlite:///{self._sqlite}?timeout=30", executor, parallelism
        )
        self._settings["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] = str(schedules)
        self._overrides = dict(env or {})
        self._components = {
            name: _Component(
                name,
                [argument.format(port=self.port, home=self.home) for argument in arguments],
                self.home / "logs" / f"component-{name}.log",
                env=(component_env or {}).get(name, {}),
            )
            for name, arguments in (COMPONENTS if components is None else components).items()
        }
        self._session: requests.Session | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    # -- settings

    def _make_settings(self, database: str, executor: str, parallelism: int) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": executor,
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # A Dag file that turns up later is seen within about a second.
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            # Room for a slow machine.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
            "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
            # Keep the components' own logs short enough for their ends to tell something.
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
                "http.access=WARNING airflow.dag_processing.manager=WARNING airflow.dag_processing.bundles=WARNING"
            ),
            "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "SCARF_ANALYTICS": "false",
        }

    @property
    def env(self) -> dict[str, str]:
        """The environment of every component; Airflow settings that this process inherited are left out."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PYTEST_", "PYTHONDONTWRITEBYTECODE"))
        }
        here = ["127.0.0.1", "localhost"]
        no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), *here]))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        connections = {f"AIRFLOW_CONN_{name.upper()}": text for name, text in self._connections.items()}
        return {
            **inherited,
            "PYTHONPATH": path,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            **self._settings,
            **connections,
            **self._overrides,
        }

    def cli(self, *arguments: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """
        Run one ``airflow`` command against this Airflow.

        :param arguments: what follows ``airflow`` on the command line
        :raises LiveAirflowError: if it fails and ``check`` is true, or takes longer than ``timeout`` seconds
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._watch("+", process.pid)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LiveAirflowError(f"airflow {' '.join(arguments)} took longer than {timeout:.0f} s.") from None
        finally:
            reaper.kill_sessions({process.pid})
            process.wait()
            self._watch("-", process.pid)
        if check and process.returncode:
            raise LiveAirflowError(
                f"airflow {' '.join(arguments)} ended with {process.returncode}:\n{(err or out)[-3000:]}"
            )
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    # -- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Make the database, start all components at once and wait until each is healthy.

        :raises LiveAirflowError: with the ends of the components' logs, if that does not come about
        """
        atexit.register(self.stop)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self.dags_folder.mkdir(parents=True, exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        for file in self._dags:
            shutil.copy(file, self.dags_folder)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, *([str(self.home)] if self._temporary else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        begun = time.monotonic()
        self.cli("db", "migrate", timeout=self.start_timeout)
        if self._sqlite:
            # Readers and the writer do not shut each other out. The setting stays with the file.
            with contextlib.closing(sqlite3.connect(self._sqlite)) as database:
                database.execute("PRAGMA journal_mode=WAL")
        self.timings = {"migrate": time.monotonic() - begun}
        begun = time.monotonic()
        for component in self._components.values():
            self._launch(component)
        self.wait_healthy()
        self.timings["components"] = time.monotonic() - begun
        if any(kind_of(name) == "api-server" for name in self._components):
            # The API server builds the API that workers use at the first call to it, which takes seconds;
            # better now than when the first task starts.
            begun = time.monotonic()
            self.wait_for(
                lambda: requests.get(f"{self.url}/execution/health", timeout=60, proxies={"http": ""}).ok,
                self.start_timeout,
                "the execution API",
            )
            self.timings["execution API"] = time.monotonic() - begun

    def stop(self, grace: float = 5.0) -> None:
        """
        End every process that was started here, politely at first, and remove a temporary home.

        :param grace: seconds between SIGTERM and SIGKILL
        :raises LiveAirflowError: if a process is still there afterwards
        """
        atexit.unregister(self.stop)
        running = [component for component in self._components.values() if component.alive]
        for component in running:
            self._signal(component, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while any(component.alive for component in running) and time.monotonic() < deadline:
            time.sleep(0.05)
        sessions = set[int]().union(*(component.sessions for component in self._components.values()))
        left = reaper.kill_sessions(sessions)
        for component in self._components.values():
            if component.process and not left:
                component.process.wait(timeout=10)
            component.sessions.clear()
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.close()
            self._watchdog.wait(timeout=30)
            self._watchdog = None
        if self._session:
            self._session.close()
            self._session = None
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)
        if left:
            raise LiveAirflowError(f"Processes that could not be ended: {left}")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """
        End one component on the spot.

        :param name: a key of ``components``
        :param number: ``SIGKILL`` (also ends all of the component's children) or a signal for its main
            process, after which this waits until the component has ended
        """
        component = self._components[name]
        component.killed = True
        if number == signal.SIGKILL:
            if left := reaper.kill_sessions(component.sessions):
                raise LiveAirflowError(f"Processes of {name} that could not be ended: {left}")
        else:
            self._signal(component, number)
        if component.process:
            component.process.wait(timeout=60)
        if left := reaper.kill_sessions(component.sessions):
            raise LiveAirflowError(f"Processes of {name} that could not be ended: {left}")
        for session in component.sessions:
            self._watch("-", session)
        component.sessions.clear()

    def restart(self, name: str, timeout: float = 60.0) -> None:
        """
        Start one component again, ending it first where it still runs, and wait until the new one reports.

        :param name: a key of ``components``
        :param timeout: seconds until it must be there
        :raises LiveAirflowError: if it is not
        """
        kind = kind_of(name)
        job_type = _JOB_TYPES.get(kind)
        known = self._newest_job(job_type) if job_type else 0
        self.kill(name)
        component = self._components[name]
        self._launch(component)
        if job_type:
            self.wait_for(lambda: self._newest_job(job_type) > known, timeout, f"a new {job_type}", watch=[component])
        elif kind == "api-server":
            self.wait_for(self._health, timeout, "the API server", watch=[component])

    def revive(self) -> list[str]:
        """
        Start again what ended by itself, as a service manager does, and return the names; does not wait for it.

        What :meth:`kill` ended stays down.
        """
        ended = [one for one in self._components.values() if one.process and not one.alive and not one.killed]
        for component in ended:
            self.kill(component.name)
            self._launch(component)
        return [component.name for component in ended]

    def pids(self, name: str | None = None) -> list[int]:
        """Return the pids of all live processes of one component, or of all of them."""
        chosen = [self._components[name]] if name else list(self._components.values())
        return reaper.members(set[int]().union(*(component.sessions for component in chosen)))

    def logs(self, lines: int = 25) -> str:
        """Return the ends of all components' own logs, for error messages."""
        return "\n".join(
            f"--- {component.name} ({'running' if component.alive else 'ended'})\n{component.tail(lines)}"
            for component in self._components.values()
        )

    def _launch(self, component: _Component) -> None:
        with component.log.open("ab") as log:
            component.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *component.arguments],
                env={**self.env, **component.env},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        component.killed = False
        component.sessions.add(component.process.pid)
        self._watch("+", component.process.pid)

    def _watch(self, sign: str, session: int) -> None:
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.write(f"{sign}{session}\n".encode())
            self._watchdog.stdin.flush()

    @staticmethod
    def _signal(component: _Component, number: int) -> None:
        if component.process:
            with contextlib.suppress(ProcessLookupError):
                component.process.send_signal(number)

    # -- waiting

    def wait_for(
        self,
        probe: Callable[[], T],
        timeout: float,
        what: str,
        *,
        poll: float = 0.25,
        watch: Sequence[_Component] | None = None,
    ) -> T:
        """
        Call ``probe`` until it returns something true, and return that.

        :param probe: may raise ``requests.ConnectionError`` while the API server is away
        :param timeout: seconds
        :param what: what is waited for, for the error message
        :raises LiveAirflowError: with the ends of the logs, when time is up
        """
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(requests.ConnectionError, requests.Timeout):
                if result := probe():
                    return result
            dead = [component.name for component in watch or () if not component.alive]
            if dead:
                raise LiveAirflowError(f"{', '.join(dead)} ended while waiting for {what}.\n{self.logs()}")
            if time.monotonic() > deadline:
                raise LiveAirflowError(f"Waited {timeout:.0f} s in vain for {what}.\n{self.logs()}")
            time.sleep(poll)

    def wait_healthy(self, timeout: float | None = None) -> None:
        """Wait until the API server answers and every other component has reported to the database."""
        self.wait_for(
            self._healthy,
            self.start_timeout if timeout is None else timeout,
            "a healthy Airflow",
            watch=list(self._components.values()),
        )

    def _health(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/api/v2/monitor/health", timeout=10, proxies={"http": ""})
        return answer.json() if answer.status_code == 200 else {}

    def _healthy(self) -> bool:
        report = self._health()
        wanted = Counter(kind for name in self._components if (kind := kind_of(name)) in _HEALTH_KEYS)
        if not report or any((report.get(_HEALTH_KEYS[kind]) or {}).get("status") != "healthy" for kind in wanted):
            return False
        # The report knows only the newest of each kind.
        return all(number == 1 or len(self._live_jobs(_JOB_TYPES[kind])) >= number for kind, number in wanted.items())

    def _live_jobs(self, job_type: str) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.api("GET", "jobs", params={"job_type": job_type, "is_alive": True})["jobs"]
        return jobs

    def _newest_job(self, job_type: str) -> int:
        jobs = self.api("GET", "jobs", params={"job_type": job_type, "order_by": "-id", "limit": 1})["jobs"]
        return int(jobs[0]["id"]) if jobs else 0

    # -- REST API

    def api(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None) -> Any:
        """
        Make one request to Airflow's REST API and return its JSON.

        :param path: what follows ``/api/v2/``
        :raises LookupError: on 404
        :raises LiveAirflowError: on any other error status
        """
        if self._session is None:
            session = requests.Session()
            session.trust_env = False
            answer = session.get(f"{self.url}/auth/token", timeout=30)
            answer.raise_for_status()
            session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            session.headers["Accept"] = "application/json"
            self._session = session
        answer = self._session.request(
            method, f"{self.url}/api/v2/{path}", params=dict(params or {}), json=json, timeout=60
        )
        if answer.status_code == 404:
            raise LookupError(f"{method} {path}: {answer.text[:500]}")
        if not answer.ok:
            raise LiveAirflowError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def _pages(self, path: str, key: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self.api("GET", path, params={**(params or {}), "limit": 500, "offset": offset})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return

    def add_dag(self, source: str | Path, dag_id: str, *, file_name: str | None = None, timeout: float = 60.0) -> None:
        """
        Put a Dag file into the dags folder and wait until Airflow knows the Dag.

        :param source: a file to copy, or Python source text
        :param dag_id: a Dag the file defines
        :raises LiveAirflowError: with the import error if the file does not load, or when time is up
        """
        target = self.dags_folder / (file_name or (source.name if isinstance(source, Path) else f"{dag_id}.py"))
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        partial = target.with_suffix(".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
        self.wait_for_dag(dag_id, timeout)

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> None:
        """
        Wait until the Dag processor has stored a Dag.

        :raises LiveAirflowError: with the import error if there is one, or when time is up
        """

        def known() -> bool:
            try:
                return bool(self.api("GET", f"dags/{quote(dag_id)}"))
            except LookupError:
                for error in self.api("GET", "importErrors")["import_errors"]:
                    raise LiveAirflowError(f"{error['filename']}:\n{error['stack_trace']}") from None
                return False

        self.wait_for(known, timeout, f"the Dag {dag_id}")

    def set_connection(self, conn_id: str, conn_type: str, **fields: Any) -> None:
        """
        Store a connection in the database, in place of the one there; one given by environment outranks it.

        :param fields: ``host``, ``port``, ``login``, ``password``, ``schema``, ``extra`` (JSON text)
        """
        with contextlib.suppress(LookupError):
            self.api("DELETE", f"connections/{quote(conn_id)}")
        self.api("POST", "connections", json={"connection_id": conn_id, "conn_type": conn_type, **fields})

    def trigger_dag(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None) -> str:
        """
        Start a run now.

        :param conf: the run's configuration, which also sets ``params`` of the same names
        :return: the run's id
        """
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.api("POST", f"dags/{quote(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run as the REST API describes it."""
        run: dict[str, Any] = self.api("GET", self._run_path(dag_id, run_id))
        return run

    def dag_run_state(self, dag_id: str, run_id: str) -> str:
        """Return ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.dag_run(dag_id, run_id)["state"])

    def wait_for_run(
        self, dag_id: str, run_id: str, timeout: float = 180.0, *, states: Sequence[str] = FINAL_RUN_STATES
    ) -> str:
        """
        Wait until a run has one of ``states`` and return it.

        :raises LiveAirflowError: with the tasks' states and the ends of the logs, when time is up
        """
        last = ""

        def there() -> str:
            nonlocal last
            last = self.dag_run_state(dag_id, run_id)
            return last if last in states else ""

        try:
            return self.wait_for(there, timeout, f"the run {run_id} of {dag_id}", poll=0.4)
        except LiveAirflowError as error:
            tasks = self.task_states(dag_id, run_id)
            raise LiveAirflowError(f"The run is {last}, its tasks: {tasks}.\n{error}") from None

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run as the REST API describes them."""
        return list(self._pages(f"{self._run_path(dag_id, run_id)}/taskInstances", "task_instances"))

    def event_logs(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the audit log of a run, oldest first: what was reported of its tasks, each time it was."""
        params = {"dag_id": dag_id, "run_id": run_id, "order_by": "id"}
        return list(self._pages("eventLogs", "event_logs", params))

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return task id → state; a mapped task instance is called ``task_id[index]``."""
        return {
            task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]": task["state"]
            for task in self.task_instances(dag_id, run_id)
        }

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """
        Return what a task pushed.

        :raises LookupError: if it pushed nothing under that key
        """
        path = f"{self._run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        params = {"map_index": map_index, "deserialize": "false", "stringify": "false"}
        return self.api("GET", path, params=params)["value"]

    def task_log_records(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[dict[str, Any]]:
        """Return one try's log, of worker and triggerer together, one mapping a line."""
        path = f"{self._run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        records: list[dict[str, Any]] = self.api("GET", path, params={"map_index": map_index, "full_content": "true"})[
            "content"
        ]
        return [record if isinstance(record, dict) else {"event": record} for record in records]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return one try's log as text, one event a line."""
        records = self.task_log_records(dag_id, run_id, task_id, try_number, map_index)
        return "\n".join(str(record.get("event", "")) for record in records)

    @staticmethod
    def _run_path(dag_id: str, run_id: str) -> str:
        return f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
