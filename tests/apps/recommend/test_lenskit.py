import numpy as np
import pytest

lenskit_data = pytest.importorskip("lenskit.data", reason="lenskit is not installed")
pandas = pytest.importorskip("pandas")

from lenskit.knn import EASEScorer  # noqa: E402
from lenskit.pipeline import topn_pipeline  # noqa: E402
from lenskit.training import TrainingOptions  # noqa: E402

from quickstudy.apps.recommend import generated  # noqa: E402
from quickstudy.apps.recommend.lenskit import (  # noqa: E402
    RecommenderScorer,
    interactions_of,
    scorer_of,
)

DATA = generated(n_users=60, n_items=30)


@pytest.fixture(scope="module")
def dataset():
    frame = pandas.DataFrame(
        {
            "user_id": [DATA.users[u] for u in DATA.user],
            "item_id": [DATA.items[i] for i in DATA.item],
            "rating": DATA.rating,
            "timestamp": pandas.to_datetime(DATA.time, unit="s"),
        }
    )
    return lenskit_data.from_interactions_df(frame)


def test_interactions_come_over_whole(dataset):
    again = interactions_of(dataset)
    assert sorted(again.users) == sorted(DATA.users)
    assert again.rating.sum() == DATA.rating.sum()
    assert interactions_of(dataset, clicks=True).clicks


def test_a_pipeline_recommends_as_the_recommender_does(dataset):
    pipeline = topn_pipeline(RecommenderScorer(meta=False), n=5)
    pipeline.train(dataset)
    scorer = pipeline.node("scorer").component
    history = lenskit_data.ItemList(item_ids=["item 3", "item 8"], rating=[5.0, 1.0])
    query = lenskit_data.RecQuery(history_items=history)
    found = list(pipeline.run("recommender", query=query).ids())
    best = scorer.recommender_.adapt({"item 3": 5, "item 8": 1}).top_n(5)
    assert found == [suggestion.item for suggestion in best]


def test_a_lenskit_scorer_scores_histories_as_it_scores_queries(dataset):
    ease = EASEScorer()
    ease.train(dataset, TrainingOptions())
    histories = DATA.matrix()[:3]
    scores = scorer_of(ease, DATA.items)(histories)
    assert scores.shape == (3, 30)
    history = lenskit_data.ItemList(item_ids=[DATA.items[i] for i in histories[0].indices])
    items = lenskit_data.ItemList(item_ids=DATA.items)
    alone = ease(query=lenskit_data.RecQuery(history_items=history), items=items)
    assert np.allclose(scores[0], alone.scores())
