"""
`muniment run`: ask, wait, run one command with access, end the access when the command ends.

The secret goes into the command's environment and nowhere else: not into arguments, a file or the
terminal. Whatever happens in between, the grant is ended: the command fails, cannot be started, a
signal comes. Signals go on to the command; it decides, and we end the grant after it.

What `run` has to say goes to standard error: standard output belongs to the command.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import click

from muniment.access.window import text as length
from muniment.errors import Conflict, MunimentError, Refused, Unavailable
from muniment.interfaces.cli import client, screen
from muniment.interfaces.cli.screen import json_option, length_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: what libpq calls what a connector told us
_LIBPQ = {
    "host": "PGHOST",
    "port": "PGPORT",
    "database": "PGDATABASE",
    "user": "PGUSER",
    "sslmode": "PGSSLMODE",
    "channel_binding": "PGCHANNELBINDING",
    "sslsni": "PGSSLSNI",
}
#: in the caller's own environment these would lead the command elsewhere
_MISLEADING = ("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: how often, and how many seconds apart, the end is tried while the service does not answer
END_TRIES, END_PAUSE = 5, 2.0
#: what shells say of a command that a signal ended, or that cannot be started
_SIGNALLED, _NOT_STARTED = 128, 126


@click.command("run")
@click.argument("resource")
@click.argument("role")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@length_option("--for", "seconds", "15m")
@client.reason_option
@client.ticket_option
@client.incident_option
@client.emergency_option
@length_option(
    "--wait-for", "patience", "10m", "How long for approval; then the request is withdrawn."
)
@click.option("--receipt", type=click.Path(path_type=Path), help="Keep the receipt in this file.")
@json_option
def run_command(
    resource: str,
    role: str,
    command: tuple[str, ...],
    seconds: int,
    reason: str,
    ticket: str,
    incident: str,
    patience: int,
    receipt: Path | None,
    *,
    emergency: bool,
    as_json: bool,
) -> int:
    """
    Ask, wait, run CMD with access, end the access after it. The everyday verb.

    \b
    muniment run orders-prod readonly --reason "count them" --ticket OPS-7 -- psql

    CMD finds the credential in its environment (PGHOST, PGUSER, PGPASSWORD, …). The exit code is
    CMD's own; 1 if access was denied or refused, or nobody approved in time.
    """  # noqa: D301 (click's mark for lines that are not to be wrapped)
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"there is no command `{command[0]}`; nothing was asked for")
    if receipt is not None and receipt.exists():
        raise Conflict(f"`{receipt}` exists already; choose another file")
    context = client.ask_context(seconds, reason, ticket, incident, emergency=emergency)
    tell = _Teller(as_json)
    with client.asking() as api, _Signals() as signals:
        case = client.ask(api, resource, role, context)
        if case["state"] == "denied":
            tell("denied", case, client.requested_lines(case))
            return 1
        picked = _picked_up(api, case, patience, signals, tell)
        if picked is None:
            return 1
        if receipt is not None:
            receipt.write_text(picked["receipt"], "utf-8")
        return _with_access(api, picked, command, signals, tell)


class _Teller:
    """Says what goes on, on standard error: for people, or one JSON object a line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, case: Mapping[str, Any], lines: Iterable[str]) -> None:
        if self._as_json:
            told = {"event": event, "case": case["case"], "state": case["state"]}
            click.echo(json.dumps({**told, "until": case.get("until")}), err=True)
            return
        for line in lines:
            click.echo(line, err=True)


# --- signals --------------------------------------------------------------------------------------


class _Signals:
    """
    While this is entered, a signal ends a wait, but nothing that must not be left half done.

    From the pick-up on they are held: they go to the command, and we end the grant after it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._held = False
        #: came while held, and before there was a command
        self._came: list[int] = []

    def __enter__(self) -> Self:
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        if self._came:
            raise KeyboardInterrupt

    def run(self, command: tuple[str, ...], environment: Mapping[str, str]) -> int:
        """The exit code, as a shell has it."""
        if self._came:
            return _SIGNALLED + self._came[0]
        self._process = subprocess.Popen(command, env=environment)  # noqa: S603 (the caller's own)
        for number in self._came:  # while it was being started
            self._process.send_signal(number)
        code = self._process.wait()
        return code if code >= 0 else _SIGNALLED - code

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if not self._held:
            raise KeyboardInterrupt
        if self._process is None:
            self._came.append(number)
        elif not (number in (signal.SIGINT, signal.SIGQUIT) and _typed()):
            self._process.send_signal(number)


def _typed() -> bool:
    """Ctrl-C at a terminal reaches the command by itself: it is in the same foreground group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


# --- until there is access ------------------------------------------------------------------------


def _picked_up(
    api: "Api", case: dict[str, Any], patience: int, signals: _Signals, tell: _Teller
) -> dict[str, Any] | None:
    """The answer with the credential; None where nobody gave it. What is left over is withdrawn."""
    end = time.monotonic() + patience
    try:
        while True:
            if case["state"] == "pending":
                tell("pending", case, _waiting_lines(case, patience))
                case = client.wait_for_decision(api, case["case"], end - time.monotonic())
            if case["state"] != "approved":
                break
            signals.hold()
            case = _pick_up(api, case)
            if case["credential"] is not None:
                return case
            signals.release()
            tell("not-any-more", case, client.not_any_more_lines(case))
    except KeyboardInterrupt:
        _give_up(api, case, tell)
        raise
    if case["state"] == "pending":
        tell("too-late", case, [f"nobody approved within {length(patience)}"])
        _give_up(api, case, tell)
    else:
        tell(case["state"], case, [f"no access: {client.over_line(case)}"])
    return None


def _pick_up(api: "Api", case: dict[str, Any]) -> dict[str, Any]:
    """An answer that gets lost on its way may have made an account: then nobody is to have it."""
    try:
        return api.post(f"/v1/cases/{case['case']}/credential")
    except Unavailable:
        with contextlib.suppress(MunimentError):
            if _ended(api, case["case"])["state"] == "approved":
                client.withdraw(api, case["case"])
        raise


def _waiting_lines(case: dict[str, Any], patience: int) -> Iterator[str]:
    names, id_ = case["names"], screen.short(case["case"])
    yield f"{screen.state('pending')}: {id_} waits for {screen.groups(case['waits_for'])}"
    able = screen.people(names, case["could_approve"])
    yield from screen.fields(
        (
            ("can approve", able or screen.paint("nobody: ask who runs Muniment", "red")),
            ("they", f"muniment approve {id_}"),
            ("waiting", f"at most {length(patience)}; Ctrl-C withdraws the request"),
        )
    )


def _give_up(api: "Api", case: dict[str, Any], tell: _Teller) -> None:
    id_ = screen.short(case["case"])
    try:
        client.withdraw(api, case["case"])
    except MunimentError as error:
        tell("not-withdrawn", case, [f"{id_} could not be withdrawn: {error}"])
    else:
        tell("withdrawn", case, [f"{id_} is withdrawn"])


# --- with access ----------------------------------------------------------------------------------


def _with_access(
    api: "Api",
    picked: dict[str, Any],
    command: tuple[str, ...],
    signals: _Signals,
    tell: _Teller,
) -> int:
    ends = screen.until(picked["until"], client.now())
    tell("issued", picked, [f"access until {ends}; running {command[0]}"])
    try:
        return signals.run(command, _environment(picked))
    except OSError as error:
        click.echo(f"muniment: `{command[0]}` cannot be started: {error.strerror}", err=True)
        return _NOT_STARTED
    finally:
        _end(api, picked, tell)


def _end(api: "Api", picked: dict[str, Any], tell: _Teller) -> None:
    id_ = screen.short(picked["case"])
    try:
        case = _ended(api, picked["case"])
    except MunimentError as error:
        ends = screen.until(picked["until"], client.now())
        tell(
            "not-ended",
            picked,
            [
                screen.paint(f"access could not be ended: {error}", "red"),
                f"it ends by itself at {ends}; try: muniment end {id_}",
            ],
        )
    else:
        tell("over", case, [client.over_line(case)])


def _ended(api: "Api", case: str) -> dict[str, Any]:
    """Ended by us, or over already: its window ran out, or somebody revoked it."""
    for tries_left in range(END_TRIES - 1, -1, -1):
        try:
            return api.post(f"/v1/cases/{case}/end")
        except Unavailable:
            if not tries_left:
                raise
            time.sleep(END_PAUSE)
        except Refused:
            found = api.get(f"/v1/cases/{case}")
            if found["state"] in ("authorized", "issued"):
                raise
            return found
    raise RuntimeError("the last try returns or raises")


# --- the credential, as programs take it ----------------------------------------------------------


def variables(credential: Mapping[str, Any]) -> dict[str, str]:
    """Names and values for an environment: libpq's own for a database, else ours."""
    connection, secret = credential["connection"], credential["secret"]
    if "database" in connection:
        known = {_LIBPQ[name]: value for name, value in connection.items() if name in _LIBPQ}
        return {**known, "PGPASSWORD": secret}
    named = {f"MUNIMENT_{name.upper()}": value for name, value in connection.items()}
    return {**named, "MUNIMENT_ACCOUNT": credential["account"], "MUNIMENT_SECRET": secret}


def _environment(picked: Mapping[str, Any]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {**inherited, **variables(picked["credential"]), "MUNIMENT_CASE": picked["case"]}


def exports(credential: Mapping[str, Any]) -> list[str]:
    """Lines for a shell's `eval`."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables(credential).items()]


def pgpass(credential: Mapping[str, Any]) -> str:
    """A line for ~/.pgpass."""
    connection = credential["connection"]
    if "database" not in connection:
        raise Conflict("this credential is not for a PostgreSQL; take `--format env`")
    values = [connection[name] for name in ("host", "port", "database", "user")]
    escaped = [each.replace("\\", r"\\").replace(":", r"\:") for each in values]
    return ":".join([*escaped, credential["secret"].replace("\\", r"\\").replace(":", r"\:")])
