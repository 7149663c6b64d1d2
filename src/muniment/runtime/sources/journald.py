"""
The journal of systemd, as `journalctl` tells it: only it knows which fields are to be trusted.

It begins with the entry at the cursor, not behind it: if that is another one, the journal has
forgotten what came between, and that is recorded.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from muniment.errors import TargetUnavailable
from muniment.oversight.event import MAX_RECORD
from muniment.runtime.sources import MAX_RECORDS, Intake, Pause, hand_on, pause

PROGRAM: Final = "journalctl"
#: seconds without an entry after which it is held that there was none
QUIET: Final = 15.0
#: seconds until a program that was asked to end is ended
_PATIENCE: Final = 5.0
_READ: Final = 64 << 10
#: how much of what it says of its troubles is repeated
_MAX_SAID: Final = 300
_log = logging.getLogger(__name__)


@dataclass
class Entries:
    """Lines, each an entry. One that is too long comes cut, for its reader to reject."""

    _held: bytearray = field(default_factory=bytearray)
    _skipping: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        self._held += data
        found: list[bytes] = []
        while (end := self._held.find(b"\n")) >= 0 or len(self._held) > MAX_RECORD:
            line = bytes(self._held[: end if 0 <= end <= MAX_RECORD else MAX_RECORD + 1])
            ended = 0 <= end == len(line)
            del self._held[: len(line) + ended]
            if line and not self._skipping:
                found.append(line)
            self._skipping = not ended
        return found


class Journald:
    """One source of kind `journald`."""

    def __init__(
        self,
        source: str,
        units: Sequence[str] = (),
        journal: Path | None = None,
        *,
        from_start: bool,
        program: str = PROGRAM,
        pause: Pause = pause,
        quiet: float = QUIET,
    ) -> None:
        self._source = source
        # never a shell; and no unit can be read as an option
        self._command = [
            program,
            "--output=json",
            "--all",  # else a long field is null
            "--no-pager",
            *([] if journal is None else [f"--directory={journal}"]),
            *(f"--unit={unit}" for unit in units),
        ]
        self._from_start = from_start
        self._pause = pause
        self._quiet = quiet

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        cursor = await asyncio.to_thread(intake.cursor, self._source)
        if cursor is None and not self._from_start:
            cursor = await self._newest()
            if not await hand_on(intake, self._source, [], cursor, stop, self._pause):
                return
        # without an entry so far, whichever comes is one of our time
        where = [] if cursor is None else [f"--cursor={cursor}"]
        process = await self._begin("--follow", "--no-tail", *where)
        try:
            await self._follow(process, intake, stop, cursor)
        finally:
            await _end(process)

    async def _newest(self) -> str | None:
        process = await self._begin("--lines=1")
        try:
            said, _ = await process.communicate()
        finally:
            await _end(process)
        entries = Entries().feed(said)
        return _cursor_of(entries[-1]) if entries else None

    async def _begin(self, *options: str) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise TargetUnavailable(
                f"`{self._command[0]}` cannot be run: {error.strerror}"
            ) from error

    async def _follow(
        self,
        process: asyncio.subprocess.Process,
        intake: Intake,
        stop: asyncio.Event,
        cursor: str | None,
    ) -> None:
        if process.stdout is None or process.stderr is None:
            raise TypeError("it was begun with pipes")
        said = asyncio.create_task(_read_troubles(process.stderr))
        stopping = asyncio.create_task(stop.wait())
        entries, expected = Entries(), cursor
        try:
            while not stop.is_set():
                found = await self._next(process.stdout, stopping, entries)
                if found is None:
                    break
                if expected is not None and found:
                    found = await self._without_known(found, expected, intake)
                    expected = None
                for start in range(0, max(len(found), 1), MAX_RECORDS):
                    piece = found[start : start + MAX_RECORDS]
                    cursor = _last_cursor(piece) or cursor
                    if not await hand_on(intake, self._source, piece, cursor, stop, self._pause):
                        return
            if not stop.is_set():
                raise TargetUnavailable(f"`{self._command[0]}` ended: {await said}")
        finally:
            for task in (said, stopping):
                task.cancel()
            await asyncio.gather(said, stopping, return_exceptions=True)

    async def _next(
        self,
        stream: asyncio.StreamReader,
        stopping: "asyncio.Task[bool]",
        entries: Entries,
    ) -> list[bytes] | None:
        """Entries; none after a silence; None if it ended, or is to stop."""
        until = time.monotonic() + self._quiet
        while (left := until - time.monotonic()) > 0:
            reading = asyncio.create_task(stream.read(_READ))
            await asyncio.wait(
                (reading, stopping), timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if not reading.done():
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
                if stopping.done():
                    return None
                continue
            if not (data := reading.result()):
                return None
            if found := entries.feed(data):
                return found
        return []

    async def _without_known(
        self, found: list[bytes], expected: str, intake: Intake
    ) -> list[bytes]:
        """All but the entry at the cursor, which was taken before."""
        if _cursor_of(found[0]) == expected:
            return found[1:]
        _log.warning("source `%s`: the journal has forgotten where it was left", self._source)
        await intake.missed(self._source, "cursor")
        return found


def _last_cursor(entries: Sequence[bytes]) -> str | None:
    return next((c for each in reversed(entries) if (c := _cursor_of(each)) is not None), None)


def _cursor_of(entry: bytes) -> str | None:
    """None for what is no entry: it was cut."""
    try:
        value = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    cursor = value.get("__CURSOR") if isinstance(value, dict) else None
    return cursor if isinstance(cursor, str) else None


async def _read_troubles(stream: asyncio.StreamReader) -> str:
    """The end of what it says, without what could pass for lines of our own log."""
    last = b""
    while data := await stream.read(_READ):
        last = (last + data)[-_MAX_SAID:]
    text = last.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip() or "without a word"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await process.communicate()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
