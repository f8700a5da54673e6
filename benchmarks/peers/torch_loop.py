"""Plain PyTorch, written by hand without any library: a loop over the tasks.

In float64 it is also what the values of all peers are compared with.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from torch_networks import (
    Task,
    accuracy,
    backbone_and_head,
    in_pool,
    load_tasks,
    query_loss,
    training,
)
from worker import Job, serve
from workloads import INNER_LR_ADAM, Arrays, Workload

__all__ = ["MAKES", "anil", "latency", "maml", "meta_test", "protonet", "reptile"]


def maml(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    assert head is not None
    model, tasks = nn.Sequential(backbone, head), load_tasks(data)

    def meta_gradient() -> float:
        total = 0.0
        for task in tasks:
            weights: dict[str, Tensor] = dict(model.named_parameters())
            for _ in range(workload.inner_steps):
                scores = functional_call(model, weights, (task.support_x,))
                loss = query_loss(scores, task.support_y)
                weights = descend(weights, loss, workload.inner_lr)
            loss = query_loss(functional_call(model, weights, (task.query_x,)), task.query_y)
            (loss / len(tasks)).backward()
            total += loss.item()
        return total / len(tasks)

    return training(model.parameters(), meta_gradient)


def descend(weights: dict[str, Tensor], loss: Tensor, lr: float) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    return {n: w - lr * g for (n, w), g in zip(weights.items(), gradients, strict=True)}


def anil(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    assert head is not None
    tasks = load_tasks(data)

    def meta_gradient() -> float:
        total = 0.0
        for task in tasks:
            support, query = backbone(task.support_x), backbone(task.query_x)
            weights: dict[str, Tensor] = dict(head.named_parameters())
            for _ in range(workload.inner_steps):
                loss = query_loss(functional_call(head, weights, (support,)), task.support_y)
                weights = descend(weights, loss, workload.inner_lr)
            loss = query_loss(functional_call(head, weights, (query,)), task.query_y)
            (loss / len(tasks)).backward()
            total += loss.item()
        return total / len(tasks)

    return training([*backbone.parameters(), *head.parameters()], meta_gradient)


def reptile(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    assert head is not None
    model, tasks = nn.Sequential(backbone, head), load_tasks(data)

    def meta_gradient() -> float:
        total = 0.0
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for task in tasks:
            learner = copy.deepcopy(model)
            inner = torch.optim.Adam(learner.parameters(), lr=INNER_LR_ADAM, betas=(0.0, 0.999))
            for _ in range(workload.inner_steps):
                inner.zero_grad()
                loss = query_loss(learner(task.support_x), task.support_y)
                loss.backward()
                inner.step()
                total += loss.item() / workload.inner_steps
            with torch.no_grad():
                for start, end in zip(model.parameters(), learner.parameters(), strict=True):
                    start.grad += (start - end) / len(tasks)  # pyright: ignore
        return total / len(tasks)

    return training(model.parameters(), meta_gradient, torch.optim.SGD)


def protonet(workload: Workload, data: Arrays) -> Job:
    backbone = backbone_and_head(workload, data)[0]
    (task,) = load_tasks(data)

    def meta_gradient() -> float:
        embedded = backbone(torch.cat([task.support_x, task.query_x]))
        support, query = embedded.split([len(task.support_x), len(task.query_x)])
        loss = query_loss(_scores(support, task.support_y, query, workload.n_way), task.query_y)
        loss.backward()
        return loss.item()

    return training(backbone.parameters(), meta_gradient)


def _scores(support: Tensor, y: Tensor, query: Tensor, n_way: int) -> Tensor:
    """Minus the squared distances of the queries to the class means: (n, n_way)."""
    means = torch.stack([support[y == label].mean(0) for label in range(n_way)])
    return -(query[:, None] - means[None]).square().sum(2)


def meta_test(workload: Workload, data: Arrays) -> Job:
    backbone, pool = backbone_and_head(workload, data)[0], in_pool(data)

    def mean_accuracy() -> float:
        total = 0.0
        with torch.no_grad():
            for i in range(len(pool)):
                total += accuracy(_predict(backbone, pool[i], workload.n_way), pool.query_y)
        return total / len(pool)

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    backbone = backbone_and_head(workload, data)[0]
    (task,) = load_tasks(data)

    def predict() -> Tensor:
        with torch.no_grad():
            return _predict(backbone, task, workload.n_way)

    return Job(lambda: (None, [predict().numpy()]), predict)


def _predict(backbone: nn.Module, task: Task, n_way: int) -> Tensor:
    embedded = backbone(torch.cat([task.support_x, task.query_x]))
    support, query = embedded.split([len(task.support_x), len(task.query_x)])
    return _scores(support, task.support_y, query, n_way)


MAKES = {
    "maml": maml,
    "anil": anil,
    "reptile": reptile,
    "protonet": protonet,
    "meta_test": meta_test,
    "latency": latency,
}

if __name__ == "__main__":
    serve(MAKES, ["torch"])
