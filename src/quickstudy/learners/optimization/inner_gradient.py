"""The gradient an inner loop steps by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]

__all__ = ["inner_gradient"]


def inner_gradient(
    loss: Callable[[dict[str, Tensor]], Tensor], weights: dict[str, Tensor], *, create_graph: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient and value of `loss(weights)`, inside `torch.func` transforms and outside of them.

    Args:
        create_graph: Whether the gradient can be differentiated in turn; if not, both are
            constants.
    """
    if _functorch.peek_interpreter_stack() is not None:
        gradients, value = torch.func.grad_and_value(loss)(weights)
        if create_graph:
            return gradients, value
        return {n: g.detach() for n, g in gradients.items()}, value.detach()
    if not create_graph:
        # Gradients to the weights as they are now; the path through earlier steps stays open.
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    else:
        leaves = {
            n: w if w.requires_grad else w.detach().requires_grad_() for n, w in weights.items()
        }
    with torch.enable_grad():
        value = loss(leaves)
        gradients = torch.autograd.grad(
            value,
            list(leaves.values()),
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    return dict(zip(leaves, gradients, strict=True)), value if create_graph else value.detach()
