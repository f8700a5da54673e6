"""TorchOpt's MetaSGD, as its example of MAML uses it: one backward over the tasks' mean loss."""

from __future__ import annotations

import torch
import torchopt
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
    parameters = [*backbone.parameters(), *head.parameters()]
    tasks = load_tasks(data)
    inner = torchopt.MetaSGD(model, lr=workload.inner_lr)

    def meta_gradient() -> float:
        losses = []
        start = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
        inner_start = torchopt.extract_state_dict(inner, by="reference")
        for task in tasks:
            support, query = features(task.support_x), features(task.query_x)
            for _ in range(workload.inner_steps):
                inner.step(query_loss(model(support), task.support_y))
            losses.append(query_loss(model(query), task.query_y))
            torchopt.recover_state_dict(model, start)
            torchopt.recover_state_dict(inner, inner_start)
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.item()

    return training(parameters, meta_gradient)


if __name__ == "__main__":
    serve({"maml": maml, "anil": maml}, ["torchopt", "torch"])
