"""Which films to ask a new user about: those that would tell most, or the most popular ones.

    python benchmarks/elicitation.py

Needs the data set ml-100k. Five folds over users for each of three seeds; of users with 30 ratings
or more, ten ratings are to be predicted, and the others are what they can answer. Each is asked
about films one by one, and answers what they rated. The Bayes model then predicts. "In turn" takes
what would tell most given the answers so far; "a list" the list of what would tell most of a user
of whom nothing is known; "popular" what most have rated. Intervals are bootstraps over users,
paired, of the mean over seeds. Writes benchmarks/results/elicitation.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from quickstudy.apps.recommend import load_ml_100k, user_folds
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases.bayesian import BayesianMF
from quickstudy.apps.recommend.measures import interval
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track

ROOT = Path(__file__).parent.parent
N_FOLDS, SEEDS, QUESTIONS, N_QUERY, ENOUGH = 5, (0, 1, 2), (5, 10, 20, 40), 10, 30
HOW = ("in turn", "a list", "popular")


def ask_in_turn(
    bayes: BayesianMF, answers: np.ndarray, user: np.ndarray, questions: int
) -> list[int]:
    """The questions to one user, each the best given the answers to those before."""
    asked_items: list[int] = []
    for _ in range(questions):
        known = np.zeros_like(answers)
        known[asked_items] = answers[asked_items]
        asked_items += bayes.ask(sparse.csr_matrix(known[None]), user[None], 1, skip=asked_items)
    return asked_items


def measure() -> dict[str, Any]:
    data = load_ml_100k()
    scale = data.rating_values
    items = AttributeEncoder().fit(data.item_columns, len(data.items))(
        data.item_columns, len(data.items)
    )
    able = np.flatnonzero(data.user_counts >= ENOUGH)
    shape = (len(SEEDS), len(data.users))
    errors = {(how, n): np.zeros(shape) for how in HOW for n in QUESTIONS}
    answers = {key: np.zeros(shape) for key in errors}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for fold in track(user_folds(len(data.users), N_FOLDS, seed), f"seed {seed}"):
            warm = np.setdiff1d(np.arange(len(data.users)), fold)
            columns = data.of_users(warm).user_columns
            encoder = AttributeEncoder().fit(columns, len(warm))
            users = encoder(data.user_columns, len(data.users))
            bayes = BayesianMF().fit(data.of_users(warm).matrix(), users[warm], items, seed)
            cold = np.intersect1d(fold, able)
            rated = data.of_users(cold).matrix().toarray()  # no rating of ml-100k is 0
            sort_keys = np.where(rated > 0, rng.random(rated.shape), 2.0)
            query = sort_keys.argsort(1)[:, :N_QUERY]
            true = np.take_along_axis(rated, query, 1)
            np.put_along_axis(rated, query, 0.0, 1)
            nobody = sparse.csr_matrix((1, len(data.items)))
            usual = users[warm].mean(0, keepdims=True)
            most = max(QUESTIONS)
            lists = {
                "in turn": np.array(
                    [ask_in_turn(bayes, rated[i], users[u], most) for i, u in enumerate(cold)]
                ),
                "a list": np.array([bayes.ask(nobody, usual, most)]),
                "popular": np.argsort(-bayes.item_counts, kind="stable")[None, :most],
            }
            rows = np.arange(len(cold))[:, None]
            for how, n in errors:
                answered = np.zeros_like(rated)
                answered[rows, lists[how][:, :n]] = rated[rows, lists[how][:, :n]]
                expected = bayes.predict(sparse.csr_matrix(answered), users[cold])[1]
                predicted = np.take_along_axis(expected, query, 1).clip(scale[0], scale[-1])
                errors[how, n][seed, cold] = np.abs(predicted - true).mean(1)
                answers[how, n][seed, cold] = (answered > 0).sum(1)
    mean = {key: e[:, able].mean(0) for key, e in errors.items()}
    table = []
    for n in QUESTIONS:
        popular = mean["popular", n]
        for how in HOW:
            gain = (popular - mean[how, n]) / popular.mean()
            table.append(
                {
                    "asked": how,
                    "questions": n,
                    "answers": float(answers[how, n][:, able].mean()),
                    "mae": float(mean[how, n].mean()),
                    "lower_than_popular_by": float(gain.mean()),
                    "interval": interval(gain),
                }
            )
    return {**provenance(0), "users": len(able), "table": table}


if __name__ == "__main__":
    text = json.dumps(measure(), indent=1)
    (ROOT / "benchmarks" / "results" / "elicitation.json").write_text(text + "\n")
    print(text)
