"""timm: and torchvision: names, with weights at random, in the cache, and nowhere."""

from __future__ import annotations

import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from torch import nn

from convscope_sdk.errors import InvalidParams, UnknownName
from convscope_sdk.models import ModelSource, ModelSpec
from convscope_server.models.errors import ModelBroken, WeightsUnreachable
from convscope_server.models.sources import reach
from convscope_server.models.sources.timm import TimmSource
from convscope_server.models.sources.torchvision import TorchvisionSource
from support.generators import generator_states

SOURCES: dict[str, ModelSource] = {"timm": TimmSource(), "torchvision": TorchvisionSource()}
both = pytest.mark.parametrize("library", SOURCES)


def spec_of(name: str) -> ModelSpec:
    spec = SOURCES[name.partition(":")[0]].spec(name)
    assert spec is not None
    return spec


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of both hubs, and a network where nobody answers."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(reach, "_ask", lambda *_: "Name or service not known")
    return tmp_path


@both
def test_a_name_with_another_prefix_is_not_theirs(library: str) -> None:
    assert SOURCES[library].spec("resnet18") is None
    assert SOURCES[library].spec("other:resnet18") is None
    assert list(SOURCES[library].entries()) == []


@both
def test_an_unknown_name_comes_with_near_ones(library: str) -> None:
    with pytest.raises(UnknownName, match=f"'{library}:resnet18'") as caught:
        spec_of(f"{library}:resnet81")
    assert caught.value.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("name", ["local-dir:/etc", "hf-hub:timm/resnet18", "hf_hub:timm/resnet18", "../resnet18", ""])
def test_timm_s_own_prefixes_open_no_folder_and_no_hub(name: str) -> None:
    with pytest.raises(UnknownName):
        spec_of(f"timm:{name}")


def test_an_unknown_tag_or_weights_name_comes_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"timm:resnet18\.a1_in1k"):
        spec_of("timm:resnet18.a9_in1k")
    with pytest.raises(UnknownName, match=r"torchvision:resnet50\?weights=IMAGENET1K_V2"):
        spec_of("torchvision:resnet50?weights=IMAGENET1K_V9")


@pytest.mark.parametrize("query", ["weights=best", "seed=3", "weights=random&weights=random"])
def test_other_options_are_refused_with_the_one_there_is(query: str) -> None:
    with pytest.raises(InvalidParams, match="random") as caught:
        spec_of(f"timm:resnet18?{query}")
    assert caught.value.reason == "MODEL_NAME_INVALID"


def test_detection_and_segmentation_models_are_not_offered() -> None:
    with pytest.raises(UnknownName, match="classification"):
        spec_of("torchvision:fcn_resnet50")


def test_a_model_of_oblong_pictures_is_refused() -> None:
    with pytest.raises(ModelBroken, match="1024 by 768") as caught:
        spec_of("timm:vit_base_patch16_sapiens2.fb")
    assert caught.value.reason == "MODEL_NOT_SUPPORTED"


def test_preprocessing_is_the_library_s_own() -> None:
    timm = spec_of("timm:vit_tiny_patch16_224")
    assert (timm.mean, timm.std, timm.crop_fraction) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.9)
    vision = spec_of("torchvision:inception_v3")
    assert (vision.input_size, vision.interpolation) == (299, "bilinear")
    assert vision.crop_fraction == pytest.approx(299 / 342)
    assert vision.classes[285] == timm.classes[285] == "Egyptian cat"


def test_models_of_larger_data_sets_have_their_labels() -> None:
    assert len(spec_of("timm:vit_tiny_patch16_224.augreg_in21k").classes) == 21843
    assert spec_of("timm:vit_small_patch14_dinov2.lvd142m").classes == ()


@pytest.mark.parametrize(
    "name",
    ["timm:resnet10t", "torchvision:squeezenet1_1", "torchvision:googlenet"],
)
def test_random_weights_are_the_same_each_time_and_touch_no_generator(name: str) -> None:
    spec = spec_of(f"{name}?weights=random")
    assert spec.random_weights
    torch.manual_seed(1)
    first = spec.build()
    torch.manual_seed(2)
    before = generator_states()
    second = spec.build()
    assert equal(first, second)
    assert generator_states() == before


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18", "timm:resnet18.fb_swsl_ig1b_ft_in1k"])
def test_offline_the_error_says_what_to_do(name: str, caches: Path) -> None:
    with pytest.raises(WeightsUnreachable, match="cannot be reached") as caught:
        spec_of(name).build()
    bare = name.partition(":")[2]
    assert caught.value.code == "FAILED_PRECONDITION"
    assert caught.value.reason == "WEIGHTS_UNREACHABLE"
    assert f"MODELS_DIR/{bare}/" in caught.value.message
    assert f"'{name}?weights=random'" in caught.value.message


def test_hub_s_offline_mode_is_respected(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnreachable, match="HF_HUB_OFFLINE is set"):
        spec_of("timm:resnet10t").build()


def test_weights_that_the_library_does_not_have_are_not_looked_for() -> None:
    with pytest.raises(WeightsUnreachable, match="timm has no weights"):
        spec_of("timm:resnet200").build()


def test_a_host_that_answers_and_then_fails_is_unreachable_too(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_ask", lambda *_: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", _reset)
    started = time.monotonic()
    with pytest.raises(WeightsUnreachable, match="reset by peer"):
        spec_of("torchvision:resnet18").build()
    assert time.monotonic() - started < 10


def _reset(*_: object, **__: object) -> None:
    raise ConnectionResetError("connection reset by peer")


def test_torchvision_weights_in_the_cache_need_no_network(caches: Path) -> None:
    trained = spec_of("torchvision:squeezenet1_1?weights=random").build()
    folder = caches / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({k: v + 1 for k, v in trained.state_dict().items()}, folder / "squeezenet1_1-b8a52dc0.pth")
    cached = spec_of("torchvision:squeezenet1_1").build().state_dict()
    assert all(torch.equal(cached[k], v + 1) for k, v in trained.state_dict().items())


def test_torchvision_weights_in_the_cache_are_not_unpickled(caches: Path) -> None:
    folder = caches / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(nn.Linear(1, 1), folder / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ModelBroken, match="delete it"):
        spec_of("torchvision:squeezenet1_1").build()


def test_timm_weights_in_the_cache_need_no_network(caches: Path) -> None:
    from safetensors.torch import save_file

    trained = spec_of("timm:resnet10t?weights=random").build()
    repository = caches / "hub" / "models--timm--resnet10t.c3_in1k"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123456789abcdef")
    state = {k: v + 1 if v.is_floating_point() else v for k, v in trained.state_dict().items()}
    save_file(state, snapshot / "model.safetensors")
    cached = spec_of("timm:resnet10t").build().state_dict()
    assert all(torch.equal(cached[k], v) for k, v in state.items())
