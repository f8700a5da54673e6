"""The Bayes-optimal way to play a Bernoulli bandit, exactly.

Under flat priors all that matters of an arm is its successes and failures, and which arm has which
does not matter: a belief is a multiset of k pairs. Backward induction over these multisets gives
the greatest expected reward that any policy can have.

Shapes: b beliefs of a layer (all those after a number of pulls), k arms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstudy.errors import UsageError
from quickstudy.tasks.environments.options import check_whole

__all__ = ["BernoulliOptimum"]

MAX_BELIEFS = 5_000_000
"""Of all layers together; more would take gigabytes and minutes."""


@dataclass(frozen=True)
class Layer:
    """All beliefs after a number of pulls.

    Args:
        keys: (b,), a hash of each belief, ascending.
        best: (b,), code of the arm to pull.
        values: (b,), expected reward of the pulls that are left.
    """

    keys: np.ndarray
    best: np.ndarray
    values: np.ndarray


class BernoulliOptimum:
    """Expected reward and choices of the Bayes-optimal policy for `BernoulliBandits`.

    An arm's code is the number of its pair (successes, failures) in order of their sum: 0 is an
    arm never pulled. A belief's hash is the sum of a random 64-bit number for each code, so that
    the order of arms does not matter, and a pull changes it by a difference.

    Sources: Bellman, A Problem in the Sequential Design of Experiments, 1956.

    Args:
        n_arms: Number of arms, k, with success probabilities drawn from U(0, 1).
        horizon: Number of pulls.

    Attributes:
        value: Expected total reward of the best policy.
        n_beliefs: Beliefs that were examined.

    Raises:
        UsageError: If there are more beliefs than `MAX_BELIEFS`.

    Example:
        >>> optimum = BernoulliOptimum(2, 10)
        >>> round(optimum.value, 3)
        6.022
    """

    def __init__(self, n_arms: int, horizon: int) -> None:
        self.n_arms = check_whole("n_arms", n_arms)
        self.horizon = check_whole("horizon", horizon)
        n_codes = (horizon + 1) * (horizon + 2) // 2
        pulls = np.repeat(np.arange(horizon + 1), np.arange(1, horizon + 2))  # of each code
        failures = np.arange(n_codes) - pulls * (pulls + 1) // 2
        self.means = (pulls - failures + 1) / (pulls + 2)
        """Of each code: expected reward of a pull, as Laplace's rule has it."""
        self.after_success = np.arange(n_codes) + pulls + 1
        """Of each code: the code after a success; one more is the code after a failure."""
        hashes = np.random.default_rng(0).integers(2**63, size=2 * n_codes + 1, dtype=np.uint64)
        hashes[0] = 0  # so that it does not matter how many arms are never pulled
        self.hashes = hashes
        self.n_beliefs = 0
        self.layers = self._induce(self._beliefs())
        self.value = float(self.layers[0].values[0])

    def _beliefs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each layer, hashes (b,) and the codes of arms (b, k), in the order of hashes."""
        k = min(self.n_arms, self.horizon)  # more are never pulled
        layers = [(np.zeros(1, np.uint64), np.zeros((1, k), np.int32))]
        for _ in range(self.horizon - 1):
            keys, codes = layers[-1]
            new_keys, new_codes = [], []
            for arm in range(k):
                for failure in range(2):
                    changed = codes.copy()
                    changed[:, arm] = self.after_success[codes[:, arm]] + failure
                    new_codes.append(changed)
                    new_keys.append(self._moved(keys, codes[:, arm], failure))
            keys, first = np.unique(np.concatenate(new_keys), return_index=True)
            layers.append((keys, np.concatenate(new_codes)[first]))
            self.n_beliefs += len(keys)
            if self.n_beliefs > MAX_BELIEFS:
                raise UsageError(
                    f"expected a bandit of at most {MAX_BELIEFS:,} beliefs, got more for "
                    f"{self.n_arms} arms and {self.horizon} pulls: give fewer of them"
                )
        return layers

    def _moved(self, keys: np.ndarray, codes: np.ndarray, failure: int) -> np.ndarray:
        """Hashes of beliefs after an arm with these codes was pulled."""
        return keys - self.hashes[codes] + self.hashes[self.after_success[codes] + failure]

    def _induce(self, beliefs: list[tuple[np.ndarray, np.ndarray]]) -> list[Layer]:
        layers: list[Layer] = []
        for keys, codes in reversed(beliefs):
            p = self.means[codes]  # (b, k)
            totals = p.copy()
            if layers:
                later = layers[-1]
                for failure, share in enumerate((p, 1 - p)):
                    moved = self._moved(keys[:, None], codes, failure)  # (b, k)
                    totals += share * later.values[np.searchsorted(later.keys, moved)]
            choice = totals.argmax(1)[:, None]
            best, values = (np.take_along_axis(a, choice, 1)[:, 0] for a in (codes, totals))
            layers.append(Layer(keys, best, values))
        return layers[::-1]

    def best_codes(self, step: int, keys: np.ndarray) -> np.ndarray:
        """The code of the arm to pull in beliefs with these hashes after `step` pulls."""
        layer = self.layers[step]
        return layer.best[np.searchsorted(layer.keys, keys)]
