"""How the meta-gradient of a meta-batch is computed; never what it is.

All executors return the mean over the tasks, equal to rounding.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import json
import math
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from quickstudy.engine.compiler_cache import use_private_cache, use_private_headers
from quickstudy.engine.cost import activation_bytes
from quickstudy.errors import UsageError, unknown
from quickstudy.files import write_atomically
from quickstudy.learners import Learner, MetaGradient
from quickstudy.learners.base import device_of, loss_gradient, trainable
from quickstudy.tasks import Episode, stack

__all__ = [
    "EXECUTORS",
    "Auto",
    "Compiled",
    "Executor",
    "Serial",
    "Threads",
    "Vmap",
    "make_executor",
    "mean_gradient",
]


class Executor(ABC):
    """Compute the mean meta-gradient of several episodes."""

    @abstractmethod
    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient: ...

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Give back threads, if any."""


class Serial(Executor):
    """One task after the other."""

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        return mean_gradient(map(learner.meta_gradient, episodes))


class Threads(Executor):
    """Tasks spread over cores: one intra-op thread each, a copy of the module each.

    The copies share the learner's parameters and buffers; they are needed since
    `functional_call` swaps parameters in place. The tasks' gradients are added in the order of
    the tasks, so the number of workers does not change a bit of the result.

    Raises:
        UsageError: For a learner that draws random numbers, as by dropout: threads share the
            generator, and each run would give other weights.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cores()
        self._pool = ThreadPoolExecutor(self.workers, initializer=lambda: torch.set_num_threads(1))

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if (device := device_of(learner)).type != "cpu":
            raise UsageError(f"executor 'threads' is for the CPU, got a learner on {device}")
        bfloat16 = torch.is_autocast_enabled("cpu")  # a property of the thread
        replicas: SimpleQueue[Learner] = SimpleQueue()
        for _ in range(min(self.workers, len(episodes))):
            shared = {id(t): t for t in (*learner.parameters(), *learner.buffers())}
            replicas.put(copy.deepcopy(learner, shared))

        def work(episode: Episode) -> MetaGradient:
            replica = replicas.get()
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
                    return replica.meta_gradient(episode)
            finally:
                replicas.put(replica)

        drawn = torch.get_rng_state()
        # What is added at once need not be stored, between blocks of memory that could be free.
        with _one_thread():
            result = mean_gradient(self._pool.map(work, episodes))
        if not torch.equal(drawn, torch.get_rng_state()):
            raise UsageError(
                f"executor 'threads' cannot run {type(learner).__name__}, which draws random "
                "numbers: use 'serial'"
            )
        return result

    def close(self) -> None:
        self._pool.shutdown()


class Vmap(Executor):
    """Tasks of one shape in one batched call: many times faster for small networks.

    Args:
        memory: Bytes that the activations of one call may take; where all tasks would take more,
            they go in several calls.

    The first call for tasks of one layout computes two of them one by one too, in float64, and
    compares: PyTorch gets some batched second derivatives wrong without saying so, such as those
    of the built-in norms.

    Raises:
        UsageError: For a learner whose loss cannot be batched (see `torch.func.vmap`: it may not
            branch on a value), for a network with dropout or a built-in batch, instance or layer
            norm, and for one whose batched gradient turns out to be another than one by one.
    """

    SMALL = 2**24
    """Bytes of activations of one call below which a second thread would only be waited for."""

    def __init__(self, memory: int = 2**30) -> None:
        self.memory = memory
        self._bytes: dict[Any, int] = {}
        self._able: Learner | None = None

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if learner is not self._able:
            if reason := _not_for_vmap(learner):
                raise UsageError(f"executor 'vmap' cannot run {reason}: use 'threads' or 'serial'")
            self._able = learner
            self._bytes.clear()
        groups: dict[Any, list[Episode]] = {}
        for episode in episodes:
            groups.setdefault(_shape(episode), []).append(episode)
        parts, shares = [], []
        for shape, group in groups.items():
            if shape not in self._bytes:
                self._check(learner, group)
                self._bytes[shape] = max(1, activation_bytes(learner, group[0]))
            size = max(1, self.memory // self._bytes[shape])
            for i in range(0, len(group), size):
                chunk = group[i : i + size]
                small = self._bytes[shape] * len(chunk) < self.SMALL
                with _one_thread() if small else contextlib.nullcontext():
                    parts.append(self._batched(learner, chunk))
                shares.append(len(chunk) / len(episodes))
        return mean_gradient(parts, shares)

    def _check(self, learner: Learner, episodes: list[Episode]) -> None:
        """Refuse a learner whose batched gradient is not that of its tasks one by one."""
        few, tolerance = episodes[:2], 1e-6
        with torch.autocast(device_of(learner).type, enabled=False):
            try:
                exact = copy.deepcopy(learner).double()
                wide = [episode.to(torch.float64) for episode in few]
                expected = Serial()(exact, wide)
                batched = Vmap._batched(Vmap(), exact, wide)
            except RuntimeError:  # a network that computes in float32, whatever it is given
                expected, tolerance = Serial()(learner, few), 1e-2
                batched = Vmap._batched(Vmap(), learner, few)
        _same_gradient(self, learner, batched, expected, tolerance)

    def _batched(self, learner: Learner, episodes: list[Episode]) -> MetaGradient:
        tensors, layout = pytree.tree_flatten(stack(episodes))
        buffers = dict(learner.named_buffers())
        step = _Step(learner, layout)
        try:
            loss, gradients = self._run(step, trainable(learner), buffers, tensors)
        except (RuntimeError, NotImplementedError) as error:
            raise UsageError(
                f"executor {type(self).__name__.lower()!r} cannot run {type(learner).__name__} "
                f"({_first_line(error)}): "
                "use 'threads' or 'serial'"
            ) from error
        return MetaGradient(loss, gradients, buffers)

    def _run(
        self,
        step: _Step,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tensors: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # The gradient of the mean, which needs no gradient of each task in memory.
        return loss_gradient(parameters, lambda weights: step.loss(weights, buffers, tensors))


@dataclass(frozen=True)
class _Step:
    """A learner, and how the tensors of stacked episodes become episodes again."""

    learner: Learner
    layout: pytree.TreeSpec

    def loss(
        self, weights: dict[str, Tensor], buffers: dict[str, Tensor], tensors: list[Tensor]
    ) -> Tensor:
        """The mean loss of the episodes."""

        def one(weights: dict[str, Tensor], *tensors: Tensor) -> Tensor:
            episode = pytree.tree_unflatten(tensors, self.layout)
            state = {**weights, **buffers}
            value = functional_call(self.learner, state, (episode,))
            if any(state[name] is not buffer for name, buffer in buffers.items()):
                raise RuntimeError("a task of it changes a buffer")
            return value

        return vmap(one, in_dims=(None, *[0] * len(tensors)))(weights, *tensors).mean()


def _same_gradient(
    executor: Executor,
    learner: Learner,
    batched: MetaGradient,
    expected: MetaGradient,
    tolerance: float,
) -> None:
    """Refuse an executor that computes another meta-gradient than was expected.

    Args:
        tolerance: Largest norm of the difference, as a share of the norm.
    """
    pairs = [(g, batched.gradients[name]) for name, g in expected.gradients.items()]
    norm = math.sqrt(sum(float(g.square().sum()) for g, _ in pairs))
    off = math.sqrt(sum(float((g - other).square().sum()) for g, other in pairs))
    if off > tolerance * norm + torch.finfo(torch.float32).tiny:
        raise UsageError(
            f"executor {type(executor).__name__.lower()!r} cannot run {type(learner).__name__}: "
            f"its gradient is {off / max(norm, 1e-300):.2g} of its length off that of the tasks "
            "one by one, as when PyTorch batches a derivative wrongly: use 'threads' or 'serial'"
        )


class Compiled(Vmap):
    """The batched call of `Vmap`, its gradient included, compiled by TorchInductor.

    The first call for tasks of one shape traces and compiles, which takes about a minute per 3000
    operations; the learner's options are part of what is compiled. Recurrent learners make long
    traces: five classes of ten examples are 13,000 operations to a memory-augmented network.

    Args:
        memory: As `Vmap`.
        longest: Operations of the longest trace that is compiled.

    Raises:
        UsageError: As `Vmap`, and where there is no C++ compiler, or the trace is too long.
    """

    SINGLE, HALF = 1e-2, 0.3
    """How far, as a share of its length, the compiled gradient may be off that of `Vmap` because
    it is rounded otherwise: of float32, and of bfloat16."""

    def __init__(self, memory: int = 2**30, longest: int = 20_000) -> None:
        super().__init__(memory)
        self.longest = longest
        self._compiled: dict[Any, Callable[[list[Tensor]], list[Tensor]]] = {}

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if learner is not self._able:  # what is compiled has its options in it
            self._compiled.clear()
        return super().__call__(learner, episodes)

    def _run(
        self,
        step: _Step,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tensors: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = [*parameters.values(), *buffers.values(), *tensors]
        half = torch.is_autocast_enabled(inputs[0].device.type)
        key = (tuple((t.shape, t.dtype) for t in inputs), repr(step.layout), half)
        first = key not in self._compiled
        if first:

            def flat(*inputs: Tensor) -> list[Tensor]:
                given = iter(inputs)
                weights = dict(zip(parameters, given, strict=False))
                current = dict(zip(buffers, given, strict=False))
                rest = list(given)
                value, gradients = loss_gradient(weights, lambda w: step.loss(w, current, rest))
                return [value, *gradients.values()]

            self._compiled[key] = self._compile(flat, [t.detach() for t in inputs])
        with torch.no_grad():
            value, *gradients = self._compiled[key](inputs)
        by_name = dict(zip(parameters, gradients, strict=True))
        if first:
            expected = MetaGradient(*super()._run(step, parameters, buffers, tensors), {})
            tolerance = self.HALF if half else self.SINGLE
            _same_gradient(
                self, step.learner, MetaGradient(value, by_name, {}), expected, tolerance
            )
        return value, by_name

    def _compile(
        self, function: Callable[..., list[Tensor]], inputs: list[Tensor]
    ) -> Callable[[list[Tensor]], list[Tensor]]:
        use_private_cache()
        from torch import _inductor as inductor
        from torch._inductor.exc import InvalidCxxCompiler
        from torch.fx.experimental.proxy_tensor import make_fx

        on_cpu = inputs[0].device.type == "cpu"
        graph: Any = make_fx(function)(*[t.clone() for t in inputs])
        if (length := len(graph.graph.nodes)) > self.longest:
            raise UsageError(
                f"executor 'compiled' cannot run a step of {length} operations, more than "
                f"{self.longest}: use 'vmap'"
            )
        with torch.no_grad():  # a second trace leaves out what only autograd needed
            graph = make_fx(graph, _TRANSPOSED if on_cpu else {})(*inputs)
            try:
                options: dict[str, Any] = {"triton.cudagraphs": True}
                if on_cpu:
                    headers = use_private_headers()
                    options = {"cpp.threads": 1, "cpp_cache_precompile_headers": headers}
                compiled: Any = inductor.compile(graph, [*inputs], options=options)
            except InvalidCxxCompiler as error:
                raise UsageError(
                    f"executor 'compiled' needs a C++ compiler ({_first_line(error)}): install "
                    "one, or use 'vmap'"
                ) from None
        return lambda inputs: compiled(*inputs)


def _transposed(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """A matrix product of fewer columns than rows as that of the transposed matrices, which has
    the rows long: on a CPU up to four times as fast for small matrices.
    """

    def turned(a: Tensor, b: Tensor) -> Any:
        return product(b.mT, a.mT).mT if b.shape[-1] < a.shape[-2] else NotImplemented

    return turned


_TRANSPOSED: Any = {
    p: _transposed(p) for p in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
}


class Auto(Executor):
    """The executor that is fastest for this learner and these tasks, by trial.

    The first call tries those that can run the learner, and keeps the seconds that each took in
    the user's cache folder, so the next training of the like chooses at once, and alike.
    Compiling is tried only where the steps to come would take longer than it does. When tasks come
    that the chosen executor cannot run, as they are too long to compile, the next simpler one goes
    on: `Vmap`, then the tasks one by one.

    Args:
        steps: Meta-steps to come.
        trial: Whether to try; if not, it begins with `Vmap`.
    """

    WORTH_COMPILING = 120.0
    """Seconds that training would take without compiling."""

    def __init__(self, steps: int = 0, *, trial: bool = True) -> None:
        self.steps = steps
        self.chosen: str | None = None if trial else "vmap"
        self._made: dict[str, Executor] = {}

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if self.chosen is None:
            self.chosen = self._choose(learner, episodes)
        simpler = {"compiled": "vmap", "vmap": _one_by_one(learner)}
        while True:
            try:
                return self._make(self.chosen)(learner, episodes)
            except UsageError:
                if self.chosen not in simpler:
                    raise
                self.chosen = simpler[self.chosen]

    def close(self) -> None:
        for executor in self._made.values():
            executor.close()

    def _make(self, name: str) -> Executor:
        if name not in self._made:
            made = Compiled(longest=3000) if name == "compiled" else EXECUTORS[name]()
            self._made[name] = made
        return self._made[name]

    def _choose(self, learner: Learner, episodes: Sequence[Episode]) -> str:
        name = f"{_fingerprint(learner, episodes)}.json"
        path = user_cache_path("quickstudy") / "executors" / name
        seconds = _read_seconds(path)

        def took(name: str) -> float:
            if name not in seconds:
                seconds[name] = _seconds(self._make(name), learner, episodes)
            return seconds[name]

        other = _one_by_one(learner)
        best = min(("vmap", other), key=took)
        long = self.steps * took("vmap") > self.WORTH_COMPILING
        if best == "vmap" and long and took("compiled") < took("vmap"):
            best = "compiled"
        with contextlib.suppress(OSError):  # a cache that cannot be written is done without
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(seconds).encode())
        return best


def _seconds(executor: Executor, learner: Learner, episodes: Sequence[Episode]) -> float:
    """Seconds of one meta-batch after a first one; infinity if the executor cannot run it."""
    try:
        float(executor(learner, episodes).loss)  # which waits for a GPU
    except UsageError:
        return math.inf
    began = time.perf_counter()
    float(executor(learner, episodes).loss)
    return time.perf_counter() - began


def _read_seconds(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _fingerprint(learner: Learner, episodes: Sequence[Episode]) -> str:
    """Names what decides how fast an executor is: learner, tasks, machine and PyTorch."""
    options = {k: v for k, v in vars(learner).items() if isinstance(v, int | float | str)}
    identity = (
        repr(learner),
        sorted(options.items()),
        [repr(_shape(episode)) for episode in episodes],
        torch.is_autocast_enabled(device_of(learner).type),
        _device_name(device_of(learner)),
        (platform.processor(), _cores(), torch.get_num_threads(), torch.__version__),
    )
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:32]


EXECUTORS: dict[str, type[Executor]] = {
    "serial": Serial,
    "threads": Threads,
    "vmap": Vmap,
    "compiled": Compiled,
}


def make_executor(
    name: str, learner: Learner, meta_batch_size: int, steps: int = 0, *, trial: bool = True
) -> Executor:
    """Make an executor by name; "auto" chooses one for this learner.

    "auto" is threads where there are several tasks and cores, and serial otherwise; for networks
    that `Vmap` can batch, on a CPU only those without convolutions, it tries which is fastest (see
    `Auto`).

    Args:
        steps: Meta-steps to come; "auto" compiles only for long trainings.
        trial: Whether "auto" may try; if not, it takes `Vmap` where that can run.

    Raises:
        UsageError: If there is no such executor, or it cannot run the learner.
    """
    if name not in ("auto", *EXECUTORS):
        raise unknown("executor", name, ["auto", *EXECUTORS])
    reason = _not_for_vmap(learner)
    if name in ("vmap", "compiled") and reason:
        raise UsageError(f"executor {name!r} cannot run {reason}: use 'threads' or 'serial'")
    if name != "auto":
        return EXECUTORS[name]()
    if meta_batch_size == 1:
        return Serial()
    on_cpu = device_of(learner).type == "cpu"
    if not reason and not (on_cpu and _has(learner, (nn.modules.conv._ConvNd,))):
        return Auto(steps, trial=trial)
    return EXECUTORS[_one_by_one(learner)]()


def _one_by_one(learner: Learner) -> str:
    """The executor for tasks that cannot be batched."""
    alone = _cores() == 1 or _has(learner, DROPOUT) or device_of(learner).type != "cpu"
    return "serial" if alone else "threads"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


DROPOUT = (nn.modules.dropout._DropoutNd,)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm)  # _NormBase: batch and instance norm


def _not_for_vmap(learner: Learner) -> str | None:
    if type(learner).meta_gradient is not Learner.meta_gradient:
        return f"{type(learner).__name__}, whose meta-gradient is not that of a loss"
    if not learner.batchable:
        return f"{type(learner).__name__}, which does not say it is batchable"
    kind = _has(learner, (*NORMS, *DROPOUT))
    return f"a network with {kind}" if kind else None


def _has(learner: Learner, kinds: tuple[type, ...]) -> str | None:
    return next((type(m).__name__ for m in learner.modules() if isinstance(m, kinds)), None)


def _shape(episode: Episode) -> Any:
    """What episodes must have in common to be stacked."""
    support, query = episode.support, episode.query
    shape = (support.x.shape, support.y.shape, query.x.shape, query.y.shape)
    kinds = (support.x.dtype, support.y.dtype, query.x.dtype, query.y.dtype)
    optional = (support.attributes, episode.classes, episode.clusters)
    return support.n_way, shape, kinds, tuple(None if t is None else t.shape for t in optional)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _cores() -> int:
    """Cores this process may use, which in a container is fewer than there are; processes that
    `torchrun` started on one machine share them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def mean_gradient(
    parts: Iterable[MetaGradient], shares: Sequence[float] | None = None
) -> MetaGradient:
    """The mean of meta-gradients, added in their order, each as it comes.

    Args:
        shares: Weight of each part, such as its share of the tasks; by default all alike.
    """
    if isinstance(parts, list) and len(parts) == 1:
        return parts[0]
    each = iter(parts)
    first = next(each)
    weights = iter(shares or itertools.repeat(1.0))
    weight = next(weights)
    # Counters are the same for every task. A copy, as gradients may share memory.
    totals = [t * weight if t.is_floating_point() else t for t in _tensors(first)]
    n = 1
    for part in each:
        weight, n = next(weights), n + 1
        for total, value in zip(totals, _tensors(part), strict=True):
            if total.is_floating_point():
                total.add_(value, alpha=weight)
    if not shares and n > 1:
        totals = [t / n if t.is_floating_point() else t for t in totals]
    loss, *rest = totals
    k = len(first.gradients)
    return MetaGradient(
        loss,
        dict(zip(first.gradients, rest[:k], strict=True)),
        dict(zip(first.buffers, rest[k:], strict=True)),
    )


def _tensors(part: MetaGradient) -> list[Tensor]:
    return [part.loss, *part.gradients.values(), *part.buffers.values()]
