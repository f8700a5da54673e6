"""The one contract: a learner turns a support set into a predictor.

adapt(support) -> predictor            predictor(query) -> scores
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError, UsageError
from quickstudy.nn import batch_norms, full_precision, widen
from quickstudy.tasks import Episode, Support, Tasks

__all__ = [
    "Learner",
    "MetaGradient",
    "Predictor",
    "check_every_class",
    "check_finite",
    "check_ways",
    "class_maxima",
    "class_means",
    "device_of",
    "embed_once",
    "encode_targets",
    "feature_size",
    "fit_ridge",
    "input_shape",
    "loss_gradient",
    "names_matching",
    "query_loss",
    "shared_embeddings",
    "trainable",
    "with_head",
]

Predictor = Callable[[Tensor], Tensor]
"""Maps query inputs (n, ...) to logits (n, n_way), or to regression predictions (n, d)."""


@dataclass(frozen=True)
class MetaGradient:
    """What one task (or the mean of several) says about the meta-parameters.

    Args:
        loss: Scalar meta-training loss.
        gradients: Gradient of each trainable parameter, by name.
        buffers: Buffers as the task left them, such as running statistics, by name.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


class Learner(nn.Module, ABC):
    """A learner that is meta-trained over many tasks, and adapts to a new one.

    A new algorithm defines `adapt`; it overrides `loss` if it has an objective of its own,
    `meta_gradient` if its update is not the gradient of a loss, `updates` if a meta-step is more
    than one update from the tasks themselves, and `check` if there are tasks it cannot do. The
    engine knows only these. A learner whose `ways` are not "any" sets `n_outputs`.

    In training mode, which a new learner is in as any module, batch norm uses and updates
    statistics; call `eval()` before adapting to a real task. `meta_train` ends so.
    """

    n_outputs: int
    """Classes, or size of a regression target, of a learner whose `ways` are not "any"."""

    batchable: bool = False
    """Whether `loss` may run under `torch.func.vmap`: no `item()`, no branch on a value."""

    ways: Literal["any", "fewer", "same"] = "any"
    """Ways that a task may have: any number, up to `n_outputs`, or `n_outputs` alone."""

    acts: bool = False
    """Whether its tasks are environments, and its predictors policies; `updates` then makes a few
    large batches of experience, and not one part a task."""

    descriptions: Literal["inputs", "attributes"] | None = None
    """What describes a class to it, in `Support.attributes`: an input like the examples, a vector
    of another space, or nothing that it looks at."""

    uses_unlabelled: bool = False
    """Whether it learns from `Support.unlabelled` too."""

    @classmethod
    def build(cls, backbone: nn.Module, n_outputs: int, **options: Any) -> Self:
        """Make the learner from a backbone.

        Args:
            n_outputs: Ways, or size of a regression target, in training; given to a learner that
                asks for it.
        """
        if "n_outputs" in inspect.signature(cls).parameters:
            options = {"n_outputs": n_outputs, **options}
        return cls(backbone, **options)  # type: ignore[call-arg]

    @abstractmethod
    def adapt(self, support: Support) -> Predictor:
        """Learn from a support set; in evaluation mode the learner is left as it was.

        A predictor serves until its learner is trained further. An implementation begins with
        `self.check(support)`, and takes gradients under `torch.enable_grad()`, since meta-testing
        turns them off.

        Raises:
            DataError: If `check` refuses the support set.
        """

    def check(self, support: Support) -> None:
        """Refuse a task that cannot be learned; the engine asks before it trains on one.

        Raises:
            DataError: If it cannot.
        """
        if self.ways != "any":
            check_ways(support, self.n_outputs, fewer=self.ways == "fewer")

    def on(self, tasks: Tasks) -> tuple[Callable[[Support], Predictor], Tasks]:
        """How to meta-test on these tasks: what adapts to them, and the tasks as that takes them.

        A learner that does a part of its work once for all tasks says so here.
        """
        return self.adapt, tasks

    def loss(self, episode: Episode) -> Tensor:
        """The meta-training objective of one episode, a scalar."""
        return query_loss(self.adapt(episode.support)(episode.query.x), episode.query.y)

    def forward(self, episode: Episode) -> Tensor:
        return self.loss(episode)

    def updates(self, tasks: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """What each outer update of a meta-step learns from: parts whose meta-gradients the engine
        averages.

        By default there is one update, from the tasks themselves. A learner that acts collects its
        experience here, with the weights that it has by then, and may pass over it several times:
        the engine asks for the next parts once it has made the update from the last ones.

        Args:
            tasks: Those of the meta-step.

        Raises:
            DataError: If `check` refuses one.
        """
        for task in tasks:
            self.check(task.support)
        yield tasks

    def meta_gradient(self, episode: Episode) -> MetaGradient:
        """The gradient of `loss`, without touching the learner's own `.grad` or buffers."""
        buffers = {name: b.clone() for name, b in self.named_buffers()}

        def loss(weights: dict[str, Tensor]) -> Tensor:
            state = {**weights, **buffers}
            value = functional_call(self, state, (episode,))
            buffers.update((n, state[n].detach()) for n in buffers)  # some may be new tensors
            return value

        return MetaGradient(*loss_gradient(trainable(self), loss), buffers)


def trainable(learner: nn.Module) -> dict[str, Tensor]:
    """The parameters that meta-training changes, by name."""
    return {name: p for name, p in learner.named_parameters() if p.requires_grad}


_SHARED: ContextVar[dict[Learner, dict[Any, Any]] | None] = ContextVar("_SHARED", default=None)


@contextmanager
def shared_embeddings() -> Iterator[None]:
    """Within it, meta-tests of a learner on the same data embed each example once for all of them:
    its weights must not change meanwhile."""
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def embed_once(learner: Learner, embed: Callable[[Tensor], Tensor], tasks: Tasks) -> Tasks | None:
    """The same tasks of embeddings, each example embedded once in however many tasks it comes;
    None for tasks that cannot tell which examples are the same, for a subclass with an `adapt` of
    its own, which may embed otherwise, and where batch norm has no running statistics, so that an
    embedding depends on what is embedded beside it.
    """
    definer = next(kind for kind in type(learner).__mro__ if {"adapt", "on"} & vars(kind).keys())
    map_examples = getattr(tasks, "map_examples", None)
    together = any(norm.running_mean is None for norm in batch_norms(learner).values())
    if map_examples is None or "on" not in vars(definer) or together:
        return None
    device = device_of(learner)
    shared = _SHARED.get()
    computed = None if shared is None else shared.setdefault(learner, {})
    return map_examples(lambda x: embed(x.to(device)), computed)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's tensors are; the CPU if it has none."""
    return next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))


def loss_gradient(
    parameters: dict[str, Tensor], loss: Callable[[dict[str, Tensor]], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and gradient of `loss(parameters)`, without touching the parameters' own `.grad`."""
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    value = loss(leaves)
    if not leaves:
        return value.detach(), {}
    gradients = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return value.detach(), dict(zip(leaves, gradients, strict=True))


def check_ways(support: Support, n_outputs: int, *, fewer: bool = False) -> None:
    """Refuse a task of other ways than a learner has outputs for.

    Args:
        fewer: Whether tasks of fewer ways are fine.

    Raises:
        DataError: If they do not fit.
    """
    n_way = support.n_way
    if n_way is None or n_way == n_outputs or (fewer and n_way < n_outputs):
        return
    raise DataError(
        f"expected {'at most ' if fewer else ''}{n_outputs}-way tasks, as the learner has "
        f"{n_outputs} outputs, got {n_way}-way: meta-train for that number of ways"
    )


def check_every_class(support: Support) -> None:
    """Refuse a regression task, and one with a class that has no example.

    Raises:
        DataError: If it does not serve.
    """
    if support.n_way is None:
        raise DataError("expected a classification task, got regression targets")
    if (n_classes := len(support.y.unique())) != support.n_way:
        raise DataError(
            f"expected at least one example of each of {support.n_way} classes, "
            f"got {n_classes} classes with examples"
        )


def check_finite(scores: Tensor, source: str) -> Tensor:
    """Refuse predictions that no class or value can be read from; every prediction for a user goes
    through here.

    Args:
        scores: What a predictor made, of any shape.
        source: What predicted, for the message.

    Returns:
        The scores.

    Raises:
        DataError: If one is NaN or infinite.
    """
    if not bool(scores.isfinite().all()):
        raise DataError(
            f"{source} made predictions that are not finite: scale the inputs, or if they are "
            "small, train the learner anew"
        )
    return scores


def names_matching(patterns: Sequence[str], names: Sequence[str], option: str) -> list[str]:
    """The names that match one of the patterns (see `fnmatch`), in their order.

    Raises:
        UsageError: If there is no pattern, or one that matches no name.
    """
    idle = [pattern for pattern in patterns if not any(fnmatch(n, pattern) for n in names)]
    if idle or not patterns:
        raise UsageError(f"expected `{option}` to match parameters, got {idle} that match none")
    return [n for n in names if any(fnmatch(n, pattern) for pattern in patterns)]


def feature_size(backbone: nn.Module) -> int:
    """Length of the features a backbone makes.

    Raises:
        UsageError: If it does not say so in `out_features`.
    """
    features: Any = getattr(backbone, "out_features", None)
    if not isinstance(features, int):
        raise UsageError("expected a backbone with `out_features`: set it to its output size")
    return features


def input_shape(backbone: nn.Module) -> tuple[int, ...]:
    """Shape of one example that a backbone takes.

    Raises:
        UsageError: If the backbone does not say so in `in_shape`.
    """
    shape: Any = getattr(backbone, "in_shape", None)
    if not isinstance(shape, tuple):
        raise UsageError("expected a backbone with `in_shape`: set it to the shape of an example")
    return shape


def with_head(backbone: nn.Module, n_outputs: int, *, bias: bool = True) -> nn.Sequential:
    """A backbone and a linear layer on its features, as modules "backbone" and "head".

    Raises:
        UsageError: If the backbone has no `out_features`.
    """
    network = nn.Sequential()
    network.add_module("backbone", backbone)
    network.add_module("head", nn.Linear(feature_size(backbone), n_outputs, bias=bias))
    return network


def class_means(embedded: Tensor, support: Support) -> Tensor:
    """Mean of the embedded examples of each class: (n, d) -> (n_way, d), of float32 or wider.

    Every class needs an example (see `check_every_class`).
    """
    embedded = widen(embedded)
    onehot = encode_targets(support.y, support.n_way or 0, embedded)
    with full_precision(embedded):
        return (onehot.T @ embedded) / onehot.sum(0)[:, None]


def class_maxima(scores: Tensor, support: Support) -> Tensor:
    """Greatest score of the examples of each class: (n, n_support) -> (n, n_way)."""
    best = scores.new_full((len(scores), support.n_way or 0), -torch.inf)
    return best.scatter_reduce(1, support.y.expand(len(scores), -1), scores, "amax")


def encode_targets(y: Tensor, n_outputs: int, like: Tensor) -> Tensor:
    """Targets as vectors to feed a network with, shape (n, n_outputs) and of the type of `like`.

    Labels become one-hot vectors; regression targets stay as they are.

    Raises:
        DataError: If regression targets have another size.
    """
    if not y.is_floating_point():
        return (y[:, None] == torch.arange(n_outputs, device=y.device)).to(like.dtype)
    if y.shape[1] != n_outputs:
        raise DataError(f"expected regression targets of size {n_outputs}, got {y.shape[1]}")
    return y.to(like.dtype)


def fit_ridge(x: Tensor, y: Tensor, ridge: Tensor | float) -> Tensor:
    """Weights W (d, k) of the ridge regression of y (n, k) on x (n, d), in closed form.

    W = (x'x + ridge I)^-1 x'y = x'(xx' + ridge I)^-1 y; the smaller system of the two is solved.
    """
    n, d = x.shape
    with full_precision(x):
        penalty = ridge * torch.eye(min(n, d), dtype=x.dtype, device=x.device)
        if n <= d:
            return x.T @ torch.linalg.solve(x @ x.T + penalty, y)
        return torch.linalg.solve(x.T @ x + penalty, x.T @ y)


def query_loss(scores: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy for labels, mean squared error for regression targets, of the type of the
    scores in float32 or wider.

    Raises:
        DataError: If predictions and regression targets differ in shape.
    """
    if not y.is_floating_point():
        return F.cross_entropy(scores, y)
    if scores.shape != y.shape:
        raise DataError(
            f"expected predictions of shape {tuple(y.shape)}, got {tuple(scores.shape)}"
        )
    scores = widen(scores)
    return F.mse_loss(scores, y.to(scores.dtype))
