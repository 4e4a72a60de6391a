"""How workers are set up: the same for every place where they live."""

from __future__ import annotations

from importlib import metadata

import msgspec

__all__ = ["Environment", "WorkerOptions", "own_version"]


class Environment(msgspec.Struct, frozen=True):
    """A plugin that has a Python of its own, since what it needs cannot live beside what others need.

    Attributes:
        plugin: Its distribution, or its entry point's name.
        python: The interpreter, in which convscope of the server's version is installed too.
        device: Where its runs go; empty: the first device, beside the others.
    """

    plugin: str
    python: str
    device: str = ""


class WorkerOptions(msgspec.Struct, frozen=True):
    """What a worker is told when it starts.

    Attributes:
        devices: "cpu", "cuda:0", "mps"; empty: every CUDA device, else MPS, else the CPU.
        models_dir: Directory of models, and where runs put those that they train; empty: none.
        image_sets_dir: Folder of image sets, a folder each; empty: none.
        index_dir: Where indexes of image sets are kept; empty: a temporary one.
        checkpoints_dir: Where runs keep what they need to go on elsewhere; empty: a temporary one.
        min_free_bytes: Of the disk, which checkpoints leave to others.
        checkpoint_seconds: Least time between two checkpoints of a run; 0: only where it is put down.
        content_url: The content store, for uploaded image sets; empty: there are none.
        allow_code: Whether a model.toml may name a Python callable as its architecture.
        plugin_files: Loose plugin files.
        allow_plugins: Installed plugins that may be loaded; None: all, empty: the built-ins alone.
        deny_plugins: Installed plugins that may not.
        environments: Plugins that have workers of their own.
        only_plugin: The plugin whose own worker this is; empty: it is none of those.
        strict: Whether the first broken plugin ends the worker.
        model_budget_bytes: What models may take together on a device; 0: chosen from its memory.
        device_memory_bytes: What models and runs may take of a device together; 0: chosen from its memory.
        max_live_runs: Runs that take turns on one device.
        max_batch: Runs that may share a pass through a network; 0: 8 on an accelerator, and 1, none, on a CPU.
        max_image_pixels: Larger pictures are refused.
        warm_models: Loaded before the worker says that it is ready.
        stall_seconds: Longest step where the technique states no shorter limit; 0: each technique's own.
        max_run_memory_bytes: What one run may take beyond what the worker held before; 0: chosen from the memory.
        start_seconds: Longest time a worker may take to become ready.
    """

    devices: tuple[str, ...] = ()
    models_dir: str = ""
    image_sets_dir: str = ""
    index_dir: str = ""
    checkpoints_dir: str = ""
    min_free_bytes: int = 0
    checkpoint_seconds: float = 5.0
    content_url: str = ""
    allow_code: bool = False
    plugin_files: tuple[str, ...] = ()
    allow_plugins: tuple[str, ...] | None = None
    deny_plugins: tuple[str, ...] = ()
    environments: tuple[Environment, ...] = ()
    only_plugin: str = ""
    strict: bool = False
    model_budget_bytes: int = 0
    device_memory_bytes: int = 0
    max_live_runs: int = 8
    max_batch: int = 0
    max_image_pixels: int = 50_000_000
    warm_models: tuple[str, ...] = ("efficientnet_lite0",)
    stall_seconds: float = 0.0
    max_run_memory_bytes: int = 0
    start_seconds: float = 300.0


def own_version() -> str:
    """The version of convscope in this environment."""
    return metadata.version("convscope")
