"""Where a vision transformer looks: attention rollout, and attention times gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convscope_sdk import Technique
from convscope_sdk.hookspecs import hookimpl

__all__ = ["convscope_techniques"]


@hookimpl
def convscope_techniques() -> Iterable[Technique[Any]]:
    """The techniques of this package."""
    from convscope_attention.gradient import gradient
    from convscope_attention.rollout import rollout

    return [rollout, gradient]
