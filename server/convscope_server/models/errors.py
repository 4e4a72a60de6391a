"""What can go wrong between a model's name and its network."""

from __future__ import annotations

from convscope_sdk.errors import TechniqueError

__all__ = ["ModelBroken", "SourceFailed", "WeightsUnreachable"]


class ModelBroken(TechniqueError):
    """The model is there, but what its owner wrote or saved cannot be used; the message says what to mend."""

    reason = "MODEL_BROKEN"


class SourceFailed(TechniqueError):
    """A model source raised something unforeseen: its own bug. The traceback is in the server's log."""

    code = "INTERNAL"
    reason = "MODEL_SOURCE_FAILED"

    @classmethod
    def of(cls, source: str, name: str, error: Exception) -> SourceFailed:
        """The error for a `source` that broke with `error` while it was asked for the model `name`."""
        return cls(
            f"model source {source!r} failed with {type(error).__name__} when asked for {name!r}; "
            f"its author finds the traceback in the server's log",
            metadata={"source": source, "model": name},
        )


class WeightsUnreachable(TechniqueError):
    """Learned weights are neither on this machine nor to be had over the network."""

    reason = "WEIGHTS_UNREACHABLE"

    @classmethod
    def of(cls, model: str, *, place: str, cause: str) -> WeightsUnreachable:
        """The error for a model whose weights live at `place`, with the way out where there is no network."""
        name = model.partition(":")[2].partition("?")[0]
        architecture = model.partition("?")[0]
        return cls(
            f"the weights of {model!r} are not in this machine's cache, and {place} cannot be reached ({cause}). "
            f"Offline: copy the weights file to MODELS_DIR/{name}/ beside a model.toml that says "
            f'architecture = "{architecture}", and ask for {name!r}; '
            f"or ask for '{architecture}?weights=random', whose pictures show nothing learned",
            metadata={"model": model, "place": place},
        )
