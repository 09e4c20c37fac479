# SPDX-License-Identifier: Apache-2.0
"""What the operators tell Airflow of the clips they hand on."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_mpc.api.models import EditingJob
from airflow_provider_mpc.assets import emit_clip_events, parse_obs_uri
from airflow_provider_mpc.outcome import EditingJobResult, to_result

CLIPS = AssetAlias("clips")


def clip(job_id: str = "1", key: str = "out/clip.mp4", **fields: Any) -> EditingJobResult:
    folder, _, name = key.rpartition("/")
    raw = {
        "job_id": job_id,
        "status": "SUCCEEDED",
        "output": {"bucket": "media", "location": "cn-north-4", "object": folder or name, "file_name": name},
        "editing_output": {"duration_ms": 4000, "size_byte": 77, "format": "MP4", "video_info": {"width": 640}},
        **fields,
    }
    job = EditingJob.from_json(raw)
    assert job is not None
    return to_result(job)


def emitted(results: list[EditingJobResult], *outlets: Any) -> OutletEventAccessors:
    events = OutletEventAccessors()
    emit_clip_events({"outlet_events": events}, results, outlets)
    return events


def test_each_clip_is_an_event_with_its_place_and_metadata() -> None:
    events = emitted([clip("1"), clip("2", "out/b.mp4")], CLIPS)[CLIPS].asset_alias_events
    assert [event.dest_asset_key.uri for event in events] == ["obs://media/out/clip.mp4", "obs://media/out/b.mp4"]
    assert events[0].extra == {
        "job_id": "1",
        "bucket": "media",
        "key": "out/clip.mp4",
        "uri": "obs://media/out/clip.mp4",
        "duration_ms": 4000,
        "size_byte": 77,
        "format": "MP4",
        "width": 640,
    }


def test_an_awkward_key_arrives_whole() -> None:
    key = "out/Über 100% #1? ok.mp4"
    (event,) = emitted([clip(key=key)], CLIPS)[CLIPS].asset_alias_events
    assert parse_obs_uri(event.dest_asset_key.uri).key == key
    assert event.extra["key"] == key


def test_every_alias_hears_of_it() -> None:
    other = AssetAlias("other")
    events = emitted([clip()], CLIPS, other)
    assert len(events[CLIPS].asset_alias_events) == len(events[other].asset_alias_events) == 1


def test_a_fixed_outlet_that_is_the_clip_gets_the_metadata() -> None:
    this, another = Asset("obs://media/out/clip.mp4"), Asset("obs://media/another.mp4")
    events = emitted([clip()], this, another)
    assert events[this].extra["duration_ms"] == 4000
    assert events[another].extra == {}


def test_a_clip_whose_place_mpc_did_not_tell_is_no_event() -> None:
    result = clip(output={"bucket": "media"})
    assert emitted([result], CLIPS)[CLIPS].asset_alias_events == []


def test_a_clip_that_cannot_be_an_asset_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    events = emitted([clip("1", "é" * 500), clip("2")], CLIPS)[CLIPS].asset_alias_events
    assert [event.extra["job_id"] for event in events] == ["2"]
    assert "No asset event for the clip of job 1" in caplog.text


def test_the_extra_stays_small() -> None:
    small, large = [{"name": "a", "value": "b"}], [{"name": str(n), "value": "x" * 100} for n in range(50)]
    (event,) = emitted([clip(metadata=small)], CLIPS)[CLIPS].asset_alias_events
    assert event.extra["metadata"] == {"a": "b"}
    (event,) = emitted([clip(metadata=large)], CLIPS)[CLIPS].asset_alias_events
    assert "metadata" not in event.extra
    assert len(json.dumps(event.extra)) < 4096


def test_without_outlets_nothing_of_the_context_is_touched() -> None:
    emit_clip_events({}, [clip()], [])
