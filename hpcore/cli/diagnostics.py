"""Diagnostics with fields, on standard error."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from hpcore.cli.signals import DEBUG


def set_up_diagnostics() -> None:
    """structlog to standard error: warnings and worse, or everything with HPCORE_DEBUG."""
    level = logging.DEBUG if os.environ.get(DEBUG) else logging.WARNING
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
