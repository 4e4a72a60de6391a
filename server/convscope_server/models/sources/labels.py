"""Class labels by index."""

from __future__ import annotations

from pathlib import Path

from convscope_server.models.errors import ModelBroken

__all__ = ["imagenet_labels", "read_labels"]


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 labels of ImageNet-1k, short and all different: "tabby", "Egyptian cat", "espresso"."""
    from convscope_sdk.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in a text file, one a line in order of index.

    Raises:
        ModelBroken: it is no UTF-8 text, is empty, or has an empty line before its end.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{path.name} cannot be read as UTF-8 text: {error}") from error
    if not lines:
        raise ModelBroken(f"{path.name} is empty; write one label a line, in order of class index")
    if "" in lines:
        raise ModelBroken(f"{path.name} has an empty line {lines.index('') + 1}; every class has a label")
    return tuple(lines)
