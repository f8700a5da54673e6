"""JAX, written by hand: a jitted function for all tasks (vmap), their gradient and the outer step.

jax_.py             convolutions by lax.conv_general_dilated
jax_.py matmul      convolutions as nine shifts and one matrix product, which XLA batches
                    better when every task has weights of its own
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from worker import Job, serve
from workloads import INNER_LR_ADAM, OUTER_LR, Arrays, Workload

if os.environ.get("PEERS_DTYPE") == "float64":
    jax.config.update("jax_enable_x64", True)

MATMUL = sys.argv[1:] == ["matmul"]
Weights = list  # of arrays, in the order of the layers
CHUNK = 20  # tasks a call in meta-testing


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(n, h, w, in) and (3, 3, in, out) -> (n, h, w, out)."""
    if not MATMUL:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=3) @ kernel.reshape(-1, kernel.shape[3])


def block(x, kernel, scale, shift, statistics=None) -> jax.Array:
    x = convolution(x, kernel)
    mean, variance = statistics or (x.mean((0, 1, 2)), x.var((0, 1, 2)))
    x = (x - mean) * (scale * jax.lax.rsqrt(variance + 1e-5)) + shift
    return jax.nn.relu(pool(x))


def pool(x: jax.Array) -> jax.Array:
    """The largest of every 2x2.

    By comparisons: with jnp.max the gradient came out wrong under jit and right without, most
    likely since it looks for the elements that equal a maximum which XLA has rounded otherwise.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    a, b, c, d = (x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1))
    return larger(larger(a, b), larger(c, d))


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a > b, a, b)


def features(workload: Workload, weights: Weights, x: jax.Array, statistics=None) -> jax.Array:
    if workload.network == "mlp":
        for i in range(0, 4, 2):
            x = jax.nn.relu(x @ weights[i].T + weights[i + 1])
        return x
    for i in range(4):
        x = block(x, *weights[3 * i : 3 * i + 3], statistics and statistics[i])
    return x.reshape(len(x), -1)


def apply_head(weights: Weights, x: jax.Array) -> jax.Array:
    return x @ weights[-2].T + weights[-1]


def query_loss(scores: jax.Array, y: jax.Array) -> jax.Array:
    if jnp.issubdtype(y.dtype, jnp.floating):
        return jnp.square(scores - y).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], axis=1).mean()


def descend(weights: Weights, gradients: Weights, lr: float) -> Weights:
    return [w - lr * g for w, g in zip(weights, gradients, strict=True)]


def maml_loss(workload: Workload, weights: Weights, task: Arrays) -> jax.Array:
    def loss(weights: Weights, part: str) -> jax.Array:
        scores = apply_head(weights, features(workload, weights, task[f"{part}_x"]))
        return query_loss(scores, task[f"{part}_y"])

    for _ in range(workload.inner_steps):
        weights = descend(weights, jax.grad(loss)(weights, "support"), workload.inner_lr)
    return loss(weights, "query")


def anil_loss(workload: Workload, weights: Weights, task: Arrays) -> jax.Array:
    x = {part: features(workload, weights, task[f"{part}_x"]) for part in ("support", "query")}
    head = weights[-2:]

    def loss(head: Weights, part: str) -> jax.Array:
        return query_loss(apply_head(head, x[part]), task[f"{part}_y"])

    for _ in range(workload.inner_steps):
        head = descend(head, jax.grad(loss)(head, "support"), workload.inner_lr)
    return loss(head, "query")


def protonet_loss(workload: Workload, weights: Weights, task: Arrays) -> jax.Array:
    return query_loss(scores_of(workload, weights, task), task["query_y"])


def scores_of(workload: Workload, weights: Weights, task: Arrays, statistics=None) -> jax.Array:
    n = len(task["support_y"])
    both = jnp.concatenate([task["support_x"], task["query_x"]])
    embedded = features(workload, weights, both, statistics)
    onehot = jax.nn.one_hot(task["support_y"], workload.n_way)
    means = onehot.T @ embedded[:n] / onehot.sum(0)[:, None]
    return -jnp.square(embedded[n:, None] - means[None]).sum(2)


def adam(weights, gradients, state):
    """One step of Adam with the usual constants; `state` is (steps, moments, moments)."""
    t = state[0] + 1
    first = [0.9 * m + 0.1 * g for m, g in zip(state[1], gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(state[2], gradients, strict=True)]

    def moved(w, m, v):
        return w - OUTER_LR * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return [moved(*wmv) for wmv in zip(weights, first, second, strict=True)], (t, first, second)


def training(loss: Callable) -> Callable[[Workload, Arrays], Job]:
    """The job of following the gradient of the mean of `loss` over the tasks."""

    def make(workload: Workload, data: Arrays) -> Job:
        def mean_loss(weights: Weights, tasks: Arrays) -> jax.Array:
            return jax.vmap(lambda task: loss(workload, weights, task))(tasks).mean()

        @jax.jit
        def update(weights, state, tasks):
            value, gradients = jax.value_and_grad(mean_loss)(weights, tasks)
            return value, gradients, *adam(weights, gradients, state)

        return job(data, update)

    return make


def reptile(workload: Workload, data: Arrays) -> Job:
    def train(start: Weights, task: Arrays) -> tuple[Weights, jax.Array]:
        """The way to the trained weights, and the mean loss."""

        def loss(weights: Weights) -> jax.Array:
            scores = apply_head(weights, features(workload, weights, task["support_x"]))
            return query_loss(scores, task["support_y"])

        def step(state, t):
            weights, second = state
            value, gradients = jax.value_and_grad(loss)(weights)
            second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
            deviation = [jnp.sqrt(v / (1 - 0.999**t)) + 1e-8 for v in second]
            scaled = [g / d for g, d in zip(gradients, deviation, strict=True)]
            return (descend(weights, scaled, INNER_LR_ADAM), second), value

        state = (start, [jnp.zeros_like(w) for w in start])
        values = []
        for t in range(1, workload.inner_steps + 1):
            state, value = step(state, t)
            values.append(value)
        return descend(start, state[0], 1.0), jnp.stack(values).mean()

    @jax.jit
    def update(weights, state, tasks):
        ways, values = jax.vmap(train, in_axes=(None, 0))(weights, tasks)
        way = [w.mean(0) for w in ways]
        return values.mean(), way, descend(weights, way, OUTER_LR), state

    return job(data, update)


def job(data: Arrays, update: Callable) -> Job:
    weights, tasks = load(data)
    zeros = [jnp.zeros_like(w) for w in weights]
    now = [weights, (jnp.zeros(()), zeros, zeros)]

    def values() -> tuple[float, list[np.ndarray]]:
        loss, gradients, *_ = update(*now, tasks)
        return float(loss), [as_torch(g) for g in gradients]

    def step() -> None:
        _, _, now[0], now[1] = update(*now, tasks)
        jax.block_until_ready(now)

    return Job(values, step)


def load(data: Arrays) -> tuple[Weights, Arrays]:
    """Weights, and the other arrays; images and kernels with channels last."""
    weights, others = [], {}
    for name, array in sorted(data.items()):
        if name.startswith("weight_"):
            weights.append(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
        else:
            images = name.endswith("_x") and array.ndim > 3
            others[name] = np.moveaxis(array, -3, -1) if images else array

    def put(array: np.ndarray) -> jax.Array:
        return jnp.asarray(array, dtype=int if array.dtype == int else float)

    return jax.tree.map(put, weights), jax.tree.map(put, others)


def as_torch(weight: jax.Array) -> np.ndarray:
    array = np.asarray(weight)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def meta_test(workload: Workload, data: Arrays) -> Job:
    weights, rest = load(data)
    statistics = [(rest[f"mean_{i}"], rest[f"var_{i}"]) for i in range(4)]

    @jax.jit
    def accuracies(weights, pool, support_rows, query_rows):
        def one(support, query):
            task = {"support_x": pool[support], "query_x": pool[query]}
            task |= {"support_y": rest["support_y"]}
            scores = scores_of(workload, weights, task, statistics)
            return (scores.argmax(1) == rest["query_y"]).mean()

        return jax.vmap(one)(support_rows, query_rows)

    def mean_accuracy() -> float:
        support, query = rest["support_rows"], rest["query_rows"]
        found = [
            accuracies(weights, rest["pool_x"], support[i : i + CHUNK], query[i : i + CHUNK])
            for i in range(0, len(support), CHUNK)
        ]
        return float(jnp.concatenate(found).mean())

    return Job(lambda: (mean_accuracy(), []), mean_accuracy)


def latency(workload: Workload, data: Arrays) -> Job:
    weights, rest = load(data)
    statistics = [(rest[f"mean_{i}"], rest[f"var_{i}"]) for i in range(4)]
    names = ("support_x", "support_y", "query_x")
    task = {name: rest[name][0] for name in names}
    predict = jax.jit(lambda weights, task: scores_of(workload, weights, task, statistics))

    def scores() -> np.ndarray:
        return np.asarray(predict(weights, task))

    return Job(lambda: (None, [scores()]), scores)


if __name__ == "__main__":
    makes = {
        "maml": training(maml_loss),
        "anil": training(anil_loss),
        "reptile": reptile,
        "protonet": training(protonet_loss),
        "meta_test": meta_test,
        "latency": latency,
    }
    serve(makes, ["jax"], networks=("conv4",) if MATMUL else ("conv4", "mlp"))
