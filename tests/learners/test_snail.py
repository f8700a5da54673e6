"""SNAIL against its pseudocode, over the sequence of the support and one query."""

import math

import pytest
import torch
import torch.nn.functional as F

from quickstudy.errors import UsageError
from quickstudy.learners.model.snail import SNAIL, _Attention, _Dense
from quickstudy.nn import MLP
from quickstudy.tasks import EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


def make(n_outputs=3, **options) -> SNAIL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"length": 7, "filters": 16, "sizes": ((16, 8), (16, 8), (16, 8)), **options}
        return SNAIL(MLP((8,), (32,)), n_outputs, **options)


class TestSNAIL(LearnerContract):
    steps, meta_batch_size, lr = 120, 4, 2e-3

    def make(self, n_way):
        return make(n_way)


def convolve(block, sequence):
    """The gated causal convolution, a loop over time."""
    rows = []
    for t, now in enumerate(sequence):
        total = block.now(now)
        if t >= block.dilation:
            total = total + block.past.weight @ sequence[t - block.dilation]
        tap, gate = total.chunk(2)
        rows.append(torch.tanh(tap) * torch.sigmoid(gate))
    return torch.stack(rows)


def attend(block, sequence):
    """Causal attention, a loop over time."""
    rows = []
    for t in range(len(sequence)):
        query, past = block.query(sequence[t]), sequence[: t + 1]
        scores = torch.stack([query @ block.key(row) for row in past]) / math.sqrt(len(query))
        weights = F.softmax(scores, dim=0)
        rows.append(sum(w * block.value(row) for w, row in zip(weights, past, strict=True)))
    return torch.stack(rows)


def episode():
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0].to(torch.float64)


def test_it_equals_the_pseudocode_over_the_support_and_each_query_alone():
    learner, task = make().double(), episode()
    expected = []
    for x in task.query.x:
        features = learner.backbone(torch.cat([task.support.x, x[None]]))
        features = features / features.square().sum(1, keepdim=True).sqrt()
        labels = torch.eye(3).double()[task.support.y]
        sequence = torch.cat([features, torch.cat([labels, torch.zeros(1, 3)])], dim=1)
        for block in learner.blocks:
            found = (convolve if isinstance(block, _Dense) else attend)(block, sequence)
            sequence = torch.cat([sequence, found], dim=1)
        expected.append(learner.head(sequence[-1]))
    found = learner.adapt(task.support)(task.query.x)
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(learner.loss(task), F.cross_entropy(found, task.query.y))


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
def test_dilated_convolutions_equal_those_of_pytorch(dilation):
    torch.manual_seed(0)
    block, rows = _Dense(5, 3, dilation).double(), torch.randn(6, 5).double()
    weight = torch.stack([block.past.weight, block.now.weight], dim=2)  # (out, in, taps)
    padded = F.pad(rows.T[None], (dilation, 0))
    tap, gate = F.conv1d(padded, weight, block.now.bias, dilation=dilation)[0].T.chunk(2, dim=1)
    torch.testing.assert_close(block(rows, n_support=6), tap.tanh() * gate.sigmoid())


@pytest.mark.parametrize(
    "block", [_Dense(5, 3, 1), _Dense(5, 3, 4), _Attention(5, 4, 3)], ids=["1", "4", "attention"]
)
def test_no_element_depends_on_a_later_one(block):
    torch.manual_seed(0)
    rows = torch.randn(8, 5)
    before = block(rows, n_support=8)
    for t in range(8):
        changed = rows.clone()
        changed[t] += 1
        after = block(changed, n_support=8)
        assert torch.equal(after[:t], before[:t])
        assert not torch.allclose(after[t], before[t])


def test_the_convolutions_of_one_block_look_back_over_the_whole_length():
    learner = make(length=8)
    dilations = [block.dilation for block in learner.blocks if isinstance(block, _Dense)]
    assert dilations == [1, 2, 4, 1, 2, 4]
    torch.manual_seed(0)
    rows = torch.randn(8, learner.blocks[1].now.in_features, requires_grad=True)
    sequence = rows
    for block in learner.blocks[1:4]:
        sequence = torch.cat([sequence, block(sequence, n_support=8)], dim=1)
    (slope,) = torch.autograd.grad(sequence[-1].sum(), rows)
    assert (slope.abs().amax(1) > 0).all()


def test_the_paper_s_sizes_are_the_default():
    learner = SNAIL(MLP((8,), (64,)), 5, length=6)
    # 64 features and 5 labels; values of 32, 128 and 256; twice 3 convolutions of 128.
    assert learner.head.in_features == 69 + 32 + 3 * 128 + 128 + 3 * 128 + 256
    assert [b.key.out_features for b in learner.blocks if isinstance(b, _Attention)] == [
        64,
        256,
        512,
    ]


def test_examples_may_come_one_by_one_and_classes_be_unseen():
    learner, task = make().eval(), episode()
    for n in range(len(task.support) + 1):
        seen = Support(task.support.x[:n].float(), task.support.y[:n], 3)
        assert learner.adapt(seen)(task.query.x.float()).isfinite().all()


@pytest.mark.parametrize(
    "options", [{"length": 1}, {"filters": 0}, {"sizes": ()}, {"sizes": ((4, 0),)}]
)
def test_sizes_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="length of 2 or more"):
        make(**options)
