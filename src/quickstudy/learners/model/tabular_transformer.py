"""A small prior-fitted network for tables: the support is its prompt, closed forms its hints.

Müller, Hollmann, Pineda Arango, Grabocka & Hutter, "Transformers Can Do Bayesian Inference",
ICLR 2022, arXiv:2112.10510; Hollmann, Müller, Eggensperger & Hutter, "TabPFN: A Transformer That
Solves Small Tabular Classification Problems in a Second", ICLR 2023, arXiv:2207.01848.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import Predictor, encode_targets
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.learners.model.smoothers import N_SMOOTHERS, Columns, Rows, fit_smoothers
from quickstudy.nn import full_precision, widen
from quickstudy.tasks import Support

__all__ = ["TabularTransformer"]

N_CODES = 8


class TabularTransformer(EmbeddingLearner):
    """Classify the rows of a table in one forward pass, from its labelled rows, the support set.

    A row is a token: the sum over columns of a perceptron of value, rank and a code that tells
    columns apart; the answers of twelve closed forms (`fit_smoothers`), which for a known row leave
    out its own label; how well these answers do on the whole support; and for a known row its
    label. Known rows attend to each other and a query to them. A query's token then weighs the
    twelve answers, sharpens them, and adds what it knows better.

    Differs from the papers: their tokens hold values alone, and a network of 26 million weights
    learns from ten million tables what to do with them. Given what closed forms say, and how far
    they can be trusted on this table, half a million weights learn to do better than these from
    some ten thousand tables, in an hour of one core. Attention is scaled by the logarithm of the
    support's size, so that it does not blur where the support is larger than in training.

    Args:
        backbone: Maps inputs (n, ...) to rows of a table (n, d), of any d; NaN and infinite values
            are missing.
        n_outputs: Most classes a task may have.
        width: Length of a token, a multiple of `heads`.
        layers: Number of layers, of attention and a perceptron of twice the width each.
        heads: Attention heads of each layer.
        members: In evaluation, the mean is taken over so many orders of classes and columns.

    Raises:
        UsageError: If the sizes do not fit.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
        >>> learner = TabularTransformer(Flatten((4,)), n_outputs=10).eval()
        >>> learner.adapt(Support(x, y, n_way=3))(torch.randn(5, 4)).shape
        torch.Size([5, 3])
    """

    batchable = False
    ways = "fewer"

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        members: int = 1,
    ) -> None:
        super().__init__(backbone)
        if layers < 1 or members < 1:
            raise UsageError(f"expected layers and members of 1 or more, got {layers}, {members}")
        if heads < 1 or width < 1 or width % heads:
            raise UsageError(f"expected a width that heads divide, got {width} and {heads} heads")
        self.n_outputs, self.members = n_outputs, members
        cell = width // 4
        self.from_cell = nn.Sequential(
            nn.Linear(3 + N_CODES, cell), nn.GELU(), nn.Linear(cell, cell, bias=False)
        )
        self.from_cells = nn.Linear(cell, width, bias=False)
        self.from_answers = nn.Linear(N_SMOOTHERS * n_outputs, width, bias=False)
        self.from_table = nn.Linear(N_SMOOTHERS + 3, width)
        self.from_label = nn.Linear(n_outputs, width, bias=False)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.weigh = nn.Linear(width, N_SMOOTHERS)
        self.sharpen = nn.Linear(width, 1)
        self.head = nn.Linear(width, n_outputs)
        for last in (self.weigh, self.sharpen, self.head):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def check(self, support: Support) -> None:
        super().check(support)
        if support.n_way is None:
            raise DataError("expected a classification task, got regression targets")
        if not len(support):
            raise DataError("expected rows with labels, got none")

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        n_way, embedded = support.n_way or 0, widen(embedded)
        columns = Columns(embedded)
        support_rows = columns(embedded)
        with torch.no_grad(), full_precision(embedded):
            onehot = encode_targets(support.y, n_way, support_rows.z)
            left_out, answer = fit_smoothers(support_rows, onehot)
        table = _describe(left_out, onehot, support_rows.z.shape[1])
        orders = _orders(1 if self.training else self.members, n_way)
        contexts = [
            self._read(support_rows, left_out, table, onehot, i, o) for i, o in enumerate(orders)
        ]

        def predict(x: Tensor) -> Tensor:
            rows = columns(widen(x))
            with torch.no_grad(), full_precision(x):
                answers = answer(rows)
            scores = [
                self._answer(rows, answers, table, i, order, context)
                for i, (order, context) in enumerate(zip(orders, contexts, strict=True))
            ]
            return torch.stack(scores).logsumexp(0) - math.log(len(scores))

        return predict

    def _read(
        self, rows: Rows, answers: Tensor, table: Tensor, onehot: Tensor, shift: int, order: Tensor
    ) -> list[Tensor]:
        """What queries attend to in each layer: the support's tokens, (m, width) each."""
        pad = (0, self.n_outputs - onehot.shape[1])
        tokens = self._tokens(rows, answers[..., order], table, shift)
        tokens = tokens + self.from_label(F.pad(onehot[:, order], pad))
        contexts = []
        for layer in self.layers:
            contexts.append(_norm(tokens))
            if len(contexts) < len(self.layers):
                tokens = layer(tokens, contexts[-1])
        return contexts

    def _answer(
        self,
        rows: Rows,
        answers: Tensor,
        table: Tensor,
        shift: int,
        order: Tensor,
        contexts: list[Tensor],
    ) -> Tensor:
        """The logarithms of a query's class probabilities, (n, n_way)."""
        tokens = self._tokens(rows, answers[..., order], table, shift)
        for layer, context in zip(self.layers, contexts, strict=True):
            tokens = layer(tokens, context)
        tokens = _norm(tokens)
        weights = self.weigh(tokens).softmax(1)
        mean = torch.einsum("nb,nbk->nk", weights, answers)
        correction = self.head(tokens)[:, order.argsort()]
        scores = mean.clamp(min=0.01).log() * self.sharpen(tokens).exp() + correction
        return scores.log_softmax(1)

    def _tokens(self, rows: Rows, answers: Tensor, table: Tensor, shift: int) -> Tensor:
        n, d = rows.z.shape
        cells = torch.stack([rows.z, rows.u, rows.missing.to(rows.z)], 2)
        codes = _codes(d, shift).to(cells).expand(n, -1, -1)
        cells = self.from_cell(torch.cat([cells, codes], 2)).sum(1) / math.sqrt(d)
        answers = F.pad(answers.clamp(-0.5, 1.5), (0, self.n_outputs - answers.shape[2]))
        hints = self.from_answers(answers.flatten(1)) + self.from_table(table)
        return self.from_cells(_norm(cells)) + hints


def _describe(left_out: Tensor, onehot: Tensor, d: int) -> Tensor:
    """The size of a table, and how much of the classes' spread each answer leaves unexplained."""
    m, k = onehot.shape
    error = (left_out - onehot[:, None]).square().sum(2).mean(0)
    spread = (onehot - onehot.mean(0)).square().sum(1).mean().clamp(min=1e-6)
    size = [math.log(m / 100) / 2, math.log(d / 8), math.log(k / 3)]
    return torch.cat([(error / spread).clamp(max=2), torch.tensor(size).to(error)])


def _orders(members: int, n_way: int) -> list[Tensor]:
    """Orders of the classes, the first as they are."""
    generator = torch.Generator().manual_seed(0)
    more = [torch.randperm(n_way, generator=generator) for _ in range(members - 1)]
    return [torch.arange(n_way), *more]


def _codes(d: int, shift: int) -> Tensor:
    """A random vector for each column, the same each time: (d, N_CODES)."""
    return torch.randn(d, N_CODES, generator=torch.Generator().manual_seed(shift))


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.growth = nn.Parameter(torch.full((heads, 1, 1), 0.2))
        self.perceptron = nn.Sequential(
            nn.Linear(width, 2 * width, bias=False),
            nn.GELU(),
            nn.Linear(2 * width, width, bias=False),
        )
        nn.init.zeros_(self.out.weight)
        last = self.perceptron[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        scale = 1 + self.growth * math.log(len(context) / 64)
        query, key, value = (
            part.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, n, size)
            for part in (self.query(_norm(tokens)), self.key(context), self.value(context))
        )
        read = F.scaled_dot_product_attention(scale * query, key, value)
        tokens = tokens + self.out(read.transpose(0, 1).flatten(1))
        return tokens + self.perceptron(_norm(tokens))
