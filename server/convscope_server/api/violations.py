"""Arguments at fault, gathered so that one answer names them all."""

from __future__ import annotations

from dataclasses import dataclass, field

from convscope_sdk.errors import InvalidImage
from convscope_server.errors import RequestError
from convscope_server.runs.events import Error, FieldViolation

__all__ = ["Violations"]

_MAX_VIOLATIONS = 32


@dataclass(slots=True)
class Violations:
    """Collects what is wrong with a request, field by field, and then refuses it once."""

    found: list[FieldViolation] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, description: str, reason: str = "REQUEST_INVALID") -> None:
        """The field at `path` is at fault: what was given and what is allowed."""
        self.found.append(FieldViolation(path[:200], description[:500]))
        self.reasons[reason] = None

    def check(self, fine: bool, path: str, description: str, reason: str = "REQUEST_INVALID") -> bool:
        """Adds the violation unless `fine`; gives `fine`."""
        if not fine:
            self.add(path, description, reason)
        return fine

    def add_image(self, path: str, refusal: InvalidImage) -> None:
        """The picture at `path` cannot be used; keeps the sizes that the refusal names."""
        self.add(path, refusal.message, refusal.reason)
        self.metadata |= refusal.metadata

    def refuse_any(self) -> None:
        """Ends the checking.

        Raises:
            RequestError: INVALID_ARGUMENT with every violation, where there are any; its reason is theirs where
                they share one, else REQUEST_INVALID.
        """
        if not self.found:
            return
        reason = next(iter(self.reasons)) if len(self.reasons) == 1 else "REQUEST_INVALID"
        shown = tuple(self.found[:_MAX_VIOLATIONS])
        message = "; ".join(f"{v.field}: {v.description}" for v in shown)
        raise RequestError(Error("INVALID_ARGUMENT", message[:1000], reason, dict(self.metadata), shown))
