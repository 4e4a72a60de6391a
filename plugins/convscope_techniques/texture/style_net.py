"""The network that paints in one style with one forward pass (Johnson et al. 2016)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from convscope_sdk.models import Architecture

__all__ = ["ID", "STYLE_NET", "UPSAMPLINGS", "StyleNet"]

ID = "convscope:style_net"
"""What a model.toml calls it."""

UPSAMPLINGS = ("nearest", "bilinear")
_WIDEST, _MOST_BLOCKS = 128, 16
_RUNNING = re.compile(r"(.+\.)?in\d+\.(running_mean|running_var|num_batches_tracked)")


class StyleNet(nn.Module):
    """Johnson's c9s1-32, d64, d128, R128 x 5, u64, u32, c9s1-3, as it is built today.

    With instance norm (Ulyanov et al. 2016, arXiv:1607.08022), reflection padding, and resizing before a convolution
    in place of transposed convolutions, whose grain is chequered (Odena et al. 2016).

    Takes and gives (B, 3, H, W) pixels, normalised alike; the output's edges are the input's, rounded up to a multiple
    of four. State dicts have the names of PyTorch's example fast_neural_style, whose checkpoints fit.

    Args:
        width: Channels of the first convolution, 1 to 128; the widest layers have four times as many.
        blocks: Residual blocks, 0 to 16.
        upsampling: "nearest", as PyTorch's example has it, or "bilinear", which leaves less grain when training is
            short.

    Raises:
        ValueError: a number is out of range, or there is no such upsampling.
    """

    def __init__(self, width: int = 32, blocks: int = 5, upsampling: str = "nearest") -> None:
        super().__init__()
        if not (0 < width <= _WIDEST and 0 <= blocks <= _MOST_BLOCKS):
            raise ValueError(f"width is 1 to {_WIDEST} and blocks 0 to {_MOST_BLOCKS}, not {width} and {blocks}")
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling is one of {', '.join(UPSAMPLINGS)}, not {upsampling!r}")
        self.conv1, self.in1 = _Conv(3, width, 9), _norm(width)
        self.conv2, self.in2 = _Conv(width, 2 * width, 3, stride=2), _norm(2 * width)
        self.conv3, self.in3 = _Conv(2 * width, 4 * width, 3, stride=2), _norm(4 * width)
        self.blocks = [f"res{number}" for number in range(1, blocks + 1)]
        for name in self.blocks:
            self.add_module(name, _Residual(4 * width))
        self.deconv1, self.in4 = _Conv(4 * width, 2 * width, 3, upsampling=upsampling), _norm(2 * width)
        self.deconv2, self.in5 = _Conv(2 * width, width, 3, upsampling=upsampling), _norm(width)
        self.deconv3 = _Conv(width, 3, 9)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) pixels in the style."""
        x = self.relu(self.in1(self.conv1(x)))
        x = self.relu(self.in2(self.conv2(x)))
        x = self.relu(self.in3(self.conv3(x)))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        x = self.relu(self.in4(self.deconv1(x)))
        x = self.relu(self.in5(self.deconv2(x)))
        painted: Tensor = self.deconv3(x)
        return painted


class _Conv(nn.Module):
    """Make twice as large where asked to, pad by reflection, convolve."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, upsampling: str = "") -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)
        self._upsampling = upsampling

    def forward(self, x: Tensor) -> Tensor:
        if self._upsampling:
            x = functional.interpolate(x, scale_factor=2, mode=self._upsampling)
        reach = self.conv2d.kernel_size[0] // 2
        out: Tensor = self.conv2d(functional.pad(x, (reach,) * 4, mode="reflect"))
        return out


class _Residual(nn.Module):
    """Two convolutions beside a way around them, without a rectifier after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = _Conv(channels, channels, 3), _norm(channels)
        self.conv2, self.in2 = _Conv(channels, channels, 3), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.in2(self.conv2(torch.relu(self.in1(self.conv1(x)))))
        return out + x


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def _adapt(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the running statistics that old checkpoints of PyTorch's example keep and nothing reads."""
    return {key: value for key, value in state.items() if not _RUNNING.fullmatch(key)}


STYLE_NET = Architecture(
    "style_net", StyleNet, "paints in one style (Johnson et al. 2016); of PyTorch's fast_neural_style", _adapt
)
