import numpy as np
import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.nn import MultiHeadAttention, RMSNorm, attention, visible


def softmax_by_hand(query, key, value, mask):
    """One query at a time, over the keys it may see alone."""
    rows = []
    for q, seen in zip(query, mask, strict=True):
        scores = np.array([q @ k for k in key[seen]]) / np.sqrt(len(q))
        weights = np.exp(scores) / np.exp(scores).sum()
        rows.append(sum(w * v for w, v in zip(weights, value[seen], strict=True)))
    return np.stack(rows)


def test_attention_is_the_softmax_mean_of_the_values():
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=s) for s in ((5, 4), (6, 4), (6, 3)))
    mask = rng.random((5, 6)) < 0.5
    mask[:, 0] = True
    found = attention(*map(torch.from_numpy, (query, key, value, mask)))
    np.testing.assert_allclose(found.numpy(), softmax_by_hand(query, key, value, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_heads_attend_apart_and_are_mixed(masked):
    torch.manual_seed(0)
    layer = MultiHeadAttention(5, 4, 3, width=6, heads=2).double()
    query, key, value = (torch.randn(n, d).double() for n, d in ((3, 5), (7, 4), (7, 3)))
    mask = torch.rand(3, 7) < 0.6 if masked else torch.ones(3, 7, dtype=torch.bool)
    wq, wk, wv, wo = (
        part.weight.detach().numpy() for part in (layer.query, layer.key, layer.value, layer.out)
    )
    heads = [
        softmax_by_hand(
            query.numpy() @ wq[part].T,
            key.numpy() @ wk[part].T,
            value.numpy() @ wv[part].T,
            mask.numpy(),
        )
        for part in (slice(0, 3), slice(3, 6))
    ]
    found = layer(query, key, value, mask if masked else None)
    np.testing.assert_allclose(found.detach().numpy(), np.concatenate(heads, axis=1) @ wo.T)


def test_several_masks_give_several_readings():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(4, 4, 4, width=4, heads=2), torch.randn(6, 4)
    masks = torch.rand(3, 6, 6) < 0.7
    masks |= torch.eye(6, dtype=torch.bool)
    expected = torch.stack([layer(x, x, x, mask) for mask in masks])
    torch.testing.assert_close(layer(x, x, x, masks), expected)


def test_multi_head_attention_starts_as_a_kernel_smoother():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 8, 8, width=8, heads=1), torch.randn(5, 8)
    layer.query.weight.data.mul_(10)
    layer.key.weight.data.mul_(10)
    unit = x / x.norm(dim=1, keepdim=True)
    torch.testing.assert_close(layer(unit, unit, x), x, atol=1e-3, rtol=1e-3)


def test_a_query_sees_the_support_and_itself():
    for causal in (False, True):
        mask = visible(3, 2, causal=causal)
        for i in range(5):
            for j in range(5):
                allowed = i == j or (j < 3 and (j < i or not causal))
                assert bool(mask[i, j]) is allowed


def test_attention_is_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    query, key, value = (8 * torch.randn(4, 16) for _ in range(3))
    expected = attention(query, key, value)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention(query, key, value), expected)


def test_rms_norm_equals_that_of_pytorch():
    torch.manual_seed(0)
    mine, theirs, x = RMSNorm(6), torch.nn.RMSNorm(6, eps=1e-6), 3 * torch.randn(4, 6)
    for norm in (mine, theirs):
        next(norm.parameters()).data = torch.arange(6.0)
    torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.parametrize(("width", "heads"), [(6, 4), (6, 0), (0, 1)])
def test_heads_that_do_not_divide_the_width_are_refused(width, heads):
    with pytest.raises(UsageError, match="heads divide"):
        MultiHeadAttention(6, 6, 6, width, heads)
