"""A model's name with a prefix and options: `timm:resnet18?weights=random`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from convscope_sdk.errors import InvalidParams

__all__ = ["Reference"]

RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a library resolves.

    Attributes:
        text: As asked for.
        architecture: What the library calls it, without prefix and options.
        weights: Value of the option `weights`: "random", a name of weights, or "" for the library's default.
    """

    text: str
    architecture: str
    weights: str = ""

    @property
    def random(self) -> bool:
        """Whether random weights were asked for."""
        return self.weights == RANDOM

    @classmethod
    def parse(cls, text: str, prefix: str) -> Reference | None:
        """The reference that `text` spells, or None where it has another prefix.

        Raises:
            InvalidParams: it has an option other than `weights`.
        """
        scheme, colon, rest = text.partition(":")
        if not colon or scheme != prefix:
            return None
        architecture, _, query = rest.partition("?")
        options = parse_qsl(query, keep_blank_values=True)
        if [key for key, _ in options] not in ([], ["weights"]):
            raise InvalidParams(
                f"cannot read the options of model {text!r}; the one there is: {prefix}:{architecture}?weights=random",
                reason="MODEL_NAME_INVALID",
            )
        return cls(text, architecture, dict(options).get("weights", ""))
