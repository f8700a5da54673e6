"""learn2learn, as its examples use it: `clone` and `adapt` for each task, gradients summed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from torch_networks import (
    Task,
    accuracy,
    backbone_and_head,
    in_pool,
    load_tasks,
    query_loss,
    training,
)
from worker import Job, bare_packages, serve
from workloads import INNER_LR_ADAM, Arrays, Workload

bare_packages("learn2learn", "learn2learn.algorithms", "learn2learn.nn")
from learn2learn.algorithms.maml import MAML  # noqa: E402
from learn2learn.nn.protonet import PrototypicalClassifier  # noqa: E402


def maml(workload: Workload, data: Arrays) -> Job:
    model = MAML(nn.Sequential(*backbone_and_head(workload, data)), workload.inner_lr)
    tasks = load_tasks(data)

    def meta_gradient() -> float:
        total = 0.0
        for task in tasks:
            learner = model.clone()
            for _ in range(workload.inner_steps):
                learner.adapt(query_loss(learner(task.support_x), task.support_y))
            loss = query_loss(learner(task.query_x), task.query_y)
            loss.backward()
            total += loss.item()
        for parameter in model.parameters():
            parameter.grad.mul_(1 / len(tasks))
        return total / len(tasks)

    return training(model.parameters(), meta_gradient)


def anil(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    head, tasks = MAML(head, workload.inner_lr), load_tasks(data)
    parameters = [*backbone.parameters(), *head.parameters()]

    def meta_gradient() -> float:
        total = 0.0
        for task in tasks:
            support, query = backbone(task.support_x), backbone(task.query_x)
            learner = head.clone()
            for _ in range(workload.inner_steps):
                learner.adapt(query_loss(learner(support), task.support_y))
            loss = query_loss(learner(query), task.query_y)
            loss.backward()
            total += loss.item()
        for parameter in parameters:
            parameter.grad.mul_(1 / len(tasks))
        return total / len(tasks)

    return training(parameters, meta_gradient)


def reptile(workload: Workload, data: Arrays) -> Job:
    """As its example: nothing of the library but the way to write it."""
    model, tasks = nn.Sequential(*backbone_and_head(workload, data)), load_tasks(data)

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
            for start, end in zip(model.parameters(), learner.parameters(), strict=True):
                start.grad.sub_(end.detach())
        for parameter in model.parameters():
            parameter.grad.mul_(1 / len(tasks)).add_(parameter.detach())
        return total / len(tasks)

    return training(model.parameters(), meta_gradient, torch.optim.SGD)


def scores(backbone: nn.Module, task: Task) -> Tensor:
    embedded = backbone(torch.cat([task.support_x, task.query_x]))
    support, query = embedded.split([len(task.support_x), len(task.query_x)])
    return PrototypicalClassifier(support, task.support_y)(query)


def protonet(workload: Workload, data: Arrays) -> Job:
    backbone = backbone_and_head(workload, data)[0]
    (task,) = load_tasks(data)

    def meta_gradient() -> float:
        loss = query_loss(scores(backbone, task), task.query_y)
        loss.backward()
        return loss.item()

    return training(backbone.parameters(), meta_gradient)


def meta_test(workload: Workload, data: Arrays) -> Job:
    backbone, pool = backbone_and_head(workload, data)[0], in_pool(data)

    def mean_accuracy() -> float:
        with torch.no_grad():
            tasks = (pool[i] for i in range(len(pool)))
            return sum(accuracy(scores(backbone, t), t.query_y) for t in tasks) / len(pool)

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    backbone = backbone_and_head(workload, data)[0]
    (task,) = load_tasks(data)

    def predict() -> Tensor:
        with torch.no_grad():
            return scores(backbone, task)

    return Job(lambda: (None, [predict().numpy()]), predict)


if __name__ == "__main__":
    makes = {
        "maml": maml,
        "anil": anil,
        "reptile": reptile,
        "protonet": protonet,
        "meta_test": meta_test,
        "latency": latency,
    }
    serve(makes, ["learn2learn", "torch"])
