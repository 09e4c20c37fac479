# SPDX-License-Identifier: Apache-2.0
"""
What comes back from MPC, typed: liberal in what is read, strict in what is claimed.

The fields are those of "Querying a Clipping Task" (api-mpc/ListEditingJobs) and, for a job's reason, of
the API's earlier description, since today's names none. MPC's pages contradict each other in types,
so a number may come as text and an id as a number; an odd field never fails a poll, it reads as None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Annotated, Any

import pendulum
from pydantic import BaseModel, BeforeValidator, ConfigDict

from airflow_provider_mpc.api.errors import SOMEBODY_ELSE_ADVICE, MpcProtocolError


class JobState(Enum):
    """What a job's status means for somebody who waits."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED)


# v2 documents WAITING, PROCESSING, SUCCEEDED and FAILED; the other words come from v1 and from the
# sibling services, which share code with it. A word that is not here is never taken as success.
STATUS_MEANING: Mapping[str, JobState] = {
    "INIT": JobState.PENDING,
    "WAITING": JobState.PENDING,
    "PREPROCESSING": JobState.PENDING,
    "PROCESSING": JobState.PENDING,
    "TRANSCODING": JobState.PENDING,
    "NEED_TO_BE_AUDIT": JobState.PENDING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "SUCCEED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELED": JobState.FAILED,
    "CANCELLED": JobState.FAILED,
    "CANCEL": JobState.FAILED,
    "NO_TASK": JobState.ABSENT,
}

_LARGEST_INTEGER = 2**63 - 1
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


def lenient_number(value: Any) -> int | float | None:
    """Read a number that may come as text; anything else is None."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 40:
            return None
        try:
            value = int(text)
        except ValueError:
            try:
                value = float(text)
            except ValueError:
                return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        if not value.is_integer():
            return value
        value = int(value)
    return value if abs(value) <= _LARGEST_INTEGER else None


def _lenient_text(value: Any) -> str | None:
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    return str(value)


def _lenient_time(value: Any) -> pendulum.DateTime | None:
    """Read ``yyyyMMddHHmmss``, UTC, as text or number."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        text = str(value).strip()
    except ValueError:
        return None
    if len(text) != 14 or not (text.isascii() and text.isdigit()):
        return None
    try:
        return pendulum.datetime(
            int(text[:4]), int(text[4:6]), int(text[6:8]), int(text[8:10]), int(text[10:12]), int(text[12:])
        )
    except ValueError:
        return None


def _object_or_none(value: Any) -> Any:
    return value if isinstance(value, (Mapping, BaseModel)) else None


def _only_objects(value: Any) -> Any:
    """Keep the objects of a list; a single object counts as a list of one."""
    if isinstance(value, Mapping):
        return (value,)
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(item for item in value if isinstance(item, (Mapping, BaseModel)))


Number = Annotated[int | float | None, BeforeValidator(lenient_number)]
Text = Annotated[str | None, BeforeValidator(_lenient_text)]


class _Reply(BaseModel):
    """A part of a reply; fields it does not know are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)


class ObsObject(_Reply):
    """Where a file lies in OBS (the API's ObsObjInfo)."""

    bucket: Text = None
    location: Text = None
    """Region id of the bucket."""
    object: Text = None
    """Key or folder."""
    file_name: Text = None

    @property
    def key(self) -> str | None:
        """The file's key: object and file name joined, unless the object ends with the name already."""
        if not self.object:
            return self.file_name or None
        if not self.file_name or self.object == self.file_name or self.object.endswith(f"/{self.file_name}"):
            return self.object
        return f"{self.object.rstrip('/')}/{self.file_name}"

    @property
    def uri(self) -> str | None:
        """``obs://bucket/key``, or None while MPC has not told both."""
        return f"obs://{self.bucket}/{self.key}" if self.bucket and self.key else None


class VideoInfo(_Reply):
    """The video stream of an output (EditingVideoInfo)."""

    width: Number = None
    height: Number = None
    bitrate: Number = None
    """kbit/s."""
    bitrate_bps: Number = None
    """bit/s."""
    frame_rate: Number = None
    """Frames a second."""
    codec: Text = None
    dynamic_range: Text = None
    """HDR or SDR."""
    duration: Number = None
    """Seconds."""
    duration_ms: Number = None
    rotate: Number = None
    """Degrees."""


class AudioInfo(_Reply):
    """An audio stream of an output (EditingAudioInfo)."""

    codec: Text = None
    sample: Number = None
    """Samples a second."""
    channels: Number = None
    bitrate: Number = None
    """kbit/s."""
    bitrate_bps: Number = None
    """bit/s."""
    duration: Number = None
    """Seconds."""
    duration_ms: Number = None


class EditingOutput(_Reply):
    """What MPC knows of the file it made (EditingOutputFileInfo)."""

    duration: Number = None
    """Seconds."""
    duration_ms: Number = None
    format: Text = None
    size: Number = None
    """KB."""
    size_byte: Number = None
    md5: Text = None
    video_info: Annotated[VideoInfo | None, BeforeValidator(_object_or_none)] = None
    audio_info: Annotated[tuple[AudioInfo, ...], BeforeValidator(_only_objects)] = ()


@dataclass(frozen=True)
class EditingJob:
    """
    A clipping task as MPC describes it.

    Only what every poll looks at is read at once; the rest is read when asked for, since a thousand
    waiting jobs are parsed every few seconds.

    :param job_id: always text.
    :param status: as sent, in upper case; empty if MPC sent none.
    :param state: what the status means.
    :param progress: percent, if told.
    :param raw: the whole object as MPC sent it.
    """

    job_id: str
    status: str
    state: JobState
    progress: int | float | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> EditingJob | None:
        """Read one entry of ``job_array``; None for one without a usable id."""
        job_id = job_id_in(raw)
        if job_id is None:
            return None
        status = raw.get("status")
        status = status.strip().upper() if isinstance(status, str) else ""
        return cls(
            job_id=job_id,
            status=status,
            state=STATUS_MEANING.get(status, JobState.UNKNOWN),
            progress=lenient_number(raw.get("progress")),
            raw=raw,
        )

    @property
    def create_time(self) -> pendulum.DateTime | None:
        """When the job was made, UTC."""
        return _lenient_time(self.raw.get("create_time"))

    @property
    def start_time(self) -> pendulum.DateTime | None:
        """When MPC began with it, UTC."""
        return _lenient_time(self.raw.get("start_time"))

    @property
    def end_time(self) -> pendulum.DateTime | None:
        """When it ended, UTC."""
        return _lenient_time(self.raw.get("end_time"))

    @cached_property
    def output(self) -> ObsObject:
        """Where the clip lies; its fields are None while MPC has not told it."""
        return ObsObject.model_validate(_mapping(self.raw.get("output")))

    @cached_property
    def editing_output(self) -> EditingOutput:
        """What MPC knows of the clip; its fields are None while MPC has not told it."""
        return EditingOutput.model_validate(_mapping(self.raw.get("editing_output")))

    @property
    def metadata_list(self) -> list[dict[str, Any]]:
        """The output's metadata as sent: objects with ``name`` and ``value``."""
        sent = self.raw.get("metadata")
        if isinstance(sent, Mapping):
            return [{"name": name, "value": value} for name, value in sent.items()]
        return [dict(item) for item in sent if isinstance(item, Mapping)] if isinstance(sent, list) else []

    @property
    def metadata(self) -> dict[str, Any]:
        """The output's metadata by name; of a repeated name the last wins."""
        return {str(item["name"]): item.get("value") for item in self.metadata_list if _is_name(item)}

    @property
    def user_data(self) -> str | None:
        """What the job's maker gave as ``user_data``, if MPC echoes it."""
        return _lenient_text(self.raw.get("user_data"))

    @property
    def reason_code(self) -> str | None:
        """The job's ``error_code``. A successful job may have one too (MPC.10218: done): it is no mark of failure."""
        return _first_text(self.raw, ("error_code",))

    @property
    def reason(self) -> str | None:
        """MPC's words on how the job ended, wherever this version of the API puts them."""
        names = ("error_msg", "description", "exec_description")
        return _first_text(self.raw, names) or _first_text(
            _mapping(self.raw.get("editing_output")), ("exec_description", "error_msg", "description")
        )


def job_id_in(raw: Mapping[str, Any]) -> str | None:
    """Return the id that a job's object tells, whatever its type and whether ``job_id`` or ``task_id``."""
    for name in ("job_id", "task_id"):
        job_id = raw.get(name)
        if isinstance(job_id, float) and job_id.is_integer():
            job_id = int(job_id)
        if isinstance(job_id, bool) or not isinstance(job_id, (str, int)):
            continue
        try:
            text = str(job_id).strip()
        except ValueError:
            continue
        if text:
            return text
    return None


def parse_job_array(body: bytes) -> list[EditingJob]:
    """
    Read the reply of a query.

    :raises MpcProtocolError: it is not a JSON object with a list under ``job_array``.
    """
    reply = parse_object(body)
    entries = reply.get("job_array")
    if not isinstance(entries, list):
        raise MpcProtocolError("MPC's reply has no list of jobs (job_array)")
    jobs = (EditingJob.from_json(entry) for entry in entries if isinstance(entry, dict))
    return [job for job in jobs if job is not None]


def parse_object(body: bytes) -> dict[str, Any]:
    """
    Read a reply that must be a JSON object.

    :raises MpcProtocolError: it is something else.
    """
    try:
        text = body.decode("utf-8-sig", "replace")
        reply = json.loads(text)
        if _HALF_CHARACTER.search(text):
            # JSON may name half of a surrogate pair; no other store or parser takes it.
            reply = json.loads(json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "nothing" if not body.strip() else "no JSON"
        raise MpcProtocolError(
            f"The reply is {kind} where a JSON object was expected",
            advice=SOMEBODY_ELSE_ADVICE,
        ) from None
    if not isinstance(reply, dict):
        raise MpcProtocolError(f"The reply is a JSON {type(reply).__name__} where an object was expected")
    return reply


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first_text(raw: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = raw.get(name)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                text = str(value).strip()
            except ValueError:
                continue
            if text:
                return text
    return None


def _is_name(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("name"), (str, int))
