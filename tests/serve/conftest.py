"""A small recommender with a hostile title, and the service of it."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from quickstudy.apps.recommend import Recommender, generated
from quickstudy.serve import create_app, recommender_routes

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> & </script>"


@pytest.fixture(scope="session")
def recommender():
    data = generated(n_users=60, n_items=30)
    titles = [f"Film {i}" for i in range(30)]
    titles[7], titles[8] = HOSTILE, "Amélie à Paris"
    return Recommender().fit(replace(data, titles=titles))


@pytest.fixture(scope="session")
def app(recommender):
    return create_app({"recommender": recommender_routes(recommender, "films")})


@pytest.fixture
def client(app):
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def of_clicks():
    data = generated(n_users=60, n_items=30).as_clicks()
    titles = [f"Film {i}" for i in range(30)]
    return Recommender(meta=False).fit(replace(data, titles=titles))
