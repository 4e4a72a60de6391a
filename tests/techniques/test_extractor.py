from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope_sdk.errors import NotApplicable, UnknownName
from convscope_techniques.texture.depths import eighth_layer, widest_layers
from convscope_techniques.texture.extractor import INPUT, Extractor, vgg_layers
from support.networks import PlainNet, function_modes, network
from support.zoo import efficientnet, network_of, random_network, tiny

X = torch.rand(1, 3, 32, 40)


def test_layers_of_vgg_go_by_the_papers_names() -> None:
    names = vgg_layers(random_network("vgg11").module)
    assert names["conv1_1"] == "features.0"
    assert names["relu4_2"] == "features.14"
    assert names["relu5_1"] == "features.17"
    assert names["pool5"] == "features.20"


def test_features_come_by_the_names_they_were_asked_for() -> None:
    net = network(PlainNet)
    features = Extractor(net, ["relu2_1", "features.0"], pooling="max")(X)
    expected = net.activations(X, "features.4", "features.0")
    assert torch.allclose(features["relu2_1"], expected["features.4"], atol=1e-5)
    assert torch.allclose(features["features.0"], expected["features.0"], atol=1e-5)


def test_average_pooling_is_on_for_the_pass_and_counted() -> None:
    net = network(PlainNet)
    extract = Extractor(net, ["features.3"])
    found = extract(X)["features.3"]
    first = net.module.features[1](net.module.features[0](net.normalize(X)))  # type: ignore[index,operator]  # a Sequential
    assert torch.allclose(found, net.module.features[3](functional.avg_pool2d(first, 2)), atol=1e-5)  # type: ignore[index,operator]  # likewise
    assert extract.replaced == 1
    assert function_modes() == []


def test_the_input_is_a_layer_of_neighbourhoods_less_the_mean_colour() -> None:
    features = Extractor(tiny(), [INPUT, "conv1"], centre=0.25)(X)
    assert list(features) == [INPUT, "conv1"]
    assert tuple(features[INPUT].shape) == (1, 75, 32, 40)
    middle = features[INPUT].view(1, 3, 25, 32, 40)[:, :, 12]
    assert torch.allclose(middle, X - 0.25)


def test_the_scale_multiplies_features() -> None:
    once, thrice = (Extractor(tiny(), ["relu2"], scale=scale)(X)["relu2"] for scale in (1.0, 3.0))
    assert torch.allclose(3 * once, thrice)


def test_names_of_vgg_are_refused_where_there_is_none() -> None:
    with pytest.raises(NotApplicable, match="no VGG; leave out the preset"):
        Extractor(tiny(), ["relu4_2"])
    with pytest.raises(NotApplicable, match="it has conv1_1, relu1_1, pool1"):
        Extractor(network(PlainNet), ["relu4_2"])


def test_unknown_layers_and_layers_without_maps_are_refused() -> None:
    with pytest.raises(UnknownName, match="conv2"):
        Extractor(tiny(), ["konv2"])
    with pytest.raises(NotApplicable, match="no maps"):
        Extractor(tiny(), ["fc"])(X)


def test_the_widest_layers_are_those_of_the_papers_in_vgg_and_one_at_each_resolution_elsewhere() -> None:
    vgg = random_network("vgg11")
    names = {module: name for name, module in vgg_layers(vgg.module).items()}
    assert [names[layer] for layer in widest_layers(vgg)] == ["relu1_1", "relu2_1", "relu3_2", "relu4_2", "relu5_2"]
    assert names[eighth_layer(vgg)] == "relu4_2"
    net = efficientnet()
    shapes = [net.layer(name).output_shape for name in widest_layers(net)]
    assert shapes == [(96, 112, 112), (144, 56, 56), (240, 28, 28), (672, 14, 14)]
    assert net.layer(eighth_layer(net)).output_shape == (240, 28, 28)


def test_maps_of_classes_are_no_texture() -> None:
    assert not any(
        random_network("squeezenet1_1").layer(name).output_shape[0] == 1000
        for name in widest_layers(random_network("squeezenet1_1"))
    )


def test_a_network_without_maps_has_no_style() -> None:
    net = network_of(flat=nn.Flatten(), fc=nn.Linear(3 * 32 * 32, 7))
    with pytest.raises(NotApplicable, match="image_quilting"):
        widest_layers(net)
