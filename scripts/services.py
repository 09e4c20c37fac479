# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL and a Redis of one's own, as a distributed Airflow needs them: temporary, on free ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts import reaper
from scripts.live_airflow import free_port

USERS = ("postgres", "nobody")


class ServiceError(RuntimeError):
    """A program is missing, or a service did not come up or go away."""


def _find(program: str) -> str:
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *places, "/usr/sbin"]))
    if not found:
        raise ServiceError(f"{program} is missing. On Debian or Ubuntu: apt-get install postgresql redis-server")
    return found


def _unprivileged() -> dict[str, Any]:
    """Return the arguments of ``Popen`` that give up root's rights, if we have them: PostgreSQL insists."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServiceError(f"None of the users {', '.join(USERS)} exists, and PostgreSQL does not run as root.")


class _Service:
    """A server program in a folder of its own; a context manager. It ends with this process, however that ends."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._name = name
        self._rights = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix=f"system-test-{name}-"))
        if self._rights:
            os.chown(self._folder, self._rights["user"], self._rights["group"])
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, str(self._folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """
        Start it and wait until it takes connections.

        :raises ServiceError: with its log, if it does not.
        """
        command, standard_input = self._command()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._rights,
            )
        self._tell_watchdog(f"+{self._process.pid}")
        if self._process.stdin:
            self._process.stdin.write(standard_input)
            self._process.stdin.close()
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"{self._name} did not start:\n{(self._folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGINT) -> None:
        """
        End it and wait until it has ended.

        :param number: for PostgreSQL ``SIGINT`` cuts all sessions off and ends in order
        """
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)
        self._tell_watchdog(f"-{process.pid}")

    def close(self) -> None:
        """End it and remove its folder."""
        self.stop()
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.close()
            self._watchdog.wait(timeout=30)
            self._watchdog = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog and self._watchdog.stdin:
            self._watchdog.stdin.write(f"{line}\n".encode())
            self._watchdog.stdin.flush()

    def _prepare(self) -> None:
        """Make what it needs in its folder."""

    def _command(self) -> tuple[list[str], bytes]:
        """Return the command line and what goes to its standard input."""
        raise NotImplementedError

    def _run(self, *command: str, **kwargs: Any) -> None:
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, **self._rights, **kwargs)
        if done.returncode:
            raise ServiceError(f"{' '.join(command)}:\n{done.stderr[-3000:]}")


class PostgreSQL(_Service):
    """A PostgreSQL cluster with an empty database ``airflow``."""

    def __init__(self) -> None:
        super().__init__("postgresql")

    @property
    def address(self) -> str:
        """User, password, host, port and database, as in a URL after ``//``."""
        return f"airflow:{self.password}@127.0.0.1:{self.port}/airflow"

    def _prepare(self) -> None:
        secret = self._folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if self._rights:
            os.chown(secret, self._rights["user"], self._rights["group"])
        data = str(self._folder / "data")
        options = ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run(_find("initdb"), "--username=airflow", *options, data)
        # The database, made before the server runs, so that nobody has to log in for it.
        self._run(_find("postgres"), "--single", "-D", data, "postgres", input="CREATE DATABASE airflow\n")

    def _command(self) -> tuple[list[str], bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "max_connections": 300,
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_find("postgres"), "-D", str(self._folder / "data"), *options], b""


class Redis(_Service):
    """A Redis that keeps everything in memory."""

    def __init__(self) -> None:
        super().__init__("redis")

    @property
    def url(self) -> str:
        """The address, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _command(self) -> tuple[list[str], bytes]:
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self._folder,
            "requirepass": self.password,
            "save": '""',
            "appendonly": "no",
        }
        # By standard input, so that the password stands in no command line.
        return [_find("redis-server"), "-"], "".join(f"{key} {value}\n" for key, value in settings.items()).encode()
