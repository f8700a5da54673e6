"""Classes of functions to learn from examples: linear, sparse, decision trees, ReLU networks.

Garg, Tsipras, Liang & Valiant, "What Can Transformers Learn In-Context? A Case Study of Simple
Function Classes", NeurIPS 2022, arXiv:2208.01066.

Shapes: n tasks, t examples of each, d inputs.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from quickstudy.errors import UsageError, check_option
from quickstudy.tasks.blocks import BlockTasks
from quickstudy.tasks.environments.options import check_number, check_whole
from quickstudy.tasks.sampler import generator_for

__all__ = [
    "DecisionTreeTasks",
    "FunctionTasks",
    "LinearTasks",
    "ReLUNetworkTasks",
    "SparseLinearTasks",
]

Inputs = Literal["isotropic", "skewed", "subspace", "orthant"]


class FunctionTasks(BlockTasks):
    """Each task is a function of a class, drawn at random, and examples of it: x is standard
    normal, and y the function's value, scaled by a constant of the class to a variance of 1. So a
    mean squared error is the paper's normalised error, and 1 is that of always answering 0.

    The options beside the shape of an episode change the distribution, for a curriculum or for
    tests out of the distribution of training (section 4 of the paper).

    Args:
        n_shot: Support examples.
        n_query: Query examples.
        seed: Decides every task.
        active: Inputs that vary, the first ones; the others are 0. A curriculum raises it.
        noise: Standard deviation of the noise of targets, before they are scaled.
        inputs: "isotropic"; "skewed", whose covariance has eigenvalues proportional to 1 / i^2, in
            directions that each task draws; "subspace", of half the dimensions, which each task
            draws; "orthant", where the signs of all support inputs are those of one orthant, which
            each task draws, and queries are as ever.
        input_scale: Factor of the inputs.
        target_scale: Factor of the function, but not of the noise.

    Raises:
        UsageError: If an option cannot be used.

    Example:
        >>> LinearTasks(n_shot=40, n_query=1)[0].support.x.shape
        torch.Size([40, 20])
    """

    D = 20

    def __init__(
        self,
        *,
        n_shot: int,
        n_query: int,
        seed: int = 0,
        active: int = D,
        noise: float = 0.0,
        inputs: Inputs = "isotropic",
        input_scale: float = 1.0,
        target_scale: float = 1.0,
    ) -> None:
        super().__init__(check_whole("n_shot", n_shot, least=0), check_whole("n_query", n_query))
        check_option("inputs", inputs, ("isotropic", "skewed", "subspace", "orthant"))
        if check_whole("active", active) > self.D:
            raise UsageError(f"expected {self.D} active inputs at most, got {active}")
        self.seed, self.active, self.inputs = seed, active, inputs
        self.noise = check_number("noise", noise, least=0)
        self.input_scale = check_number("input_scale", input_scale, least=0)
        self.target_scale = check_number("target_scale", target_scale, least=0)

    @property
    @abstractmethod
    def deviation(self) -> float:
        """Standard deviation of the functions' values, before they are scaled."""

    @abstractmethod
    def values(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a function for each task, and compute its values (n, t) at x (n, t, d)."""

    def draw_block(self, number: int) -> tuple[Tensor, Tensor]:
        generator = generator_for(self.seed, number)
        x = self._inputs(generator)
        y = self.target_scale * self.values(x, generator)
        y = y + self.noise * torch.randn(y.shape, generator=generator)
        return x, (y / self.deviation)[..., None]

    def _inputs(self, generator: torch.Generator) -> Tensor:
        """Inputs of a block, (n, t, d)."""
        n, d = self.BLOCK, self.active
        x = torch.randn(n, self.n_shot + self.n_query, d, generator=generator)
        if self.inputs == "orthant":
            signs = torch.randint(0, 2, (n, 1, d), generator=generator) * 2 - 1
            k = self.n_shot
            x = torch.cat([x[:, :k].abs() * signs, x[:, k:]], 1)
        elif self.inputs != "isotropic":
            scale = 1 / torch.arange(1, d + 1)
            if self.inputs == "subspace":
                scale = (torch.arange(d) < math.ceil(d / 2)).float()
            scale = scale * (d / scale.square().sum()).sqrt()  # the variance of x is d again
            directions = torch.linalg.qr(torch.randn(n, d, d, generator=generator)).Q
            x = (x * scale) @ directions.mT
        return torch.nn.functional.pad(self.input_scale * x, (0, self.D - d))


class LinearTasks(FunctionTasks):
    """y = w x / sqrt(d), with w standard normal. For options see `FunctionTasks`.

    Example:
        >>> tasks = LinearTasks(n_shot=30, n_query=1)
        >>> episode = tasks[0]
        >>> w = torch.linalg.lstsq(episode.support.x, episode.support.y).solution
        >>> torch.allclose(episode.query.x @ w, episode.query.y, atol=1e-4)
        True
    """

    @property
    def deviation(self) -> float:
        return math.sqrt(self.D)

    def values(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return (x @ self.weights(len(x), generator)).squeeze(2)

    def weights(self, n: int, generator: torch.Generator) -> Tensor:
        """The weights of n functions, (n, d, 1)."""
        return torch.randn(n, self.D, 1, generator=generator)


class SparseLinearTasks(LinearTasks):
    """As `LinearTasks`, with weights of 3 inputs, drawn anew for each task; the others' are 0. The
    inputs that have weights are among the active ones.

    Example:
        >>> SparseLinearTasks(n_shot=10, n_query=1)[0].query.y.shape
        torch.Size([1, 1])
    """

    N_WEIGHTS = 3

    @property
    def deviation(self) -> float:
        return math.sqrt(self.N_WEIGHTS)

    def weights(self, n: int, generator: torch.Generator) -> Tensor:
        order = torch.rand(n, self.active, generator=generator).argsort(1)
        chosen = torch.zeros(n, self.D).scatter_(1, order[:, : self.N_WEIGHTS], 1.0)
        return super().weights(n, generator) * chosen[..., None]


class DecisionTreeTasks(FunctionTasks):
    """Full binary trees of depth 4: a node asks whether one input is positive, which is drawn with
    replacement, and a leaf has a standard normal value. For options see `FunctionTasks`.

    Example:
        >>> DecisionTreeTasks(n_shot=100, n_query=1)[0].support.y.unique().numel() <= 16
        True
    """

    DEPTH = 4

    @property
    def deviation(self) -> float:
        return 1.0

    def values(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, t, _ = x.shape
        asked = torch.randint(self.active, (n, 2**self.DEPTH - 1), generator=generator)
        leaves = torch.randn(n, 2**self.DEPTH, generator=generator)
        node = torch.zeros(n, t, dtype=torch.long)  # the children of node i are 2 i + 1 and 2 i + 2
        for _ in range(self.DEPTH):
            inputs = asked.gather(1, node)[..., None]
            node = 2 * node + 1 + (x.gather(2, inputs) > 0).long().squeeze(2)
        return leaves.gather(1, node - (2**self.DEPTH - 1))


class ReLUNetworkTasks(FunctionTasks):
    """Networks sum_i a_i relu(w_i x) of 100 hidden units without biases, whose weights are standard
    normal. For options see `FunctionTasks`.

    Example:
        >>> ReLUNetworkTasks(n_shot=100, n_query=1)[0].support.x.shape
        torch.Size([100, 20])
    """

    HIDDEN = 100

    @property
    def deviation(self) -> float:
        return math.sqrt(self.D * self.HIDDEN / 2)

    def values(self, x: Tensor, generator: torch.Generator) -> Tensor:
        inner = torch.randn(len(x), self.D, self.HIDDEN, generator=generator)
        outer = torch.randn(len(x), self.HIDDEN, 1, generator=generator)
        return ((x @ inner).relu() @ outer).squeeze(2)
