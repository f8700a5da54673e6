"""easyfsl's prototypical networks: `process_support_set`, then a call with the queries."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_networks import Task, accuracy, backbone_and_head, in_pool, load_tasks, training
from torch_networks import query_loss as cross_entropy
from worker import Job, bare_packages, serve
from workloads import Arrays, Workload

bare_packages("easyfsl", "easyfsl.methods")
from easyfsl.methods.prototypical_networks import PrototypicalNetworks  # noqa: E402

NOT_SQUARED = "its distances are not squared"
NOTES = {
    "protonet": f"{NOT_SQUARED}, and queries are a batch of their own for batch norm",
    "latency": NOT_SQUARED,
}


def scores(learner: PrototypicalNetworks, task: Task) -> Tensor:
    learner.process_support_set(task.support_x, task.support_y)
    return learner(task.query_x)


def protonet(workload: Workload, data: Arrays) -> Job:
    learner = PrototypicalNetworks(backbone_and_head(workload, data)[0])
    (task,) = load_tasks(data)

    def meta_gradient() -> float:
        loss = cross_entropy(scores(learner, task), task.query_y)
        loss.backward()
        return loss.item()

    return training(learner.parameters(), meta_gradient)


def meta_test(workload: Workload, data: Arrays) -> Job:
    learner = PrototypicalNetworks(backbone_and_head(workload, data)[0]).eval()
    pool = in_pool(data)

    def mean_accuracy() -> float:
        with torch.no_grad():
            tasks = (pool[i] for i in range(len(pool)))
            return sum(accuracy(scores(learner, t), t.query_y) for t in tasks) / len(pool)

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    learner = PrototypicalNetworks(backbone_and_head(workload, data)[0]).eval()
    (task,) = load_tasks(data)

    def predict() -> Tensor:
        with torch.no_grad():
            return scores(learner, task)

    return Job(lambda: (None, [predict().numpy()]), predict)


if __name__ == "__main__":
    serve(
        {"protonet": protonet, "meta_test": meta_test, "latency": latency},
        ["easyfsl", "torch"],
        NOTES,
    )
