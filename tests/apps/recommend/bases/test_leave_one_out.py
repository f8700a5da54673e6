import numpy as np
import pytest

from quickstudy.apps.recommend import generated
from quickstudy.apps.recommend.bases import RATING_BASES
from quickstudy.apps.recommend.bases.base import Base, users_of_entries

RATINGS = generated(n_users=60, n_items=25).matrix()
COLD = RATINGS[:10]
ONES = np.ones((60, 1))


@pytest.mark.parametrize("name", RATING_BASES)
def test_the_closed_form_is_what_is_predicted_without_the_rating(name):
    base = RATING_BASES[name]().fit(RATINGS, ONES, np.ones((25, 1)))
    closed_form = base.leave_one_out(COLD, ONES[:10])
    one_by_one = Base.leave_one_out(base, COLD, ONES[:10])
    with_all = base.predict(COLD, ONES[:10])[:, users_of_entries(COLD), COLD.indices]
    assert np.abs(closed_form - one_by_one).max() < 0.03
    assert np.abs(closed_form - one_by_one).mean() < 0.1 * np.abs(with_all - one_by_one).mean()
