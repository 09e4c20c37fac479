# SPDX-License-Identifier: Apache-2.0
"""
What a user writes for a clip, checked and made into MPC's create request (api-mpc/CreateEditingJobs).

Times are seconds as a number, ``"00:01:30.5"``, or a timedelta; files are ``obs://bucket/key`` or MPC's own objects.
When the Dag is parsed, templates and upstream tasks' outputs are passed over: they are checked when the task runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from airflow_provider_mpc.api.errors import MpcInputError
from airflow_provider_mpc.templating import is_open

Time = int | float | str | timedelta

_CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:\.\d+)?)")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "resolution_adaptation": ("OPEN", "CLOSE"),
    "resolution_upsample": ("ON", "OFF"),
    "format": ("HLS", "MP4"),
    "reference": ("", "NONE", "MAX_BITRATE", "MAX_RESOLUTION"),
}
_SIZES = ("width", "height")
_EDITING_TYPES = (0, 1)
_PLACE_PARTS = ("bucket", "location", "object", "file_name")
_INPUT_PARTS = ("source", "input", "start", "end", "timeline_start", "timeline_end")


class ClipInput(TypedDict, total=False):
    """One part of a clip: a source and the time range of it that is wanted; all of it without a range."""

    source: str
    start: Time
    end: Time


def build_request(
    *,
    source: Any,
    start: Any,
    end: Any,
    inputs: Any,
    output: Any,
    editing_settings: Any,
    editing_type: Any,
    metadata: Any,
    user_data: Any,
    location: str | None,
    rendered: bool = True,
) -> dict[str, Any]:
    """
    Return the body of MPC's create call.

    :param location: region of the buckets that do not say theirs.
    :param rendered: False when the Dag is parsed: what is not yet known is passed over, and missing in the body.
    :raises MpcInputError: something cannot be right; the text says what.
    """
    if (source is None) == (inputs is None):
        raise MpcInputError("Give either source (with start and end) or inputs")
    if source is not None:
        inputs = [{"source": source, "start": start, "end": end}]
    elif start is not None or end is not None:
        raise MpcInputError("start and end belong to source; with inputs each input has its own")
    make = _Builder(location, rendered)
    body: dict[str, Any] = {
        "inputs": make.inputs(inputs),
        "output": make.place(output, "output", folder=True),
        "editing_settings": make.settings(editing_settings),
        "editing_type": make.editing_type(editing_type),
        "metadata": make.metadata(metadata),
        "user_data": None if user_data is None else str(user_data),
    }
    return {name: value for name, value in body.items() if value is not None}


def seconds_text(value: Any, name: str) -> str:
    """
    Return a time as MPC wants it: seconds as text.

    :raises MpcInputError: it is no time, or negative.
    """
    seconds: float | None = None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        clock = _CLOCK.fullmatch(value.strip())
        if clock:
            seconds = int(clock["h"] or 0) * 3600 + int(clock["m"]) * 60 + float(clock["s"])
        elif re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            seconds = float(value)
    if seconds is None or not 0 <= seconds < 1e7:
        raise MpcInputError(
            f"{name} is {value!r}", advice='Give seconds (90.5), "00:01:30.5" or a timedelta, 0 or more.'
        )
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def parse_obs_uri(uri: str, name: str) -> tuple[str, str]:
    """
    Return bucket and key of ``obs://bucket/key``.

    :raises MpcInputError: it is no such address.
    """
    match = re.fullmatch(r"obs://(?P<bucket>[^/\s]{1,64})/(?P<key>.+)", uri.strip(), re.DOTALL)
    if match is None or any(part in (".", "..") for part in match["key"].split("/")):
        raise MpcInputError(f"{name} is {uri!r}", advice="Give it as obs://bucket/key.")
    return match["bucket"], match["key"]


class _Builder:
    """Makes the parts of a request; None for a part that is not there, or not yet known."""

    def __init__(self, location: str | None, rendered: bool) -> None:
        self._location = location
        self._rendered = rendered

    def _skips(self, value: Any) -> bool:
        return value is None or (not self._rendered and is_open(value))

    def inputs(self, inputs: Any) -> list[dict[str, Any]] | None:
        if self._skips(inputs):
            return None
        if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, Sequence) or not inputs:
            raise MpcInputError("inputs must be a list with at least one input")
        return [self._input(one) for one in inputs]

    def _input(self, one: Any) -> dict[str, Any]:
        if self._skips(one):
            return {}
        if not isinstance(one, Mapping):
            raise MpcInputError(f"An input must be an object, not {one!r}")
        _refuse_others("An input", one, _INPUT_PARTS)
        start = self._seconds(one.get("start", one.get("timeline_start")), "start")
        end = self._seconds(one.get("end", one.get("timeline_end")), "end")
        start_is_open = start is None and one.get("start", one.get("timeline_start")) is not None
        if end is not None and not start_is_open and float(end) <= float(start or 0):
            raise MpcInputError(f"The clip would end at {end} s, before it begins at {start or 0} s")
        parts = {
            "input": self.place(one.get("source", one.get("input")), "source", folder=False),
            "timeline_start": start,
            "timeline_end": end,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _seconds(self, value: Any, name: str) -> str | None:
        return None if self._skips(value) else seconds_text(value, name)

    def place(self, value: Any, name: str, *, folder: bool) -> dict[str, Any] | None:
        if value is not None and self._skips(value):
            return None
        if isinstance(value, str):
            bucket, key = parse_obs_uri(value, name)
            place: dict[str, Any] = {"bucket": bucket, "object": key}
            head, slash, file_name = key.rpartition("/")
            if folder and slash and file_name:
                place |= {"object": head + slash, "file_name": file_name}
        elif isinstance(value, Mapping):
            _refuse_others(name, value, _PLACE_PARTS)
            for part in ("bucket", "object"):
                if not value.get(part):
                    raise MpcInputError(f"{name} has no {part}")
            place = dict(value)
        else:
            raise MpcInputError(f"{name} is {value!r}", advice="Give obs://bucket/key, or bucket, location and object.")
        if not place.get("location"):
            if self._rendered and not self._location:
                raise MpcInputError(
                    f"{name}: the region of the bucket is not known",
                    advice="Fill in the connection's field 'Region', or give bucket, location and object.",
                )
            place["location"] = self._location
        return place

    def settings(self, settings: Any) -> dict[str, Any] | None:
        if self._skips(settings):
            return None
        if not isinstance(settings, Mapping):
            raise MpcInputError(f"editing_settings must be an object, not {settings!r}")
        _refuse_others("editing_settings", settings, (*_CHOICES, *_SIZES))
        return {name: self._setting(name, value) for name, value in settings.items() if not self._skips(value)}

    def _setting(self, name: str, value: Any) -> Any:
        if name in _SIZES:
            pixels = _whole(value)
            if pixels is None or pixels < 0:
                raise MpcInputError(f"editing_settings: {name} is {value!r}, not a number of pixels")
            return pixels
        if value not in _CHOICES[name]:
            raise MpcInputError(f"editing_settings: {name} is {value!r}, not one of {', '.join(_CHOICES[name])}")
        return value

    def editing_type(self, value: Any) -> int | None:
        if self._skips(value):
            return None
        chosen = _whole(value)
        if chosen not in _EDITING_TYPES:
            raise MpcInputError(
                f"editing_type is {value!r}",
                advice="Give 1 (cut from several files, join in order) or 0 (MPC's older way).",
            )
        return chosen

    def metadata(self, metadata: Any) -> list[dict[str, Any]] | None:
        if self._skips(metadata):
            return None
        sound = isinstance(metadata, Sequence) and not isinstance(metadata, (str, bytes))
        if not sound or not all(
            self._skips(one) or (isinstance(one, Mapping) and set(one) == {"name", "value"}) for one in metadata
        ):
            raise MpcInputError("metadata must be a list of objects with name and value")
        return [dict(one) for one in metadata if not self._skips(one)]


def _whole(value: Any) -> int | None:
    """Return a whole number, also of the text that a template renders to; None for anything else."""
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _refuse_others(what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    others = sorted(str(name) for name in given if name not in known)
    if others:
        raise MpcInputError(f"{what} has no {', '.join(others)}; it has {', '.join(known)}")
