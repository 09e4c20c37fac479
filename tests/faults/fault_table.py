# SPDX-License-Identifier: Apache-2.0
"""Every fault once, and what each path makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from fault_world import HOST_NAME, JOB_SECONDS, PATHS, TIMEOUT, TOLERANCE, World, two_certificates

SHORT = 0.2
"""The connection's time limit where a fault lets each call run into it; these seconds are real."""


class Kind(Enum):
    """What a fault does to a task."""

    HARMLESS = "no fault at all"
    PASSES = "waits bear it for the tolerance, a query for some attempts"
    THROTTLES = "waits bear it to their deadline, a query for some attempts"
    LOCKS = "waits bear it for the tolerance, a query fails and may be tried again"
    SUSPICIOUS = "borne where the endpoint was good before; else it fails and may be tried again"
    FINAL = "fails for good, at once"
    REFUSES_AN_ID = "fails for good when it is known that no single id is to blame"
    UNKNOWN_JOB = "fails for good when the grace for new jobs is over"


class Phase(Enum):
    """When a fault is there."""

    PASSING = "from the first call on, for some calls"
    PASSING_LATER = "after good answers, for some calls"
    LASTING = "from the first call on, to the end"
    LASTING_LATER = "after good answers, to the end"

    @property
    def later(self) -> bool:
        return self in (Phase.PASSING_LATER, Phase.LASTING_LATER)

    @property
    def passing(self) -> bool:
        return self in (Phase.PASSING, Phase.PASSING_LATER)


Play = Callable[[World, int, "int | None", Path], None]
"""Plays a fault after so many good calls, for so many calls (None: all)."""


@dataclass(frozen=True)
class Row:
    """
    One fault.

    :param name: as tests show it.
    :param kind: what is expected.
    :param error: the class that a query raises, and for kinds that fail at once a wait too.
    :param play: puts it into force.
    :param hits: calls it spoils in the passing phases.
    :param silence: seconds that no call may follow on a refusal.
    :param tolerance: ``[mpc] outage_tolerance``; less where each call really takes its time.
    """

    name: str
    kind: Kind
    error: str
    play: Play
    hits: int = 3
    silence: float = 0.0
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Emulated:
    """
    A fault of the emulator.

    :param limit: the connection's time limit.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None

    def __call__(self, world: World, after: int, times: int | None, _: Path) -> None:
        if self.limit is not None:
            world.edit(timeout=str(self.limit))
        world.emulator.fault(self.kind, times=times, match="list", after=after, **self.options)


def emulated(kind: str, *, limit: float | None = None, **options: Any) -> Play:
    return Emulated(kind, options, limit)


def skewed(world: World, after: int, times: int | None, _: Path) -> None:
    def skew(number: int) -> None:
        world.emulator.variant.clock_skew = 3600.0 if number > after else 0.0

    world.before_send = skew


def refused(world: World, after: int, times: int | None, _: Path) -> None:
    front = world.front()
    world.connect(url=f"http://127.0.0.1:{front.port}")
    world.before_send = _hitting(after, times, front.down, front.up)


def nameless(world: World, after: int, times: int | None, _: Path) -> None:
    front = world.front()
    world.connect(url=f"http://{HOST_NAME}:{front.port}")

    def lose() -> None:
        world.no_name_found.now = True
        # A kept connection needs no name.
        front.drop()

    def find() -> None:
        world.no_name_found.now = False

    world.before_send = _hitting(after, times, lose, find)


def untrusted(world: World, after: int, times: int | None, folder: Path) -> None:
    contexts, good = two_certificates(folder)
    front = world.front(contexts)
    world.connect(url=f"https://127.0.0.1:{front.port}", verify=str(good))
    world.before_send = _hitting(after, times, front.show_the_other_certificate, front.up)


def _hitting(
    after: int, times: int | None, begin: Callable[[], None], end: Callable[[], None]
) -> Callable[[int], None]:
    def before_send(number: int) -> None:
        hit = number > after and (times is None or number <= after + times)
        (begin if hit else end)()

    return before_send


def _gateway_rows() -> Iterator[Row]:
    codes: Mapping[tuple[Kind, str], tuple[str, ...]] = {
        (Kind.FINAL, "MpcEndpointError"): ("0101 404", "0103 404", "0501 405", "0502 405"),
        (Kind.REFUSES_AN_ID, "MpcRequestError"): (
            "0104 400",
            "0105 400",
            "0106 400",
            "0201 400",
            "0201 413",
            "0201 414",
            "0201 494",
            "0602 400",
            "0607 400",
        ),
        (Kind.PASSES, "MpcServerError"): (
            "0201 502",
            "0201 504",
            "0601 500",
            "0605 500",
            "0606 500",
            "0608 500",
            "0609 500",
            "0611 500",
            "0612 500",
            "0705 500",
            "0610 502",
            "0613 503",
        ),
        (Kind.FINAL, "MpcAuthenticationError"): ("0301 401", "0303 401", "0305 401", "0307 401", "0311 401"),
        (Kind.FINAL, "MpcPermissionError"): (
            "0302 403",
            "0304 403",
            "0306 403",
            "0310 403",
            "0401 403",
            "0402 403",
            "0404 403",
            "0801 403",
            "0802 403",
        ),
        (Kind.THROTTLES, "MpcThrottledError"): ("0308 429",),
    }
    for (kind, error), listed in codes.items():
        for one in listed:
            code, status = one.split()
            yield Row(f"APIGW.{one}", kind, error, emulated("gateway", code=f"APIGW.{code}", status=int(status)))


def _mpc_rows() -> Iterator[Row]:
    codes: Mapping[tuple[Kind, str], tuple[str, ...]] = {
        (Kind.REFUSES_AN_ID, "MpcRequestError"): ("10202 400", "10204 400", "10205 400", "10053 406"),
        (Kind.FINAL, "MpcAuthenticationError"): (
            "10203 401",
            "10206 401",
            "10207 401",
            "10208 401",
            "10208 400",
            "10208 403",
        ),
        (Kind.FINAL, "MpcPermissionError"): ("10209 403",),
        (Kind.FINAL, "MpcConflictError"): ("10212 400", "10212 403"),
        (Kind.UNKNOWN_JOB, "MpcJobNotFoundError"): ("10211 403", "10211 400"),
        (Kind.PASSES, "MpcServerError"): ("10050 406",),
    }
    for (kind, error), listed in codes.items():
        for one in listed:
            code, status = one.split()
            yield Row(f"MPC.{one}", kind, error, emulated("mpc", code=f"MPC.{code}", status=int(status)))


def _answers(status: int, body: Any = b"") -> Play:
    return emulated("respond", status=status, body=body)


_SERVER, _PROTOCOL, _TRANSPORT = "MpcServerError", "MpcProtocolError", "MpcTransportError"

ROWS: tuple[Row, ...] = (
    Row("429", Kind.THROTTLES, "MpcThrottledError", emulated("429"), silence=10),
    Row("429 with seconds", Kind.THROTTLES, "MpcThrottledError", emulated("429", retry_after=40), silence=40, hits=2),
    Row(
        "429 with a date",
        Kind.THROTTLES,
        "MpcThrottledError",
        emulated("429", retry_after=40, as_date=True),
        silence=38.5,
        hits=2,
    ),
    Row("429 with nonsense", Kind.THROTTLES, "MpcThrottledError", emulated("429", retry_after="soon"), silence=10),
    Row("bare 429", Kind.THROTTLES, "MpcThrottledError", _answers(429), silence=10),
    Row("500", Kind.PASSES, _SERVER, emulated("500")),
    Row("502", Kind.PASSES, _SERVER, emulated("502")),
    Row("503", Kind.PASSES, _SERVER, emulated("503")),
    Row("503 with seconds", Kind.PASSES, _SERVER, emulated("503", retry_after=20)),
    Row("504", Kind.PASSES, _SERVER, emulated("504")),
    Row("bare 500", Kind.PASSES, _SERVER, _answers(500)),
    Row("bare 599", Kind.PASSES, _SERVER, _answers(599)),
    Row("408", Kind.PASSES, _SERVER, _answers(408)),
    Row("HTML with 200", Kind.PASSES, _PROTOCOL, emulated("html")),
    Row("HTML with 503", Kind.PASSES, _SERVER, emulated("html", status=503)),
    Row("nothing with 200", Kind.PASSES, _PROTOCOL, emulated("empty")),
    Row("204", Kind.PASSES, _PROTOCOL, _answers(204)),
    Row("other JSON", Kind.PASSES, _PROTOCOL, emulated("json")),
    Row("JSON without a list", Kind.PASSES, _PROTOCOL, emulated("json", body={"job_array": None})),
    Row("a JSON list", Kind.PASSES, _PROTOCOL, emulated("json", body=[])),
    Row("an error with 200", Kind.PASSES, _PROTOCOL, emulated("mpc", code="MPC.10202", status=200)),
    Row("broken JSON", Kind.PASSES, _PROTOCOL, _answers(200, '{"job_array": [')),
    Row("cut off", Kind.PASSES, _TRANSPORT, emulated("truncated")),
    Row("cut off by a reset", Kind.PASSES, _TRANSPORT, emulated("truncated", reset=True)),
    Row("no HTTP", Kind.PASSES, _TRANSPORT, emulated("raw", data="220 mail.example ESMTP\r\n")),
    Row("no answer", Kind.PASSES, _TRANSPORT, emulated("slow", limit=SHORT), tolerance=100),
    Row("a dripping body", Kind.PASSES, _TRANSPORT, emulated("drip", limit=SHORT, interval=0.05), tolerance=100),
    Row(
        "dripping headers", Kind.PASSES, _TRANSPORT, emulated("drip_headers", limit=SHORT, interval=0.05), tolerance=100
    ),
    Row("reset", Kind.PASSES, _TRANSPORT, emulated("reset")),
    Row("closed", Kind.PASSES, _TRANSPORT, emulated("close")),
    Row("refused", Kind.PASSES, _TRANSPORT, refused),
    Row("no such name", Kind.PASSES, _TRANSPORT, nameless),
    Row("20 MB", Kind.PASSES, _PROTOCOL, emulated("big"), tolerance=100),
    Row("gzip", Kind.HARMLESS, "", emulated("gzip")),
    Row("gzip that is none", Kind.PASSES, _TRANSPORT, emulated("gzip", broken=True)),
    Row("gzip of 20 MB", Kind.PASSES, _PROTOCOL, emulated("gzip", padding=20_000_000), tolerance=100),
    Row("a slow answer", Kind.HARMLESS, "", emulated("slow", seconds=0.02)),
    Row("another certificate", Kind.SUSPICIOUS, "MpcTlsError", untrusted),
    Row("redirect", Kind.SUSPICIOUS, "MpcRedirectError", emulated("redirect")),
    Row("permanent redirect", Kind.SUSPICIOUS, "MpcRedirectError", emulated("redirect", status=308)),
    Row("key locked", Kind.LOCKS, "MpcKeyLockedError", emulated("ak_locked"), hits=1),
    Row("signature refused", Kind.FINAL, "MpcAuthenticationError", emulated("signature")),
    Row("clock skew", Kind.FINAL, "MpcAuthenticationError", skewed),
    Row("forbidden", Kind.FINAL, "MpcPermissionError", emulated("forbidden")),
    Row("bare 401", Kind.FINAL, "MpcAuthenticationError", _answers(401)),
    Row("bare 403", Kind.FINAL, "MpcPermissionError", _answers(403)),
    Row("bare 400", Kind.REFUSES_AN_ID, "MpcRequestError", _answers(400)),
    Row("bare 404", Kind.REFUSES_AN_ID, "MpcEndpointError", _answers(404)),
    Row("HTML with 404", Kind.REFUSES_AN_ID, "MpcEndpointError", emulated("html", status=404)),
    Row("a proxy's 407", Kind.FINAL, "MpcEndpointError", _answers(407)),
    Row(
        "access denied by policy",
        Kind.FINAL,
        "MpcPermissionError",
        _answers(403, {"error_code": "PAP5.0001", "error_msg": "access denied"}),
    ),
    *_gateway_rows(),
    *_mpc_rows(),
)


@dataclass(frozen=True)
class Expected:
    """
    How a task ends.

    :param how: ``success`` or the error's class.
    :param tried_again: whether Airflow may try the task again after it.
    :param calls: at most.
    :param between: seconds, at least and at most, after which it ends.
    """

    how: str
    tried_again: bool
    calls: int
    between: tuple[float, float] = field(default=(0.0, 0.0))


_LOOKS_AT_ALL = int(JOB_SECONDS / 30) + 1
_LONGEST_HOLD = 30 * 1.25
_A_MOMENT = 15.0
"""Seconds for calls that really take time, on a machine with much else to do."""
_SEARCH = 40
"""Calls in which a refusal of all of twelve ids is told from one of a single id, later ones of the same included."""


def expected(row: Row, phase: Phase, path: str) -> Expected:
    """Return how a task ends, for a fault at a time on a path."""
    if path == "hook":
        return _of_a_query(row, phase)
    at_once = (0.0, _A_MOMENT + 30.0 + 2.0 if phase.later else _A_MOMENT)
    # A poke looks by two calls at twelve jobs, the first refused one ends it.
    good = 2 if phase.later else 0
    looks = 2 * _LOOKS_AT_ALL + 4
    ends = (JOB_SECONDS - 1, JOB_SECONDS + 35.0)
    success = Expected("success", False, looks + 2 * row.hits + 2, (ends[0], ends[1] + row.hits * _LONGEST_HOLD))
    outage = Expected(
        "MpcOutageError",
        True,
        good + int(row.tolerance / 30) + 8,
        (row.tolerance, row.tolerance + 2 * _LONGEST_HOLD + _A_MOMENT),
    )
    match row.kind:
        case Kind.HARMLESS:
            return Expected("success", False, looks + 2, ends)
        case Kind.PASSES:
            return success if phase.passing else outage
        case Kind.THROTTLES if phase.passing:
            # One refusal is no outage and no failure, but the account's pauses grow: 10, 20, 40 s.
            return Expected("success", False, looks + 2 * row.hits + 2, (ends[0], ends[1] + 150.0))
        case Kind.THROTTLES:
            return Expected("AirflowSensorTimeout", False, good + int(TIMEOUT / 30) + 5, (TIMEOUT - 1, TIMEOUT + 120))
        case Kind.LOCKS if phase.passing:
            return Expected("success", False, looks + 2 * row.hits + 2, (ends[0], ends[1] + 330.0))
        case Kind.LOCKS:
            most = int(row.tolerance / 30) + 5 if path == "poke" else good + 5
            return Expected("MpcOutageError", True, most, (row.tolerance, row.tolerance + 330.0))
        case Kind.SUSPICIOUS if phase.later:
            return success if phase.passing else outage
        case Kind.SUSPICIOUS:
            return Expected(row.error, True, 2, at_once)
        case Kind.FINAL:
            return Expected(row.error, False, good + (1 if path == "poke" else 2), at_once)
        case Kind.REFUSES_AN_ID:
            return Expected(row.error, False, good + (1 if path == "poke" else _SEARCH), at_once)
        case Kind.UNKNOWN_JOB:
            return Expected(row.error, False, good + 3 * _SEARCH, (0.0, 60.0 + 35.0 + _A_MOMENT))
    raise AssertionError(row.kind)


def _of_a_query(row: Row, phase: Phase) -> Expected:
    soon = (0.0, 5 * 30.0 + _A_MOMENT)
    match row.kind:
        case Kind.HARMLESS:
            return Expected("success", False, 2, (0.0, _A_MOMENT))
        case Kind.PASSES | Kind.THROTTLES if phase.passing:
            return Expected("success", False, 2 + row.hits, (0.0, 180.0))
        case Kind.PASSES | Kind.THROTTLES:
            return Expected(row.error, True, 5 + (1 if phase.later else 0), (0.0, 220.0))
        case Kind.LOCKS | Kind.SUSPICIOUS:
            # A query that fails is repeated by the task's next try.
            return Expected(row.error, True, 2 if phase.later else 1, soon)
        case Kind.UNKNOWN_JOB:
            return Expected(row.error, False, _SEARCH, soon)
    return Expected(row.error, False, 2 if phase.later else 1, (0.0, _A_MOMENT))


def phases_of(row: Row) -> tuple[Phase, ...]:
    """Return the phases in which a fault tells something new."""
    if row.kind is Kind.HARMLESS:
        return (Phase.LASTING,)
    if row.kind in (Kind.PASSES, Kind.THROTTLES, Kind.LOCKS):
        return (Phase.PASSING, Phase.PASSING_LATER, Phase.LASTING_LATER)
    if row.kind is Kind.SUSPICIOUS:
        return (Phase.LASTING, Phase.PASSING_LATER, Phase.LASTING_LATER)
    return (Phase.LASTING, Phase.LASTING_LATER)


def cells() -> Iterator[tuple[Row, Phase, str]]:
    """Return every fault at every time on every path."""
    for row in ROWS:
        for phase in phases_of(row):
            for path in PATHS:
                yield row, phase, path
