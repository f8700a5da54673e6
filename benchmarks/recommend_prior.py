"""Learn the prior of the recommender's meta-level, which the package ships, over small data sets.

    python benchmarks/recommend_prior.py

Generated worlds, shops of 120 users of MovieTweetings and of Microsoft's web site, and restaurants
(see `recommend_data.py`). Users of MovieLens are not among them, so that its figures are of data
that the prior has not seen. Writes src/quickstudy/shipped/recommender_level.json. With `--without
movietweetings` it leaves a family out and writes to `--to`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from quickstudy.apps.recommend import Interactions, Recommender
from quickstudy.apps.recommend.meta_level import MetaExamples, MetaLevel
from quickstudy.apps.recommend.meta_level.prior import SHIPPED, learn_prior, write_priors
from recommend_data import loaded, shop, without_times, worlds

N_WORLDS, N_SHOPS, N_USERS = 3, 2, 120


def data_sets(without: str) -> Iterator[tuple[str, Interactions]]:
    """Pairs of a family and a data set: ratings, clicks, and clicks without times."""
    if without != "worlds":
        for data in worlds(N_WORLDS, N_USERS, clicks=False, seed=0):
            yield "worlds", data
        for i, data in enumerate(worlds(N_WORLDS + 2, N_USERS, clicks=True, seed=50)):
            yield "worlds", data if i < N_WORLDS else without_times(data)
    if without != "movietweetings":
        tweets = loaded("movietweetings")
        for seed in range(N_SHOPS):
            ratings = shop(tweets, N_USERS, 12, 20, seed)
            yield "movietweetings", ratings
            yield "movietweetings", ratings.as_clicks()
    if without != "msweb":
        for seed in range(N_SHOPS):
            yield "msweb", shop(loaded("msweb"), N_USERS, 5, 1, seed)
    if without != "restaurants":
        yield "restaurants", loaded("restaurants")
        yield "restaurants", loaded("restaurants").as_clicks()


def learn(without: str, to: Path) -> None:
    by_class: dict[str, list[tuple[MetaLevel, MetaExamples]]] = {}
    for i, (_, data) in enumerate(data_sets(without)):
        recommender = Recommender(seed=i)
        examples = MetaExamples.concatenate(recommender.training_examples(data))
        level = recommender.make_meta_level("meta")
        by_class.setdefault(type(level).__name__, []).append((level, examples))
    priors = {}
    for name, pairs in by_class.items():
        levels, examples = zip(*pairs, strict=True)
        priors[name] = learn_prior(levels, examples)
    write_priors(priors, to)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", default="")
    parser.add_argument("--to", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.process_time()
    learn(arguments.without, arguments.to)
    print(f"{arguments.to}: {time.process_time() - began:.0f} seconds of one core")
