"""What one run does never reaches another: each promise with a technique that breaks it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convscope_sdk.events import Event, Progress, Tensor
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import Technique, technique
from convscope_server.engine.messages import ListModels
from convscope_server.runs import events as log
from support.workshop import Bench, tiny_module


@technique("dice")
def dice(run: Run[Params]) -> Iterator[Event]:
    """Draws from every global generator, over several steps."""
    drawn = []
    for step in range(1, 6):
        drawn += [torch.rand(1).item(), float(np.random.rand()), random.random()]
        yield Progress(step, 5)
    yield Tensor("drawn", np.array(drawn))


@technique("look")
def look(run: Run[Params]) -> Iterator[Event]:
    """The network's answer to a fixed picture."""
    yield Tensor("logits", run.network.logits(torch.full((1, 3, 32, 32), 0.5)))


def digest(bench: Bench, run: str, name: str) -> str:
    return next(e.artifact.digest for e in bench.log(run) if isinstance(e, log.Result) and e.artifact.name == name)


@pytest.mark.parametrize("shared", [False, True])
def test_a_seed_means_the_same_numbers_alone_and_beside_others(shared: bool) -> None:
    alone = Bench(dice, shared=shared)
    alone.start("a", "dice", seed=11)
    alone.work()
    crowd = Bench(dice, shared=shared)
    for run, seed in (("x", 1), ("a", 11), ("y", 2), ("z", 11)):
        crowd.start(run, "dice", seed=seed)
    crowd.work()
    assert digest(crowd, "a", "drawn") == digest(alone, "a", "drawn") == digest(crowd, "z", "drawn")
    assert len({digest(crowd, run, "drawn") for run in "axy"}) == 3


def test_a_shared_process_keeps_its_own_random_numbers() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = [torch.rand(1).item(), float(np.random.rand()), random.random()]
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    bench = Bench(dice, shared=True)
    bench.start("a", "dice", seed=1)
    bench.work()
    assert [torch.rand(1).item(), float(np.random.rand()), random.random()] == expected


def leaky(leak: Callable[[Run[Params]], object]) -> Technique[Params]:
    @technique("leaky")
    def leaky(run: Run[Params]) -> Iterator[Event]:
        """Leaves something behind at its first step."""
        kept = leak(run)
        yield Progress(1, 2)
        yield Progress(2, 2)
        del kept

    return leaky


def conv(run: Run[Params]) -> nn.Conv2d:
    layer = run.network.module[0]  # type: ignore[index]
    assert isinstance(layer, nn.Conv2d)
    return layer


def add_hook(run: Run[Params]) -> object:
    return conv(run).register_forward_hook(lambda *_: None)


def add_backward_hook(run: Run[Params]) -> object:
    return conv(run).register_full_backward_hook(lambda *_: None)


def write_in_place(run: Run[Params]) -> None:
    with torch.no_grad():
        conv(run).weight.mul_(2)


def replace_tensor(run: Run[Params]) -> None:
    conv(run).weight = nn.Parameter(torch.zeros_like(conv(run).weight), requires_grad=False)


def train_batch_norm(run: Run[Params]) -> None:
    run.network.module.train()
    run.network.module(torch.rand(4, 3, 32, 32))
    run.network.module.eval()


def leave_gradients(run: Run[Params]) -> None:
    conv(run).weight.grad = torch.ones_like(conv(run).weight)


def swap_module(run: Run[Params]) -> None:
    run.network.module[2] = nn.GELU()  # type: ignore[operator]


def patch_forward(run: Run[Params]) -> None:
    conv(run).forward = lambda x: x[:, :1].repeat(1, 4, 1, 1)  # type: ignore[method-assign]


def enter(mode: object) -> object:
    mode.__enter__()  # type: ignore[attr-defined]
    return mode


LEAKS: dict[str, tuple[Callable[[Run[Params]], object], str]] = {
    "forward hook": (add_hook, "module hooks"),
    "backward hook": (add_backward_hook, "module hooks"),
    "train mode": (lambda run: run.network.module.train(), "train/eval flags"),
    "requires_grad": (lambda run: conv(run).weight.requires_grad_(), "requires_grad flags"),
    "gradients": (leave_gradients, "parameter gradients"),
    "written values": (write_in_place, "parameter values"),
    "replaced tensor": (replace_tensor, "parameter values"),
    "batch norm statistics": (train_batch_norm, "parameter values"),
    "swapped module": (swap_module, "replaced modules"),
    "patched forward": (patch_forward, "replaced modules"),
    "grad mode": (lambda _: torch.set_grad_enabled(False), "grad mode"),
    "no_grad block": (lambda _: enter(torch.no_grad()), "grad mode"),
    "autocast": (lambda _: enter(torch.autocast("cpu", torch.bfloat16)), "autocast"),
    "function mode": (lambda _: enter(TorchFunctionMode()), "TorchFunctionMode stack"),
    "dispatch mode": (lambda _: enter(TorchDispatchMode()), "TorchDispatchMode stack"),
    "default dtype": (lambda _: torch.set_default_dtype(torch.float64), "default dtype"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_technique_that_leaves_a_trace_fails_by_name_and_the_next_run_sees_none(name: str) -> None:
    leak, told = LEAKS[name]
    clean = Bench(look)
    clean.start("clean", "look")
    clean.work()
    bench = Bench(leaky(leak), look)
    bench.start("a", "leaky")
    bench.start("b", "look")
    bench.work()
    error = bench.error("a")
    assert error.reason == "TECHNIQUE_LEAKED"
    assert "technique leaky (test-plugin 1.0)" in error.message
    assert told in error.metadata["leaks"]
    assert not [e for e in bench.log("a") if isinstance(e, log.Progress)]
    assert digest(bench, "b", "logits") == digest(clean, "clean", "logits")
    assert torch.is_grad_enabled()


def test_writes_that_counters_miss_are_found_at_the_end_and_undone() -> None:
    @technique("sneaky")
    def sneaky(run: Run[Params]) -> Iterator[Event]:
        """Writes through .data."""
        conv(run).weight.data.mul_(3)
        yield Progress(1, 1)

    bench = Bench(sneaky)
    bench.start("a", "sneaky")
    bench.work()
    assert bench.error("a").metadata["leaks"] == "parameter values"
    assert bench.cache.reloads == 1
    assert torch.equal(bench.cache.network.module[0].weight, tiny_module()[0].weight)  # type: ignore[index]


def test_writes_that_counters_miss_never_reach_a_run_beside() -> None:
    @technique("sneaky")
    def sneaky(run: Run[Params]) -> Iterator[Event]:
        """Writes through .data, and goes on."""
        conv(run).weight.data.mul_(3)
        for step in range(1, 100):
            yield Progress(step)

    clean = Bench(look)
    clean.start("clean", "look")
    clean.work()
    bench = Bench(sneaky, look)
    bench.start("a", "sneaky")
    bench.start("b", "look")
    bench.work()
    assert bench.error("a").reason == "TECHNIQUE_LEAKED"
    assert digest(bench, "b", "logits") == digest(clean, "clean", "logits")


def test_what_a_technique_restores_before_it_yields_is_its_own_business() -> None:
    @technique("tidy")
    def tidy(run: Run[Params]) -> Iterator[Event]:
        """Changes much, and puts it back."""
        for step in range(1, 4):
            handle = add_hook(run)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), torch.device("cpu"):
                run.network.logits(torch.rand(1, 3, 32, 32))
            handle.remove()  # type: ignore[attr-defined]
            yield Progress(step, 3)

    bench = Bench(tidy)
    bench.start("a", "tidy")
    bench.work()
    assert isinstance(bench.end("a"), log.Succeeded)


def test_a_run_closed_amid_a_block_leaves_nothing_when_its_finally_cleans_up() -> None:
    @technique("blocks")
    def blocks(run: Run[Params]) -> Iterator[Event]:
        """Holds a hook only inside one step, and is closed by its deadline."""
        step = 0
        while True:
            step += 1
            yield Progress(step)

    import time

    bench = Bench(blocks)
    bench.start("a", "blocks", deadline=time.time() + 0.05)
    bench.work()
    assert bench.error("a").reason == "RUN_DEADLINE_EXCEEDED"
    assert bench.cache.reloads == 0


def test_threads_of_the_worker_that_come_in_its_turn_are_no_litter_of_a_run() -> None:
    @technique("ask")
    def ask(run: Run[Params]) -> Iterator[Event]:
        """Is at work when somebody wants the models."""
        bench.worker.post(ListModels(1))
        yield Progress(1, 1)

    bench = Bench(ask)
    bench.start("a", "ask")
    bench.work()
    assert isinstance(bench.end("a"), log.Succeeded)
