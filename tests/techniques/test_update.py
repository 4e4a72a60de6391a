from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_sdk.state import Memory
from convscope_techniques.synthesis.update import LBFGS, Adam, CarefulMomentum, Momentum, Normalised, Update

CURVATURE = torch.linspace(0.5, 4, 12)
LOWEST = torch.linspace(-1, 1, 12)


def _bowl(code: torch.Tensor) -> tuple[float, torch.Tensor]:
    away = code - LOWEST
    return float((CURVATURE * away.square()).sum() / 2), CURVATURE * away


def _descended(update: Update, steps: int) -> torch.Tensor:
    code = torch.zeros(12)
    for _ in range(steps):
        code = update.next(code, *_bowl(code))
    return code


@pytest.mark.parametrize(
    ("update", "steps", "within"),
    [
        (Adam(0.05), 300, 0.01),
        (Momentum(0.05), 200, 0.01),
        (CarefulMomentum(20.0), 300, 0.01),
        (LBFGS(8), 30, 1e-3),
        (Normalised(0.02), 300, 0.2),
    ],
    ids=["adam", "momentum", "careful", "lbfgs", "normalised"],
)
def test_every_rule_gets_to_the_bottom_of_a_bowl(update: Update, steps: int, within: float) -> None:
    assert float((_descended(update, steps) - LOWEST).abs().max()) < within


@settings(deadline=None)
@given(st.floats(1e-4, 10), st.integers(0, 100))
def test_a_normalised_step_changes_the_code_by_its_size_on_average(size: float, seed: int) -> None:
    gradient = torch.randn(40, generator=torch.Generator().manual_seed(seed))
    moved = Normalised(size).next(torch.zeros(40), 0.0, gradient)
    assert float(moved.abs().mean()) == pytest.approx(size, rel=1e-4)


def test_careful_momentum_is_momentum_where_nothing_leads_away() -> None:
    careful = CarefulMomentum(0.05)
    assert torch.equal(_descended(careful, 40), _descended(Momentum(0.05), 40))
    assert careful.cuts == 0


def test_careful_momentum_goes_back_to_its_best_code_with_a_quarter_of_the_step() -> None:
    update, zero, one = CarefulMomentum(1.0), torch.zeros(1), torch.ones(1)
    assert update.next(zero, 5.0, one).tolist() == [-1.0]
    assert update.next(-one, 3.0, one).tolist() == pytest.approx([-2.9])
    for value, cuts in ((6.0, 1), (float("nan"), 2)):
        assert update.next(-2.9 * one, value, 100 * one).tolist() == pytest.approx([-1 - 0.25**cuts])
        assert update.cuts == cuts


def test_a_normalised_step_without_a_gradient_stays_where_it_is() -> None:
    code = torch.rand(5)
    assert torch.equal(Normalised(1.0).next(code, 0.0, torch.zeros(5)), code)


def test_a_step_size_may_depend_on_the_step() -> None:
    update = Momentum(lambda step: (1.0, 0.1)[step], momentum=0.0)
    first = update.next(torch.zeros(1), 0.0, torch.ones(1))
    second = update.next(first, 0.0, torch.ones(1))
    assert (float(first), float(second - first)) == pytest.approx((-1.0, -0.1))


def test_lbfgs_gives_up_a_step_that_was_worse_and_looks_nearer() -> None:
    update = LBFGS()
    start = torch.zeros(12)
    value, gradient = _bowl(start)
    tried = update.next(start, value, gradient)
    nearer = update.next(tried, value + 1, gradient)
    after_nan = update.next(nearer, float("nan"), gradient)
    lengths = [float((code - start).norm()) for code in (tried, nearer, after_nan)]
    assert lengths == pytest.approx([lengths[0], lengths[0] / 4, lengths[0] / 16])


def test_lbfgs_gets_down_a_curved_valley() -> None:
    code = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    update = LBFGS(10)
    accepted = [float("inf")]
    for _ in range(120):
        leaf = code.detach().requires_grad_()
        value = (1 - leaf[0]).square() + 100 * (leaf[1] - leaf[0].square()).square()
        (gradient,) = torch.autograd.grad(value, leaf)
        if float(value.detach()) <= accepted[-1]:
            accepted.append(float(value.detach()))
        code = update.next(code, float(value.detach()), gradient)
    assert accepted[-1] < 1e-8


def test_rules_leave_their_arguments_alone() -> None:
    for update in (Adam(0.1), Momentum(0.1), LBFGS(), Normalised(0.1)):
        for _ in range(3):
            code, gradient = torch.ones(12), torch.linspace(-1, 1, 12)
            update.next(code, 1.0, gradient)
            assert torch.equal(code, torch.ones(12))
            assert torch.equal(gradient, torch.linspace(-1, 1, 12))


@pytest.mark.parametrize("seen", [1, 2, 11])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Adam(lambda step: 0.3 / (1 + step)), lambda: Momentum(0.05), lambda: CarefulMomentum(20.0),
        lambda: LBFGS(8), lambda: Normalised(lambda step: 0.3 / (1 + step)),
    ],
    ids=["adam", "momentum", "careful", "lbfgs", "normalised"],
)  # fmt: skip
def test_a_rule_goes_on_to_the_same_bits_with_what_it_had_seen(make: Callable[[], Update], seen: int) -> None:
    memory, code = Memory(), torch.zeros(12)
    state = memory.open("descent", {"code": code, "update": make()})
    for _ in range(seen):
        state.code = state.update.next(state.code, *_bowl(state.code))
    taken_up = Memory(saved=memory.save().by_way_of_json()).open("descent", {"code": code, "update": make()})
    for _ in range(12):
        for each in (state, taken_up):
            each.code = each.update.next(each.code, *_bowl(each.code))
        assert torch.equal(state.code, taken_up.code)


@pytest.mark.parametrize("make", [lambda: CarefulMomentum(0.05, momentum=0.0), LBFGS], ids=["careful", "lbfgs"])
def test_a_rule_that_compares_values_goes_down_another_objective_once_it_forgets_them(
    make: Callable[[], Update],
) -> None:
    update, code = make(), torch.zeros(12)
    for _ in range(2):
        code = update.next(code, *_bowl(code))
    before = _bowl(code)[0]
    update.forget_values()
    for _ in range(20):
        value, gradient = _bowl(code)
        code = update.next(code, 1000 + value, gradient)
    assert _bowl(code)[0] < before / 2
    assert getattr(update, "cuts", 0) == 0
