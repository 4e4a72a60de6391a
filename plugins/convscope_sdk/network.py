"""The lens over an `nn.Module`: pixels in, logits, activations, scores and gradients out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from convscope_sdk.capture import capture
from convscope_sdk.errors import InvalidTarget, NotApplicable, UnknownName
from convscope_sdk.labels import find_label
from convscope_sdk.layers import ALIASES, LayerInfo, Layers, probe
from convscope_sdk.models import ModelSpec
from convscope_sdk.rules import GradientRule, Rule
from convscope_sdk.scores import check_unit, layer_value, measure
from convscope_sdk.sizes import sizes_refused
from convscope_sdk.target import Target

__all__ = ["Network"]

_LOGITS_NDIM = 2
_MAPS_NDIM = 4
_COLOURS = 3


class Network:
    """A loaded model. Techniques work on pixels: RGB floats in [0, 1], (B, 3, H, W); it owns the normalisation.

    The module is in evaluation mode, no parameter requires a gradient, and nothing here leaves a trace on it: no
    hook, no mode, no flag, also after an error. One thread at a time looks through one network.

    Attributes:
        module: The module, on `device`.
        spec: How it was built.
        device: Where it is and where pixels have to be.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval().requires_grad_(False)
        self.spec = spec
        self._mean = torch.tensor(spec.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=self.device).view(1, 3, 1, 1)

    def __repr__(self) -> str:
        return f"<Network {self.name!r}: {type(self.module).__name__} on {self.device}>"

    @property
    def name(self) -> str:
        """The model's name in the catalog."""
        return self.spec.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels by index; empty where they are unknown."""
        return self.spec.classes

    @property
    def input_size(self) -> int:
        """Edge of the square evaluation input, pixels."""
        return self.spec.input_size

    @property
    def random_weights(self) -> bool:
        """Whether nothing was learned."""
        return self.spec.random_weights

    @cached_property
    def parameters_count(self) -> int:
        """Numbers in its parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of its parameters and buffers."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @cached_property
    def digest(self) -> str:
        """The digest "sha256:…" over the names and bytes of the state dict in its order, computed once."""
        sha = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            sha.update(name.encode())
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return f"sha256:{sha.hexdigest()}"

    # What it computes

    def normalize(self, pixels: Tensor) -> Tensor:
        """(pixels - mean) / std, differentiable."""
        return (pixels - self._mean) / self._std

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, classes) unnormalised class scores.

        Raises:
            NotApplicable: the network's output is something else, or it does not take pictures of that size.
        """
        with sizes_refused(self.name, self.input_size, pixels):
            output = self.module(self.normalize(pixels))
        return self._as_logits(output)

    def activations(self, pixels: Tensor, *layers: str) -> dict[str, Tensor]:
        """Outputs of layers by the name asked for; the forward pass stops after the deepest of them.

        Values are those at the moment the layer gives them, whatever works in place on them later. Differentiable
        with respect to `pixels`, and a deeper output with respect to a shallower.

        Raises:
            UnknownName: no such layer; carries near names.
            NotApplicable: an alias of a layer that this network does not have.
        """
        return self._capture(pixels, layers, to_the_end=False)[0]

    def activations_and_logits(self, pixels: Tensor, *layers: str) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs of layers by the name asked for, and the (B, classes) logits that follow from them, in one pass.

        `torch.autograd.grad(logits[:, k].sum(), activation)` is the gradient at the layer, also where an in-place
        activation comes next. `pixels` need not require gradients: the graph then begins at the layers.

        Raises:
            UnknownName: no such layer; carries near names.
            NotApplicable: an alias of a layer that this network does not have, or its output is no logits.
        """
        captured, output = self._capture(pixels, layers, to_the_end=True)
        return captured, self._as_logits(output)

    def generate(self, code: Tensor) -> Tensor:
        """(B, 3, H, W) the pictures in [0, 1] that a generator makes of codes (B, *code_shape); differentiable.

        Raises:
            NotApplicable: it is no generator, or gives no pictures.
        """
        self._check_generator()
        made = self.module(code)
        if isinstance(made, Tensor) and made.ndim == _MAPS_NDIM and made.shape[1] == _COLOURS:
            return made
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise NotApplicable(f"{self.name} gives {shape}; take a generator that gives pictures (B, 3, H, W) in [0, 1]")

    @cached_property
    def code_sigma(self) -> Tensor:
        """How far each unit of a generator's codes spreads, its standard deviation, of the shape of one code.

        Raises:
            NotApplicable: it is no generator, or does not say what it takes.
        """
        self._check_generator()
        shape, facts = self.spec.code_shape, self.spec.codes
        if facts is None or not facts.sigma:
            return torch.ones(shape, device=self.device)
        sigma: Tensor = self.module.state_dict()[facts.sigma].float()
        return sigma.broadcast_to(shape).clone()

    def predictions(self, logits: Tensor, k: int = 5) -> list[tuple[int, str, float]]:
        """The top k (index, label, probability) of one row of logits, (classes,) or (1, classes)."""
        row = logits.detach().reshape(-1) if logits.shape[0] == 1 else logits.detach()
        if row.ndim != 1:
            raise ValueError(f"predictions are of one row of logits, not of a tensor of shape {tuple(logits.shape)}")
        top = row.float().softmax(0).topk(min(k, len(row)))
        return [
            (index, self.label(index), probability)
            for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]

    def label(self, index: int) -> str:
        """What class `index` is called; "class 285" where labels are unknown."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    # What it is made of

    @cached_property
    def _probed(self) -> Layers:
        shape = self.spec.code_shape or (3, self.input_size, self.input_size)
        if self.spec.kind == "generator" and not self.spec.code_shape:
            raise NotApplicable(f"{self.name} is a generator of unknown code_shape, so its layers cannot be watched")
        return probe(self.module, torch.zeros(1, *shape, device=self.device))

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Every module call and functional node in order of execution, found by one forward pass, once."""
        return self._probed.all

    @property
    def aliases(self) -> Mapping[str, str]:
        """Which of `first_conv`, `last_conv`, `penultimate` and `logits` it has, and the layer that each is."""
        return self._probed.aliases

    def layer(self, ref: str) -> LayerInfo:
        """The layer of that name or alias.

        Raises:
            UnknownName: no such layer; carries near names.
            NotApplicable: an alias of a layer that this network does not have.
        """
        probed = self._probed
        name = ref if ref in probed.by_name else probed.aliases.get(ref, ref)
        if name in probed.by_name:
            return probed.by_name[name]
        if name in ALIASES:
            raise NotApplicable(f"{self.name} has no {name}; name one of its layers, such as {self._an_example()!r}")
        hint = f'for a class write class:"{ref}"' if ref.casefold() in map(str.casefold, self.classes) else ""
        raise UnknownName.among("layer", ref, (*probed.by_name, *probed.aliases), hint=hint)

    # What is looked at

    def resolve(
        self, target: Target | str | int, pixels: Tensor | None = None, *, logits: Tensor | None = None
    ) -> Target:
        """A target with nothing left open: ranks and labels become class indices, aliases layer names.

        Args:
            target: A target or its spelling.
            pixels: The picture: for ranks, and for positions where its size is not the network's own.
            logits: Of the picture, where they are at hand: saves a rank its forward pass.

        Raises:
            InvalidTarget: it cannot be read, is out of bounds, or its rank needs a picture that was not given.
            UnknownName: no such layer or class; carries near names.
            NotApplicable: an alias of a layer that this network does not have, or its output is no logits.
        """
        target = Target.parse(target)
        if target.is_class:
            return self._resolve_class(target, pixels, logits)
        info = self.layer(target.layer or "")
        shape = info.output_shape
        if target.kind == "neuron" and pixels is not None and tuple(pixels.shape[-2:]) != (self.input_size,) * 2:
            with torch.no_grad():
                shape = tuple(self.activations(pixels[:1], info.name)[info.name].shape[1:])
        check_unit(target, shape)
        return replace(target, layer=info.name, text=info.name + target.text.removeprefix(target.layer or ""))

    def score(self, pixels: Tensor, target: Target | str | int) -> Tensor:
        """(B,) what the target measures for each picture; differentiable; stops at the target's layer.

        A class: its logit. A contrast: the difference of two. A channel: its mean over positions. A neuron: its
        value. A layer: ½·Σa².

        Raises:
            InvalidTarget, UnknownName, NotApplicable: as `resolve`.
        """
        target = Target.parse(target)
        if target.is_class:
            logits = self.logits(pixels)
            return self.target_value(self._resolve_class(target, None, logits), logits=logits)
        name = self.layer(target.layer or "").name
        activation = self.activations(pixels, name)[name]
        if len(activation) != len(pixels):
            raise InvalidTarget(
                f"layer {name!r} mixes pictures and positions: its outputs have no score for each picture"
            )
        return layer_value(target, activation)

    def target_value(
        self, target: Target, *, logits: Tensor | None = None, activations: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """(B,) the same as `score`, from logits or activations at hand; `target` has been resolved."""
        return measure(target, logits=logits, activations=activations)

    def gradient_rule(self, rule: Rule) -> GradientRule:
        """A context manager: what is computed within it passes gradients through ReLUs by that rule."""
        return GradientRule(rule)

    # How

    def _capture(self, pixels: Tensor, asked: Sequence[str], *, to_the_end: bool) -> tuple[dict[str, Tensor], Any]:
        layers = {name: self.layer(name) for name in asked}
        if not layers and not to_the_end:
            return {}, None
        with sizes_refused(self.name, self.input_size, pixels):
            captured, output = capture(self.module, layers.values(), self.normalize(pixels), to_the_end=to_the_end)
        return {name: captured[layer.name] for name, layer in layers.items()}, output

    def _check_generator(self) -> None:
        if self.spec.kind != "generator":
            raise NotApplicable(
                f"{self.name} is a {self.spec.kind}; take a model of kind generator, which makes pictures of codes"
            )
        if not self.spec.code_shape:
            raise NotApplicable(f"{self.name} does not say what codes it takes; give its model.toml a code_shape")

    def _as_logits(self, output: Any) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == _LOGITS_NDIM:
            return output
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NotApplicable(
            f"{self.name} is no classifier: its output is {shape}, not (B, classes); use a technique that needs no "
            "classes, or a layer as the target"
        )

    def _resolve_class(self, target: Target, pixels: Tensor | None, logits: Tensor | None) -> Target:
        if target.kind == "top":
            return self._resolve_rank(target, pixels, logits)
        count = self._classes_count(logits)
        index = self._class_index(target, count)
        if target.minus is None:
            return Target.parse(f"class:{index}")
        return Target.parse(f"{index}-{self._class_index(target.minus, count)}")

    def _resolve_rank(self, target: Target, pixels: Tensor | None, logits: Tensor | None) -> Target:
        if logits is None:
            if pixels is None:
                raise InvalidTarget(f"{target} asks what the network sees in a picture; give one, or a class by index")
            with torch.no_grad():
                logits = self.logits(pixels)
        if len(logits) != 1:
            raise InvalidTarget(f"{target} is of one picture, not of a batch of {len(logits)}")
        if target.rank > logits.shape[1]:
            raise InvalidTarget(f"{target} is out of range: {self.name} has {logits.shape[1]} classes")
        return Target.parse(f"class:{logits[0].topk(target.rank).indices[-1].item():.0f}")

    def _class_index(self, target: Target, count: int) -> int:
        index = find_label(target.label, self.classes) if target.label is not None else target.index
        if index is None or index >= count:
            raise InvalidTarget(f"class {index} is out of range: {self.name} has {count} classes, 0 to {count - 1}")
        return index

    def _classes_count(self, logits: Tensor | None) -> int:
        if logits is not None:
            return logits.shape[1]
        if self.classes:
            return len(self.classes)
        shape = self._probed.output_shape
        if shape is None or len(shape) != 1:
            raise NotApplicable(f"{self.name} is no classifier; use a layer as the target")
        return shape[0]

    def _an_example(self) -> str:
        return self.layers[len(self.layers) // 2].name
