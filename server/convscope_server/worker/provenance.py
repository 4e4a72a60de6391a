"""Everything needed to repeat a run."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope_sdk.network import Network
    from convscope_sdk.run import Run
    from convscope_server.engine.blame import Author
    from convscope_server.engine.messages import RunSpec

__all__ = ["library_versions", "provenance"]

_LIBRARIES = ("convscope", "torch", "torchvision", "timm", "numpy", "pillow")


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of what can change a pixel."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def provenance(spec: RunSpec, run: Run[Any], networks: Mapping[str, Network], author: Author) -> dict[str, Any]:
    """What was run, on what, with what: plain JSON values. `networks` are the run's, by name."""
    network = run.network
    return {
        "model": spec.model,
        "model_source": network.spec.source,
        "weights_digest": network.digest,
        "random_weights": network.spec.random_weights,
        "other_models": {name: other.digest for name, other in networks.items() if other is not network},
        "technique": author.technique,
        "package": author.package,
        "version": author.version,
        "params": run.params.model_dump(mode="json"),
        "seed": str(spec.seed),
        "device": str(network.device),
        "inputs": dict(spec.input_digests),
        "input_shape": [int(n) for n in run.image.shape],
        "libraries": library_versions(),
        "attempt": spec.attempt,
    }
