# SPDX-License-Identifier: Apache-2.0
"""
What a sensor makes of each situation: the one table that tests and docs are made from.

``python tests/airflow/outcome_table.py`` writes it into ``docs/outcomes.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcomes.md"
BEGIN, END = "<!-- The table is made from tests/airflow/outcome_table.py. -->", "<!-- The table ends here. -->"

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
    "silent_fail": {"silent_fail": True},
    "retries=2": {"retries": 2},
}


@dataclass(frozen=True)
class End:
    """
    A way for a try to end.

    :param states: by variant, in the order of :data:`VARIANTS`.
    :param error: the class of what was raised, or the cause of a skip; None for success.
    """

    states: tuple[str, str, str, str, str]
    error: str | None

    def state(self, variant: str) -> str:
        return self.states[list(VARIANTS).index(variant)]


SUCCESS = End(("success",) * 5, None)


def final(error: str) -> End:
    """A retry cannot cure it."""
    return End(("failed", "skipped", "skipped", "failed", "failed"), error)


def retryable(error: str) -> End:
    """A retry may cure it, so ``soft_fail`` does not hide it."""
    return End(("failed", "failed", "skipped", "failed", "up_for_retry"), error)


TIMEOUT = final("AirflowSensorTimeout")
EXECUTION_TIMEOUT = End(("failed", "failed", "failed", "failed", "up_for_retry"), "AirflowTaskTimeout")


@dataclass(frozen=True)
class Row:
    """
    A situation, and how a try ends in it.

    :param situation: for the docs.
    :param end: in each mode that is not named in ``differs``.
    :param silent: in its place with ``silent_fail``.
    :param differs: other ends by mode; None: it cannot happen there.
    :param arrange: sets up the emulator, may return the job's id.
    :param options: the sensor's.
    :param world: attributes of the test's surroundings: ``event``, ``crash``, ``triggerer``, ``connection``, ``env``.
    """

    situation: str
    end: End
    arrange: Callable[[Any], Any] = lambda emulator: emulator.job(["SUCCEEDED"])
    silent: End | None = None
    differs: Mapping[str, End | None] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)

    def end_in(self, mode: str, variant: str) -> End | None:
        if mode in self.differs:
            return self.differs[mode]
        return self.silent if self.silent and variant == "silent_fail" else self.end


MODES = ("poke", "reschedule", "deferrable")
ONLY_DEFERRABLE = {"poke": None, "reschedule": None}
QUICK = {"timeout": 0.5}


def _faulty(kind: str, **options: Any) -> Callable[[Any], Any]:
    def arrange(emulator: Any) -> Any:
        emulator.fault(kind, match="list", **options)
        return emulator.job(["SUCCEEDED"])

    return arrange


def _running(emulator: Any) -> Any:
    return emulator.job(["PROCESSING"])


def _one_of_three_fails(emulator: Any) -> Any:
    return [emulator.job(["SUCCEEDED"]), emulator.job(["FAILED"]), emulator.job(["PROCESSING"])]


def _unknown(behaviour: str, status: int = 403) -> Callable[[Any], Any]:
    def arrange(emulator: Any) -> Any:
        emulator.variant.update(unknown_id_behaviour=behaviour, unknown_id_status=status)
        return [emulator.job(["SUCCEEDED"]), "99"]

    return arrange


_NOT_FOUND = final("MpcJobNotFoundError")
_BAD_EVENT = retryable("MpcTriggerEventError")

ROWS = (
    Row("All jobs succeed", SUCCESS, lambda emulator: [emulator.job(["SUCCEEDED"]), emulator.job(["SUCCEEDED"])]),
    Row(
        "… with MPC's code for a job that is done (MPC.10218)",
        SUCCESS,
        lambda emulator: emulator.variant.update(success_code_10218=True),
    ),
    Row("One of the jobs fails", final("MpcJobFailedError"), _one_of_three_fails),
    Row("A job is cancelled", final("MpcJobFailedError"), lambda emulator: emulator.job(["CANCELED"])),
    Row("A job vanishes while waited for", _NOT_FOUND, lambda emulator: emulator.job(["PROCESSING", None])),
    Row("Unknown id, left out of the reply", _NOT_FOUND, _unknown("absent")),
    Row("Unknown id, told as `NO_TASK`", _NOT_FOUND, _unknown("no_task")),
    Row("Unknown id, the call is refused (MPC.10211)", _NOT_FOUND, _unknown("error")),
    Row(
        "A job is listed only after a while, within `[mpc] missing_grace`",
        SUCCESS,
        lambda emulator: emulator.job([None, "SUCCEEDED"]),
        world={"env": {"AIRFLOW__MPC__MISSING_GRACE": "30"}},
    ),
    Row(
        "A status that this provider does not know, until the timeout",
        TIMEOUT,
        lambda emulator: emulator.job(["PAUSED_FOR_LUNCH"]),
        options=QUICK,
    ),
    Row("Credentials refused", final("MpcAuthenticationError"), _faulty("signature")),
    Row("Permission refused", final("MpcPermissionError"), _faulty("forbidden")),
    Row(
        "The connection lacks a field",
        final("MpcConfigurationError"),
        world={"connection": '{"conn_type": "huaweicloud_mpc", "login": "AK", "extra": {"region": "cn-north-4"}}'},
    ),
    Row("The id is rendered to nothing", final("MpcInputError"), lambda emulator: "{{ params.nothing }}"),
    Row("Outage shorter than `[mpc] outage_tolerance`", SUCCESS, _faulty("503", times=2)),
    Row("Too many calls (429), for a while", SUCCESS, _faulty("429", times=1, retry_after=0)),
    Row(
        "Outage longer than `[mpc] outage_tolerance`",
        retryable("MpcOutageError"),
        _faulty("503"),
        silent=TIMEOUT,
        differs={"reschedule": TIMEOUT},
        options={"timeout": 1.2},
        world={"env": {"AIRFLOW__MPC__OUTAGE_TOLERANCE": "0.3"}},
    ),
    Row(
        "A reply at the first look as from a wrong address (a redirect, a certificate refused)",
        retryable("MpcRedirectError"),
        _faulty("redirect"),
        silent=TIMEOUT,
        options={"timeout": 0.6},
    ),
    Row("`timeout` passes", TIMEOUT, _running, options=QUICK),
    Row(
        "`execution_timeout` passes",
        EXECUTION_TIMEOUT,
        _running,
        differs={"reschedule": TIMEOUT},
        options={"execution_timeout": 0.6, "timeout": 1.2},
    ),
    Row(
        "`execution_timeout` passes within one look",
        EXECUTION_TIMEOUT,
        _faulty("slow", seconds=1.5),
        options={"execution_timeout": 0.5},
    ),
    Row(
        "No triggerer comes round until `timeout` and a minute",
        TIMEOUT,
        _running,
        differs=ONLY_DEFERRABLE,
        options=QUICK,
        world={"triggerer": False},
    ),
    Row(
        "No triggerer comes round until `execution_timeout` and a minute",
        EXECUTION_TIMEOUT,
        _running,
        differs=ONLY_DEFERRABLE,
        options={"execution_timeout": 0.3},
        world={"triggerer": False},
    ),
    Row(
        "The trigger crashes",
        retryable("TaskDeferralError"),
        differs=ONLY_DEFERRABLE,
        world={"crash": RuntimeError("a bug")},
    ),
    Row(
        "Event of a newer version, with more in it",
        SUCCESS,
        differs=ONLY_DEFERRABLE,
        world={"event": lambda event: {**event, "version": 9, "more": {"of": ["it"]}}},
    ),
    Row(
        "Event of a newer version, of a kind not known",
        _BAD_EVENT,
        differs=ONLY_DEFERRABLE,
        world={"event": lambda event: {**event, "version": 9, "outcome": "archived"}},
    ),
    Row(
        "Event of an older version, with less in it",
        SUCCESS,
        differs=ONLY_DEFERRABLE,
        world={"event": lambda event: {name: event[name] for name in ("outcome", "job_ids")}},
    ),
    Row("Event without a kind", _BAD_EVENT, differs=ONLY_DEFERRABLE, world={"event": lambda event: {"status": "ok"}}),
    Row("Empty event", _BAD_EVENT, differs=ONLY_DEFERRABLE, world={"event": lambda event: {}}),
    Row("No event at all", _BAD_EVENT, differs=ONLY_DEFERRABLE, world={"event": lambda event: None}),
    Row("A word for an event", _BAD_EVENT, differs=ONLY_DEFERRABLE, world={"event": lambda event: "success"}),
    Row(
        "Event of an error that this version does not know",
        _BAD_EVENT,
        differs=ONLY_DEFERRABLE,
        world={"event": lambda event: {**event, "outcome": "error", "error": {"kind": "MpcMoonError", "what": "?"}}},
    ),
    Row(
        "Event of a success that lacks a job",
        _BAD_EVENT,
        differs=ONLY_DEFERRABLE,
        world={"event": lambda event: {**event, "jobs": []}},
    ),
)


def table() -> str:
    """Return the table as Markdown."""
    lines = [
        f"| Situation | Modes | {' | '.join(f'`{name}`' if name != 'plain' else name for name in VARIANTS)} |",
        f"|---|---|{'---|' * len(VARIANTS)}",
    ]
    for row in ROWS:
        groups: dict[tuple[str, ...], list[str]] = {}
        for mode in MODES:
            ends = [(row.end_in(mode, variant), variant) for variant in VARIANTS]
            if ends[0][0] is not None:
                groups.setdefault(tuple(_cell(end, variant) for end, variant in ends), []).append(mode)
        for number, (cells, modes) in enumerate(groups.items()):
            shown = "all" if len(modes) == len(MODES) else ", ".join(modes)
            lines.append(f"| {row.situation if number == 0 else ''} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(end: End | None, variant: str) -> str:
    assert end is not None
    state = end.state(variant).replace("_", " ")
    return state if end.error is None else f"{state}: `{end.error}`"


def page_with_table(page: str) -> str:
    """Return the page with the table put in."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
