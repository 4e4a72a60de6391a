"""The `convscope` command."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the program's arguments name, and exit with its code."""
    from convscope.cli.app import build

    build()()
