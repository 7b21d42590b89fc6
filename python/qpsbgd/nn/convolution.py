"""The binary convolution, and the unfolding of its images into the rows of X and Z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.capture.autograd import binarize, recorded_product
from qpsbgd.nn.base import BinaryLayer, output_scale, pair_of_int, positive_int

__all__ = ["BinaryConv2d", "ImageUnfolding", "image_unfolding"]


class BinaryConv2d(BinaryLayer, nn.Conv2d):  # type: ignore[misc] # torch declares weight and bias as plain
    """``Z = a conv(X, sign(W)) + bias`` with ``a = 1 / sqrt(fan_in)`` and sign(0) = +1.

    The fan-in is ``d = in_channels / groups * kernel height * kernel width``. Unfolded, every place of every
    output image is a row of a matrix X (n, d), and the layer is ``Z = a X B'`` as a `BinaryLinear`. With
    groups, each channel group is such a layer of its own. The gradient passes straight through the sign.
    Arguments, attributes and state dict are those of `torch.nn.Conv2d`. The layer has no bias by default,
    since batch norm usually follows.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; `groups` divides both.
    kernel_size, stride, dilation : int or pair of int
        Height and width; one number stands for both.
    padding : int, pair of int, "same" or "valid"
        Rows and columns added on every side; "same" keeps the image's size (stride 1 only).
    groups : int
        Number of channel groups. Outputs of a group depend on the inputs of that group only.
    bias : bool
        Learn an additive bias of shape (out_channels,).
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        Values of the added rows and columns.
    device, dtype
        As in `torch.nn.Conv2d`.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or options do not fit together.

    Examples
    --------
    >>> import torch
    >>> layer = BinaryConv2d(1, 4, 3, padding="same")
    >>> layer(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not isinstance(padding, str):
            padding = pair_of_int("padding", padding, 0)
        super().__init__(
            positive_int("in_channels", in_channels),
            positive_int("out_channels", out_channels),
            pair_of_int("kernel_size", kernel_size, 1),
            pair_of_int("stride", stride, 1),
            padding,
            pair_of_int("dilation", dilation, 1),
            positive_int("groups", groups),
            bool(bias),
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Compute Z (N, out_channels, H', W') of images (N, in_channels, H, W), or of one without N."""
        scale = output_scale(self.in_channels // self.groups * math.prod(self.kernel_size))

        def product(binary: Tensor) -> Tensor:
            output: Tensor = self._conv_forward(input, binary, None)
            return output * scale

        if self.training:
            output = recorded_product(self.weight, input, product, self._unfolding())
        else:
            output = product(binarize(self.weight))
        return output if self.bias is None else output + self.bias[:, None, None]

    def _unfolding(self) -> ImageUnfolding:
        return image_unfolding(self)


def image_unfolding(layer: nn.Conv1d | nn.Conv2d) -> ImageUnfolding:
    """Tell how a convolution unfolds images; those of a convolution of sequences have the height 1."""
    return ImageUnfolding(
        layer.groups,
        _two(layer.kernel_size),
        _two(layer.stride),
        _two(layer.dilation),
        (*layer._reversed_padding_repeated_twice, 0, 0)[:4],
        "constant" if layer.padding_mode == "zeros" else layer.padding_mode,
    )


def _two(sizes: tuple[int, ...]) -> tuple[int, int]:
    return (sizes[0], sizes[1]) if len(sizes) > 1 else (1, sizes[0])


@dataclass(frozen=True)
class ImageUnfolding:
    """Unfold images: a row for every place in an output image, in the order (image, y, x).

    The class implements `qpsbgd.capture.Unfolding`.

    Attributes
    ----------
    groups : int
        Number of channel groups.
    kernel_size, stride, dilation : (int, int)
        Height and width.
    padding : tuple of four int
        Left, right, top and bottom.
    padding_mode : str
        The name for `torch.nn.functional.pad`.
    """

    groups: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, ...]
    padding_mode: str

    def num_samples(self, inputs: Tensor) -> int:
        """Count the samples (rows of X) that the images have."""
        left, right, top, bottom = self.padding
        extents = (inputs.shape[-2] + top + bottom, inputs.shape[-1] + left + right)
        places = [
            (extent - dilation * (kernel - 1) - 1) // stride + 1
            for extent, kernel, stride, dilation in zip(
                extents, self.kernel_size, self.stride, self.dilation, strict=True
            )
        ]
        return len(self.batched(inputs)) * math.prod(places)

    def batched(self, inputs: Tensor) -> Tensor:
        """Give images (N, C, H, W); a single image may come without N."""
        return inputs if inputs.dim() == 4 else inputs[None]

    def input_samples(self, inputs: Tensor) -> Tensor:
        """Give X (groups, n, d) of images (N, C, H, W), with d in the order (channel, y, x) of the weight."""
        padded = F.pad(inputs, self.padding, mode=self.padding_mode)
        columns = F.unfold(padded, self.kernel_size, dilation=self.dilation, stride=self.stride)
        images, elements, places = columns.shape
        fan_in = elements // self.groups
        grouped = columns.reshape(images, self.groups, fan_in, places).permute(1, 0, 3, 2)
        return grouped.reshape(self.groups, images * places, fan_in)

    def input_samples_at(self, inputs: Tensor, places: Tensor) -> Tensor:
        """Give X[:, places] (groups, k, d) of images (N, C, H, W): only these places are unfolded."""
        padded = F.pad(inputs, self.padding, mode=self.padding_mode)
        windows = padded
        for dimension, (kernel, stride, dilation) in enumerate(
            zip(self.kernel_size, self.stride, self.dilation, strict=True), start=2
        ):
            windows = windows.unfold(dimension, dilation * (kernel - 1) + 1, stride)
        (down, right), (rows, columns) = self.dilation, windows.shape[2:4]
        windows = windows[..., ::down, ::right]
        image, place = places // (rows * columns), places % (rows * columns)
        taken = windows[image, :, place // columns, place % columns]  # (k, C, kernel height, kernel width)
        return taken.reshape(len(places), self.groups, -1).transpose(0, 1)

    def output_samples(self, outputs: Tensor) -> Tensor:
        """Give Z (groups, n, m / groups) of output images (N, m, H', W')."""
        # Every size is spelled out: torch cannot infer one of an empty batch.
        batched = self.batched(outputs)
        images, channels, places = len(batched), batched.shape[1], math.prod(batched.shape[2:])
        rows = channels // self.groups
        grouped = batched.reshape(images, self.groups, rows, places).permute(1, 0, 3, 2)
        return grouped.reshape(self.groups, images * places, rows)
