import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from quickstudy.learners.transfer.blend import PoolGate, shipped_gate
from quickstudy.learners.transfer.blend.pool_gate import POOL_FEATURES, PoolEvidence

N_WAY, N_USES = 3, 3


def evidence(**changes):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    fields = {
        "n_way": N_WAY,
        "support": draw(6, 4),
        "pool": draw(20, 4),
        "column_share": 0.25,
        "shift": 0.4,
        "on_pool": draw(N_USES, 20, N_WAY).log_softmax(2),
        "held_out": draw(N_USES, 6, N_WAY).log_softmax(2),
        "labels": torch.tensor([0, 0, 1, 1, 2, 2]),
    }
    return PoolEvidence(**{**fields, **changes})


def named(features):
    return dict(zip(POOL_FEATURES, features.tolist(), strict=True))


def test_features_are_what_their_names_say():
    given = evidence()
    found = named(given.features()[1])  # of the third use
    assert found["examples of a class (log)"] == pytest.approx(math.log(2))
    assert found["pool beside the examples (log)"] == pytest.approx(math.log(20 / 6))
    assert found["share of columns in the distance"] == 0.25
    pool, support = given.pool.numpy(), given.support.numpy()
    square = cdist(pool, pool, "sqeuclidean")
    pairs = square[~np.eye(20, dtype=bool)].mean()
    nearest = np.where(np.eye(20, dtype=bool), np.inf, square).min(1).mean()
    of_support = cdist(support, pool, "sqeuclidean").min(1).mean()
    expected = math.log(nearest / pairs)
    assert found["nearest neighbours in the pool, beside pairs (log)"] == pytest.approx(
        expected, abs=1e-3
    )
    expected = math.log(of_support / pairs)
    assert found["nearest pool of an example, beside pairs (log)"] == pytest.approx(
        expected, abs=1e-3
    )
    rows = np.arange(6)
    held_out, labels = given.held_out.numpy(), given.labels.numpy()
    gains = held_out[2, rows, labels] - held_out[0, rows, labels]
    own, blend = np.exp(given.on_pool[2].numpy()), np.exp(given.on_pool[0].numpy())
    for name, expected in {
        "likelihood of those by the use, beside the blend's, sum": gains.sum(),
        "likelihood of those by the use, beside the blend's, mean": gains.mean(),
        "right of those by the use, beside the blend's": np.mean(held_out[2].argmax(1) == labels)
        - np.mean(held_out[0].argmax(1) == labels),
        "confidence of the use on the pool": own.max(1).mean(),
        "balance of the use on the pool": entropy(own.mean(0)) / math.log(N_WAY),
        "agreement of use and blend on the pool": np.mean(own.argmax(1) == blend.argmax(1)),
        "divergence of use and blend on the pool": entropy(blend, own, axis=1).mean(),
    }.items():
        assert found[name] == pytest.approx(expected, abs=1e-5), name


def test_without_examples_held_out_or_with_one_of_a_pool_features_are_finite():
    none = {"held_out": torch.zeros(N_USES, 0, N_WAY), "labels": torch.zeros(0, dtype=torch.long)}
    one = {"pool": torch.zeros(1, 4), "on_pool": torch.zeros(N_USES, 1, N_WAY).log_softmax(2)}
    assert torch.isfinite(evidence(**none, **one).features()).all()
    same = {"pool": torch.ones(5, 4), "support": torch.ones(3, 4)}
    assert torch.isfinite(
        evidence(**same, on_pool=one["on_pool"].expand(-1, 5, -1)).features()
    ).all()


def test_a_new_gate_leaves_a_pool_out_by_half():
    weights = PoolGate(N_USES)(evidence().features()).exp()
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25]))


def test_the_shipped_gate_trusts_what_predicts_the_examples_held_out():
    gate = shipped_gate()[2]
    good = evidence().held_out.clone()
    good[1:, torch.arange(6), evidence().labels] += 3
    bad = evidence().held_out.clone()
    bad[0, torch.arange(6), evidence().labels] += 3
    left_out = [
        float(gate(evidence(held_out=each.log_softmax(2)).features()).exp()[0])
        for each in (good, bad)
    ]
    assert left_out[0] < left_out[1]
