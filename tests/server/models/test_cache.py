"""The cache on one device: budget, users, eviction, and no trace on anything."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import nn

from convscope_sdk.errors import OutOfMemory, TechniqueError, UnknownName
from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_server.errors import RequestError
from convscope_server.models.cache import ModelCache, default_budget
from convscope_server.models.errors import ModelBroken, SourceFailed
from convscope_server.models.memory import human_size
from convscope_server.models.registry import ModelRegistry, builtin_sources
from support.generators import generator_states

BUDGET = 10_000
SIZES = {"a": 1_000, "b": 3_000, "c": 4_000, "d": 6_000, "e": 10_000, "huge": 10_001}


class Ballast(nn.Module):
    """A network that takes exactly `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        used = sum(p.numel() * p.element_size() for p in self.conv.parameters())
        self.register_buffer("ballast", torch.zeros(size - used, dtype=torch.uint8), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))  # type: ignore[no-any-return]  # modules return Any


class Specs:
    """A registry of models of given sizes, that counts what it builds and sees what is still alive."""

    def __init__(self, **builders: Callable[[], nn.Module]) -> None:
        self.builders: dict[str, Callable[[], nn.Module]] = {k: lambda s=s: Ballast(s) for k, s in SIZES.items()}  # type: ignore[misc]
        self.builders |= builders
        self.built: Counter[str] = Counter()
        self.alive: dict[str, weakref.WeakSet[nn.Module]] = {}

    def spec(self, name: str) -> ModelSpec:
        if name not in self.builders:
            raise UnknownName.among("model", name, self.builders)
        return ModelSpec(name, "test", lambda: self._build(name), input_size=8)

    def _build(self, name: str) -> nn.Module:
        self.built[name] += 1
        module = self.builders[name]()
        self.alive.setdefault(name, weakref.WeakSet()).add(module)
        return module


def make(**builders: Callable[[], nn.Module]) -> tuple[ModelCache, Specs]:
    specs = Specs(**builders)
    return ModelCache(specs, "cpu", BUDGET), specs


def names(cache: ModelCache) -> list[str]:
    return [model.name for model in cache.loaded()]


class CacheMachine(RuleBasedStateMachine):
    """Against a plain list: least recently used first, those in use stay, nothing leaves in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.cache, self.specs = make()
        self.order: list[str] = []
        self.users: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.held: dict[str, Network] = {}

    def expected_after(self, name: str) -> list[str] | str:
        """The order after `name` is asked for, or the reason of the refusal."""
        if name in self.order:
            return [n for n in self.order if n != name] + [name]
        if SIZES[name] > BUDGET:
            return "OUT_OF_MEMORY"
        if sum(SIZES[n] for n in self.order if self.users[n]) + SIZES[name] > BUDGET:
            return "MODEL_BUDGET_EXCEEDED"
        order = list(self.order)
        while sum(SIZES[n] for n in order) + SIZES[name] > BUDGET:
            order.remove(next(n for n in order if not self.users[n]))
        return [*order, name]

    def ask(self, name: str, action: Callable[[str], object]) -> object:
        expected = self.expected_after(name)
        builds = self.specs.built[name]
        was_there = name in self.order
        if isinstance(expected, str):
            with pytest.raises(OutOfMemory) as caught:
                action(name)
            assert caught.value.reason == expected
            self.refused[name] += 1
            return None
        result = action(name)
        assert self.specs.built[name] == builds + (not was_there)
        self.order = expected
        return result

    @rule(name=st.sampled_from(list(SIZES)))
    def acquire(self, name: str) -> None:
        network = self.ask(name, self.cache.acquire)
        if isinstance(network, Network):
            assert self.users[name] == 0 or network is self.held[name]
            self.held[name] = network
            self.users[name] += 1

    @rule(name=st.sampled_from(list(SIZES)))
    def load(self, name: str) -> None:
        self.ask(name, self.cache.load)

    @precondition(lambda self: any(self.users.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, users in self.users.items() if users)))
        self.cache.release(name)
        self.users[name] -= 1
        if not self.users[name]:
            del self.held[name]
        self.order = [n for n in self.order if n != name] + [name]

    @rule(name=st.sampled_from(list(SIZES)))
    def unload(self, name: str) -> None:
        if self.users[name]:
            with pytest.raises(RequestError) as caught:
                self.cache.unload(name)
            assert (caught.value.error.code, caught.value.error.reason) == ("FAILED_PRECONDITION", "MODEL_IN_USE")
        else:
            assert self.cache.unload(name) is (name in self.order)
            self.order = [n for n in self.order if n != name]

    @rule(name=st.sampled_from(list(SIZES)))
    def release_too_often(self, name: str) -> None:
        if not self.users[name]:
            with pytest.raises(ValueError, match="released more often"):
                self.cache.release(name)

    @invariant()
    def it_holds_what_the_list_holds_within_the_budget(self) -> None:
        loaded = self.cache.loaded()
        assert [(m.name, m.size_bytes, m.users) for m in loaded] == [(n, SIZES[n], self.users[n]) for n in self.order]
        assert sum(m.size_bytes for m in loaded) <= BUDGET

    def teardown(self) -> None:
        """What was evicted is gone at once: no cycle waits for the collector with a device's memory."""
        for name, alive in self.specs.alive.items():
            held = name in self.order
            # The traceback of a refusal may keep what was built for it a little longer; nothing else may.
            assert held <= len(alive) <= held + self.refused[name], f"copies of {name}"


TestCache = CacheMachine.TestCase
TestCache.settings = hypothesis.settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_the_refusal_of_a_model_that_is_too_large_names_both_sizes() -> None:
    cache, _ = make()
    with pytest.raises(OutOfMemory, match=r"'huge' takes 9\.767 KiB, more than the 9\.766 KiB") as caught:
        cache.acquire("huge")
    assert caught.value.metadata == {"model": "huge", "size_bytes": "10001", "budget_bytes": "10000"}


def test_the_refusal_for_want_of_room_names_the_models_in_use() -> None:
    cache, _ = make()
    cache.acquire("b")
    cache.acquire("c")
    cache.load("a")
    with pytest.raises(OutOfMemory, match="in use by b, c") as caught:
        cache.acquire("d")
    assert caught.value.metadata["in_use"] == "b, c"
    assert names(cache) == ["b", "c", "a"]  # nothing left in vain


def test_unloading_a_model_in_use_says_by_how_many() -> None:
    cache, _ = make()
    cache.acquire("a")
    cache.acquire("a")
    with pytest.raises(RequestError, match="used by 2 live runs"):
        cache.unload("a")


def test_loading_leaves_no_trace_on_random_numbers() -> None:
    def noisy() -> nn.Module:
        torch.manual_seed(3)
        np.random.seed(3)
        return nn.Sequential(Ballast(100), nn.Dropout())

    cache, _ = make(noisy=noisy)
    before = generator_states()
    cache.load("noisy")
    cache.reload("noisy")
    assert generator_states() == before


def test_a_module_that_draws_its_weights_is_the_same_in_every_cache() -> None:
    first, second = make()[0].acquire("a"), make()[0].acquire("a")
    assert first.digest == second.digest
    assert first.digest != make()[0].acquire("b").digest


def test_the_model_is_warm_without_gradients_and_in_evaluation_mode() -> None:
    seen: list[tuple[tuple[int, ...], bool, bool]] = []

    class Watching(Ballast):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((tuple(x.shape), torch.is_grad_enabled(), self.training))
            return super().forward(x)

    cache, _ = make(watching=lambda: Watching(100))
    cache.load("watching")
    assert seen == [((1, 3, 8, 8), False, False)]


def test_a_model_that_does_not_compute_is_refused_and_not_kept() -> None:
    cache, _ = make(odd=lambda: nn.Conv2d(5, 1, 1))
    with pytest.raises(ModelBroken, match="does not compute on a picture of 8 by 8"):
        cache.acquire("odd")
    assert names(cache) == []


def test_a_source_that_cannot_build_is_named() -> None:
    def fails() -> nn.Module:
        raise ZeroDivisionError("secret")

    cache, _ = make(fails=fails)
    with pytest.raises(SourceFailed, match="source 'test' failed with ZeroDivisionError") as caught:
        cache.acquire("fails")
    assert "secret" not in caught.value.message
    with pytest.raises(UnknownName):
        cache.acquire("nothing")


def test_reloading_restores_every_value_in_place() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), Pooled(), Ballast(200).conv.requires_grad_(False))

    class Pooled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat(1, 2, 1, 1)[:, :3]

    cache, _ = make(damaged=build)
    network = cache.acquire("damaged")
    tensors = [*network.module.parameters(), *network.module.buffers()]
    original = [tensor.clone() for tensor in tensors]
    with torch.no_grad():
        for tensor in tensors:
            tensor.add_(1)
    cache.reload("damaged")
    assert all(torch.equal(now, then) for now, then in zip(tensors, original, strict=True))
    assert all(
        now is then
        for now, then in zip(tensors, [*network.module.parameters(), *network.module.buffers()], strict=True)
    )
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_a_module_with_other_parameters_than_it_had_cannot_be_reloaded() -> None:
    cache, _ = make()
    network = cache.acquire("a")
    network.module.register_parameter("extra", nn.Parameter(torch.ones(1)))
    with pytest.raises(ModelBroken, match="extra") as caught:
        cache.reload("a")
    assert caught.value.reason == "MODEL_DAMAGED"
    with pytest.raises(ValueError, match="not loaded"):
        cache.reload("b")


def test_the_digest_is_that_of_the_weights_as_loaded() -> None:
    cache, _ = make()
    clean = make()[0].acquire("a").digest
    network = cache.acquire("a")
    with torch.no_grad():
        next(network.module.parameters()).add_(1)
    assert network.digest == clean


def test_threads_that_ask_at_once_share_one_copy() -> None:
    cache, specs = make()
    found: list[Network] = []
    threads = [threading.Thread(target=lambda: found.append(cache.acquire("c"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert specs.built["c"] == 1
    assert cache.loaded()[0].users == 8


def test_the_real_model_is_loaded_with_its_own_size() -> None:
    cache = ModelCache(ModelRegistry(builtin_sources()), "cpu", default_budget("cpu"))
    loaded = cache.load("efficientnet_lite0")
    network = cache.acquire("efficientnet_lite0")
    assert loaded.size_bytes == network.size_bytes
    assert 18e6 < loaded.size_bytes < 20e6
    with pytest.raises(TechniqueError, match="timm has no weights"):
        cache.acquire("timm:resnet200")


def test_the_default_budget_is_a_quarter_of_what_there_is() -> None:
    psutil = pytest.importorskip("psutil")
    assert 64 << 20 < default_budget("cpu") <= psutil.virtual_memory().total // 4


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (18 << 20, "18 MiB"), (3 << 40, "3072 GiB")])
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.gpu
def test_on_a_gpu_memory_is_measured_and_given_back() -> None:
    specs = Specs(big=lambda: Ballast(64 << 20))
    cache = ModelCache(specs, "cuda:0", default_budget("cuda:0"))
    before = torch.cuda.memory_reserved("cuda:0")
    state = torch.cuda.get_rng_state("cuda:0")
    assert cache.load("big").size_bytes >= 64 << 20
    assert torch.equal(torch.cuda.get_rng_state("cuda:0"), state)
    assert cache.unload("big")
    assert torch.cuda.memory_reserved("cuda:0") <= before + (2 << 20)
