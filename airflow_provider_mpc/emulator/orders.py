# SPDX-License-Identifier: Apache-2.0
"""What a caller of the create API asks for, checked as far as it can be without looking at any media."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from airflow_provider_mpc.emulator.replies import mpc_error


@dataclass(frozen=True, slots=True)
class ObsObject:
    """A place in OBS; ``object`` may be a folder when there is a ``file_name``, or for an output."""

    bucket: str
    object: str
    location: str
    file_name: str | None = None

    @property
    def key(self) -> str:
        """Return the object key, file name included."""
        if self.file_name is None or self.object.rpartition("/")[2] == self.file_name:
            return self.object
        return f"{self.object.rstrip('/')}/{self.file_name}" if self.object else self.file_name

    def as_output(self, job_id: str) -> dict[str, str]:
        """Return it as a job's ``output``; a folder gets a file name made from the job id."""
        output = {"bucket": self.bucket, "location": self.location, "object": self.object}
        if self.file_name is not None:
            output["file_name"] = self.file_name
        elif self.object.endswith("/"):
            output["file_name"] = f"{job_id}.mp4"
        return output

    def named(self, job_id: str) -> ObsObject:
        """Return the output with the file name :meth:`as_output` tells."""
        return ObsObject(**self.as_output(job_id))


@dataclass(frozen=True, slots=True)
class ClipInput:
    """A source, and the part of it that is wanted, in seconds; a negative time counts from the end."""

    source: ObsObject
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How the clip is to look; 0 for width or height: as the source, or in proportion to the other."""

    format: str = "MP4"
    width: int = 0
    height: int = 0
    adapt_resolution: bool = True
    upsample: bool = False
    reference: Literal["", "NONE", "MAX_BITRATE", "MAX_RESOLUTION"] = ""


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """A whole create request."""

    inputs: tuple[ClipInput, ...]
    output: ObsObject
    settings: ClipSettings
    metadata: list[dict[str, Any]]
    user_data: str | None


def parse_order(content_type: str, body: bytes, region: str) -> ClipOrder:
    """
    Read the body of a create call.

    :param region: where all buckets have to be.
    :raises ApiError: MPC.10205 (content type), MPC.10202 (parameters) or MPC.10209 (places).
    """
    if not content_type.lower().startswith("application/json"):
        raise mpc_error("MPC.10205")
    try:
        parsed = json.loads(body)
        # What cannot be written as JSON again (NaN, half a surrogate pair) could not be echoed.
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        _refuse("the body is not JSON")
    request = _Fields(parsed)
    inputs = tuple(_input(_Fields(item), region) for item in request.list("inputs"))
    if not inputs:
        _refuse("inputs")
    return ClipOrder(
        inputs=inputs,
        output=_place(_Fields(request.get("output")), region, file_expected=False),
        settings=_settings(_Fields(request.get("editing_settings") or {})),
        metadata=request.list("metadata"),
        user_data=request.text("user_data"),
    )


def _input(item: _Fields, region: str) -> ClipInput:
    source = _place(_Fields(item.get("input")), region, file_expected=True)
    return ClipInput(source, item.seconds("timeline_start"), item.seconds("timeline_end"))


def _place(item: _Fields, region: str, *, file_expected: bool) -> ObsObject:
    bucket, key = item.text("bucket"), item.text("object")
    if not bucket or key is None or (file_expected and not key):
        raise mpc_error("MPC.10209")
    location = item.text("location") or region
    if location != region:
        raise mpc_error("MPC.10209", f"The bucket is not in region {region}.")
    return ObsObject(bucket, key, location, item.text("file_name") or None)


def _settings(item: _Fields) -> ClipSettings:
    reference = item.choice("reference", "", "NONE", "MAX_BITRATE", "MAX_RESOLUTION")
    return ClipSettings(
        format=item.choice("format", "MP4", "HLS"),
        width=item.whole("width"),
        height=item.whole("height"),
        adapt_resolution=item.choice("resolution_adaptation", "OPEN", "CLOSE") == "OPEN",
        upsample=item.choice("resolution_upsample", "OFF", "ON") == "ON",
        reference=reference,  # type: ignore[arg-type]  # choice() returns one of its arguments
    )


class _Fields:
    """The fields of a JSON object, each read as the type it has to have."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            _refuse("an object is expected")
        self._value = value

    def get(self, name: str) -> Any:
        return self._value.get(name)

    def text(self, name: str) -> str | None:
        value = self._value.get(name)
        if value is not None and not isinstance(value, str):
            _refuse(name)
        return value

    def list(self, name: str) -> list[Any]:
        value = self._value.get(name) or []
        if not isinstance(value, list):
            _refuse(name)
        return value

    def choice(self, name: str, default: str, *others: str) -> str:
        value = self.text(name) or default
        if value not in (default, *others):
            _refuse(name)
        return value

    def whole(self, name: str) -> int:
        value = self._value.get(name) or 0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e5:
            _refuse(name)
        return int(value)

    def seconds(self, name: str) -> float | None:
        value = self._value.get(name)
        if value is None or value == "":
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            _refuse(name)
        if not math.isfinite(seconds):
            _refuse(name)
        return seconds


def _refuse(what: str) -> NoReturn:
    raise mpc_error("MPC.10202", f"Invalid request parameter: {what}.")
