"""Logging of our own processes. A session that imports the package sets up its own."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def set_up_logging(level: str) -> None:
    """Send what the package logs to standard error, from this level on ('WARNING', 'info', ...)."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("distributed")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
