import numpy as np
import pytest

from quickstudy.apps.recommend import click_world, rating_world
from quickstudy.errors import UsageError


def residuals(world):
    data = world.data
    means = np.bincount(data.item, data.rating) / np.bincount(data.item)
    return data.rating - means[data.item], means[data.item]


def test_noisy_users_and_those_who_follow_quality_differ_as_their_traits_say():
    world = rating_world(n_users=300, n_items=100, n_rated=60, seed=1)
    rating, (_, mean) = world.data.rating.reshape(300, 60), residuals(world)
    deviation = mean.reshape(300, 60) - mean.mean()
    slope = (rating * deviation).mean(1) / deviation.var()
    follows = world.kinds[:, world.traits.index("conformity")]
    assert slope[follows].mean() > slope[~follows].mean() + 1


def test_users_are_alike_without_spread():
    world = rating_world(n_users=300, n_items=100, n_rated=60, spread=0, seed=1)
    spread = np.abs(residuals(world)[0]).reshape(300, 60).mean(1)
    noisy = world.kinds[:, world.traits.index("noise")]
    assert abs(spread[noisy].mean() - spread[~noisy].mean()) < 0.05


def test_clicks_of_those_with_a_taste_for_popularity_are_more_popular():
    world = click_world(n_users=300, n_items=100, n_clicks=20, seed=2)
    counts = np.bincount(world.data.item, minlength=100)
    popularity = np.log(counts[world.data.item].reshape(300, 20)).mean(1)
    likes_popular = world.kinds[:, world.traits.index("popularity taste")]
    assert popularity[likes_popular].mean() > popularity[~likes_popular].mean() + 0.2


def test_each_item_is_clicked_once_by_a_user_and_a_seed_decides_all():
    one, again = (click_world(n_users=30, n_items=40, n_clicks=15, seed=3) for _ in range(2))
    assert np.array_equal(one.data.item, again.data.item)
    assert all(len(set(row)) == 15 for row in one.data.item.reshape(30, 15))


def test_a_spread_above_one_is_refused():
    with pytest.raises(UsageError, match="spread of 0 to 1"):
        rating_world(spread=2)
