"""Everything needed to repeat a run."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope_sdk.network import Network
    from convscope_sdk.run import Run
    from convscope_server.engine.between_steps import Update
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


def provenance(
    spec: RunSpec, run: Run[Any], networks: Mapping[str, Network], author: Author, updates: Sequence[Update]
) -> dict[str, Any]:
    """What was run, on what, with what: plain JSON values.

    Args:
        spec: What was asked for.
        run: What the technique was called with last.
        networks: Those of the run, by name.
        author: Whose technique it is.
        updates: Changes of its parameters on the way.
    """
    network = run.network
    first = type(run.params).parse(spec.params)
    steered = [{"step": update.step, "params": update.params} for update in updates]
    return {
        "model": spec.model,
        "model_source": network.spec.source,
        "weights_digest": network.digest,
        "random_weights": network.spec.random_weights,
        "other_models": {name: other.digest for name, other in networks.items() if other is not network},
        "technique": author.technique,
        "package": author.package,
        "version": author.version,
        "params": first.model_dump(mode="json"),
        **({"updates": steered} if steered else {}),
        "seed": str(spec.seed),
        "device": str(network.device),
        "inputs": dict(spec.input_digests),
        "input_shape": [int(n) for n in run.image.shape],
        "libraries": library_versions(),
        "attempt": spec.attempt,
    }
