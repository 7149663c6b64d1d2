"""Reads the log of a PostgreSQL, which it writes as JSON (`jsonlog`) or as CSV (`csvlog`)."""

import re
from typing import ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import MAX_RECORD, Event, ReaderSettings
from muniment.oversight.readers.border import LineReader, opened, table
from muniment.oversight.readers.options import Options
from muniment.oversight.readers.postgresql_line import COLUMNS, PostgresLines

_FEWEST_COLUMNS: Final = 23
_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^,"]*+))(,|\Z)')


class PostgresJson(LineReader):
    """`log_destination = jsonlog`. The one to prefer: a line break in a text cannot mislead it."""

    kind: ClassVar[str] = "postgresql-json"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        Options(self.kind, settings).end()
        self._lines_of_server = PostgresLines(settings.prefix)

    def read(self, record: bytes) -> Event:
        line = table(record)
        host = line.get("remote_host")
        return self._lines_of_server.event(line, host if isinstance(host, str) else "")


class PostgresCsv:
    """
    `log_destination = csvlog`.

    Inside a quoted statement a holder can write what looks like another line, so that it matters
    where reading begins: at the beginning of a record, as in every file that PostgreSQL makes.
    """

    kind: ClassVar[str] = "postgresql-csv"

    def __init__(self, settings: ReaderSettings) -> None:
        Options(self.kind, settings).end()
        self._records = _QuotedRecords()
        self._lines_of_server = PostgresLines(settings.prefix)

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._records.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        records, rest = _QuotedRecords().cut(opened(body).rstrip(b"\n") + b"\n")
        return [*records, rest] if rest else records

    def read(self, record: bytes) -> Event:
        if len(record) > MAX_RECORD:
            raise Unreadable("it is longer than a record may be")
        line = dict(zip(COLUMNS, _fields(record.decode("utf-8", "replace")), strict=False))
        host, colon, port = line["remote"].rpartition(":")
        at_port = bool(colon) and port.isdecimal()
        return self._lines_of_server.event(line, host if at_port else line["remote"])


def _fields(text: str) -> list[str]:
    fields: list[str] = []
    at = 0
    while found := _FIELD.match(text, at):
        quoted = found[1]
        fields.append(found[2] if quoted is None else quoted.replace('""', '"'))
        at = found.end()
        if not found[3]:
            break
    if at < len(text) or len(fields) < _FEWEST_COLUMNS:
        raise Unreadable("it is no line of PostgreSQL's csvlog")
    return fields


class _QuotedRecords:
    """
    Cuts records that end with a line break outside of quotes.

    What is left of a record that is too long is passed over to its true end: nothing inside of it
    is taken for a record, however much it looks like one.
    """

    def __init__(self) -> None:
        self._begun = False
        #: inside a record that was given up, and there inside of quotes
        self._passing = self._quoted = False

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        if not self._begun and buffer:
            # Reading was left inside a record that was given up: see `_give_up`.
            self._passing = self._quoted = not buffer[:1].isdigit()
            self._begun = True
        records: list[bytes] = []
        begin = position = 0
        quoted = self._quoted
        while (end := buffer.find(b"\n", position)) >= 0:
            quoted ^= bool(buffer.count(b'"', position, end) & 1)
            position = end + 1
            if quoted:
                continue
            if self._passing:
                self._passing = False
            elif end > begin:
                records.append(buffer[begin:end].removesuffix(b"\r"))
            begin = position
        rest = buffer[begin:]
        self._quoted = False
        if self._passing:
            self._quoted = quoted ^ bool(buffer.count(b'"', position) & 1)
            return records, b""
        if len(rest) > MAX_RECORD:
            given, rest = self._give_up(rest)
            records.append(given)
        return records, rest

    def _give_up(self, record: bytes) -> tuple[bytes, bytes]:
        """
        The record, and the little that has to stay behind.

        That never begins as a record does, with a digit. A reader that begins anew there, where
        this one was stopped, so knows that it is inside of something.
        """
        stop = len(record) - 1
        while stop > MAX_RECORD and record[stop : stop + 1].isdigit():
            stop -= 1
        self._passing = True
        self._quoted = bool(record.count(b'"', 0, stop) & 1)
        return record[:stop], record[stop:]
