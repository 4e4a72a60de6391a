"""Each number of the scorecard against torch-cam's or Quantus's."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

from convscope_sdk.events import Table
from convscope_sdk.models import ModelSpec
from convscope_sdk.network import Network
from convscope_techniques.attribution.baseline import baseline_of, blurred
from convscope_techniques.attribution.faithfulness import STEPS
from convscope_techniques.attribution.grad_cam import grad_cam
from convscope_techniques.attribution.integrated_gradients import integrated_gradients
from convscope_techniques.attribution.localisation import localisation, points_at
from convscope_techniques.attribution.randomisation import Likeness, stages
from convscope_techniques.attribution.saliency import saliency
from support.collected import Collected
from support.referee import OnPixels, pixels_of
from support.zoo import efficientnet, tiny

CAT = skimage.data.chelsea()
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), dtype=np.uint8)
MASK[4:17, 10:25] = 255


class _Given:
    """torch-cam's interface around a map that is there already."""

    def __init__(self, network: Network, values: torch.Tensor) -> None:
        self.model = OnPixels(network).eval()
        self._values = values

    def __call__(self, *_: Any, **__: Any) -> list[torch.Tensor]:
        return [self._values[None]]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("technique", [saliency, grad_cam, integrated_gradients])
@pytest.mark.parametrize("network", [tiny, efficientnet])
def test_deletion_insertion_and_drop_are_torchcams(technique: Any, network: Any) -> None:
    from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

    lens, target = network(), 5 if network is tiny else 285
    settings = {"size": 64, "layer": "blocks.4"} if technique is grad_cam and network is efficientnet else {}
    settings = {
        "size": 64 if network is efficientnet else 32,
        **settings,
        **({"cap": 1, "steps": 4, "tolerance": 1} if technique is integrated_gradients else {}),
    }
    seen = Collected(technique.run(lens, CAT, scores="full", target=target, **settings))
    values, pixels = seen.tensor(technique.id), pixels_of(lens, CAT, size=settings["size"])
    softmax = functools.partial(torch.softmax, dim=-1)
    for name, baseline in (("deletion", baseline_of("mean", lens, pixels)), ("insertion", blurred(pixels, 5.0))):
        metric = DeletionInsertionMetric(_Given(lens, values), softmax, steps=STEPS, baseline=baseline)
        metric.update(pixels, target)
        assert seen.scores[f"{name}_auc"] == pytest.approx(metric.summary()[f"{name}_auc"], rel=1e-3, abs=1e-6)
    # torch-cam multiplies what the network is given: a picture less the mean colour.
    mean, std = lens._mean, lens._std
    masked = _Given(lens, values.clamp(min=0) / values.max())
    masked.model = lens.module
    drop = ClassificationMetric(masked, softmax)
    drop.update((pixels - mean) / std, target)
    assert seen.scores["average_drop"] == pytest.approx(drop.summary()["avg_drop"], rel=1e-3, abs=1e-5)
    assert seen.scores["confidence_increase"] == drop.summary()["conf_increase"]


def test_the_likeness_of_maps_is_quantuss() -> None:
    from quantus.functions import similarity_func

    rng = np.random.default_rng(0)
    first = rng.random((32, 32)).astype(np.float32)
    second = (first + rng.random((32, 32)) / 2).astype(np.float32)
    ours = Likeness.of(torch.from_numpy(first), torch.from_numpy(second))
    assert ours.spearman == pytest.approx(similarity_func.correlation_spearman(first.ravel(), second.ravel()))
    pair = [values / values.max() for values in (first, second)]
    pair[0][0, 0], pair[1][0, 0] = 0.0, 0.0  # Quantus takes the range from the maps: 1, as ours
    ours = Likeness.of(*(torch.from_numpy(values) for values in pair))
    assert ours.ssim == pytest.approx(similarity_func.ssim(*pair), abs=1e-3)


def test_layers_forget_in_quantuss_order() -> None:
    from quantus.helpers.model.pytorch_model import PyTorchModel

    theirs = [name for name, _ in PyTorchModel(tiny().module).get_random_layer_generator("top_down")]
    assert [stage.last for stage in stages(tiny(), 0)] == theirs


def test_the_randomisation_check_is_quantuss_on_the_same_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    import quantus

    def explained(model: torch.nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray[Any, Any]:
        spec = ModelSpec(name="quantus", source="tests", build=lambda: model, input_size=32)
        lens = Network(model, spec)
        pixels = torch.as_tensor(np.asarray(inputs)) * lens._std + lens._mean
        picture = (pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()
        return (
            Collected(saliency.run(lens, picture, fit="resize", target=int(targets[0])))
            .tensor("saliency")[None, None]
            .numpy()
        )

    def as_quantus(layer: torch.nn.Module) -> None:
        torch.manual_seed(42 + 1)
        layer.reset_parameters()  # type: ignore[operator]

    monkeypatch.setattr("convscope_techniques.attribution.randomisation._forget", as_quantus)
    pixels = pixels_of(tiny(), NOISE, fit="resize")
    metric = quantus.MPRT(
        similarity_func=quantus.similarity_func.correlation_spearman,
        layer_order="top_down",
        seed=42,
        normalise=False,
        abs=True,
        disable_warnings=True,
        display_progressbar=False,
    )
    theirs = metric(
        model=tiny().module,
        x_batch=tiny().normalize(pixels).numpy(),
        y_batch=np.array([4]),
        a_batch=None,
        explain_func=explained,
        device="cpu",
    )
    seen = Collected(saliency.run(tiny(), NOISE, fit="resize", target=4, scores="full"))
    ours = {str(row["down_to"]): float(row["spearman"]) for row in seen.one(Table, "randomisation").rows}
    for layer, correlation in ours.items():
        assert correlation == pytest.approx(float(np.ravel(theirs[layer])[0]), abs=1e-4)


def test_pointing_and_overlap_are_quantuss() -> None:
    import quantus

    mask, pixels = torch.from_numpy(MASK > 0), pixels_of(tiny(), NOISE, fit="resize")
    rng = np.random.default_rng(4)
    quiet: dict[str, Any] = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}
    hits = []
    for _ in range(8):
        values = rng.random((32, 32)).astype(np.float32)
        batch = {
            "model": tiny().module, "x_batch": pixels.numpy(), "y_batch": np.array([0]),
            "a_batch": values[None, None], "s_batch": mask.numpy()[None, None], "device": "cpu",
        }  # fmt: skip
        hits.append(bool(quantus.PointingGame(**quiet)(**batch)[0]))
        assert points_at(torch.from_numpy(values), mask, 0) is hits[-1]
        rank_accuracy = float(quantus.RelevanceRankAccuracy(**quiet)(**batch)[0])
        overlap = localisation(torch.from_numpy(values), mask).values["mask_iou"]
        assert overlap == pytest.approx(rank_accuracy / (2 - rank_accuracy), abs=1e-6)
    assert {True, False} == set(hits)
