# SPDX-License-Identifier: Apache-2.0
"""Make those parts of the documentation that are told from the code.

Run as ``python -m scripts.make_docs``; with ``--check`` it changes nothing, and fails if a page is not current. Parts
stand in ``docs/*.md`` between ``<!-- made: NAME -->`` and ``<!-- /made -->``.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

from airflow_provider_mpc import configuration, connection, metrics
from airflow_provider_mpc.api import auth, errors, replies
from airflow_provider_mpc.api.transport import Reply
from airflow_provider_mpc.cli.definition import get_mpc_cli_commands
from airflow_provider_mpc.emulator import __main__ as emulator_command
from airflow_provider_mpc.emulator.faults import KINDS
from airflow_provider_mpc.emulator.replies import GATEWAY_STATUSES, MPC_ERRORS
from airflow_provider_mpc.emulator.variants import Variants

DOCS = Path(__file__).resolve().parent.parent / "docs"
_PART = re.compile(r"(<!-- made: (?P<name>[\w-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)
_PARTS: dict[str, Callable[[], str]] = {}
# An error that may be due to a wrong setting is retried too.
_MOMENTS = {
    errors.Persistence.TRANSIENT: "retried",
    errors.Persistence.SUSPECT: "retried",
    errors.Persistence.PERMANENT: "final",
}


def _part(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    def register(function: Callable[[], str]) -> Callable[[], str]:
        _PARTS[name] = function
        return function

    return register


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _words(doc: str | None) -> str:
    """Return the first paragraph of a docstring as Markdown."""
    first = inspect.cleandoc(doc or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r":\w+:`[.~]*([^`]+)`", r"`\1`", first))


@_part("connection-fields")
def connection_fields() -> str:
    """Return the connection's fields, as ``connection.FIELDS`` declares them."""
    rows = []
    for field in connection.FIELDS:
        where = f"extra `{field.name}`" if field.in_extra else field.name
        label = field.label if field.in_form else f"{field.label} (not in the form)"
        choices = f" One of {', '.join(f'`{choice}`' for choice in field.choices)}." if field.choices else ""
        example = f"`{field.placeholder}`" if re.fullmatch(r"[\w.:/-]+", field.placeholder) else field.placeholder
        rows.append((label, where, field.help + choices, example))
    return table(("field", "where", "meaning", "hint in the form"), rows)


@_part("config-options")
def config_options() -> str:
    """Return the options of ``[mpc]``."""
    rows = [(f"`{one.name}`", f"{one.default:g}", one.description) for one in configuration.OPTIONS]
    return table(("option", "default", "meaning"), rows)


@_part("metrics")
def metric_names() -> str:
    """Return the metrics, as the meter's own description tells them."""
    paragraphs = inspect.cleandoc(metrics.AirflowMeter.__doc__ or "").split("\n\n")
    return _words(paragraphs[1]) + "\n"


@_part("cli-options")
def cli_options() -> str:
    """Return the arguments of ``airflow mpc jobs``."""
    ((jobs,),) = (group.subcommands for group in get_mpc_cli_commands())
    rows = []
    for arg in jobs.args:
        flags = ", ".join(f"`{flag}`" for flag in arg.flags if flag.startswith("-"))
        rows.append((flags or f"`{arg.kwargs['metavar']}…`", arg.kwargs["help"]))
    return table(("argument", "meaning"), rows)


@_part("emulator-options")
def emulator_options() -> str:
    """Return the arguments of the emulator's command."""
    rows = []
    for action in emulator_command._parser()._actions:
        if action.dest != "help":
            default = "" if action.default is None else f"`{action.default}`"
            words = (action.help or "").replace("(default: %(default)s)", "").strip()
            if action.choices:
                choices = ", ".join(f"`{choice}`" for choice in action.choices)
                words = f"{words}{': ' if words else ''}one of {choices}"
            rows.append((f"`{action.option_strings[0]}`", default, words))
    return table(("argument", "default", "meaning"), rows)


@_part("faults")
def faults() -> str:
    """Return the faults that the emulator plays, and their options."""
    rows = []
    for name, function in KINDS.items():
        options = [
            f"`{option.name}={option.default!r}`" if option.default is not option.empty else f"`{option.name}`"
            for option in inspect.signature(function).parameters.values()
            if option.kind is option.KEYWORD_ONLY
        ]
        words = _words(function.__doc__) or f"{function.__name__.strip('_').replace('_', ' ').capitalize()}."
        rows.append((f"`{name}`", words, ", ".join(options)))
    return table(("kind", "what happens", "options"), rows)


@_part("variants")
def variants() -> str:
    """Return the emulator's switches."""
    defaults = Variants()
    rows = []
    for name, words in re.findall(
        r":param (\w+): (.*?)(?=\n:param|\n\n|\Z)", inspect.cleandoc(Variants.__doc__ or ""), re.S
    ):
        rows.append((f"`{name}`", f"`{getattr(defaults, name)!r}`", _words(" ".join(words.split()))))
    return table(("switch", "default", "meaning"), rows)


@_part("error-classes")
def error_classes() -> str:
    """Return the classes of errors, all in ``airflow_provider_mpc.api.errors``."""
    rows = []
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.MpcError) and kind is not errors.MpcError:
            rows.append((f"`{name}`", _MOMENTS[kind.persistence], _words(kind.__doc__)))
    return table(("error", "a retry", "meaning"), rows)


_SIGNER = auth.AkSkAuthenticator(auth.AccessKey("", ""))
_OTHER_ASKERS = {
    "aksk with a security token": auth.AkSkAuthenticator(auth.AccessKey("", "", "token")),
    "token": auth.TokenAuthenticator(""),
    "password": auth.PasswordAuthenticator("", errors.MpcError, ""),  # type: ignore[arg-type]
    "agency": auth.AgencyAuthenticator("", errors.MpcError),  # type: ignore[arg-type]
}


def _answers() -> Iterator[tuple[str, Reply, auth.Authenticator]]:
    """Yield what may come back, with a name for it and who asked."""

    def reply(status: int, body: dict[str, str], **headers: str) -> Reply:
        return Reply(status, headers, json.dumps(body).encode())

    for code in replies._CLASS_BY_CODE:
        status = MPC_ERRORS[code][0] if code in MPC_ERRORS else GATEWAY_STATUSES.get(code, 400)
        yield code, reply(status, {"error_code": code}), _SIGNER
    for code, name in (("APIGW.0699", "other APIGW.06…"), ("APIGW.0799", "APIGW.07…"), ("PAP5.0001", "PAP5.…")):
        yield name, reply(400, {"error_code": code}), _SIGNER
    for method, asker in _OTHER_ASKERS.items():
        yield f"401 with the method {method}", reply(401, {"error_code": "APIGW.0301"}), asker
    limit = {"error_msg": "AK access failed to reach the limit,forbidden"}
    yield "401 that speaks of a limit", reply(401, limit), _SIGNER
    yield (
        "401, and the clocks differ",
        reply(401, {"error_msg": "verify aksk signature fail"}, date=formatdate(4102444800, usegmt=True)),
        _SIGNER,
    )
    for status, name in (
        (301, "a redirect"),
        (401, "any other 401"),
        (403, "any other 403"),
        (404, "any other 404"),
        (405, "405"),
        (407, "407"),
        (409, "any other 409"),
        (429, "any other 429"),
        (500, "any other 5xx"),
        (400, "any other 4xx"),
    ):
        yield name, reply(status, {}), _SIGNER


@_part("error-codes")
def error_codes() -> str:
    """Return what each answer is made of by ``api.replies``, and what it advises."""
    merged: dict[tuple[str, str, str], list[str]] = {}
    for name, answer, asker in _answers():
        error = replies.error_from(answer, doing="query clipping tasks", asker=asker)
        # How far the clocks differ depends on the day.
        advice = re.sub(r"is \d+ minutes (behind|ahead of) the cloud's", "differs from the cloud's", error.advice)
        key = (f"`{type(error).__name__}`", "retried" if error.retryable else "final", advice)
        merged.setdefault(key, []).append(name)
    rows = [(", ".join(names), *key) for key, names in merged.items()]
    return table(("answer", "error", "a retry", "what to do"), rows)


def made(text: str) -> str:
    """Return a page with its made parts made anew."""
    return _PART.sub(lambda part: f"{part[1]}{_PARTS[part['name']]()}{part[3]}", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pages, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a page is not current")
    check: Any = parser.parse_args(arguments).check
    stale = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := made(text)) != text:
            stale.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    if stale and check:
        print(f"Not current: {', '.join(stale)}. Run python -m scripts.make_docs", file=sys.stderr)
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
