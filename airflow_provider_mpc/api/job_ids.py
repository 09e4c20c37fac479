# SPDX-License-Identifier: Apache-2.0
"""What a user may write for ``job_id``, checked and made uniform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_mpc.api.errors import MpcInputError

JobId = str | int
JobIds = JobId | Sequence[JobId]
"""One job id, or several; ``30647`` and ``"30647"`` are the same."""

IDS_PER_CALL = 10
"""MPC's limit of one query (api-mpc/ListEditingJobs)."""
_MAX_LENGTH = 256


def normalize_job_id(value: Any) -> str:
    """
    Return a job id as text.

    :raises MpcInputError: it is empty, has a comma or a control character, or is a rendered list.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise MpcInputError(f"A job id must be text or a whole number, not {_shown(value)}")
    if isinstance(value, int):
        # CPython refuses to print a number of more than 4 300 digits.
        if value.bit_length() > _MAX_LENGTH:
            raise MpcInputError("A job id is too long: a number of more than 75 digits")
        return str(value)
    text = value.strip()
    if not text:
        raise MpcInputError("A job id is empty", advice="Give the id that MPC returned when the job was made.")
    if text[0] in "[({" and text[-1] in "])}":
        raise MpcInputError(
            f"job_id is the text {_shown(text)}, not a list",
            advice=(
                "A template renders a list to text. Hand over the upstream task's `.output` "
                "(job_id=upstream.output), or set render_template_as_native_obj=True on the Dag."
            ),
        )
    if text in ("None", "null"):
        raise MpcInputError(
            f"job_id is the text {text!r}",
            advice="A template rendered it: the upstream task pushed no job id. Look at its XCom.",
        )
    if "," in text:
        raise MpcInputError(
            f"The job id {_shown(text)} has a comma in it",
            advice="For several jobs give a list: job_id=['1', '2'].",
        )
    if len(text) > _MAX_LENGTH:
        raise MpcInputError(f"A job id is too long: {len(text)} characters, beginning with {text[:20]!r}")
    if text in (".", "..") or not text.isprintable():
        raise MpcInputError(f"{_shown(text)} is no job id")
    return text


def normalize_job_ids(value: Any) -> list[str]:
    """
    Return job ids as texts, each once, in the order given.

    :param value: an id, or a sequence of them (an upstream task's ``.output`` included).
    :raises MpcInputError: no id at all, or one of them is no id.
    """
    return list(dict.fromkeys(_each(value)))


def is_single(value: Any) -> bool:
    """Whether the user asked for one job (the answer is an object) and not for a list of them."""
    return isinstance(value, (str, int))


def _each(value: Any) -> Iterator[str]:
    if is_single(value):
        yield normalize_job_id(value)
        return
    if value is None or isinstance(value, (bytes, bytearray, memoryview, Mapping)) or not isinstance(value, Iterable):
        raise MpcInputError(
            f"job_id must be a job id or a list of them, not {_shown(value)}",
            advice="Did the upstream task push an id?" if value is None else "",
        )
    empty = True
    for item in value:
        empty = False
        yield normalize_job_id(item)
    if empty:
        raise MpcInputError("job_id is an empty list", advice="There is no job to ask for.")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else text[:77] + "..."
