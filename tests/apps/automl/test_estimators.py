"""The search: what it finds, that nothing leaks, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
optuna = pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

from sklearn.base import clone  # noqa: E402

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor  # noqa: E402
from quickstudy.apps.automl.meta.history import History  # noqa: E402
from quickstudy.apps.automl.pipelines.config import PipelineConfig  # noqa: E402
from quickstudy.apps.automl.pipelines.encoder import TableEncoder  # noqa: E402
from quickstudy.apps.automl.pipelines.families import FAMILIES  # noqa: E402
from quickstudy.apps.automl.search import problem, stages  # noqa: E402
from quickstudy.errors import DataError, RunError, UsageError  # noqa: E402

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=90), "b": RNG.normal(size=90), "c": list("xyz") * 30})
Y = np.where(X["a"] + (X["c"] == "x") > 0.3, "yes", "no")
FAST = ["linear", "k-nearest neighbours"]


def test_a_search_finds_a_good_ensemble_and_ranks_what_it_tried():
    model = AutoMLClassifier(n_trials=5, families=FAST, time_budget=None).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert len(model.leaderboard_) == 5
    means = [entry.mean for entry in model.leaderboard_]
    assert means == sorted(means, reverse=True)
    assert sum(entry.weight for entry in model.leaderboard_) == pytest.approx(1)
    assert {entry.family for entry in model.leaderboard_} == set(FAST)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert model.classes_.tolist() == ["no", "yes"]


def test_rows_with_a_wrong_label_are_mentioned_and_right_ones_are_not():
    rng, right = np.random.default_rng(0), np.arange(200) % 2
    x = rng.normal(size=(200, 3)) + 4 * right[:, None] * [1, 0, 0]
    wrong, y = rng.choice(200, 12, replace=False), right.copy()
    y[wrong] ^= 1
    flipped, clean = (
        AutoMLClassifier(n_trials=1, families=["linear"], time_budget=None).fit(x, labels)
        for labels in (y, right)
    )
    (note,) = [note for note in flipped.notes_ if "wrong label" in note]
    named = {int(row) - 1 for row in note.rpartition("rows ")[2].split(", ")}
    assert len(named & set(wrong.tolist())) >= 8
    assert not any("wrong label" in note for note in clean.notes_)


def test_a_regressor_beats_the_mean():
    y = 1e4 * X["a"] + 1e6
    model = AutoMLRegressor(n_trials=2, families=FAST).fit(X, y)
    assert model.score(X, y) > 0.9


def test_the_same_seed_finds_the_same_and_refitting_predicts_the_same():
    options = {"n_trials": 4, "families": [*FAST, "lightgbm"], "time_budget": None, "seed": 3}
    one, other = (AutoMLClassifier(**options).fit(X, Y) for _ in range(2))
    assert [(e.family, e.options, e.scores) for e in one.leaderboard_] == [
        (e.family, e.options, e.scores) for e in other.leaderboard_
    ]
    again = clone(one).refit(X, Y, one.leaderboard_)
    np.testing.assert_array_equal(again.predict_proba(X), one.predict_proba(X))


def test_a_planted_leak_gains_nothing():
    """Levels of two rows each: the means of their targets, if taken outside the fold, tell them."""
    levels = pd.DataFrame({"id": [f"id{i // 2}" for i in range(400)]})
    y = np.repeat(np.random.default_rng(1).integers(0, 2, 200), 2)
    y[::2] = np.random.default_rng(2).integers(0, 2, 200)
    model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(levels, y)
    assert model.leaderboard_[0].mean < 0.6


def test_no_transform_sees_the_rows_that_are_left_out(monkeypatch):
    trains = []
    fit_transform = TableEncoder.fit_transform
    monkeypatch.setattr(
        TableEncoder,
        "fit_transform",
        lambda self, X, y=None, **more: (
            trains.append(set(X["row"])),
            fit_transform(self, X, y),
        )[1],
    )
    validations = []
    predict = problem.predict_pipeline
    monkeypatch.setattr(
        problem,
        "predict_pipeline",
        lambda model, frame, n_classes, deadline: (
            validations.append(set(frame["row"])),
            predict(model, frame, n_classes, deadline),
        )[1],
    )
    AutoMLClassifier(n_trials=1, families=["linear"]).fit(X.assign(row=range(90)), Y)
    assert len(validations) == 5
    assert set.union(*validations) == set(range(90))
    for train, validation in zip(trains, validations, strict=False):
        assert train | validation == set(range(90))
        assert not train & validation


def test_choosing_columns_from_noise_gains_nothing(monkeypatch):
    options = {"C": 1.0, "construct": "products", "select": "anova", "kept": 0.05}
    family = replace(FAMILIES["linear"], default=options)
    monkeypatch.setitem(FAMILIES, "linear", family)
    noise, coin = RNG.normal(size=(60, 300)), np.random.default_rng(3).integers(0, 2, 60)
    model = AutoMLClassifier(n_trials=1, families=["linear"], history=None).fit(noise, coin)
    assert model.leaderboard_[0].options == options
    assert model.leaderboard_[0].mean < 0.65


def test_a_failing_pipeline_is_in_the_leaderboard_and_the_others_go_on(monkeypatch):
    plain = problem.make_model

    def make_model(family, options, goal, seed, columns):
        if family == "linear":
            raise ValueError("no luck")
        return plain(family, options, goal, seed, columns)

    monkeypatch.setattr(problem, "make_model", make_model)
    model = AutoMLClassifier(n_trials=2, families=FAST, time_budget=None, history=None).fit(X, Y)
    failed = model.leaderboard_[-1]
    assert (failed.family, failed.failure, failed.weight) == ("linear", "ValueError: no luck", 0)
    with pytest.raises(RunError, match=r"first \(linear\) by ValueError: no luck"):
        AutoMLClassifier(n_trials=2, families=["linear"]).fit(X, Y)


def test_a_pipeline_is_scored_on_few_rows_first_and_none_that_it_predicts(monkeypatch):
    monkeypatch.setattr(stages, "MIN_ROWS", 20)
    sizes = []
    plain = problem.fit_pipeline
    monkeypatch.setattr(
        problem,
        "fit_pipeline",
        lambda m, x, y, deadline: (sizes.append(len(x)), plain(m, x, y, deadline))[1],
    )
    options = {"n_trials": 14, "families": FAST, "time_budget": None, "history": None}
    model = AutoMLClassifier(**options).fit(X, Y)
    assert sizes[:7] == [24, 72, 72, 72, 72, 72, 24]  # a third of a fold, then five folds
    ended = [entry for entry in model.leaderboard_ if entry.is_pruned]
    assert ended
    assert all(len(entry.scores) < 5 for entry in ended)
    assert all(len(e.scores) == 5 for e in model.leaderboard_ if e.failure is None)
    splits = problem.Problem(X, np.zeros(90, dtype=int), model.columns_, n_classes=1).splits(5)
    part, *folds = stages.stages_of(splits, 0)
    assert not part.is_fold
    assert stages.describe_stages([part]) == "24 rows"
    assert set(part.train) <= set(splits[0][0])
    assert not set(part.train) & set(part.validation)
    assert len(folds) == 5


def test_predictions_out_of_fold_are_available():
    model = AutoMLRegressor(n_trials=2, families=FAST, time_budget=None).fit(X, X["a"])
    assert np.corrcoef(model.out_of_fold_, X["a"])[0, 1] > 0.9
    best = model.leaderboard_[0].mean
    assert model.out_of_fold_score_ >= best - 0.05
    model = AutoMLClassifier(n_trials=2, families=FAST, time_budget=None).fit(X, Y)
    np.testing.assert_allclose(model.out_of_fold_.sum(1), 1)
    assert model.out_of_fold_score_ == (model.classes_[model.out_of_fold_.argmax(1)] == Y).mean()


def test_however_short_the_time_one_pipeline_is_finished():
    model = AutoMLClassifier(time_budget=1e-6, families=FAST).fit(X, Y)
    assert len([entry for entry in model.leaderboard_ if entry.failure is None]) == 1


def test_a_stored_search_is_continued(tmp_path):
    options = {
        "storage": f"sqlite:///{tmp_path / 'study.db'}",
        "study_name": "table",
        "n_trials": 2,
        "families": FAST,
    }
    AutoMLClassifier(**options).fit(X, Y)
    AutoMLClassifier(**options).fit(X, Y)
    study = optuna.load_study(storage=options["storage"], study_name="table")
    assert len(study.trials) == 4
    with pytest.raises(UsageError, match="the study 'table' chose among other families"):
        AutoMLClassifier(**{**options, "families": FAST[:1]}).fit(X, Y)


@pytest.mark.parametrize("storage", ["search.db", "sqlite:////nowhere/search.db"])
def test_a_storage_that_cannot_be_opened_is_refused(storage):
    with pytest.raises(UsageError, match=r"the storage cannot be opened .*give a URL such as"):
        AutoMLClassifier(n_trials=1, families=FAST, storage=storage, history=None).fit(X, Y)


@pytest.mark.parametrize("labels", [[1, 2, 5], [True, False, True], ["1", 2, "x"], [0.0, 1.0, 1.0]])
def test_labels_of_any_kind_are_given_back(labels):
    y = pd.Series(labels * 30)
    model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(X, y)
    assert set(model.predict(X)) <= {*labels, *map(str, labels)}


def test_a_class_with_one_row_and_odd_columns_are_mentioned():
    table = X.assign(nothing=None, endless=[np.inf, *range(89)])
    model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(table, ["rare", *Y[1:]])
    notes = " ".join(model.notes_)
    for part in ("nothing", "endless", "1 classes have a single row"):
        assert part in notes
    assert model.predict_proba(table).shape == (90, 3)


def test_too_few_rows_for_the_folds_are_mentioned():
    table = pd.DataFrame({"x": np.arange(24.0) % 7})
    few = AutoMLClassifier(n_trials=1, families=["linear"]).fit(table, np.arange(24) % 2)
    assert "24 rows are few for 5 folds: an accuracy may be off by 20 points" in few.notes_[0]
    enough = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2)
    assert not any("are few for" in note for note in enough.fit(table, np.arange(24) % 2).notes_)


def test_many_categories_are_learned_from():
    n = 20_000
    level = np.arange(n) % 2000
    table = pd.DataFrame({"id": [f"id{i}" for i in range(n)], "level": [f"l{i}" for i in level]})
    model = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2).fit(table, level % 2)
    assert model.leaderboard_[0].mean > 0.99
    assert "nearly all of their values differ: id" in model.notes_[0]
    assert "more than 1000 categories, by the target's mean: level" in model.notes_[1]


@pytest.mark.parametrize(
    ("table", "y", "message"),
    [
        (X, Y[:3], "each of 90 rows"),
        (X, [None, *Y[1:]], "none in 1"),
        (X, ["a"] * 90, "varies, got 'a'"),
        (X, [f"{i}" for i in range(90)], "use AutoMLRegressor"),
        (X, [f"a sentence, the {i}th" for i in range(90)], "cannot be predicted"),
        (X[:2], ["a", "b"], "two rows of a class"),
        (X, [np.inf, *[0.0] * 89], "infinite"),
        (X.iloc[:0], [], "rows and columns"),
        (pd.concat([X, X], axis=1), Y, "more often"),
        (X[[]].assign(none=None, name=[f"n{i}" for i in range(90)]), Y, "learn from.*: none, name"),
    ],
)
def test_data_that_cannot_serve_are_refused(table, y, message):
    with pytest.raises(DataError, match=message):
        AutoMLClassifier(n_trials=1).fit(table, y)


def test_three_rows_are_too_few_for_numbers_and_four_have_whole_folds():
    with pytest.raises(DataError, match="4 rows at least"):
        AutoMLRegressor(n_trials=1).fit(X[:3], [1.0, 2.0, 3.0])
    model = AutoMLRegressor(n_trials=1, families=["linear"]).fit(X[:4], [1.0, 2.0, 3.0, 4.0])
    assert np.isfinite(model.leaderboard_[0].scores).all()


@pytest.mark.parametrize("family", ["linear", "extra trees"])
def test_mixed_and_huge_values_are_mentioned(family):
    table = X.assign(mixed=[1, "two", None] * 30, huge=[1e308, -1e308, 1.0] * 30)
    table["age"] = [*range(9), "unknown"] * 9
    model = AutoMLClassifier(n_trials=1, families=[family], n_folds=2).fit(table, Y)
    notes = " ".join(model.notes_)
    assert "numbers among other values, all taken as categories: mixed" in notes
    assert "words among numbers are taken as missing: age" in notes
    assert "beyond 1e+30 count as that: huge" in notes
    assert model.leaderboard_[0].mean > 0.6


def test_how_columns_are_read_is_mentioned():
    numbers = np.random.default_rng(0).permutation(90) * 37.0
    table = X.assign(
        decimal=[f"{x / 1000:.4f}".replace(".", ",") for x in numbers],
        price=[f"${x:,.0f}" for x in numbers],
        day=[f"0{1 + i % 9}/0{1 + i % 7}/2024" for i in range(90)],
        several=["1,2,3", "2,1"] * 45,
        code=["031A", "12", "77"] * 30,
    )
    model = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2).fit(table, Y)
    notes = "\n".join(model.notes_)
    assert "read as numbers (decimal mark ','): decimal" in notes
    assert "read as numbers (thousands mark ',', currency $)" in notes
    assert "read as dates (month first), though they leave the order open: day" in notes
    assert "numbers among other values, all taken as categories: code" in notes
    assert {k: model.kinds_[k] for k in ("decimal", "price", "several", "code")} == {
        "decimal": "number",
        "price": "number",
        "several": "category",
        "code": "category",
    }


def messy(n, seed):
    rng = np.random.default_rng(seed)
    price, minutes = np.exp(rng.normal(7, 1, n)), rng.integers(5, 300, n)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 366, n), unit="D")
    table = pd.DataFrame(
        {
            "price": [f"{x:,.2f} €".translate(str.maketrans(",.", ".,")) for x in price],
            "took": [f"{m // 60}h {m % 60}m" if m >= 60 else f"{m}m" for m in minutes],
            "day": [f"{d:%d/%m/%Y}" for d in day],
        }
    )
    return table, np.log(price) + minutes / 100 + day.day_of_year.to_numpy() / 100


def test_a_messy_table_is_learned_from_as_a_clean_one_is():
    (table, y), (new, true) = messy(300, 0), messy(200, 1)
    model = AutoMLRegressor(n_trials=1, families=["lightgbm"], n_folds=2, history=None)
    assert model.fit(table, y).score(new, true) > 0.85
    few = new.iloc[:1]  # alone, it could be read in other ways
    np.testing.assert_allclose(model.predict(few), model.predict(new)[:1])
    with pytest.warns(UserWarning, match=r"day: 1 of 1 cells cannot be read .* as '3/13/2024'"):
        model.predict(few.assign(day="3/13/2024"))


def test_a_target_may_be_written_with_units():
    table = X.assign(a=X["a"].abs())
    target = [f"${1000 * x:,.2f}" for x in table["a"]]
    model = AutoMLRegressor(n_trials=1, families=["linear"], n_folds=2).fit(table, target)
    assert model.score(table, 1000 * table["a"]) > 0.99
    assert "the target is read as numbers (thousands mark ',', currency $)" in model.notes_


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries_go_by_their_names(library):
    package = pytest.importorskip(library)
    as_theirs = package.DataFrame if library == "polars" else package.Table.from_pandas
    y = package.Series(Y) if library == "polars" else package.array(Y)
    model = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2)
    model.fit(as_theirs(X[["a", "b", "c"]]), y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    predicted = model.predict(as_theirs(X[["c", "b", "a"]]))
    assert (predicted == model.predict(X)).all()
    assert (predicted == Y).mean() > 0.9


def test_a_column_that_was_left_out_need_not_be_there_and_a_new_one_is_mentioned():
    table = X.assign(name=[f"n{i}" for i in range(90)], same=1, record=range(90))
    target = pd.Series(Y, name="answer")
    with pytest.warns(UserWarning, match="left out, as they number the rows .*: record"):
        model = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2).fit(table, target)
    assert (model.predict(X.assign(answer=Y)) == model.predict(table)).all()
    with pytest.warns(UserWarning, match="not there at fit are left out: more"):
        model.predict(X.assign(more=1))


def test_a_number_of_the_row_does_not_tell_the_order_of_a_file():
    """Rows sorted by class: with the number, noise was predicted at .995 in cross-validation."""
    noise = pd.DataFrame({"record": range(1, 201), "x": np.random.default_rng(0).normal(size=200)})
    labels = np.repeat(["a", "b"], 100)
    options = {"n_trials": 1, "families": ["lightgbm"], "history": None}
    with pytest.warns(UserWarning, match="number the rows"):
        model = AutoMLClassifier(**options).fit(noise, labels)
    assert model.out_of_fold_score_ < 0.65
    for rising in (noise["record"] * 3 + 0.5, pd.date_range("2024", periods=200)):
        with pytest.warns(UserWarning, match="the target follows the order of the rows.*: record"):
            AutoMLClassifier(**options, n_folds=2).fit(noise.assign(record=rising), labels)


def test_labels_are_refused_by_a_regressor():
    with pytest.raises(DataError, match=r"got 'no'|got 'yes'"):
        AutoMLRegressor(n_trials=1).fit(X, Y)


def test_a_target_beyond_what_models_can_square_is_refused():
    with pytest.raises(DataError, match=r"1e\+30 at most, got 1e\+300: scale it"):
        AutoMLRegressor(n_trials=1).fit(X, [1e300, *[0.0] * 89])


def test_a_column_that_is_not_there_is_named():
    model = AutoMLClassifier(n_trials=1, families=["linear"]).fit(X, Y)
    with pytest.raises(DataError, match="none called 'b'"):
        model.predict(X.drop(columns="b"))
    assert (model.predict(X[["c", "b", "a"]]) == model.predict(X)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": None, "time_budget": None}, "neither"),
        ({"n_trials": 0}, "n_trials >= 1"),
        ({"time_budget": 0}, "time_budget > 0"),
        ({"n_folds": 1}, "n_folds >= 2"),
        (
            {"history": "mine"},
            "expected history to be 'shipped', 'experience', None or a History, got 'mine'",
        ),
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"families": ["lineal"]}, "did you mean 'linear'"),
        ({"families": []}, "a family"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        AutoMLClassifier(**options).fit(X, Y)


def test_a_leaderboard_without_weights_cannot_be_fitted():
    with pytest.raises(UsageError, match="with a weight"):
        AutoMLClassifier().refit(X, Y, [])


NEAREST = PipelineConfig("k-nearest neighbours", {"n_neighbors": 7, "weights": "uniform"})
LINEAR = PipelineConfig("linear", {"C": 0.5})


def past(*pipelines):
    """A history in which the first is best."""
    names = [PipelineConfig(*pipeline).name for pipeline in pipelines]
    return History(["a", "b"], names, [[1 - i / 10 for i in range(len(names))]] * 2)


def test_what_did_best_on_other_tables_is_tried_first_and_says_why():
    history = past(NEAREST, LINEAR, ("no such", {}), ("svm", {"C": -1.0}))
    model = AutoMLClassifier(n_trials=1, families=FAST, history=history).fit(X, Y)
    (entry,) = model.leaderboard_
    assert (entry.family, entry.options) == NEAREST
    assert "of 2 tables" in entry.reasons[0]
    assert AutoMLClassifier(families=FAST, history=history).suggest(X, Y, 9) == [NEAREST, LINEAR]


def test_without_other_tables_each_familys_default_is_tried_first():
    for history in (None, History([], [], []), past(("svm", {"C": -1.0}))):
        model = AutoMLClassifier(n_trials=2, families=FAST, history=history).fit(X, Y)
        assert {entry.family for entry in model.leaderboard_} == set(FAST)
        assert AutoMLClassifier(families=FAST, history=history).suggest(X, Y) == []


def test_what_ships_is_suggested_without_fitting(monkeypatch):
    monkeypatch.setattr(problem, "fit_pipeline", None)
    configs = AutoMLClassifier(families=["svm", "linear"]).suggest(X, Y, 3)
    assert len(configs) == 3
    assert {family for family, _ in configs} <= {"svm", "linear"}
    regressor = AutoMLRegressor(metric="neg_mean_absolute_error")
    assert len(regressor.suggest(X, np.arange(len(X)))) == 5


def test_the_storages_password_is_hidden():
    model = AutoMLClassifier(storage="postgresql://ann:secret@host/studies")
    for text in (repr(model), model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert "secret" not in text
        assert "postgresql://ann:***@host/studies" in text
    assert clone(model).storage == model.storage
