"""Logs as JSON: one object a line."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from muniment.evidence import moment


class JsonLines(logging.Formatter):
    """Time, level, message, and what the caller added."""

    #: what every record has, and uvicorn's message in colours
    _LEFT_OUT = frozenset((*vars(logging.makeLogRecord({})), "message", "color_message"))

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": moment.text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in self._LEFT_OUT}
        if record.exc_info:
            extra["error"] = self.formatException(record.exc_info)
        return orjson.dumps({**line, **extra}, default=str).decode()


def log_as_json() -> None:
    """From now on, everything that is logged goes to standard error so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
