"""A workshop without plugins, sources or weights: techniques made by the test on one tiny network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from convscope_sdk.encoding import ArtifactEncoder
from convscope_sdk.errors import UnknownName
from convscope_sdk.image_sets.catalog import ImageSets
from convscope_sdk.loader import Loaded, LoadedEncoder
from convscope_sdk.models import Architecture, ModelSpec
from convscope_sdk.network import Network
from convscope_server.engine.messages import Events, LoadedModel, Report, RunSpec, Start
from convscope_server.engine.options import WorkerOptions
from convscope_server.models.shelf import Shelf
from convscope_server.runs import events as log
from convscope_server.worker.worker import Worker


def tiny_module() -> nn.Module:
    """A seeded convolutional classifier of ten classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 10),
        )


class TinyCache:
    """A model cache that holds one network, and another for who asks, and remembers how many users they have."""

    def __init__(self) -> None:
        self.spec = ModelSpec("tiny", "test", tiny_module, input_size=32)
        self.network = Network(tiny_module(), self.spec)
        self.other = Network(tiny_module(), ModelSpec("other", "test", tiny_module, input_size=32))
        self.users = 0
        self.reloads = 0

    def acquire(self, name: str) -> Network:
        networks = {"tiny": self.network, "other": self.other}
        if name not in networks:
            raise UnknownName.among("model", name, networks)
        self.users += 1
        return networks[name]

    def release(self, name: str) -> None:
        self.users -= 1

    def reload(self, name: str) -> None:
        self.reloads += 1
        network = self.other if name == "other" else self.network
        with torch.no_grad():
            for now, fresh in zip(
                network.module.state_dict().values(), tiny_module().state_dict().values(), strict=True
            ):
                now.copy_(fresh)

    def loaded(self) -> tuple[LoadedModel, ...]:
        return (LoadedModel("tiny", self.network.size_bytes, self.users),)


class Bench:
    """A worker on a bench: give it runs, let it work them off, read their logs."""

    def __init__(
        self,
        *techniques: Any,
        package: str = "test-plugin",
        shared: bool = False,
        models_dir: Path | None = None,
        encoders: Sequence[ArtifactEncoder] = (),
        **options: Any,
    ) -> None:
        self.cache = TinyCache()
        self.reports: list[Report] = []
        shop = SimpleNamespace(
            device=torch.device("cpu"),
            options=WorkerOptions(**options),
            techniques={t.id: Loaded(t, package, "1.0", "test") for t in techniques},
            encoders={e.media_type: LoadedEncoder(e, "acme-formats", "2.3") for e in encoders},
            cache=self.cache,
            image_sets_of=lambda _spec: ImageSets(),
            shelf=Shelf(models_dir, architectures={"tiny": Architecture("tiny", tiny_module)}),
            registry=SimpleNamespace(entries=list),
        )
        self.worker = Worker(shop, self.reports.append, shared=shared)

    def start(self, run: str, technique: str, **fields: Any) -> None:
        self.worker.post(Start(RunSpec(run, technique, "tiny", fields.pop("params", {}), **fields)))

    def work(self) -> None:
        """Work until every run has ended."""
        self.worker.run(until_idle=True)

    def log(self, run: str) -> list[log.Event]:
        return [
            event
            for report in self.reports
            if isinstance(report, Events) and report.run == run
            for event in report.events
        ]

    def end(self, run: str) -> log.Event:
        """The terminal event of a run; there must be exactly one, and it must be the last."""
        events = self.log(run)
        assert [e for e in events if log.is_terminal(e)] == [events[-1]]
        return events[-1]

    def error(self, run: str) -> log.Error:
        end = self.end(run)
        assert isinstance(end, log.Failed), end
        return end.error


def texts(events: list[log.Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, log.Note)]
