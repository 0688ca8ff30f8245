"""Loggers: structlog events through the standard library's logging, so that a program that
imports lesson15 decides by the usual means where they go. Nothing is ever logged to stdout.
"""

from __future__ import annotations

import logging
import sys

import structlog

_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
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


def log_to_stderr(level: str) -> None:
    """Send the logs of lesson15 to stderr from ``level`` ("DEBUG" to "CRITICAL") on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("lesson15")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.WARNING))
    logger.propagate = False
