"""Structured logs: one JSON object a line, so that an operator's tools can read them."""

import asyncio
import json
import logging
import sys


class JsonLines(logging.Formatter):
    """`time` (seconds since the epoch), `level`, `logger`, `message`, and `traceback` when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def to_standard_error(level: str = "INFO") -> None:
    """Send this process's log to standard error, where its supervisor collects it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_is_no_cancellation)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("httpx", "httpcore", "web3", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Keep out what uvicorn says of requests that it cancels when the process is told to end."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)
