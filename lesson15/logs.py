"""Loggers: structlog events through the standard library's logging, so that a program that
imports lesson15 decides by the usual means where they go. Nothing is ever logged to stdout.
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

batch_context: ContextVar[str | None] = ContextVar("batch_id", default=None)
document_context: ContextVar[str | None] = ContextVar("doc_id", default=None)
"""What the present task works on: each line that it logs names them."""

HIDDEN = "***"
_SECRET_NAME = re.compile(r"key$|authori[sz]ation|password|secret|token|cookie", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"(?P<keep>bearer\s+|://[^\s/:@]*:)[^\s@,'\"]+|l15_[A-Za-z0-9_-]+", re.IGNORECASE
)


def redact(_logger: Any, _name: str, event: EventDict) -> EventDict:
    """Hide API keys, passwords and the like, by the name of the field or by their own look."""
    for name, value in event.items():
        if _SECRET_NAME.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = _SECRET_VALUE.sub(lambda match: (match["keep"] or "") + HIDDEN, value)
    return event


def _add_context(_logger: Any, _name: str, event: EventDict) -> EventDict:
    for context in (batch_context, document_context):
        if (value := context.get()) is not None:
            event.setdefault(context.name, value)
    return event


_PLAIN = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    _add_context,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
    _PLAIN,
]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of the module ``name``."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def render_lines(*, is_plain: bool) -> None:
    """Make each event a line of text here (``is_plain``), or leave that to a formatter.

    All loggers share one list of processors, so this holds for those that exist already.
    """
    _PROCESSORS[-1] = _PLAIN if is_plain else structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def log_to_stderr(level: str, *more_loggers: str) -> None:
    """Send the logs of lesson15 to stderr from ``level`` ("DEBUG" to "CRITICAL") on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    send_logs_to(handler, level, *more_loggers)


def send_logs_to(handler: logging.Handler, level: str, *more_loggers: str) -> None:
    """Have ``handler``, and no other, get what lesson15 and ``more_loggers`` log."""
    for name in ("lesson15", *more_loggers):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.WARNING))
        logger.propagate = False
