"""What long tests measured, for whoever reads the log: `--log-cli-level=INFO` shows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

__all__ = ["tell"]

_log = logging.getLogger("figures")


def tell(what: str, figures: Mapping[str, float]) -> None:
    """One line: what was measured, and the numbers."""
    _log.info("%s: %s", what, ", ".join(f"{name} {value:,.4g}" for name, value in figures.items()))
