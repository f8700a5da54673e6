"""Which films to ask a new user about: those that would tell most, or the most popular ones.

    python benchmarks/elicitation.py

Needs the data set ml-100k. Five folds over users for each of three seeds; of users with 30 ratings
or more, ten ratings are to be predicted, and the others are what they can answer. Each is asked
about the same list of films; what they rated, they answer. The Bayes model then predicts. Intervals
are bootstraps over users, paired, of the mean over seeds. Writes benchmarks/results/elicitation.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend import load_ml_100k, user_folds
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases import BayesUser
from quickstudy.apps.recommend.evaluate import interval
from quickstudy.apps.run import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS, SEEDS, QUESTIONS, N_QUERY, ENOUGH = 5, (0, 1, 2), (10, 20, 40), 10, 30


def measure() -> dict[str, Any]:
    data = load_ml_100k()
    scale = data.levels
    users = AttributeEncoder().fit(data.user_columns, len(data.users))(
        data.user_columns, len(data.users)
    )
    items = AttributeEncoder().fit(data.item_columns, len(data.items))(
        data.item_columns, len(data.items)
    )
    able = np.flatnonzero(data.counts >= ENOUGH)
    shape = (len(SEEDS), len(data.users))
    errors = {(how, n): np.zeros(shape) for how in ("informative", "popular") for n in QUESTIONS}
    answers = {key: np.zeros(shape) for key in errors}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for fold in track(user_folds(len(data.users), N_FOLDS, seed), f"seed {seed}"):
            warm = np.setdiff1d(np.arange(len(data.users)), fold)
            bayes = BayesUser().fit(data.of_users(warm).matrix(), users[warm], items, seed)
            cold = np.intersect1d(fold, able)
            rated = data.of_users(cold).matrix().toarray()  # no rating of ml-100k is 0
            lots = np.where(rated > 0, rng.random(rated.shape), 2.0)
            query = lots.argsort(1)[:, :N_QUERY]
            true = np.take_along_axis(rated, query, 1)
            np.put_along_axis(rated, query, 0.0, 1)
            nobody = sparse.csr_matrix((1, len(data.items)))
            usual = users[warm].mean(0, keepdims=True)
            lists = {
                "informative": np.array(bayes.ask(nobody, usual, max(QUESTIONS))),
                "popular": np.argsort(-bayes.counts, kind="stable")[: max(QUESTIONS)],
            }
            for how, n in errors:
                answered = np.zeros_like(rated)
                answered[:, lists[how][:n]] = rated[:, lists[how][:n]]
                expected = bayes.predict(sparse.csr_matrix(answered), users[cold])[1]
                found = np.take_along_axis(expected, query, 1).clip(scale[0], scale[-1])
                errors[how, n][seed, cold] = np.abs(found - true).mean(1)
                answers[how, n][seed, cold] = (answered > 0).sum(1)
    mean = {key: e[:, able].mean(0) for key, e in errors.items()}
    rows = []
    for n in QUESTIONS:
        gain = mean["popular", n] - mean["informative", n]
        rows.append(
            {
                "questions": n,
                **{how: float(mean[how, n].mean()) for how in ("informative", "popular")},
                "lower_by": float(gain.mean() / mean["popular", n].mean()),
                "interval": [x / float(mean["popular", n].mean()) for x in interval(gain)],
                "answers": {
                    how: float(answers[how, n][:, able].mean())
                    for how in ("informative", "popular")
                },
            }
        )
    return {**provenance(0), "users": len(able), "mae": rows}


if __name__ == "__main__":
    found = json.dumps(measure(), indent=1)
    (ROOT / "benchmarks" / "results" / "elicitation.json").write_text(found + "\n")
    print(found)
