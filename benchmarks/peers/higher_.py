"""higher, as its example of MAML uses it: a patched copy and an unrolled optimiser a task."""

from __future__ import annotations

import higher
import torch
from torch import nn

from torch_networks import backbone_and_head, load_tasks, query_loss, training
from worker import Job, serve
from workloads import Arrays, Workload


def maml(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    if workload.kind == "anil":
        model, features = head, backbone
    else:
        model, features = nn.Sequential(backbone, head), nn.Identity()
    tasks = load_tasks(data)
    inner = torch.optim.SGD(model.parameters(), lr=workload.inner_lr)

    def meta_gradient() -> float:
        total = 0.0
        for task in tasks:
            support, query = features(task.support_x), features(task.query_x)
            with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (learner, step):
                for _ in range(workload.inner_steps):
                    step.step(query_loss(learner(support), task.support_y))
                loss = query_loss(learner(query), task.query_y)
                (loss / len(tasks)).backward()
                total += loss.item()
        return total / len(tasks)

    parameters = [*backbone.parameters(), *head.parameters()]
    return training(parameters, meta_gradient)


if __name__ == "__main__":
    serve({"maml": maml, "anil": maml}, ["higher", "torch"])
