# SPDX-License-Identifier: Apache-2.0
"""The emulator as a command, and the connections it prints."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import requests

from airflow_provider_mpc.connection import read_connection

COMMAND = [sys.executable, "-m", "airflow_provider_mpc.emulator"]
AUTHS = ["aksk", "temporary", "token", "password", "agency"]
READ_CONNECTIONS = """
import json, sys
from airflow.models.connection import Connection

def fields(connection):
    names = ("conn_type", "host", "port", "login", "password")
    return {**{name: getattr(connection, name) for name in names}, "extra": connection.extra_dejson}

for line in sys.stdin:
    uri, text = json.loads(line)
    print("READ", json.dumps([fields(Connection(uri=uri)), fields(Connection.from_json(text))]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_interrupted_and_ends_cleanly(tmp_path, number):
    pytest.importorskip("av")
    root = tmp_path / "media"
    arguments = ["--port", "0", "--media-root", str(root), "--calls-per-minute", "100", "--job-seconds", "1"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(8)]
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[0])[0]
        connection = json.loads(lines[lines.index("as JSON:\n") + 1])
        (export,) = [line for line in lines if "export AIRFLOW_CONN_MPC_DEFAULT=" in line]
        assert json.loads(export.split("=", 1)[1].strip().strip("'")) == connection
        assert f"{connection['host']}:{connection['port']}" == url
        told = requests.get(f"{url}/_emulator", timeout=30).json()
        assert (told["limiter"]["calls_per_minute"], told["media_root"]) == (100, str(root.resolve()))
        assert root.is_dir()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")


def test_a_port_in_use_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Cannot start the emulator on 127.0.0.1:{port}:")
    assert "in use" in line


def test_without_pyav_a_media_root_is_refused_with_a_hint(tmp_path):
    code = (
        "import sys; sys.modules['av'] = None; "
        "from airflow_provider_mpc.emulator.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--port", "0", "--media-root", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'airflow-provider-mpc[emulator]'" in line


def test_it_starts_without_airflow_and_without_pyav():
    code = "import sys, airflow_provider_mpc.emulator; print(sorted({'airflow', 'av'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_airflow_reads_the_connections_from_uri_and_json(server, emulator, tmp_path):
    pytest.importorskip("airflow")
    emulator.password = "p@ss:/?#[]%é"
    connections = [server.connection(auth) for auth in AUTHS]
    from airflow_provider_mpc.emulator.connection import as_json, as_uri

    done = subprocess.run(
        [sys.executable, "-c", READ_CONNECTIONS],
        input="".join(json.dumps([as_uri(one), as_json(one)]) + "\n" for one in connections),
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    read = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("READ ")]
    for (by_uri, by_json), connection in zip(read, connections, strict=True):
        assert by_json == connection
        # A URI cannot tell an absent login from an empty one.
        assert {
            **by_uri,
            "login": by_uri["login"] or None,
            "password": by_uri["password"] or None,
        } == connection


def test_each_connection_says_how_it_authenticates(server, emulator):
    kinds = {auth: server.connection(auth) for auth in AUTHS}
    assert kinds["aksk"]["login"] == emulator.access_key
    assert kinds["aksk"]["password"] == emulator.secret_key
    assert kinds["temporary"]["extra"]["security_token"]
    assert kinds["token"]["password"] in emulator.account.tokens
    assert kinds["password"]["extra"]["domain_name"] == emulator.domain
    assert kinds["agency"]["extra"]["metadata_endpoint"] == server.url
    # What is filled in tells the method, but for the agency, which must be asked for by name.
    assert [kinds[auth]["extra"].get("auth_method") for auth in AUTHS] == [None, None, None, None, "agency"]
    for auth in AUTHS:
        given = {name: kinds[auth].get(name) for name in ("login", "password", "host", "port", "extra")}
        assert read_connection(**given).auth_method == {"temporary": "aksk"}.get(auth, auth)
    with pytest.raises(ValueError, match="auth is one of"):
        server.connection("magic")
