# SPDX-License-Identifier: Apache-2.0
"""Steering the emulator from another process."""

from __future__ import annotations

import pytest
import requests


@pytest.fixture
def admin(server):
    def call(method, path, body=None, expect=200, **query):
        reply = requests.request(method, f"{server.url}/_emulator{path}", json=body, params=query, timeout=30)
        assert reply.status_code == expect, reply.text
        return reply.json()

    return call


def test_jobs_are_scripted(admin, caller):
    body = {"states": ["PROCESSING", None, "FAILED"], "job_id": "7", "error_code": "MPC.1"}
    assert admin("POST", "/jobs", body) == {"job_id": "7"}
    assert [job["status"] for job in admin("GET", "/jobs")] == ["PROCESSING"]
    assert caller.job("7")["status"] == "PROCESSING"
    assert caller.list("7").json() == {"job_array": []}
    assert caller.job("7")["error_code"] == "MPC.1"


def test_faults_come_and_go(admin, caller):
    fault = admin("POST", "/faults", {"kind": "429", "times": 2, "match": "list", "retry_after": 5})
    assert caller.list("1").headers["Retry-After"] == "5"
    (told,) = admin("GET", "/faults")
    assert (told["id"], told["left"], told["played"], told["apis"]) == (fault["id"], 1, 1, ["list"])
    assert admin("DELETE", f"/faults/{fault['id']}") == {"removed": True}
    assert admin("DELETE", f"/faults/{fault['id']}") == {"removed": False}
    assert caller.list("1").status_code == 200
    admin("POST", "/faults", {"kind": "500"})
    admin("DELETE", "/faults")
    assert caller.list("1").status_code == 200


def test_variants_are_switched(admin, caller, emulator):
    emulator.job(job_id="7")
    assert admin("PATCH", "/variants", {"numeric_ids": True})["numeric_ids"] is True
    assert caller.job("7")["job_id"] == 7
    assert admin("GET", "/variants")["numeric_ids"] is True


def test_requests_and_counters_are_told(admin, caller, emulator):
    admin("PATCH", "/limiter", {"calls_per_minute": 1, "retry_after": "seconds"})
    caller.list("1")
    caller.list("2")
    caller.send("GET", "/nowhere")
    assert admin("GET", "/counters") == {
        "list": {"calls": 2, "accepted": 1, "refused": 1, "busiest_minute": 1},
        "other": {"calls": 1},
    }
    requested = admin("GET", "/requests", api="list", last=1)
    assert [(call["query"], call["status"]) for call in requested] == [([["job_id", "2"]], 429)]
    assert len(admin("GET", "/requests")) == 3
    admin("DELETE", "/requests")
    assert admin("GET", "/requests") == []
    assert emulator.calls() == 0


def test_keys_and_tokens_are_turned_over(admin, caller, emulator):
    old = (emulator.access_key, emulator.secret_key)
    token = {"X-Auth-Token": emulator.issue_token().id}
    new = admin("POST", "/keys/rotate")
    assert new == {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
    assert caller.list("1", keys=old).status_code == 401
    assert caller.send("GET", "/v3/projects", headers=token).status_code == 200
    admin("POST", "/tokens/expire")
    assert caller.send("GET", "/v3/projects", headers=token).status_code == 401
    admin("PATCH", "/account", {"token_bytes": 9500, "password": "changed"})
    assert (len(emulator.issue_token().id), emulator.password) == (9500, "changed")


def test_a_reset_forgets_all_but_keys_and_tokens(admin, caller, emulator):
    emulator.job(job_id="7")
    emulator.fault("500")
    emulator.variant.unknown_id_behaviour = "no_task"
    caller.list("7")
    admin("POST", "/reset")
    assert caller.list("7").json() == {"job_array": []}
    assert emulator.calls() == 1


def test_the_overview_and_the_connection_are_told(admin, server):
    assert admin("GET", "")["project_id"] == server.emulator.project_id
    assert admin("GET", "/connection") == server.connection()
    assert admin("GET", "/connection", auth="agency")["extra"]["metadata_endpoint"] == server.url


def test_steering_is_not_logged_as_a_call(admin, emulator):
    emulator.fault("500")
    admin("GET", "/faults")
    assert emulator.calls() == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/faults", {"kind": "earthquake"}),
        ("POST", "/faults", {"kind": "500", "match": "lists"}),
        ("POST", "/faults", {}),
        ("POST", "/jobs", {"states": []}),
        ("POST", "/jobs", []),
        ("PATCH", "/variants", {"colour": "red"}),
        ("PATCH", "/limiter", {"_lock": 1}),
        ("PATCH", "/account", {"keys": 1}),
    ],
)
def test_nonsense_is_refused_with_words(admin, method, path, body):
    assert admin(method, path, body, expect=400)["error"]
