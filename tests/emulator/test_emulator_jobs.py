# SPDX-License-Identifier: Apache-2.0
"""How jobs live, and how list, create and delete tell of them."""

from __future__ import annotations

import re

import pytest

ORDER = {
    "inputs": [{"input": {"bucket": "in", "object": "a.mp4"}, "timeline_start": "0", "timeline_end": "2"}],
    "output": {"bucket": "out", "object": "clips/", "file_name": "b.mp4"},
    "user_data": "mark",
}


def statuses(caller, job_id, polls):
    return [caller.job(job_id)["status"] for _ in range(polls)]


def error(reply):
    assert reply.json().keys() == {"error_code", "error_msg"}
    return reply.status_code, reply.json()["error_code"]


def test_a_scripted_job_moves_on_with_each_poll_and_stays_in_its_last_state(caller, emulator):
    job_id = emulator.job(["WAITING", "PROCESSING", "PROCESSING", "FAILED"])
    assert statuses(caller, job_id, 5) == ["WAITING", "PROCESSING", "PROCESSING", "FAILED", "FAILED"]


def test_only_polls_of_the_job_itself_move_it_on(caller, emulator):
    one, other = emulator.job(), emulator.job()
    assert statuses(caller, other, 3)[-1] == "SUCCEEDED"
    assert caller.job(one)["status"] == "WAITING"


def test_an_id_named_twice_is_polled_once(caller, emulator):
    job_id = emulator.job()
    (job,) = caller.list(job_id, job_id).json()["job_array"]
    assert job["status"] == "WAITING"
    assert caller.job(job_id)["status"] == "PROCESSING"


def test_a_job_by_the_clock_ends_on_time_however_often_it_is_asked_for(caller, emulator, clock):
    job_id = emulator.job(by="clock", seconds=100)
    assert statuses(caller, job_id, 3) == ["WAITING"] * 3
    clock.advance(50)
    job = caller.job(job_id)
    assert (job["status"], job["progress"]) == ("PROCESSING", 50)
    clock.advance(49.9)
    assert caller.job(job_id)["status"] == "PROCESSING"
    clock.advance(0.1)
    job = caller.job(job_id)
    assert (job["status"], job["progress"]) == ("SUCCEEDED", 100)
    times = (job["create_time"], job["start_time"], job["end_time"])
    assert times == ("20260115000000", "20260115000050", "20260115000140")


def test_a_job_ends_at_a_given_time(caller, emulator, clock):
    job_id = emulator.job(["PROCESSING", "FAILED"], by="clock", ends_at=clock.now + 7)
    clock.advance(6.9)
    assert caller.job(job_id)["status"] == "PROCESSING"
    clock.advance(0.1)
    assert caller.job(job_id)["status"] == "FAILED"


def test_a_job_may_be_unknown_at_first_and_vanish_later(caller, emulator):
    job_id = emulator.job([None, "PROCESSING", None])
    assert [len(caller.list(job_id).json()["job_array"]) for _ in range(4)] == [0, 1, 0, 0]


def test_output_and_metadata_come_with_success_only(caller, emulator):
    job_id = emulator.job(["PROCESSING", "SUCCEEDED"])
    assert not caller.job(job_id).keys() & {"output", "editing_output", "end_time"}
    job = caller.job(job_id)
    assert job["output"]["file_name"] == f"{job_id}.mp4"
    assert job["editing_output"]["duration_ms"] == 10172


def test_fields_replace_what_is_made_up_and_those_about_the_end_wait_for_it(caller, emulator):
    job_id = emulator.job(["PROCESSING", "FAILED"], error_code="MPC.1", description="why", user_data="u")
    first = caller.job(job_id)
    assert first["user_data"] == "u"
    assert not first.keys() & {"error_code", "description"}
    last = caller.job(job_id)
    assert (last["error_code"], last["description"]) == ("MPC.1", "why")


def test_a_job_id_given_as_a_number_is_one_in_the_reply(caller, emulator):
    assert emulator.job(job_id=77) == "77"
    assert caller.job("77")["job_id"] == 77


@pytest.mark.parametrize("arguments", [{"states": []}, {"by": "moon"}])
def test_a_senseless_script_is_refused(emulator, arguments):
    with pytest.raises(ValueError, match="job"):
        emulator.job(**arguments)


@pytest.mark.parametrize("ids", [[], ["1"] * 11, [""], ["1", ""]])
def test_a_list_call_takes_one_to_ten_ids(caller, ids):
    assert error(caller.list(*ids)) == (400, "MPC.10202")


def test_ten_ids_pass(caller, emulator):
    ids = [emulator.job() for _ in range(10)]
    assert [job["job_id"] for job in caller.list(*ids).json()["job_array"]] == ids


def test_ids_joined_by_a_comma_are_one_unknown_id(caller, emulator):
    one, other = emulator.job(), emulator.job()
    assert caller.list(f"{one},{other}").json() == {"job_array": []}


def test_an_unknown_id_reads_as_the_switch_says(caller, emulator):
    known = emulator.job(["PROCESSING"])
    assert [job["job_id"] for job in caller.list(known, "9").json()["job_array"]] == [known]
    emulator.unknown_id_behaviour = "no_task"
    assert caller.list(known, "9").json()["job_array"][1] == {"job_id": "9", "status": "NO_TASK"}
    emulator.unknown_id_behaviour = "error"
    assert error(caller.list(known, "9")) == (403, "MPC.10211")
    emulator.variant.unknown_id_status = 400
    assert error(caller.list(known, "9")) == (400, "MPC.10211")


def test_ids_and_times_may_be_numbers(caller, emulator):
    emulator.variant.update(numeric_ids=True, numeric_times=True)
    job_id = emulator.job(["SUCCEEDED"])
    job = caller.job(job_id)
    assert job["job_id"] == int(job_id)
    assert (job["create_time"], job["end_time"]) == (20260115000000, 20260115000000)


def test_fields_may_be_missing(caller, emulator):
    job_id = emulator.job(["SUCCEEDED"])
    emulator.variant.missing_fields = ["progress", "output"]
    job = caller.job(job_id)
    assert not job.keys() & {"progress", "output"}
    assert "editing_output" in job
    emulator.variant.missing_fields = True
    assert caller.job(job_id) == {"job_id": job_id, "status": "SUCCEEDED"}


def test_fields_may_be_null(caller, emulator):
    emulator.variant.null_fields = True
    job = caller.job(emulator.job(["WAITING"]))
    assert job["start_time"] is None
    assert job["editing_output"] is None


def test_undocumented_fields_may_come_at_every_level(caller, emulator):
    emulator.variant.extra_fields = True
    job = caller.job(emulator.job(["SUCCEEDED"]))
    levels = [job, job["output"], job["editing_output"], job["editing_output"]["audio_info"][0]]
    assert all("x_undocumented" in level for level in levels)


def test_jobs_may_come_in_another_order(caller, emulator):
    ids = [emulator.job() for _ in range(3)]
    emulator.variant.reverse_order = True
    assert [job["job_id"] for job in caller.list(*ids).json()["job_array"]] == ids[::-1]


def test_a_success_may_carry_the_code_that_says_so(caller, emulator):
    emulator.variant.success_code_10218 = True
    ids = [emulator.job(["PROCESSING"]), emulator.job(["SUCCEEDED"]), emulator.job(["FAILED"])]
    codes = [job.get("error_code") for job in caller.list(*ids).json()["job_array"]]
    assert codes == [None, "MPC.10218", "MPC.10053"]


def test_a_failure_may_come_without_a_reason(caller, emulator):
    emulator.variant.failed_without_reason = True
    assert not caller.job(emulator.job(["FAILED"])).keys() & {"error_code", "description"}


def test_success_may_be_spelt_as_in_v1(caller, emulator):
    emulator.variant.succeeded_as = "SUCCEED"
    assert caller.job(emulator.job(["SUCCEEDED"]))["status"] == "SUCCEED"


def test_without_a_media_root_a_created_job_succeeds_by_the_clock(caller, emulator, clock):
    emulator.job_seconds = 10
    reply = caller.create(ORDER)
    assert reply.status_code == 200
    job_id = reply.json()["job_id"]
    assert caller.job(job_id)["status"] == "WAITING"
    clock.advance(10)
    job = caller.job(job_id)
    assert (job["status"], job["user_data"]) == ("SUCCEEDED", "mark")
    output = {"bucket": "out", "location": "cn-north-4", "object": "clips/", "file_name": "b.mp4"}
    assert job["output"] == output


def test_create_may_answer_as_its_siblings_do(caller, emulator):
    emulator.variant.update(create_status=202, create_id_key="task_id", numeric_ids=True)
    reply = caller.create(ORDER)
    assert reply.status_code == 202
    assert isinstance(reply.json()["task_id"], int)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"inputs": []}, "MPC.10202"),
        ({"inputs": "a.mp4"}, "MPC.10202"),
        ({"inputs": [{}]}, "MPC.10202"),
        ({"output": None}, "MPC.10202"),
        ({"output": {"bucket": "", "object": "x"}}, "MPC.10209"),
        ({"output": {"bucket": "out", "object": "x", "location": "mars-1"}}, "MPC.10209"),
        ({"inputs": [{"input": {"bucket": "in"}}]}, "MPC.10209"),
        ({"inputs": [{**ORDER["inputs"][0], "timeline_start": "soon"}]}, "MPC.10202"),
        ({"inputs": [{**ORDER["inputs"][0], "timeline_end": "nan"}]}, "MPC.10202"),
        ({"editing_settings": {"format": "AVI"}}, "MPC.10202"),
        ({"editing_settings": {"width": -1}}, "MPC.10202"),
    ],
)
def test_a_bad_order_is_refused(caller, change, code):
    status = {"MPC.10202": 400, "MPC.10209": 403}[code]
    assert error(caller.create({**ORDER, **change})) == (status, code)


def test_an_order_has_to_be_json(caller):
    for body in (b"{", b"\xff", b"[]", b'{"user_data": "\\ud800"}', b'{"metadata": [NaN]}', b"[" * 100_000):
        assert error(caller.signed("POST", caller.jobs_path, body=body)) == (400, "MPC.10202")
    headers = {"Content-Type": "text/plain"}
    assert error(caller.signed("POST", caller.jobs_path, body=b"{}", headers=headers)) == (400, "MPC.10205")


def test_a_waiting_job_is_cancelled(caller, emulator):
    job_id = emulator.job()
    reply = caller.delete(job_id)
    assert (reply.status_code, reply.content) == (204, b"")
    assert statuses(caller, job_id, 2) == ["CANCELED", "CANCELED"]


def test_a_cancelled_job_may_be_gone_afterwards(caller, emulator):
    emulator.variant.cancelled_as = None
    job_id = emulator.job()
    caller.delete(job_id)
    assert caller.list(job_id).json() == {"job_array": []}


@pytest.mark.parametrize(("state", "code"), [("PROCESSING", "MPC.10213"), ("SUCCEEDED", "MPC.10212")])
def test_a_job_that_runs_or_is_done_cannot_be_cancelled(caller, emulator, state, code):
    job_id = emulator.job([state])
    assert error(caller.delete(job_id)) == (403, code)
    emulator.variant.delete_refusal_status = 400
    assert error(caller.delete(job_id)) == (400, code)
    assert caller.job(job_id)["status"] == state


@pytest.mark.parametrize("job_id", ["9", "a%20b", "a%2Fb"])
def test_an_unknown_job_cannot_be_cancelled(caller, job_id):
    assert error(caller.delete(job_id)) == (403, "MPC.10211")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v2/p/editing/jobs/"), ("PUT", "/v2/p/editing/jobs"), ("GET", "/v1/x")],
)
def test_a_wrong_path_or_method_is_no_api(caller, method, path):
    reply = caller.signed(method, path)
    assert (reply.status_code, reply.json()["error_code"]) == (404, "APIGW.0101")


def test_each_reply_carries_a_request_id_with_time_and_host(caller):
    replies = [caller.list("1"), caller.list(), caller.send("GET", "/nowhere")]
    ids = [reply.headers["X-Request-Id"] for reply in replies]
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{10}-[a-z-]+", one) for one in ids)
    assert len(set(ids)) == 3


def test_requests_are_logged_for_assertions(caller, emulator, clock):
    caller.list("1", "a b")
    caller.create(ORDER)
    caller.send("GET", "/nowhere")
    listed, created, other = emulator.requests
    assert (listed.api, listed.method, listed.path, listed.status) == ("list", "GET", caller.jobs_path, 200)
    assert listed.query == [("job_id", "1"), ("job_id", "a b")]
    assert listed.headers["x-sdk-date"] == "20260115T000000Z"
    assert listed.time == clock.now
    assert b'"user_data": "mark"' in created.body
    assert (other.api, other.status) == ("other", 404)
    assert [emulator.calls(api) for api in (None, "list", "mpc", "iam", "other")] == [3, 1, 2, 0, 1]
