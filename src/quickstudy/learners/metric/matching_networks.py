"""Matching networks: a query takes the labels of the examples it attends to.

Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra, "Matching Networks for One Shot Learning",
NeurIPS 2016, arXiv:1606.04080.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import Predictor, check_every_class, encode_targets, feature_size
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nn import cosine_similarity, full_precision, widen
from quickstudy.tasks import Support

__all__ = ["MatchingNetworks"]


class MatchingNetworks(EmbeddingLearner):
    """Classify a query by attention over the support set (equation 1).

    The attention is a(x, x_i) = softmax over i of the scaled cosine of f(x) and g(x_i); the
    probability of a class is the attention its examples get together. Scores are the logarithms
    of these probabilities.

    With full context embeddings, g reads the support set by a bidirectional LSTM, in the order of
    the episode, and f attends to it in several steps by another LSTM (section 2.1.2, appendix A).

    Differs from the paper: the paper has no factor on the cosines, so its softmax over 20
    examples cannot give more than 0.28 to one of them; that form is `scale=1`. f and g share the
    backbone. The number of attention steps is not published; 3 is that of Ravi & Larochelle's
    code. There is no fine-tuning on the support set.

    Args:
        backbone: Maps inputs (n, ...) to embeddings (n, d).
        scale: Factor on the cosines; if None it is learned, from 10 on.
        full_context_embeddings: Whether embeddings depend on the whole support set; needs a
            backbone with `out_features`.
        attention_steps: Steps of the query's LSTM, with full context embeddings; 3 if None.

    Raises:
        UsageError: If `scale` is not positive, or `attention_steps` is, or cannot be, used.

    Example:
        >>> learner = MatchingNetworks(nn.Flatten(), scale=1.0)
        >>> support = Support(torch.eye(2), torch.tensor([0, 1]), n_way=2)
        >>> learner.adapt(support)(torch.tensor([[3.0, 0.0]])).exp()
        tensor([[0.7311, 0.2689]])
    """

    def __init__(
        self,
        backbone: nn.Module,
        scale: float | None = None,
        full_context_embeddings: bool = False,
        attention_steps: int | None = None,
    ) -> None:
        super().__init__(backbone)
        if scale is not None and scale <= 0:
            raise UsageError(f"expected a scale above 0, got {scale}")
        if attention_steps is not None and (attention_steps < 1 or not full_context_embeddings):
            raise UsageError(
                "expected attention_steps of 1 or more, and only with full_context_embeddings, "
                f"got {attention_steps}"
            )
        self.scale = 10.0 if scale is None else scale
        self.log_scale = None
        if scale is None:  # as a logarithm, so that learning cannot turn its sign
            self.log_scale = nn.Parameter(torch.tensor(math.log(self.scale)))
        self.context = None
        if full_context_embeddings:
            self.context = _FullContext(feature_size(backbone), attention_steps or 3)
            # PyTorch has no batching rule for LSTMs.
            self.batchable = False

    def check(self, support: Support) -> None:
        check_every_class(support)

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        embedded = widen(embedded)
        keys = self.context.embed_support(embedded) if self.context else embedded  # g(x_i)
        labels = encode_targets(support.y, support.n_way or 0, keys)

        def predict(embedded: Tensor) -> Tensor:
            embedded = widen(embedded)
            queries = self.context.embed_query(embedded, keys) if self.context else embedded
            scale = self.scale if self.log_scale is None else self.log_scale.exp()
            attention = (scale * cosine_similarity(queries, keys)).log_softmax(1)  # (n, n_support)
            # The logarithm of a sum stays finite where the sum itself would round to zero.
            of_class = attention[..., None].masked_fill(labels == 0, -torch.inf)
            return of_class.logsumexp(1)  # (n, n_support, n_way) -> (n, n_way)

        return predict


class _FullContext(nn.Module):
    """Embeddings that depend on the whole support set, of the size of those they start from."""

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.support_lstm = nn.LSTM(size, size, bidirectional=True)
        self.query_lstm = nn.LSTMCell(2 * size, size)

    def embed_support(self, embedded: Tensor) -> Tensor:
        """g(x_i, S) = forward state i + backward state i + g'(x_i), shape (n_support, d)."""
        with full_precision(embedded):
            states, _ = self.support_lstm(embedded)
        ahead, back = states.chunk(2, dim=1)
        return ahead + back + embedded

    def embed_query(self, embedded: Tensor, keys: Tensor) -> Tensor:
        """f(x, S) after `steps` readings of the support set (equations 3 to 6), shape (n, d)."""
        hidden = cell = torch.zeros_like(embedded)
        with full_precision(embedded):
            for _ in range(self.steps):
                read = (hidden @ keys.T).softmax(1) @ keys
                # The gates are linear in [f'(x), h, r], so r may join the input.
                state = self.query_lstm(torch.cat([embedded, read], dim=1), (hidden, cell))
                hidden, cell = state[0] + embedded, state[1]
        return hidden
