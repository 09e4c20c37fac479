# SPDX-License-Identifier: Apache-2.0
"""What MPC sends is read liberally, and success is claimed strictly."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mpc.api.errors import MpcProtocolError
from airflow_provider_mpc.api.models import (
    STATUS_MEANING,
    EditingJob,
    EditingOutput,
    JobState,
    ObsObject,
    lenient_number,
    parse_job_array,
)
from airflow_provider_mpc.outcome import describe_change, describe_failure, to_result

PROPERTIES = [name for name in dir(EditingJob) if not name.startswith("_") and name != "from_json"]


def body_of(*entries):
    return json.dumps({"job_array": list(entries)}).encode()


def job_of(**fields):
    (job,) = parse_job_array(body_of({"job_id": "30647", **fields}))
    return job


class TestStatus:
    @pytest.mark.parametrize("word", ["SUCCEEDED", "SUCCEED", "succeeded", " Succeeded "])
    def test_success_in_any_spelling(self, word):
        assert job_of(status=word).state is JobState.SUCCEEDED

    @pytest.mark.parametrize("word", ["FAILED", "CANCELED", "CANCELLED", "CANCEL"])
    def test_failure(self, word):
        assert job_of(status=word).state is JobState.FAILED

    @pytest.mark.parametrize(
        "word", ["INIT", "WAITING", "PREPROCESSING", "PROCESSING", "TRANSCODING", "NEED_TO_BE_AUDIT"]
    )
    def test_pending(self, word):
        assert job_of(status=word).state is JobState.PENDING

    def test_no_task_is_absent(self):
        assert job_of(status="NO_TASK").state is JobState.ABSENT

    @pytest.mark.parametrize(
        "word", ["SUCCESS", "SUCCEEDED?", "DONE", "COMPLETED", "OK", "", None, 200, True, ["SUCCEEDED"], {"a": 1}]
    )
    def test_any_other_word_is_unknown(self, word):
        assert job_of(status=word).state is JobState.UNKNOWN

    def test_a_missing_status_is_unknown(self):
        assert job_of().state is JobState.UNKNOWN

    def test_only_two_words_mean_success(self):
        assert {word for word, state in STATUS_MEANING.items() if state is JobState.SUCCEEDED} == {
            "SUCCEEDED",
            "SUCCEED",
        }

    def test_the_states_that_do_not_change_any_more(self):
        assert {state for state in JobState if state.ended} == {JobState.SUCCEEDED, JobState.FAILED}

    def test_an_error_code_on_a_success_is_no_failure(self):
        job = job_of(status="SUCCEEDED", error_code="MPC.10218", description="The task is done.")
        assert (job.state, job.reason_code) == (JobState.SUCCEEDED, "MPC.10218")


class TestIds:
    @pytest.mark.parametrize("sent", ["30647", 30647, 30647.0, " 30647 "])
    def test_an_id_is_text_whatever_was_sent(self, sent):
        (job,) = parse_job_array(body_of({"job_id": sent}))
        assert job.job_id == "30647"

    def test_task_id_stands_in_for_a_missing_job_id(self):
        (job,) = parse_job_array(body_of({"task_id": 100211}))
        assert job.job_id == "100211"

    def test_job_id_wins_over_task_id(self):
        (job,) = parse_job_array(body_of({"task_id": 1, "job_id": 2}))
        assert job.job_id == "2"

    @pytest.mark.parametrize("sent", [None, True, "", " ", 1.5, [], {}, {"id": 1}, ["1"]])
    def test_an_entry_without_a_usable_id_is_left_out(self, sent):
        assert [job.job_id for job in parse_job_array(body_of({"job_id": sent}, {"job_id": "2"}))] == ["2"]


class TestEnvelope:
    def test_an_empty_list_is_no_jobs(self):
        assert parse_job_array(b'{"job_array": []}') == []

    def test_entries_that_are_no_objects_are_left_out(self):
        assert [job.job_id for job in parse_job_array(body_of(None, 1, "x", [], {"job_id": 1}))] == ["1"]

    def test_other_keys_beside_the_list_do_no_harm(self):
        assert len(parse_job_array(b'{"total": 1, "job_array": [{"job_id": 1}], "x": null}')) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"  ",
            b"null",
            b"[]",
            b"{}",
            b'"text"',
            b"1",
            b'{"job_array": null}',
            b'{"job_array": {}}',
            b'{"job_array": "[]"}',
            b'{"jobs": [], "total": 0}',
            b"<html>log in</html>",
            b'{"job_array": [',
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"job_array": [{"job_id": ' + b"1" * 5000 + b"}]}",
        ],
        ids=lambda body: repr(body[:30]),
    )
    def test_what_is_not_the_promised_reply_is_a_fault_and_not_no_jobs(self, body):
        with pytest.raises(MpcProtocolError):
            parse_job_array(body)

    def test_an_html_page_is_called_one(self):
        with pytest.raises(MpcProtocolError, match="HTML"):
            parse_job_array(b"\n<!DOCTYPE html><html></html>")

    def test_a_byte_order_mark_does_no_harm(self):
        assert parse_job_array(b"\xef\xbb\xbf" + body_of({"job_id": 1}))[0].job_id == "1"

    def test_text_in_another_encoding_does_not_fail_a_poll(self):
        body = '{"job_array": [{"job_id": "1", "status": "FAILED", "description": "任务失败"}]}'.encode("gbk")
        assert parse_job_array(body)[0].state is JobState.FAILED

    def test_a_fault_of_the_protocol_may_pass(self):
        assert MpcProtocolError("x").retryable


class TestTimes:
    @pytest.mark.parametrize("sent", ["20260115080000", 20260115080000, " 20260115080000 "])
    def test_a_time_is_utc(self, sent):
        assert job_of(create_time=sent).create_time == datetime(2026, 1, 15, 8, tzinfo=UTC)

    @pytest.mark.parametrize(
        "sent",
        [
            None,
            "",
            "0",
            "2026",
            0,
            True,
            "20261315080000",
            "20260230000000",
            "2026011508000\u0660",
            2.0e13,
            [],
            {},
            "9" * 14,
        ],
    )
    def test_no_sensible_time_reads_as_none(self, sent):
        assert job_of(end_time=sent).end_time is None

    def test_a_missing_time_is_none(self):
        assert job_of().start_time is None

    def test_each_time_is_its_own_field(self):
        job = job_of(create_time="20260101000000", start_time="20260102000000", end_time="20260103000000")
        assert [time.day for time in (job.create_time, job.start_time, job.end_time)] == [1, 2, 3]


class TestNumbers:
    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            (10172, 10172),
            ("10172", 10172),
            (" 10172 ", 10172),
            ("25.48", 25.48),
            (60.186, 60.186),
            (25.0, 25),
            ("25.0", 25),
            (0, 0),
            ("0", 0),
            (-90, -90),
            (2**63 - 1, 2**63 - 1),
        ],
    )
    def test_a_number_may_be_text(self, sent, read):
        number = lenient_number(sent)
        assert (number, type(number)) == (read, type(read))

    @pytest.mark.parametrize(
        "sent",
        [None, "", "x", "25 fps", True, False, [], {}, [1], "nan", "inf", "-Infinity", "1e999", 2**63, "9" * 41]
        + [float(word) for word in ("nan", "inf")],
    )
    def test_what_is_no_number_reads_as_none(self, sent):
        assert lenient_number(sent) is None

    def test_whole_numbers_stay_whole(self):
        assert json.dumps(lenient_number("25.0")) == "25"

    def test_an_odd_field_does_not_take_the_others_along(self):
        output = job_of(
            editing_output={"duration": "x", "duration_ms": "10172", "size": [], "format": 4}
        ).editing_output
        assert (output.duration, output.duration_ms, output.size, output.format) == (None, 10172, None, "4")


class TestOutput:
    @pytest.mark.parametrize(
        ("place", "uri"),
        [
            ({"bucket": "b", "object": "out/", "file_name": "cut.mp4"}, "obs://b/out/cut.mp4"),
            ({"bucket": "b", "object": "out", "file_name": "cut.mp4"}, "obs://b/out/cut.mp4"),
            ({"bucket": "b", "object": "out/cut.mp4", "file_name": "cut.mp4"}, "obs://b/out/cut.mp4"),
            ({"bucket": "b", "object": "cut.mp4", "file_name": "cut.mp4"}, "obs://b/cut.mp4"),
            ({"bucket": "b", "object": "uncut.mp4", "file_name": "cut.mp4"}, "obs://b/uncut.mp4/cut.mp4"),
            ({"bucket": "b", "object": "out/cut.mp4"}, "obs://b/out/cut.mp4"),
            ({"bucket": "b", "object": "out/cut.mp4", "file_name": ""}, "obs://b/out/cut.mp4"),
            ({"bucket": "b", "file_name": "cut.mp4"}, "obs://b/cut.mp4"),
            ({"bucket": "b"}, None),
            ({"object": "out/cut.mp4"}, None),
            ({"bucket": "", "object": "o"}, None),
            ({}, None),
        ],
    )
    def test_the_uri_joins_object_and_file_name_once(self, place, uri):
        assert ObsObject.model_validate(place).uri == uri

    @pytest.mark.parametrize("sent", [None, "", [], "x", 1])
    def test_an_output_that_is_no_object_reads_as_empty(self, sent):
        job = job_of(output=sent, editing_output=sent)
        assert (job.output.uri, job.editing_output.duration, job.editing_output.audio_info) == (None, None, ())

    def test_unknown_fields_are_kept_at_every_level(self):
        output = job_of(editing_output={"new": 1, "video_info": {"hdr10": {"x": [1]}}, "audio_info": [{"lang": "de"}]})
        told = output.editing_output.model_dump(exclude_unset=True)
        assert told == {"new": 1, "video_info": {"hdr10": {"x": [1]}}, "audio_info": ({"lang": "de"},)}

    def test_fields_not_sent_are_not_made_up(self):
        assert EditingOutput.model_validate({"duration": 1}).model_dump(exclude_unset=True) == {"duration": 1}

    def test_one_audio_stream_may_come_without_a_list(self):
        assert [audio.codec for audio in EditingOutput.model_validate({"audio_info": {"codec": "AAC"}}).audio_info] == [
            "AAC"
        ]

    def test_what_is_no_audio_stream_is_left_out(self):
        info = EditingOutput.model_validate({"audio_info": [None, {"codec": "AAC"}, "x"]}).audio_info
        assert [audio.codec for audio in info] == ["AAC"]

    def test_streams_tell_durations_as_text(self):
        video = EditingOutput.model_validate({"video_info": {"duration_ms": "10170", "rotate": "90.0"}}).video_info
        assert (video.duration_ms, video.rotate) == (10170, 90)

    def test_fields_named_as_methods_of_the_model_do_no_harm(self):
        job = job_of(editing_output={"model_dump": 1, "model_config": 2, "copy": 3, "__class__": 4, "key": 5})
        assert to_result(job)["editing_output"]["model_dump"] == 1


class TestMetadata:
    def test_of_a_repeated_name_the_last_wins(self):
        job = job_of(metadata=[{"name": "a", "value": "1"}, {"name": "a", "value": "2"}])
        assert job.metadata == {"a": "2"}

    def test_the_list_keeps_what_was_sent(self):
        sent = [{"name": "a", "value": "1"}, {"name": "a", "value": None, "x": 1}]
        assert job_of(metadata=sent).metadata_list == sent

    @pytest.mark.parametrize("sent", [None, "x", 1, [None, 1, "x"], {}])
    def test_odd_metadata_read_as_none(self, sent):
        assert job_of(metadata=sent).metadata == {}

    def test_an_object_counts_as_names_with_values(self):
        assert job_of(metadata={"a": "1"}).metadata == {"a": "1"}


class TestReason:
    @pytest.mark.parametrize("name", ["error_msg", "description", "exec_description"])
    def test_the_reason_may_come_under_several_names(self, name):
        assert job_of(**{name: "no such input"}).reason == "no such input"

    def test_the_reason_may_lie_in_the_output(self):
        assert job_of(editing_output={"exec_description": "no such input"}).reason == "no such input"

    @pytest.mark.parametrize("sent", [None, "", " ", [], {}, True])
    def test_no_words_are_no_reason(self, sent):
        assert job_of(description=sent).reason is None

    def test_a_numeric_code_is_told_as_text(self):
        assert job_of(error_code=10052).reason_code == "10052"

    @pytest.mark.parametrize(("sent", "read"), [("x", "x"), (1795687, "1795687"), (None, None), ({}, None)])
    def test_user_data_may_be_a_number(self, sent, read):
        assert job_of(user_data=sent).user_data == read


half_characters = st.sampled_from(["\ud800", "a\udfffb", "\x00", "😀"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | st.text(max_size=10)
    | half_characters
    | st.sampled_from(["SUCCEEDED", "FAILED", "20260115080000", "1e400", "1_0", "MPC.10218"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | half_characters, inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = [
    *("job_id", "task_id", "status", "progress", "create_time", "start_time", "end_time", "metadata", "user_data"),
    *("error_code", "error_msg", "description", "exec_description"),
]
output_fields = ["bucket", "object", "file_name", "location", "\ud800"]
media_fields = ["duration", "duration_ms", "format", "size", "size_byte", "md5", "video_info", "audio_info", "codec"]


def objects_of(names):
    return st.dictionaries(st.sampled_from(names), json_values, max_size=6)


entries = st.builds(
    lambda known, output, media, video: {**known, "output": output, "editing_output": {**media, "video_info": video}},
    objects_of(FIELDS),
    objects_of(output_fields) | json_values,
    objects_of(media_fields),
    objects_of(media_fields) | json_values,
)


def look_at_everything(body):
    try:
        jobs = parse_job_array(body)
    except MpcProtocolError:
        return
    for job in jobs:
        for name in PROPERTIES:
            getattr(job, name)
        result = to_result(job)
        # What the tasks downstream get must fit into any store.
        json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
        describe_change(job), describe_failure(job)
        assert (job.state is JobState.SUCCEEDED) == (job.status in ("SUCCEEDED", "SUCCEED"))


@settings(max_examples=500, deadline=None)
@given(st.lists(entries | json_values, max_size=3))
def test_any_entries_are_read_without_an_exception(sent):
    look_at_everything(json.dumps({"job_array": sent}).encode())


@settings(max_examples=200, deadline=None)
@given(json_values | st.fixed_dictionaries({"job_array": json_values}))
def test_any_json_becomes_jobs_or_a_protocol_error(sent):
    look_at_everything(json.dumps(sent, ensure_ascii=True).encode())


@given(
    st.binary(max_size=200) | st.binary(max_size=60).map(lambda junk: b'{"job_array":[{"job_id":"1' + junk + b'"}]}')
)
def test_any_bytes_become_jobs_or_a_protocol_error(body):
    look_at_everything(body)


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFFF", b"\xed\xa0\x80"])
@pytest.mark.parametrize("shape", ['{"%s": 1}', '{"bucket": "%s"}', '{"x": {"%s": "%s"}}'])
def test_half_a_character_anywhere_does_no_harm(half, shape):
    inner = shape.encode().replace(b"%s", half)
    look_at_everything(b'{"job_array": [{"job_id": "1", "output": ' + inner + b', "editing_output": ' + inner + b"}]}")


def test_a_whole_character_in_two_halves_stays_whole():
    (job,) = parse_job_array(b'{"job_array": [{"job_id": "1", "user_data": "\\ud83d\\ude00 \\ud800"}]}')
    assert job.user_data == "😀 ?"


@pytest.mark.parametrize("depth", [50, 300, 900])
def test_deep_nesting_in_a_field_does_no_harm(depth):
    deep = b"[" * depth + b"]" * depth
    inner = b'{"x": ' + deep + b', "video_info": {"y": ' + deep + b"}}"
    look_at_everything(b'{"job_array": [{"job_id": 1, "metadata": [{"name": "a", "value": ' + deep + b'}], "output": ')
    look_at_everything(
        b'{"job_array": [{"job_id": 1, "metadata": [{"name": "a", "value": '
        + deep
        + b'}], "output": '
        + inner
        + b', "editing_output": '
        + inner
        + b"}]}"
    )
