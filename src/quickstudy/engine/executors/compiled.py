"""The batched step of `Vmap`, traced and compiled by TorchInductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.engine.compiler_cache import use_private_cache, use_private_headers
from quickstudy.engine.executors.base import first_line
from quickstudy.engine.executors.vmap import Step, Vmap, same_gradient
from quickstudy.errors import UsageError
from quickstudy.learners import Learner, MetaGradient
from quickstudy.learners.base import loss_gradient
from quickstudy.tasks import Episode

__all__ = ["Compiled"]


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

    FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-2, 0.3
    """How far the compiled gradient may differ from that of `Vmap` by rounding, as a share of its
    norm."""

    def __init__(self, memory: int = 2**30, longest: int = 20_000) -> None:
        super().__init__(memory)
        self.longest = longest
        self._compiled: dict[Any, Callable[[list[Tensor]], list[Tensor]]] = {}

    def __call__(self, learner: Learner, episodes: Sequence[Episode]) -> MetaGradient:
        if learner is not self._checked_learner:  # the learner's options are compiled in
            self._compiled.clear()
        return super().__call__(learner, episodes)

    def _run(
        self,
        step: Step,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tensors: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = [*parameters.values(), *buffers.values(), *tensors]
        is_bfloat16 = torch.is_autocast_enabled(inputs[0].device.type)
        key = (tuple((t.shape, t.dtype) for t in inputs), repr(step.layout), is_bfloat16)
        is_new = key not in self._compiled
        if is_new:

            def loss_and_gradients(*inputs: Tensor) -> list[Tensor]:
                given = iter(inputs)
                weights = dict(zip(parameters, given, strict=False))
                current = dict(zip(buffers, given, strict=False))
                rest = list(given)
                value, gradients = loss_gradient(weights, lambda w: step.loss(w, current, rest))
                return [value, *gradients.values()]

            self._compiled[key] = self._compile(loss_and_gradients, [t.detach() for t in inputs])
        with torch.no_grad():
            value, *gradients = self._compiled[key](inputs)
        by_name = dict(zip(parameters, gradients, strict=True))
        if is_new:
            expected = MetaGradient(*super()._run(step, parameters, buffers, tensors), {})
            tolerance = self.BFLOAT16_TOLERANCE if is_bfloat16 else self.FLOAT32_TOLERANCE
            same_gradient(self, step.learner, MetaGradient(value, by_name, {}), expected, tolerance)
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
            graph = make_fx(graph, _DECOMPOSITIONS if on_cpu else {})(*inputs)
            try:
                options: dict[str, Any] = {"triton.cudagraphs": True}
                if on_cpu:
                    headers = use_private_headers()
                    options = {"cpp.threads": 1, "cpp_cache_precompile_headers": headers}
                compiled: Any = inductor.compile(graph, [*inputs], options=options)
            except InvalidCxxCompiler as error:
                raise UsageError(
                    f"executor 'compiled' needs a C++ compiler ({first_line(error)}): install "
                    "one, or use 'vmap'"
                ) from None
        return lambda inputs: compiled(*inputs)


def _as_transposed(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """Compute a matrix product of fewer columns than rows as (B^T A^T)^T, whose rows are longer: on
    a CPU up to four times as fast for small matrices.
    """

    def transposed_product(a: Tensor, b: Tensor) -> Any:
        return product(b.mT, a.mT).mT if b.shape[-1] < a.shape[-2] else NotImplemented

    return transposed_product


_DECOMPOSITIONS: Any = {
    p: _as_transposed(p) for p in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
}
