import numpy as np
import pytest
from fastapi.testclient import TestClient

from quickstudy.serve import create_app, recommender_routes


def post(client, path, **body):
    answer = client.post(f"/api/recommender/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


RATED = [{"item": "item 3", "rating": 5}, {"item": "item 8", "rating": 1}]


def test_it_tells_what_a_client_needs_to_know(client, recommender):
    about = client.get("/api/recommender").json()
    assert about["name"] == "films"
    assert not about["demo"]
    assert (about["items"], about["users"]) == (30, 60)
    assert about["scale"] == [1, 2, 3, 4, 5]
    assert about["numbers"] == ["age"]
    assert set(about["words"]["trade"]) == {"baker", "smith", "tailor"}


def test_suggestions_are_those_of_the_library(client, recommender):
    found = post(client, "recommend", ratings=RATED, attributes={"age": 30}, n=4)["suggestions"]
    user = recommender.adapt({"item 3": 5, "item 8": 1}, {"age": 30})
    assert [{k: v for k, v in s.items() if k != "probabilities"} for s in found] == [
        vars(s) for s in user.top_n(4)
    ]
    for suggestion in found:
        probabilities = np.array(suggestion["probabilities"])
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert probabilities @ recommender.rating_values_ == pytest.approx(
            suggestion["rating"], abs=1e-4
        )


def test_a_user_of_whom_nothing_is_known_gets_suggestions(client):
    found = post(client, "recommend")
    assert len(found["suggestions"]) == 10
    assert found["decision"] is None


def test_items_can_be_chosen_among_and_the_decision_explained(client):
    found = post(client, "recommend", ratings=RATED, among=["item 1", "item 3"], explain=True)
    assert [s["item"] for s in found["suggestions"]] == ["item 1"]  # item 3 is rated
    assert found["decision"]["weights"].keys() == found["decision"]["usual"]["weights"].keys()


def test_what_to_ask_leaves_out_what_is_rated_or_not_known(client):
    first = [item["item"] for item in post(client, "ask", n=3)["items"]]
    then = post(client, "ask", n=3, ratings=[{"item": first[0], "rating": 4}], skip=first[1:])
    assert not set(first) & {item["item"] for item in then["items"]}
    assert len(post(client, "ask", n=50)["items"]) == 30


def test_titles_are_found_without_accents_and_the_most_rated_come_first(client, recommender):
    def found(search, n=20):
        params = {"search": search, "n": n}
        return client.get("/api/recommender/items", params=params).json()["items"]

    assert [item["title"] for item in found("paris AMELIE")] == ["Amélie à Paris"]
    assert found("no such film") == []
    most = found("film", n=5)
    counts = [recommender.item_counts[recommender.items_.index(item["item"])] for item in most]
    assert counts == sorted(counts, reverse=True)
    assert len(found("")) == 20
    assert found("Film 1")[0]["title"].startswith("Film 1")


def test_nothing_is_kept_of_a_user(client):
    before = post(client, "recommend")
    post(client, "recommend", ratings=RATED)
    assert post(client, "recommend") == before


def test_unknown_items_are_left_out_and_named_where_that_is_asked_for(client):
    known = post(client, "recommend", ratings=RATED)
    more = [*RATED, {"item": "item 99", "rating": 4}]
    some = post(client, "recommend", ratings=more, unknown="ignore")
    assert some["suggestions"] == known["suggestions"]
    assert (known["ignored"], some["ignored"]) == ([], ["item 99"])
    some = post(client, "recommend", ratings=more, among=["item 1", "x"], unknown="ignore")
    assert [s["item"] for s in some["suggestions"]] == ["item 1"]
    assert some["ignored"] == ["item 99", "x"]
    asked = post(client, "ask", ratings=more, skip=["x"], unknown="ignore")
    assert asked["ignored"] == ["item 99", "x"]
    assert asked["items"] == post(client, "ask", ratings=RATED)["items"]


def test_items_are_known_by_their_titles(client):
    by_id = post(client, "recommend", ratings=[{"item": "item 3", "rating": 5}])
    assert post(client, "recommend", ratings=[{"item": "Film 3", "rating": 5}]) == by_id


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"ratings": [{"item": "item 3", "rating": 9}]}, "expected ratings of 1 to 5, got 9"),
        ({"ratings": [RATED[0], RATED[0]]}, "each item once, got 'item 3' twice"),
        ({"ratings": [{"item": "itm 3", "rating": 4}]}, "did you mean 'item 3'?"),
        ({"ratings": [{"item": "../../etc/passwd", "rating": 4}]}, "an item of the training data"),
        ({"ratings": [{"item": "item 3"}]}, "body.ratings.0.rating: Field required"),
        ({"ratings": [{"item": "item 3", "rating": "5"}]}, "should be a valid number"),
        ({"ratings": [{"item": "item 3", "rating": True}]}, "should be a valid number"),
        ({"ratings": RATED * 600}, "at most 1000 items"),
        ({"ratings": [{"item": "x" * 300, "rating": 4}]}, "at most 200 characters"),
        ({"ratings": {"item 3": 5}}, "should be a valid list"),
        ({"attributes": {"age": 1e300}}, "expected 'age' as in training"),
        ({"attributes": {"age": "old"}}, "a finite number as 'age', got 'old'"),
        ({"attributes": {"trade": 3}}, "a word or words as 'trade', got 3"),
        ({"attributes": {"size": 3}}, "unknown attribute 'size'"),
        ({"attributes": {"age": {"$gt": 0}}}, "body.attributes.age"),
        ({"among": ["item 99"]}, "an item of the training data, got 'item 99'"),
        ({"unknown": "skip"}, "body.unknown: Input should be 'raise' or 'ignore'"),
        ({"n": 0}, "greater than or equal to 1"),
        ({"n": 10**6}, "less than or equal to 50"),
        ({"history": []}, "body.history: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_line(client, body, says):
    answer = client.post("/api/recommender/recommend", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "text",
    [
        '{"ratings": [{"item": "item 3", "rating": NaN}]}',
        '{"ratings": [{"item": "item 3", "rating": -Infinity}]}',
        '{"ratings": [{"item": "item 3", "rating": 1e999}]}',
        '{"attributes": {"age": NaN}}',
        '{"ratings": [{"item": "\\ud800", "rating": 3}]}',
        '{"attributes": {"\\ud800": 3}}',
        '{"\\ud800": 3}',
        '{"ratings": [',
        "[" * 100_000,
        "null",
        "",
        "\x00",
    ],
)
def test_text_that_is_no_request_is_refused(client, text):
    answer = client.post(
        "/api/recommender/recommend",
        content=text,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (400, 422)
    assert isinstance(answer.json()["detail"], str)


def test_a_form_of_another_site_is_no_request(client):
    """A browser sends these without asking first; JSON it does not."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post(
            "/api/recommender/recommend", content=b"{}", headers={"Content-Type": kind}
        )
        assert answer.status_code == 422


def test_a_recommender_of_clicks_is_served_as_one_of_ratings_is(of_clicks):
    app = create_app({"recommender": recommender_routes(of_clicks, "films")})
    client = TestClient(app, base_url="http://localhost")
    about = client.get("/api/recommender").json()
    assert (about["clicks"], about["scale"]) == (True, [1])
    chosen = ["item 3", "Film 8"]
    found = post(client, "recommend", chosen=chosen, n=4, explain=True)
    listed = found["suggestions"]
    assert [s["item"] for s in listed] == [s.item for s in of_clicks.adapt(chosen).top_n(4)]
    assert listed[0]["rating"] is None
    assert 0 < listed[0]["likely"] < 1
    assert listed[0]["usual"] == pytest.approx(
        float(of_clicks.adapt().predict([listed[0]["item"]])[0])
    )
    assert found["decision"]["weights"]
    asked = [item["item"] for item in post(client, "ask", chosen=chosen, n=3)["items"]]
    counts = of_clicks.item_counts[[of_clicks.items_.index(item) for item in asked]]
    assert (np.diff(counts) <= 0).all()
    assert not {"item 3", "item 8"} & set(asked)
    answer = client.post("/api/recommender/recommend", json={"ratings": RATED})
    assert "expected `chosen` for a recommender of clicks" in answer.json()["detail"]


def test_chosen_items_are_refused_by_a_recommender_of_ratings(client):
    answer = client.post("/api/recommender/recommend", json={"chosen": ["item 3"]})
    assert "expected `ratings` for a recommender of ratings" in answer.json()["detail"]
