"""How workers are set up: the same for every place where they live."""

from __future__ import annotations

import msgspec

__all__ = ["WorkerOptions"]


class WorkerOptions(msgspec.Struct, frozen=True):
    """What a worker is told when it starts.

    Attributes:
        devices: "cpu", "cuda:0", "mps"; empty: every CUDA device, else MPS, else the CPU.
        models_dir: Directory of models, and where runs put those that they train; empty: none.
        image_sets_dir: Folder of image sets, a folder each; empty: none.
        index_dir: Where indexes of image sets are kept; empty: a temporary one.
        content_url: The content store, for uploaded image sets; empty: there are none.
        allow_code: Whether a model.toml may name a Python callable as its architecture.
        plugin_files: Loose plugin files.
        strict: Whether the first broken plugin ends the worker.
        model_budget_bytes: What models may take together on a device; 0: chosen from its memory.
        max_live_runs: Runs that take turns on one device.
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
    content_url: str = ""
    allow_code: bool = False
    plugin_files: tuple[str, ...] = ()
    strict: bool = False
    model_budget_bytes: int = 0
    max_live_runs: int = 8
    max_image_pixels: int = 50_000_000
    warm_models: tuple[str, ...] = ("efficientnet_lite0",)
    stall_seconds: float = 0.0
    max_run_memory_bytes: int = 0
    start_seconds: float = 300.0
