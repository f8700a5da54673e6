"""From zero to few shots: classes known by a description, by examples, or by both.

    python examples/zero_to_few_shots.py

A class that has just been thought of has a name and no example; examples come one by one. Here a
class is known first by what is said of it, and the more examples there are, the less that counts.

With the extra "text" and the data set clinc150, the classes are intents of people who talk to an
assistant, described by their names. Without, they are generated, and described by noisy attributes.

    pip install 'quickstudy[fewshot,text]'
    quickstudy data get clinc150
"""

import numpy as np
from torch import nn

from quickstudy import ClassData, FewShotClassifier, PrototypicalNetworks
from quickstudy.encoders import minilm
from quickstudy.errors import MissingError
from quickstudy.tasks.datasets import load_dataset

SHOTS = (0, 1, 2, 5, 10)
N_CLASSES, N_ASKED = 15, 30


def intents() -> ClassData:
    """Some intents of the test split, each query an embedding and each name another."""
    return load_dataset("clinc150", "test", encoder=minilm()).select(range(0, 3 * N_CLASSES, 3))


def generated() -> ClassData:
    """Classes spread about centres, which their attributes tell only roughly."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_CLASSES, 16))
    y = np.repeat(np.arange(N_CLASSES), 50)
    x = centres[y] + rng.normal(size=(len(y), 16))
    data = ClassData.from_arrays(x, y)
    told = centres + rng.normal(size=centres.shape)
    return ClassData(data.x, data.y, data.names, attributes=data.x.new_tensor(told))


# 1. The data.
try:
    data, described_by = intents(), "names"
except MissingError as error:
    print(f"Generated classes, since there are no intents here:\n  {error}\n")
    data, described_by = generated(), "attributes"
assert data.attributes is not None
descriptions = dict(enumerate(data.attributes.numpy()))

# 2. Some examples of each class to learn from, and others to ask about.
rng = np.random.default_rng(0)
rows = [rng.permutation(np.flatnonzero(data.y == c)) for c in range(data.n_classes)]
shown = np.array([row[: max(SHOTS)] for row in rows])  # (n_classes, 10)
asked = np.concatenate([row[max(SHOTS) :][:N_ASKED] for row in rows])
X, y = data.x.numpy(), data.y.numpy()

# 3. The same prototypes all the way, with descriptions and without.
prototypes = PrototypicalNetworks(nn.Flatten())
print(f"{data.n_classes} classes, accuracy on {len(asked)} queries")
print(f"{'shots':>5}  {'examples':>10}  {described_by + ' too':>14}")
for n_shot in SHOTS:
    few = shown[:, :n_shot].ravel()
    alone = "-"
    if n_shot:
        alone = f"{FewShotClassifier(prototypes).fit(X[few], y[few]).score(X[asked], y[asked]):.1%}"
    both = FewShotClassifier().fit(X[few], y[few], descriptions=descriptions)
    print(f"{n_shot:>5}  {alone:>10}  {both.score(X[asked], y[asked]):>14.1%}")

# 4. Half of the classes have five examples, the others were thought of today.
old = np.arange(data.n_classes) % 2 == 0
few = shown[old, :5].ravel()
half = FewShotClassifier().fit(X[few], y[few], descriptions=descriptions)
print("\nfive examples of every other class")
for what, chosen in (("with examples", old), (f"{described_by} alone", ~old)):
    part = asked[chosen[y[asked]]]
    print(f"{what:>20}  {half.score(X[part], y[part]):.1%}")
