"""parallel-metalearn: its `step`, which batches the tasks with vmap, outer optimiser included."""

from __future__ import annotations

import itertools

import torch
from metalearn.algorithms import MAML, PrototypicalNetwork, Reptile
from metalearn.inner_optimizers import InnerAdam, InnerSGD
from metalearn.loss import BaseLoss, CrossEntropy
from metalearn.loss.categorical_accuracy import CategoricalAccuracy
from metalearn.model_wrappers import MAML_Model, ProtoNet_Model
from metalearn.nn_models.basic_layers.BatchNormalization import BatchNorm
from torch import Tensor, nn

from torch_networks import backbone_and_head, in_pool, load_tasks, query_loss, weights_of
from worker import Job, serve
from workloads import INNER_LR_ADAM, OUTER_LR, WIDTH, Arrays, Workload

NOTES = {"protonet": "queries are a batch of their own for batch norm"}
CHUNK = 8  # tasks a batch in meta-testing, the library's default


class Plain(nn.Module):
    """A network that takes the context the library hands on, and leaves it.

    Batch norm is the library's, which vmap differentiates rightly; put in by hand, since its
    ModelTranslator gives it arguments that it does not take.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        for name, layer in layers.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                norm = BatchNorm(layer.num_features, track_running_stats=layer.track_running_stats)
                norm.load_state_dict(layer.state_dict(), strict=False)
                setattr(layers, name, norm.train(layer.training))

    def forward(self, x: Tensor, **context) -> Tensor:
        return self.layers(x)


class SquaredError(BaseLoss):
    def forward(self, out_dict, targets, model_states=None, **context):
        loss = query_loss(out_dict["logits"], targets["labels"])
        return loss, loss.detach()


def batch(tasks: list) -> tuple:
    support = torch.stack([t.support_x for t in tasks]), torch.stack([t.support_y for t in tasks])
    query = torch.stack([t.query_x for t in tasks]), torch.stack([t.query_y for t in tasks])
    return support[0], {"labels": support[1]}, query[0], {"labels": query[1]}


def training(algorithm, optimizer: torch.optim.Optimizer, tasks: list) -> Job:
    batches = itertools.repeat(batch(tasks))

    def values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # the step that comes with the gradient goes nowhere
        loss, _ = algorithm.step(batches, training=True)
        for group in optimizer.param_groups:
            group["lr"] = OUTER_LR
        return loss, weights_of(p.grad for p in algorithm.model.parameters())

    return Job(values, lambda: algorithm.step(batches, training=True))


def maml(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    names = "ANIL" if workload.kind == "anil" else None
    model = MAML_Model(Plain(backbone), Plain(head), fast_weights_names=names)
    outer = torch.optim.Adam(model.parameters(), lr=OUTER_LR)
    inner = InnerSGD(model.get_fast_weights(), inner_lr=workload.inner_lr, learn_lr=False)
    algorithm = MAML(
        model=model,
        optimizer=outer,
        inner_optimizer=inner,
        support_loss_fn=CrossEntropy(CategoricalAccuracy()) if workload.n_way else SquaredError(),
        inner_steps=workload.inner_steps,
    )
    return training(algorithm, outer, load_tasks(data))


def reptile(workload: Workload, data: Arrays) -> Job:
    backbone, head = backbone_and_head(workload, data)
    model = MAML_Model(Plain(backbone), Plain(head))
    outer = torch.optim.SGD(model.parameters(), lr=OUTER_LR)
    inner = InnerAdam(
        model.get_fast_weights(),
        first_order=True,
        inner_lr=INNER_LR_ADAM,
        beta1=0.0,
        learn_params=False,
    )
    algorithm = Reptile(
        model=model,
        optimizer=outer,
        inner_optimizer=inner,
        support_loss_fn=CrossEntropy(CategoricalAccuracy()),
        inner_steps=workload.inner_steps,
    )
    job = training(algorithm, outer, load_tasks(data))
    return Job(lambda: (None, job.values()[1]), job.step)  # its loss is that of the queries


def network(workload: Workload, data: Arrays) -> ProtoNet_Model:
    backbone = Plain(backbone_and_head(workload, data)[0])
    return ProtoNet_Model(backbone=backbone, max_classes=workload.n_way, latent_dim=WIDTH)


def prototypical(model: ProtoNet_Model, outer: torch.optim.Optimizer) -> PrototypicalNetwork:
    loss = CrossEntropy(CategoricalAccuracy())
    return PrototypicalNetwork(model=model, optimizer=outer, loss_fn=loss, chunk_size=CHUNK)


def protonet(workload: Workload, data: Arrays) -> Job:
    model = network(workload, data)
    outer = torch.optim.Adam(model.parameters(), lr=OUTER_LR)
    return training(prototypical(model, outer), outer, load_tasks(data))


def meta_test(workload: Workload, data: Arrays) -> Job:
    model, pool = network(workload, data).eval(), in_pool(data)
    algorithm = prototypical(model, torch.optim.Adam(model.parameters()))

    def mean_accuracy() -> float:
        total = 0.0
        for first in range(0, len(pool), CHUNK):
            tasks = [pool[i] for i in range(first, min(first + CHUNK, len(pool)))]
            _, right = algorithm.step(iter([batch(tasks)]), training=False)
            total += right * len(tasks)
        return total / len(pool)

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    model = network(workload, data).eval()
    algorithm = prototypical(model, torch.optim.Adam(model.parameters()))
    (task,) = load_tasks(data)

    def predict() -> Tensor:
        algorithm.adapt_and_update(task.support_x, {"labels": task.support_y})
        with torch.no_grad():
            return model(task.query_x)["logits"]

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
    serve(makes, ["parallel-metalearn", "torch"], NOTES)
