"""Logs as one JSON object a line, written by a thread of their own.

Whoever logs renders the line and puts it on a queue; a listener writes it to stderr and, if one
is given, to a file that is rotated. A slow disk or terminal thus never holds up the event loop.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

import structlog

from lesson15.logs import redact, render_lines, send_logs_to

MAX_FILE_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5


def json_formatter() -> logging.Formatter:
    """Renders events of structlog, and records of any other library, as one line of JSON."""
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
        ],
    )


@contextmanager
def json_logs(
    level: str,
    file: Path | None = None,
    more_loggers: tuple[str, ...] = (),
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Iterator[None]:
    """Log as JSON from ``level`` on; what is queued is written out at the end.

    Args:
        level: "DEBUG" to "CRITICAL".
        file: where to log besides stderr; at ``max_file_bytes`` it becomes ``file.1`` and so on.
        more_loggers: loggers of other libraries that are to go the same way.
        max_file_bytes: the size at which ``file`` is rotated.
    """
    targets: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        targets.append(
            RotatingFileHandler(
                file, maxBytes=max_file_bytes, backupCount=KEPT_FILES, encoding="utf-8"
            )
        )
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(lines)
    handler.setFormatter(json_formatter())
    listener = QueueListener(lines, *targets)
    render_lines(is_plain=False)
    send_logs_to(handler, level, *more_loggers)
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        render_lines(is_plain=True)
        for target in targets[1:]:
            target.close()
