"""Layers of a network at increasing depth, where nobody names any."""

from __future__ import annotations

from convscope_sdk.errors import NotApplicable
from convscope_sdk.network import Network
from convscope_techniques.layout import has_maps

__all__ = ["eighth_layer", "widest_layers"]

_COARSEST = 20  # of the input's edge; Gatys' deepest layer, conv5_1, is at a sixteenth


def widest_layers(network: Network) -> list[str]:
    """At each resolution from the finest down to a twentieth of the input's, the layer with most maps.

    The last of those with equally many, and modules only. In VGG these are relu1_2, relu2_2, relu3_4, relu4_4 and
    relu5_4; in EfficientNet the activations behind the expansion where a stage begins.

    Raises:
        NotApplicable: no layer has maps.
    """
    widest: dict[int, tuple[int, str]] = {}
    for info in network.layers:
        if not info.functional and has_maps(info):
            channels, _, edge = info.output_shape
            if edge * _COARSEST >= network.input_size and channels >= widest.get(edge, (0, ""))[0]:
                widest[edge] = channels, info.name
        if info.name == network.aliases.get("penultimate"):
            break  # what follows are maps of classes
    if not widest:
        raise NotApplicable(
            f"no layer of {network.name} has maps: a style is made of them; take a convolutional network, or "
            "texture_synthesis or image_quilting, which need none"
        )
    return [widest[edge][1] for edge in sorted(widest, reverse=True)]


def eighth_layer(network: Network) -> str:
    """Of `widest_layers`, the one nearest to an eighth of the input's resolution, as VGG's conv4_2 is.

    Raises:
        NotApplicable: no layer has maps.
    """
    wanted = network.input_size / 8
    return min(widest_layers(network), key=lambda name: abs(network.layer(name).output_shape[-1] - wanted))
