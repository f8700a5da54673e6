"""The networks and tasks for the peers that use PyTorch, and their outer step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker import Job
from workloads import OUTER_LR, WIDTH, Arrays, Workload

__all__ = [
    "Pool",
    "Task",
    "accuracy",
    "backbone_and_head",
    "in_pool",
    "load_statistics",
    "load_tasks",
    "load_weights",
    "query_loss",
    "training",
    "weights_of",
]

if os.environ.get("PEERS_DTYPE") == "float64":
    torch.set_default_dtype(torch.float64)


@dataclass(frozen=True)
class Task:
    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


def load_tasks(data: Arrays) -> list[Task]:
    names = ("support_x", "support_y", "query_x", "query_y")
    parts = [[_tensor(row) for row in data[name]] for name in names]
    return [Task(*parts) for parts in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Pool:
    """The tasks of meta-testing, made on demand."""

    x: Tensor
    support_rows: Tensor
    query_rows: Tensor
    support_y: Tensor
    query_y: Tensor

    def __len__(self) -> int:
        return len(self.support_rows)

    def __getitem__(self, index: int) -> Task:
        support, query = self.x[self.support_rows[index]], self.x[self.query_rows[index]]
        return Task(support, self.support_y, query, self.query_y)


def in_pool(data: Arrays) -> Pool:
    names = ("pool_x", "support_rows", "query_rows", "support_y", "query_y")
    return Pool(*(_tensor(data[name]) for name in names))


def backbone_and_head(workload: Workload, data: Arrays) -> tuple[nn.Sequential, nn.Linear | None]:
    """The plain network of the papers with the given weights.

    With the variable PEERS_NETWORK=quickstudy, Conv4 has quickstudy's order and memory layout:
    pooling before ReLU, channels last.
    """
    layers: list[nn.Module] = []
    if workload.network == "mlp":
        layers = [nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()]
        head = nn.Linear(40, 1)
    else:
        as_ours = os.environ.get("PEERS_NETWORK") == "quickstudy"
        running = workload.kind in ("protonet", "meta_test", "latency")
        if as_ours:
            layers.append(_ChannelsLast())
        for block in range(4):
            end: list[nn.Module] = [nn.ReLU(), nn.MaxPool2d(2)]
            layers += [
                nn.Conv2d(WIDTH if block else 1, WIDTH, 3, padding=1, bias=False),
                nn.BatchNorm2d(WIDTH, track_running_stats=running),
                *(reversed(end) if as_ours else end),
            ]
        layers.append(nn.Flatten())
        head = nn.Linear(WIDTH, workload.n_outputs) if workload.n_outputs else None
    backbone = nn.Sequential(*layers)
    if workload.network == "conv4" and os.environ.get("PEERS_NETWORK") == "quickstudy":
        backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    load_weights([*backbone.parameters(), *(head.parameters() if head else [])], data)
    load_statistics(backbone, data)
    return backbone, head


class _ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


def load_weights(parameters: Iterable[Tensor], data: Arrays) -> None:
    names = sorted(name for name in data if name.startswith("weight_"))
    with torch.no_grad():
        for parameter, name in zip(parameters, names, strict=True):
            parameter.copy_(torch.from_numpy(data[name]))


def load_statistics(backbone: nn.Module, data: Arrays) -> None:
    """Give batch norm its running statistics, if there are any, and put it in evaluation mode."""
    if "mean_0" not in data:
        return
    norms: list[Any] = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    for block, norm in enumerate(norms):
        norm.running_mean.copy_(torch.from_numpy(data[f"mean_{block}"]))
        norm.running_var.copy_(torch.from_numpy(data[f"var_{block}"]))
    backbone.eval()


def query_loss(scores: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(scores, y) if y.is_floating_point() else F.cross_entropy(scores, y)


def accuracy(scores: Tensor, y: Tensor) -> float:
    return float((scores.argmax(1) == y).double().mean())


def weights_of(parameters: Iterable[Tensor]) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in parameters]


def training(
    parameters: Iterable[nn.Parameter],
    meta_gradient: Callable[[], float],
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> Job:
    """The job of meta-training.

    Args:
        meta_gradient: Puts the mean gradient of the tasks into `.grad`, which is empty before,
            and returns the mean loss.
    """
    parameters = list(parameters)
    outer = optimizer(parameters, lr=OUTER_LR)

    def values() -> tuple[float, list[np.ndarray]]:
        outer.zero_grad()
        loss = meta_gradient()
        return loss, weights_of(p.grad for p in parameters if p.grad is not None)

    def step() -> None:
        outer.zero_grad()
        meta_gradient()
        outer.step()

    return Job(values, step)


def _tensor(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
