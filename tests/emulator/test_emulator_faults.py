# SPDX-License-Identifier: Apache-2.0
"""Each fault, as it reaches a client."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from contextlib import closing

import pytest
import requests

from airflow_provider_mpc.emulator.faults import KINDS

ORDER = {
    "inputs": [{"input": {"bucket": "in", "object": "a.mp4"}}],
    "output": {"bucket": "out", "object": "b.mp4"},
}


def on_the_wire(caller, path="/anything"):
    """Return what comes back, byte for byte, and whether the connection ended by a reset."""
    received = b""
    with closing(socket.create_connection((caller.server.host, caller.server.port), timeout=30)) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        try:
            while data := wire.recv(65536):
                received += data
        except ConnectionResetError:
            return received, True
    return received, False


@pytest.mark.parametrize(
    ("kind", "options", "status", "code"),
    [
        ("429", {}, 429, "APIGW.0308"),
        ("500", {}, 500, "APIGW.0601"),
        ("503", {}, 503, "APIGW.0613"),
        ("504", {}, 504, "APIGW.0201"),
        ("token_expired", {}, 401, "APIGW.0301"),
        ("token_expired", {"code": "APIGW.0307"}, 401, "APIGW.0307"),
        ("signature", {}, 401, "APIGW.0301"),
        ("ak_locked", {}, 401, "APIGW.0301"),
        ("forbidden", {}, 403, "APIGW.0302"),
        ("not_found", {}, 404, "APIGW.0101"),
        ("gateway", {"code": "APIGW.0610"}, 502, "APIGW.0610"),
        ("gateway", {"code": "APIGW.0201", "status": 494}, 494, "APIGW.0201"),
        ("mpc", {"code": "MPC.10208", "status": 400}, 400, "MPC.10208"),
        ("mpc", {"code": "MPC.10050"}, 406, "MPC.10050"),
    ],
)
def test_an_error_of_the_service_has_its_status_and_code(caller, emulator, kind, options, status, code):
    emulator.fault(kind, **options)
    reply = caller.list("1")
    assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    assert "X-Request-Id" in reply.headers


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({}, None),
        ({"retry_after": 3}, "3"),
        ({"retry_after": "soon"}, "soon"),
        ({"retry_after": 90, "as_date": True}, "Thu, 15 Jan 2026 00:01:30 GMT"),
    ],
)
def test_throttling_may_say_when_to_come_back(caller, emulator, options, header):
    emulator.fault(429, **options)
    assert caller.list("1").headers.get("Retry-After") == header


def test_a_refused_signature_shows_every_signed_header(caller, emulator):
    emulator.fault("signature")
    reply = caller.list("1", headers={"X-Security-Token": "canary"})
    assert "|x-security-token:canary|" in reply.json()["error_msg"]
    emulator.clear_faults()
    emulator.fault("signature", echo=False)
    assert reply.json()["error_msg"].startswith(caller.list("1").json()["error_msg"])
    assert "canary" not in caller.list("1", headers={"X-Security-Token": "canary"}).text


def test_a_bad_gateway_answers_in_html(caller, emulator):
    emulator.fault("502")
    reply = caller.list("1")
    assert (reply.status_code, reply.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert "Bad Gateway" in reply.text


def test_a_success_may_be_html_or_empty_or_other_json(caller, emulator):
    for kind in ("html", "empty", "json"):
        emulator.fault(kind, times=1)
    page, empty, other = (caller.list("1") for _ in range(3))
    assert (page.status_code, page.text[:15]) == (200, "<!DOCTYPE html>")
    assert (empty.status_code, empty.content) == (200, b"")
    assert (other.status_code, other.json()) == (200, {"jobs": [], "total": 0})


def test_any_reply_can_be_given(caller, emulator):
    emulator.fault("respond", times=1, status=418, body="tea", headers={"X-Pot": "short"})
    emulator.fault("respond", times=1, body={"job_array": None})
    reply = caller.list("1")
    assert (reply.status_code, reply.text, reply.headers["X-Pot"]) == (418, "tea", "short")
    assert caller.list("1").json() == {"job_array": None}


def test_a_redirect_leads_away(caller, emulator):
    emulator.fault("redirect", location="http://elsewhere.invalid/")
    reply = caller.list("1")
    assert (reply.status_code, reply.headers["Location"]) == (302, "http://elsewhere.invalid/")


def test_a_big_body_is_sound_json_of_that_size(caller, emulator):
    emulator.fault("big", size=3_000_000)
    reply = caller.list("1")
    assert len(reply.content) == 3_000_000
    assert reply.json()["job_array"] == []


def test_a_genuine_reply_may_be_gzipped_unasked(caller, emulator):
    job_id = emulator.job(["PROCESSING"])
    emulator.fault("gzip", padding=100_000)
    reply = caller.list(job_id, headers={"Accept-Encoding": "identity"})
    assert int(reply.headers["Content-Length"]) < 1000 < len(reply.content)
    assert reply.json()["job_array"][0]["job_id"] == job_id


def test_a_reply_may_only_claim_to_be_gzipped(caller, emulator):
    emulator.fault("gzip", broken=True)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        caller.list("1")


def test_a_reset_is_one_and_a_close_is_not(caller, emulator):
    emulator.fault("reset", times=1)
    emulator.fault("close", times=1)
    assert on_the_wire(caller) == (b"", True)
    assert on_the_wire(caller) == (b"", False)
    assert [call.status for call in emulator.requests] == [None, None]


def test_raw_bytes_come_as_they_are(caller, emulator):
    emulator.fault("raw", data=b"HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n\x00\xff")
    assert on_the_wire(caller) == (b"HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n\x00\xff", False)


@pytest.mark.parametrize("reset", [False, True])
def test_a_truncated_reply_promises_more_than_it_sends(caller, emulator, reset):
    emulator.fault("truncated", keep=0.5, reset=reset)
    received, was_reset = on_the_wire(caller)
    # A reset may overtake what was sent before it.
    assert was_reset == reset
    if not reset:
        head, _, body = received.partition(b"\r\n\r\n")
        (promised,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
        assert len(body) == promised // 2 > 0


@pytest.mark.parametrize("kind", ["drip", "drip_headers"])
def test_a_dripping_reply_is_whole_in_the_end(caller, emulator, kind):
    job_id = emulator.job(["PROCESSING"])
    emulator.fault(kind, times=1, interval=0.001)
    dripped = caller.list(job_id)
    assert dripped.json() == caller.list(job_id).json()
    assert emulator.requests[0].status == 200


@pytest.mark.parametrize(("kind", "early"), [("drip", b"HTTP/1.1 404 Not Found\r\n"), ("drip_headers", b"H")])
def test_a_dripping_reply_keeps_its_caller_waiting(caller, emulator, kind, early):
    emulator.fault(kind, interval=3600)
    with closing(socket.create_connection((caller.server.host, caller.server.port), timeout=30)) as wire:
        wire.sendall(b"GET /anything HTTP/1.1\r\nHost: x\r\n\r\n")
        received = wire.recv(65536)
        assert received.startswith(early)
        assert (b"\r\n\r\n" in received) == (kind == "drip")
        assert b"error_code" not in received


def test_a_slow_reply_comes_late_and_holds_up_nobody_else(caller, emulator):
    emulator.fault("slow", times=1, job_id="slow")
    with ThreadedCall(lambda: caller.list("slow")) as held:
        wait_for(lambda: emulator.calls("list") == 1)
        assert caller.list("quick").status_code == 200
        assert held.is_alive()
        caller.server.stop()
    assert isinstance(held.outcome, requests.exceptions.ConnectionError)


def test_a_slow_reply_is_the_genuine_one(caller, emulator):
    job_id = emulator.job(["PROCESSING"])
    emulator.fault("slow", seconds=0.2)
    before = time.monotonic()
    assert caller.job(job_id)["status"] == "PROCESSING"
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize(
    ("kind", "options"),
    [("reset", {}), ("close", {}), ("respond", {"status": 504}), ("truncated", {"keep": 0})],
)
def test_the_work_may_be_done_and_its_reply_lost(caller, emulator, kind, options):
    if kind != "truncated":
        options = {**options, "after_work": True}
    emulator.fault(kind, match="create", **options)
    try:
        assert not caller.create(ORDER).ok
    except requests.exceptions.ConnectionError:
        pass
    except requests.exceptions.ChunkedEncodingError:
        assert kind == "truncated"
    assert len(emulator.jobs.all()) == 1


def test_without_that_no_work_is_done(caller, emulator):
    emulator.fault("reset", match="create")
    with pytest.raises(requests.exceptions.ConnectionError):
        caller.create(ORDER)
    assert emulator.jobs.all() == []


def test_a_fault_hits_so_many_calls(caller, emulator):
    fault = emulator.fault("500", times=2)
    assert [caller.list("1").status_code for _ in range(3)] == [500, 500, 200]
    assert fault.played == 2
    assert emulator.faults.all() == []


def test_a_fault_lets_some_calls_pass_first(caller, emulator):
    emulator.fault("500", times=1, after=2)
    assert [caller.list("1").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_lasts_for_a_time(caller, emulator, clock):
    emulator.fault("503", for_seconds=60)
    assert caller.list("1").status_code == 503
    clock.advance(60)
    assert caller.list("1").status_code == 200


def test_faults_are_cleared(caller, emulator):
    emulator.fault("500")
    assert caller.list("1").status_code == 500
    emulator.clear_faults()
    assert caller.list("1").status_code == 200


def test_a_fault_is_for_its_api_and_job_only(caller, emulator):
    emulator.fault("500", match="delete")
    emulator.fault("503", match="mpc", job_id="7")
    emulator.fault("504", match="iam")
    assert caller.list("1").status_code == 200
    assert caller.list("1", "7").status_code == 503
    assert caller.delete("1").status_code == 500
    assert caller.send("POST", "/v3/auth/tokens").status_code == 504


def test_faults_play_in_the_order_they_were_added(caller, emulator):
    emulator.fault("500", times=1)
    emulator.fault("503", times=1)
    assert [caller.list("1").status_code for _ in range(3)] == [500, 503, 200]
    assert [call.fault for call in emulator.requests] == ["500", "503", None]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("earthquake", {}),
        ("500", {"match": "lists"}),
        ("500", {"colour": "red"}),
        ("mpc", {}),
        ("slow", {"s": 1}),
    ],
)
def test_a_fault_that_cannot_be_played_is_refused_when_added(emulator, kind, options):
    with pytest.raises(ValueError, match=r"fault|API"):
        emulator.fault(kind, **options)
    assert emulator.faults.all() == []


def test_a_caller_that_goes_away_leaves_the_server_well(caller, emulator):
    kinds = KINDS.keys() - {"slow", "gateway", "mpc", "raw"}
    for kind in sorted(kinds):
        emulator.fault(kind, times=1)
        with closing(socket.create_connection((caller.server.host, caller.server.port), timeout=30)) as wire:
            wire.sendall(b"GET /anything HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: emulator.calls("other") == len(kinds))
    emulator.clear_faults()
    assert caller.list("1").status_code == 200


def test_an_outage_is_a_stop_and_a_start_on_the_same_port(caller, emulator):
    job_id = emulator.job(["PROCESSING"])
    port = caller.server.port
    caller.server.stop()
    with pytest.raises(requests.exceptions.ConnectionError):
        caller.list(job_id)
    caller.server.start()
    assert caller.server.port == port
    assert caller.job(job_id)["status"] == "PROCESSING"


def test_gzip_helpers_agree(caller, emulator):
    emulator.fault("gzip")
    received, _ = on_the_wire(caller)
    body = received.partition(b"\r\n\r\n")[2]
    assert json.loads(gzip.decompress(body))["error_code"] == "APIGW.0101"


class ThreadedCall(threading.Thread):
    """A call in another thread; ``outcome`` is its reply or its exception."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self._call = call
        self.outcome = None

    def run(self):
        try:
            self.outcome = self._call()
        except requests.exceptions.RequestException as error:
            self.outcome = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.join(30)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 30 seconds"
        time.sleep(0.01)
