"""
From zero to few shots
======================

Classes can be known by a description, by examples, or by both. A new class has a name and no
example yet; examples arrive one by one, and the more there are, the less the description counts::

    pip install 'quickstudy[demo,fewshot]'
    python examples/zero_to_few_shots.py
"""

# %%
# Data
# ----
# With the extra ``text`` and the data set clinc150 (``quickstudy data get clinc150``), the classes
# are intents of people who talk to an assistant, and their names describe them. Without, classes
# are generated, and noisy attributes describe them.

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from quickstudy import ClassData, FewShotClassifier, PrototypicalNetworks
from quickstudy.encoders import minilm
from quickstudy.errors import MissingError
from quickstudy.tasks.datasets import load_dataset

N_CLASSES, N_QUERY = 15, 30
SHOTS = (0, 1, 2, 5, 10)


def intents() -> ClassData:
    """Some intents of the test split: their texts and their names, embedded by MiniLM."""
    return load_dataset("clinc150", "test", encoder=minilm()).select(range(0, 3 * N_CLASSES, 3))


def generated() -> ClassData:
    """Classes spread about centres; their attributes are the centres with noise."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_CLASSES, 16))
    y = np.repeat(np.arange(N_CLASSES), 50)
    data = ClassData.from_arrays(centres[y] + rng.normal(size=(len(y), 16)), y)
    noisy = centres + rng.normal(size=centres.shape)
    return ClassData(data.x, data.y, data.names, attributes=data.x.new_tensor(noisy))


try:
    data, kind = intents(), "names"
except MissingError:
    data, kind = generated(), "attributes"
assert data.attributes is not None
descriptions = dict(enumerate(data.attributes.numpy()))

# %%
# Ten examples of each class can be used for learning; up to thirty others are queries.

rng = np.random.default_rng(0)
rows = [rng.permutation(np.flatnonzero(data.y == c)) for c in range(data.n_classes)]
support = np.array([row[: max(SHOTS)] for row in rows])  # (n_classes, 10)
query = np.concatenate([row[max(SHOTS) :][:N_QUERY] for row in rows])
X, y = data.x.numpy(), data.y.numpy()

# %%
# Examples, descriptions, or both
# -------------------------------
# Descriptions help most where examples are fewest.

prototypes = PrototypicalNetworks(nn.Flatten())
of_examples, of_both = [], []
for n_shot in SHOTS:
    few = support[:, :n_shot].ravel()
    both = FewShotClassifier().fit(X[few], y[few], descriptions=descriptions)
    of_both.append(both.score(X[query], y[query]))
    if n_shot:
        alone = FewShotClassifier(prototypes).fit(X[few], y[few])
        of_examples.append(alone.score(X[query], y[query]))
    print(f"{n_shot:2} shots: {kind} and examples {of_both[-1]:.1%}", end="")
    print(f", examples alone {of_examples[-1]:.1%}" if n_shot else "")

figure, axis = plt.subplots(figsize=(6.4, 3.6))
axis.plot(SHOTS, of_both, "o-", label=f"{kind} and examples")
axis.plot(SHOTS[1:], of_examples, "s--", label="examples alone")
axis.set(xlabel="examples of each class", ylabel=f"accuracy on {len(query)} queries", ylim=(0, 1))
axis.legend(loc="lower right")
plt.show()

# %%
# Some classes with examples, some without
# ----------------------------------------
# Every other class has five examples; the others are new and have only a description.

old = np.arange(data.n_classes) % 2 == 0
few = support[old, :5].ravel()
half = FewShotClassifier().fit(X[few], y[few], descriptions=descriptions)
for what, chosen in (("five examples", old), (f"{kind} alone", ~old)):
    part = query[chosen[y[query]]]
    print(f"{what:16} {half.score(X[part], y[part]):.1%}")
