"""Networks that turn an example into a feature vector, whose length is `out_features`.

Every backbone is made from the shape of one example, which it keeps as `in_shape`, and its own
options, so a recipe can name any of them for any data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.nn.batch_norm import BatchNorm2d
from quickstudy.nn.precision import full_precision
from quickstudy.registry import Registry

__all__ = [
    "BACKBONES",
    "MLP",
    "AlignInk",
    "Conv4",
    "Conv5",
    "Flatten",
    "KochConv",
    "Linear",
    "OneHot",
    "ResNet12",
    "SeriesConv4",
    "StridedConv4",
]


class AlignInk(nn.Module):
    """Move each image so that its ink is in the middle, and bring it nearer to a common size.

    The moment normalization of Casey, "Moment Normalization of Handprinted Characters", IBM Journal
    of Research and Development 1970, without its shear. The centre of the ink moves to the middle.
    The standard deviation of the ink's position, the root mean square of that along both axes,
    becomes the geometric mean of its old value and `size`; but an image is enlarged at most 1.3
    times, and shrunk at most to 1 / 1.3. Ink is bright. Images (n, channels, side, side) keep their
    shape.

    Args:
        size: Common standard deviation, in half sides.

    Example:
        >>> x = torch.zeros(1, 1, 9, 9)
        >>> x[..., 1:4, 1:4] = 1.0
        >>> AlignInk()(x)[0, 0, 4, 4].item()
        1.0
    """

    def __init__(self, size: float = 0.36) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            centre, deviation = zip(_moments(x.sum((1, 2))), _moments(x.sum((1, 3))), strict=True)
            spread = ((deviation[0] + deviation[1]) / 2).sqrt()
            zoom = (spread / self.size).clamp(0.6, 1.7).sqrt()
            shift = torch.stack(centre, dim=1)  # (n, 2), in half sides
            matrix = torch.stack([zoom, zoom], dim=1).diag_embed()
            theta = torch.cat([matrix, shift[..., None]], dim=2)
            grid = F.affine_grid(theta, list(x.shape), align_corners=False)
            return F.grid_sample(x, grid, align_corners=False)


def _moments(profile: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the position of the ink along one axis (n, side), in half sides."""
    n = profile.shape[1]
    position = (2 * torch.arange(n, device=profile.device) + 1).to(profile.dtype) / n - 1
    mass = profile.sum(1).clamp_min(1e-6)  # an empty image stays empty
    mean = profile @ position / mass
    return mean, (profile @ position.square() / mass - mean.square()).clamp_min(1e-6)


class Conv4(nn.Sequential):
    """Four blocks of convolution 3x3, batch norm, max-pooling and ReLU (Vinyals et al. 2016).

    ReLU comes after the pooling, which gives the same values for a quarter of the work; the
    convolutions have no bias, which the batch norm would subtract. Weights are channels-last.

    Features are the last map of shape `out_shape`, flattened.

    Args:
        in_shape: Shape of one image, (channels, height, width), each side at least 2**pools.
        width: Channels of every block.
        pools: Number of blocks, the first ones, that pool; 2 keeps a map of a quarter of the side,
            as relation networks do.
        align: Whether `AlignInk` comes first, for characters.
    """

    def __init__(
        self, in_shape: Sequence[int], width: int = 64, pools: int = 4, align: bool = False
    ) -> None:
        if not 0 <= pools <= 4:
            raise UsageError(f"expected 0 to 4 pools, got {pools}")
        channels, height, side = _image_shape(in_shape, 2**pools)
        layers: list[nn.Module] = [AlignInk()] if align else []
        for block in range(4):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=1, bias=False),
                BatchNorm2d(width),
                *([nn.MaxPool2d(2)] if block < pools else []),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Flatten())
        self.out_shape = (width, height // 2**pools, side // 2**pools)
        self.in_shape = tuple(in_shape)
        self.out_features = math.prod(self.out_shape)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class ResNet12(nn.Sequential):
    """Four residual blocks of three convolutions 3x3, then the mean over space (Oreshkin et al.
    2018, TADAM; with the widths of Lee et al. 2019, MetaOptNet, arXiv:1904.03758).

    The last activation of a block comes after its pooling, which gives the same values for a
    quarter of the work. Weights are channels-last.

    Differs from MetaOptNet: there is no DropBlock.

    Args:
        in_shape: Shape of one image, (channels, height, width), each side at least 16.
        width: Channels of the first block; the others have 2.5, 5 and 10 times as many.
    """

    def __init__(self, in_shape: Sequence[int], width: int = 64) -> None:
        channels, _, _ = _image_shape(in_shape, 16)
        blocks: list[nn.Module] = []
        for factor in (1, 2.5, 5, 10):
            blocks.append(_Residual(channels, round(factor * width)))
            channels = round(factor * width)
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.in_shape = tuple(in_shape)
        self.out_features = channels
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class _Residual(nn.Module):
    """A block of `ResNet12`; halves the sides."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [
                nn.Conv2d(width if i else channels, width, 3, padding=1, bias=False),
                BatchNorm2d(width),
                *([nn.LeakyReLU(0.1)] if i < 2 else []),
            ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.max_pool2d(self.layers(x) + self.shortcut(x), 2), 0.1)


class StridedConv4(nn.Sequential):
    """The Omniglot network of MAML (Finn et al. 2017): four blocks of convolution 3x3 with
    stride 2, batch norm and ReLU, then the mean over space.

    Args:
        in_shape: Shape of one image, (channels, height, width).
        width: Channels of every block.
        mean: Average the last map over space; without, it is flattened, as in Reptile.
    """

    def __init__(self, in_shape: Sequence[int], width: int = 64, mean: bool = True) -> None:
        channels, height, side = _image_shape(in_shape, 1)
        layers: list[nn.Module] = []
        for block in range(4):
            layers += [
                nn.Conv2d(
                    channels if block == 0 else width, width, 3, stride=2, padding=1, bias=False
                ),
                BatchNorm2d(width),
                nn.ReLU(),
            ]
        super().__init__(*layers, *([nn.AdaptiveAvgPool2d(1)] if mean else []), nn.Flatten())
        self.in_shape = tuple(in_shape)
        self.out_features = width if mean else width * math.ceil(height / 16) * math.ceil(side / 16)


class KochConv(nn.Sequential):
    """The network of convolutional Siamese networks (Koch et al. 2015, figure 4), without the
    fully connected layer: convolutions 10x10, 7x7, 4x4 and 4x4 with ReLU, the first three
    followed by max-pooling; no batch norm and no padding.

    Weights start as in the paper, from N(0, 0.01) and biases from N(0.5, 0.01).

    Args:
        in_shape: Shape of one image, (channels, height, width), each side at least 65; 105 in the
            paper, which makes 9216 features.
        width: Channels of the first block; the others have 2, 2 and 4 times as many.
    """

    def __init__(self, in_shape: Sequence[int], width: int = 64) -> None:
        channels, *sides = _image_shape(in_shape, 65)
        layers: list[nn.Module] = []
        blocks = ((width, 10), (2 * width, 7), (2 * width, 4), (4 * width, 4))
        for block, (out_channels, kernel) in enumerate(blocks):
            convolution = nn.Conv2d(channels, out_channels, kernel)
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.normal_(convolution.bias, mean=0.5, std=0.01)  # pyright: ignore[reportArgumentType]
            pool = block < 3
            layers += [convolution, *([nn.MaxPool2d(2)] if pool else []), nn.ReLU()]
            sides = [(side - kernel + 1) // (2 if pool else 1) for side in sides]
            channels = out_channels
        super().__init__(*layers, nn.Flatten())
        self.out_shape = (channels, sides[0], sides[1])
        self.in_shape = tuple(in_shape)
        self.out_features = math.prod(self.out_shape)


class Conv5(nn.Sequential):
    """The Omniglot network of meta networks (Munkhdalai & Yu 2017): five blocks of convolution
    3x3, ReLU and max-pooling, then a linear layer and ReLU, without batch norm or bias.

    ReLU comes after the pooling, which gives the same values for a quarter of the work. Pooling
    keeps odd borders, so that 28 pixels become 14, 7, 4, 2 and 1.

    Args:
        in_shape: Shape of one image, (channels, height, width).
        width: Channels of every block, and features.
    """

    def __init__(self, in_shape: Sequence[int], width: int = 64) -> None:
        channels, height, side = _image_shape(in_shape, 1)
        layers: list[nn.Module] = []
        for block in range(5):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=1, bias=False),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.ReLU(),
            ]
        area = math.ceil(height / 32) * math.ceil(side / 32)
        linear = nn.Linear(width * area, width, bias=False)
        super().__init__(*layers, nn.Flatten(), linear, nn.ReLU())
        self.in_shape = tuple(in_shape)
        self.out_features = width


class SeriesConv4(nn.Sequential):
    """Four blocks of convolution 3, batch norm, max-pooling and ReLU over time, then the mean over
    time: Conv4 for series, of any length.

    Args:
        in_shape: Shape of one series, (channels, time), of 16 steps or more.
        width: Channels of every block.
    """

    def __init__(self, in_shape: Sequence[int], width: int = 64) -> None:
        if len(in_shape) != 2 or in_shape[1] < 16:
            raise UsageError(
                f"expected series of shape (channels, time), of 16 steps or more, "
                f"got {tuple(in_shape)}"
            )
        layers: list[nn.Module] = []
        for block in range(4):
            layers += [
                nn.Conv1d(in_shape[0] if block == 0 else width, width, 3, padding=1, bias=False),
                nn.BatchNorm1d(width),
                nn.MaxPool1d(2),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.in_shape = tuple(in_shape)
        self.out_features = width


class MLP(nn.Sequential):
    """Fully connected layers with ReLU, for vectors (or anything flattened).

    Args:
        in_shape: Shape of one example.
        widths: Units of each hidden layer.
    """

    def __init__(self, in_shape: Sequence[int], widths: Sequence[int] = (40, 40)) -> None:
        if not widths or min(widths) < 1:
            raise UsageError(f"expected at least one positive width, got {list(widths)}")
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(in_shape)
        for width in widths:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        super().__init__(*layers)
        self.in_shape = tuple(in_shape)
        self.out_features = size


class Linear(nn.Linear):
    """A linear map of vectors to vectors of the same length, initially the identity, so that
    meta-training starts from the embeddings of a pretrained encoder.

    Args:
        in_shape: Shape of one example, (d,).
    """

    def __init__(self, in_shape: Sequence[int]) -> None:
        if len(in_shape) != 1:
            raise UsageError(f"expected vectors of shape (d,), got {tuple(in_shape)}")
        super().__init__(in_shape[0], in_shape[0], bias=False)
        self.in_shape = tuple(in_shape)

    def reset_parameters(self) -> None:
        nn.init.eye_(self.weight)


class Flatten(nn.Flatten):
    """The example itself, flattened: no parameters, for baselines on raw input."""

    def __init__(self, in_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.out_features = math.prod(in_shape)


class OneHot(nn.Module):
    """The one-hot vector of a tuple of whole numbers, such as a cell of a grid: no parameters. A
    number that is out of range has no 1.

    Args:
        in_shape: Shape of one example, (d,).
        sizes: How many values each of the d numbers has, from 0 on.

    Example:
        >>> OneHot((2,), [2, 3])(torch.tensor([[1.0, 0.0]]))
        tensor([[0., 0., 0., 1., 0., 0.]])
    """

    def __init__(self, in_shape: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        if tuple(in_shape) != (len(sizes),) or min(sizes) < 1:
            raise UsageError(
                f"expected {math.prod(in_shape)} sizes of 1 or more for inputs of shape "
                f"{tuple(in_shape)}, got {list(sizes)}"
            )
        self.sizes = tuple(sizes)
        self.in_shape = tuple(in_shape)
        self.out_features = math.prod(sizes)

    def forward(self, x: Tensor) -> Tensor:
        hot = torch.ones_like(x[:, :1])
        for number, size in zip(x.unbind(1), self.sizes, strict=True):
            own = (number[:, None] == torch.arange(size, device=x.device)).to(x)  # (n, size)
            hot = (hot[:, :, None] * own[:, None]).flatten(1)
        return hot


BACKBONES: Registry[type[nn.Module]] = Registry(
    "backbone",
    "backbones",
    nn.Module,
    {
        "conv4": Conv4,
        "conv5": Conv5,
        "resnet12": ResNet12,
        "strided_conv4": StridedConv4,
        "koch_conv": KochConv,
        "series_conv4": SeriesConv4,
        "mlp": MLP,
        "linear": Linear,
        "flatten": Flatten,
        "one_hot": OneHot,
    },
    classes=True,
)
"""By name; each is made from the shape of an example."""


def _image_shape(shape: Sequence[int], least: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < least:
        raise UsageError(
            f"expected images of shape (channels, height, width), sides of {least} or more, "
            f"got {tuple(shape)}"
        )
    return shape[0], shape[1], shape[2]
