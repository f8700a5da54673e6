"""quickstudy, as `meta_train` uses it: an executor chosen by "auto", and an outer step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from quickstudy import MAML, Learner, PrototypicalNetworks, Reptile
from quickstudy.engine import meta_test as run_meta_test
from quickstudy.engine.executors import make_executor
from quickstudy.learners import MetaGradient
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, Episode, Support
from torch_networks import Pool, Task, in_pool, load_statistics, load_tasks, load_weights
from worker import Job, serve
from workloads import INNER_LR_ADAM, OUTER_LR, Arrays, Workload


def backbone(workload: Workload) -> nn.Module:
    return MLP((1,)) if workload.network == "mlp" else Conv4((1, 28, 28))


def episode(workload: Workload, task: Task) -> Episode:
    support = Support(task.support_x, task.support_y, workload.n_way or None)
    return Episode(support, Batch(task.query_x, task.query_y))


def training(
    learner: Learner,
    workload: Workload,
    data: Arrays,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> Job:
    load_weights(learner.parameters(), data)
    episodes = [episode(workload, task) for task in load_tasks(data)]
    executor = make_executor("auto", learner, len(episodes), steps=60_000)
    parameters = dict(learner.named_parameters())
    outer = optimizer(parameters.values(), lr=OUTER_LR, fused=True)  # as meta_train's own

    def values() -> tuple[float, list[np.ndarray]]:
        result = executor(learner, episodes)
        return float(result.loss), [result.gradients[n].numpy() for n in parameters]

    def step() -> None:
        result: MetaGradient = executor(learner, episodes)
        for name, buffer in learner.named_buffers():
            buffer.copy_(result.buffers[name])
        for name, parameter in parameters.items():
            parameter.grad = result.gradients[name]
        outer.step()
        outer.zero_grad()

    return Job(values, step)


def maml(workload: Workload, data: Arrays) -> Job:
    learner = MAML(
        backbone(workload),
        workload.n_outputs,
        inner_lr=workload.inner_lr,
        inner_steps=workload.inner_steps,
        adapted=["head.*"] if workload.kind == "anil" else ["*"],
    )
    return training(learner, workload, data)


def reptile(workload: Workload, data: Arrays) -> Job:
    learner = Reptile(
        backbone(workload),
        workload.n_outputs,
        inner_lr=INNER_LR_ADAM,
        inner_steps=workload.inner_steps,
        inner_batch=workload.n_way * workload.n_shot,
    )
    return training(learner, workload, data, torch.optim.SGD)


def protonet(workload: Workload, data: Arrays) -> Job:
    return training(PrototypicalNetworks(backbone(workload)), workload, data)


def trained(workload: Workload, data: Arrays) -> Learner:
    learner = PrototypicalNetworks(backbone(workload))
    load_weights(learner.parameters(), data)
    load_statistics(learner.backbone, data)
    return learner.eval()


class Episodes:
    def __init__(self, workload: Workload, pool: Pool) -> None:
        self.workload, self.pool = workload, pool

    def __getitem__(self, index: int) -> Episode:
        return episode(self.workload, self.pool[index])


def meta_test(workload: Workload, data: Arrays) -> Job:
    learner, pool = trained(workload, data), in_pool(data)
    tasks = Episodes(workload, pool)

    def mean_accuracy() -> float:
        return run_meta_test(learner, tasks, len(pool)).mean

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    learner = trained(workload, data)
    task = episode(workload, load_tasks(data)[0])

    def predict() -> torch.Tensor:
        with torch.no_grad():
            return learner.adapt(task.support)(task.query.x)

    return Job(lambda: (None, [predict().numpy()]), predict)


if __name__ == "__main__":
    makes = {
        "maml": maml,
        "anil": maml,
        "reptile": reptile,
        "protonet": protonet,
        "meta_test": meta_test,
        "latency": latency,
    }
    serve(makes, ["quickstudy", "torch"])
