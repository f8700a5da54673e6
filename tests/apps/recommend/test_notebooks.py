"""What notebooks show of a recommender, an adapted one, suggestions and scores."""

from dataclasses import replace

import numpy as np
import pytest

from quickstudy.apps.recommend import (
    Recommender,
    Scores,
    ScoreTable,
    Suggestion,
    Suggestions,
    evaluate,
    generated,
    user_folds,
)

HOSTILE = "<script>alert('x')</script>"
DATA = generated(n_users=60, n_items=30)
COLD, WARM = user_folds(60, 2)


@pytest.fixture(scope="module", params=["ratings", "clicks"])
def recommender(request):
    data = DATA if request.param == "ratings" else DATA.as_clicks()
    return Recommender(meta=False).fit(replace(data, titles=[HOSTILE] * 30).of_users(WARM))


def test_a_recommender_says_what_it_learned(recommender):
    assert repr(recommender) == "Recommender(meta=False, extra_bases=(), seed=0)"
    shown = recommender._repr_html_()
    learned_from = "clicks" if recommender.clicks_ else "ratings 1 to 5"
    assert f"<tr><td>learned from</td><td>{learned_from}</td></tr>" in shown
    assert "<tr><td>training users</td><td>30</td></tr>" in shown
    best = str(recommender.best_configuration_)
    assert f"<tr><td>best single configuration</td><td>{best}</td></tr>" in shown
    for configuration in recommender.configurations_:
        assert f"<td>{configuration}</td>" in shown
    assert "not fitted" in Recommender()._repr_html_()


def test_titles_are_never_markup(recommender):
    history = ["item 3", "item 8"] if recommender.clicks_ else {"item 3": 5, "item 8": 1}
    user = recommender.adapt(history)
    suggestions = user.top_n(4)
    for shown in (user._repr_html_(), suggestions._repr_html_(), suggestions[0]._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
    assert len(repr(user)) < 80
    assert repr(user).startswith("AdaptedRecommender(2 ")


def test_suggestions_are_a_table_best_first():
    first = Suggestion("1", "Alien", 4.514, 0.87, ["Aliens", "Emma"], 4.0)
    second = Suggestion("2", "Emma", 3.0, 0.5, [], 3.1)
    assert repr(first) == "Suggestion('Alien', rating=4.51, likely=0.87)"
    rows = Suggestions([first, second])._repr_html_().split("<tbody>")[1]
    assert "<td>Alien</td><td>4.51</td><td>87%</td><td>Aliens, Emma</td>" in rows
    assert rows.index("Alien</td>") < rows.index("Emma</td><td>3.00")
    clicks = Suggestion("1", "Alien", None, 0.0123, [], 0.01)
    assert repr(clicks) == "Suggestion('Alien', likely=0.01)"
    assert "<td>Alien</td><td>1.2%</td>" in clicks._repr_html_()
    assert Suggestions()._repr_html_().count("<td>") == 0


def test_scores_are_means_with_intervals_and_a_table_of_systems_and_supports():
    scores = [
        Scores(system, size, {"mae": np.full(20, value), "ndcg@5": np.full(20, 0.5)})
        for system, size, value in (
            ("<bayes>", 0, 0.8),
            ("<bayes>", 5, 0.7),
            ("recommender", 0, 0.6),
        )
    ]
    assert repr(scores[0]) == "Scores('<bayes>', support=0, mae=0.8000, ndcg@5=0.5000)"
    shown = scores[0]._repr_html_()
    assert "<td>mae</td><td>0.800</td><td>0.800 to 0.800</td><td>20</td>" in shown
    assert "<bayes>" not in shown
    table = ScoreTable(scores)._repr_html_()
    assert "<td>&lt;bayes&gt;</td><td>0.800</td><td>0.700</td>" in table
    assert "<td>recommender</td><td>0.600</td><td></td>" in table
    assert table.count("<table>") == 2  # a measure each
    assert ScoreTable()._repr_html_() == ""


def test_what_evaluate_returns_is_such_a_table(recommender):
    data = DATA.as_clicks() if recommender.clicks_ else DATA
    scores = evaluate(recommender, data.of_users(COLD), supports=(0, 3), n_query=4)
    assert isinstance(scores, ScoreTable)
    assert "<th>support 3</th>" in scores._repr_html_()


def test_interactions_say_how_many_they_are():
    assert repr(DATA) == f"Interactions(60 users, 30 items, {len(DATA.rating)} ratings)"
    assert repr(DATA.as_clicks()).endswith("clicks)")
