"""Few-shot learning as scikit-learn estimators: any learner, behind `fit` and `predict`.

Needs scikit-learn, which quickstudy's extra `fewshot` installs.
"""

from __future__ import annotations

import copy
import json
import math
import numbers
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from quickstudy.apps.fewshot.methods import (
    DRAWINGS,
    EMBEDDINGS,
    METHODS,
    PHOTOGRAPHS,
    EncodedImages,
    default_encoder,
    images_of,
    make_method,
    named_encoder,
)
from quickstudy.apps.fewshot.selection import Selection, select_for_images
from quickstudy.engine import checkpoints
from quickstudy.engine.calibration import (
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    scores_left_out,
)
from quickstudy.errors import DataError, MissingError, RunError, UsageError, require
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.run import load_run
from quickstudy.learners import Learner, Predictor, PrototypicalNetworks
from quickstudy.learners.base import check_finite, device_of
from quickstudy.learners.transfer.closed_form import BayesianRidge, GaussianClasses
from quickstudy.recipes.loading import parse_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Support, Tasks
from quickstudy.tasks.images import Images

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = ["FewShotClassifier", "FewShotRegressor"]

WORTH = 1.0
"""As how many examples a description counts without a learner: as meta-learned for the names of
intents by MiniLM, on the training domains of clinc150 (`benchmarks/zero_shot.py`)."""

BATCH = 1000
"""Queries that are predicted at once."""

Encoder = Callable[[Sequence[Any]], Any]

_CODE = "a callable"


class _FewShotEstimator(BaseEstimator):
    """What classifier and regressor share: examples in, a predictor out, and a file between."""

    n_features_in_: int
    feature_names_in_: np.ndarray
    _default: type[Learner]
    _methods: tuple[str, ...] = ()

    def __init__(
        self, learner: Learner | str | Path | None = None, *, encoder: Encoder | str | None = None
    ) -> None:
        self.learner = learner
        self.encoder = encoder

    @classmethod
    def from_run(cls, folder: str | Path, **options: Any) -> Self:
        """An estimator that adapts the learner of a run folder.

        Raises:
            MissingError, RunError: If there is none, or it is damaged.
        """
        load_run(folder)
        return cls(learner=folder, **options)

    @property
    def _is_closed(self) -> bool:
        """Whether the learner is made for the examples, since none with weights is named."""
        return self.learner in (None, *self._methods) and self.recipe_ is None

    def _start(self, X: Any, labels: np.ndarray | None = None) -> None:
        """Get learner and encoder ready: by the examples, where the user names none."""
        self.recipe_: Recipe | None = None
        self.selection_: Selection | None = None
        learner, encoder = self.learner, self.encoder
        if encoder is None and self._is_closed and X is not None:
            encoder = default_encoder(X)
            if encoder == PHOTOGRAPHS and learner is None and labels is not None:
                check_consistent_length(X, labels)
                y = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
                self.selection_ = select_for_images(lambda images: images(X), y)
                print(f"chosen: {self.selection_.reason}", file=sys.stderr)
                if self.selection_.name == DRAWINGS:
                    learner, encoder = DRAWINGS, None
        self._encoder_name = encoder if isinstance(encoder, str) else None
        self.encoder_: Any = named_encoder(encoder) if isinstance(encoder, str) else encoder
        if learner is None or learner in self._methods:
            self.learner_: Learner = self._default().eval()  # until the examples' shape is known
        elif isinstance(learner, Learner):
            self.learner_ = copy.deepcopy(learner).eval()
        elif isinstance(learner, str | os.PathLike):
            self.recipe_, self.learner_ = load_run(learner)
            if encoder is None and (own := self.recipe_.data.encoder):
                self._encoder_name, self.encoder_ = own, named_encoder(own)
            elif encoder is None and not self.recipe_.data.family:
                self.encoder_ = images_of(self.recipe_)
        else:
            raise UsageError(
                "expected as learner a Learner, a run folder, a name or None, got "
                f"{type(learner).__name__}"
            )
        if X is not None and isinstance(self.encoder_, Images | EncodedImages):
            self.encoder_ = self.encoder_.fitted(X)

    def _closed_form(self, described: bool) -> Learner:
        """The learner where none with weights is named."""
        if self.learner is not None:
            return make_method(str(self.learner))
        if described:
            return _of_descriptions().eval()
        if self._methods and self.encoder_ is not None:
            return make_method(EMBEDDINGS)
        return self._default().eval()

    def _inputs(self, X: Any, *, reset: bool) -> Tensor:
        """Examples as the learner takes them, of shape (n, ...)."""
        if self.encoder_ is None:
            _refuse_listing(X)
            array = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric")
        else:
            examples = [] if isinstance(X, str | bytes) else list(X)
            if not examples:
                raise DataError(f"expected a sequence of examples, got {X!r}")
            for i, one in enumerate(examples):
                if isinstance(one, str) and not one.strip():
                    raise DataError(f"expected a text or path, got an empty one as example {i}")
            encoded = self.encoder_(examples)
            if isinstance(encoded, Tensor):
                encoded = encoded.detach().cpu()
            array = check_array(encoded, allow_nd=True, input_name="the encoder's output")
            check_consistent_length(array, examples)
        x = torch.tensor(array).to(device_of(self.learner_), _dtype(self.learner_))
        if not reset and (known := self.support_.x.shape[1:]) != x.shape[1:]:
            raise DataError(
                f"expected examples of shape {tuple(known)} as in the support set, got "
                f"{tuple(x.shape[1:])}"
            )
        return x

    def _adapt(self, support: Support) -> Predictor:
        """The learner's predictor, which takes any number of queries and computes no gradient."""
        learner, shape = type(self.learner_).__name__, tuple(support.x.shape[1:])

        def refuse(error: Exception) -> DataError:
            return DataError(f"{learner} cannot learn from examples of shape {shape}: {error}")

        with torch.no_grad():
            try:
                predictor = self.learner_.adapt(support)
            except (RuntimeError, IndexError) as error:
                raise refuse(error) from error

        def predict(x: Tensor) -> Tensor:
            with torch.no_grad():
                try:
                    scores = torch.cat([predictor(part) for part in x.split(BATCH)]).cpu()
                except (RuntimeError, IndexError) as error:
                    raise refuse(error) from error
            return check_finite(scores, learner).double()

        return predict

    def _learn(self, support: Support) -> None:
        self._predictor = self._adapt(support)
        self.support_ = support

    def _scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return self._predictor(self._inputs(X, reset=False))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "support_")

    def __getstate__(self) -> dict[str, Any]:
        """A copy adapts again, since a predictor is any function."""
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_predictor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "support_" in state:
            self._learn(self.support_)

    def save(self, folder: str | Path) -> None:
        """Write a fitted estimator: the learner's weights, the examples, the options; no pickle.

        With a run's learner, its recipe is written too. Another learner, and an encoder other
        than `Images`, are code: give them to `load`. An estimator saved there before is replaced
        once the new one is whole, and other processes may load it meanwhile.

        Raises:
            RunError: If the folder holds something else, or another process keeps saving there.
            DiskError: If it cannot be written.
        """
        check_is_fitted(self)
        folder = Path(folder)
        checkpoints.check_versions(folder, "estimator", lambda state: "estimator" in state)
        encoder: Any = self.encoder_
        if self._encoder_name:
            images = getattr(encoder, "images", None)
            encoder = {"name": self._encoder_name, "bits": images.bits if images else None}
        elif encoder is not None:
            encoder = vars(encoder) if isinstance(encoder, Images) else _CODE
        state = {
            "estimator": type(self).__name__,
            "method": self.learner if self._is_closed else None,
            "learner": None if self._is_closed else type(self.learner_).__name__,
            "recipe": json.loads(self.recipe_.as_json()) if self.recipe_ else None,
            "encoder": encoder,
            "options": {
                name: _plain(value)
                for name, value in self.get_params(deep=False).items()
                if name not in ("learner", "encoder")
            },
            "n_features": getattr(self, "n_features_in_", None),
            "feature_names": list(getattr(self, "feature_names_in_", [])),
            **self._fitted(),
        }
        support = {"x": self.support_.x, "y": self.support_.y}
        if self.support_.attributes is not None:
            support["attributes"] = self.support_.attributes
        tensors = {"weights": self.learner_.state_dict(), "support": support}
        checkpoints.save_version(folder, tensors, state)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        learner: Learner | None = None,
        encoder: Encoder | None = None,
    ) -> Self:
        """Bring back what `save` wrote; it predicts the same.

        Args:
            learner: One made as the saved one was, for its weights, if that was of no run.
            encoder: The saved one's, if that was not `Images`.

        Raises:
            MissingError: If nothing is saved there.
            RunError: If it is damaged, or of another kind.
            UsageError: If the learner or encoder is code that has to be given, and is not.
        """
        found = checkpoints.latest_checkpoint(Path(folder))
        if found is None:
            raise MissingError(f"expected a saved estimator at {folder}, found none: save one")
        tensors, state, _ = found
        if state.get("estimator") != cls.__name__:
            raise RunError(
                f"expected a {cls.__name__} in {folder}, got {state.get('estimator')}: "
                "load it with its own class"
            )
        support = tensors["support"]
        for part in (tensors["weights"], {"x": support["x"], "y": support["y"]}):
            checkpoints.check_weights(part, Path(folder))
        if not support["x"].is_floating_point():
            raise RunError(f"expected examples in {folder} that are real numbers, got integers")
        recipe = parse_recipe(state["recipe"]) if state["recipe"] else None
        name = state["learner"]
        if (learner is None) == (name is not None and recipe is None):
            raise UsageError(
                f"expected learner=, a {name} made as the saved one, since its code is not saved"
                if learner is None
                else "expected no learner=, since the saved one is whole"
            )
        if (encoder is None) == (state["encoder"] == _CODE):
            raise UsageError(
                "expected encoder=, the saved one's, since a callable cannot be saved"
                if encoder is None
                else "expected no encoder=, since the saved one is whole or had none"
            )
        kept: Any = encoder
        if isinstance(state["encoder"], dict):
            named = "name" in state["encoder"]
            kept = state["encoder"]["name"] if named else Images(**state["encoder"])
        start = make_learner(recipe) if recipe else learner or state["method"]
        made = cls(learner=start, encoder=kept, **state["options"])
        made._start(None)
        if isinstance(made.encoder_, EncodedImages):
            bits = state["encoder"].get("bits")
            made.encoder_ = EncodedImages(made.encoder_.encoder, made.encoder_.images.size, bits)
        if made._is_closed:
            made.learner_ = made._closed_form("attributes" in support)
        made.recipe_ = recipe
        try:
            if not made._is_closed or made.learner_.state_dict():  # older saves hold a mean
                checkpoints.load_weights(made.learner_, tensors["weights"])
        except RuntimeError as error:
            raise UsageError(
                f"expected a {name} made as the saved one, whose weights do not fit that given: "
                f"{error}"
            ) from None
        if not made._is_closed:
            made.learner = made.learner_
        if state["n_features"] is not None:
            made.n_features_in_ = state["n_features"]
        if state["feature_names"]:
            made.feature_names_in_ = np.array(state["feature_names"], dtype=object)
        support = {name: t.to(device_of(made.learner_)) for name, t in support.items()}
        made._restore(support, state)
        return made

    def _fitted(self) -> dict[str, Any]:
        """What more was learned, as JSON."""
        return {}

    def _restore(self, support: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `_fitted` gave, and adapt to the examples again."""
        self._learn(Support(support["x"], support["y"]))


class FewShotClassifier(ClassifierMixin, _FewShotEstimator):
    """A classifier of few examples a class: `fit` adapts a learner to them.

    Args:
        learner: Any learner, meta-trained or not; a run folder, or the name of a run that comes
            with quickstudy ("handwriting", "glyphs"); a method that needs no meta-training
            ("gaussian_classes", "nearest_centroid", "nearest_neighbour", "ridge" or
            "linear_probe"); or None for `GaussianClasses`, for ridge regression of what an encoder
            makes, and with descriptions for prototypes of the inputs as they are (see `WORTH`). It
            stays as it is.
        encoder: Turns a list of examples of any kind into numbers of shape (n, ...), as `Images`
            does; or the name of one, "minilm" or "efficientnet_lite0". Without, a run takes
            images prepared as in its training, and another learner arrays. With neither learner
            nor encoder, texts are embedded by MiniLM; images are learned by "handwriting" or
            embedded by EfficientNet-Lite0, whichever names more examples rightly when they are left
            out, as a line on standard error says.
        temperature: What scores are divided by before softmax. "auto" learns it from the examples,
            each left out once, if every class has two; else it is 1. That takes an adaptation for
            each example, up to 12; a number spares them. See `calibrate`.
        unknown: Label of a query whose greatest score is below the threshold; None names a class
            always. Like the labels, a string or an integer.
        threshold: Of the greatest score. "auto" learns it from the examples, each left out once, so
            that one in twenty queries of known classes is below. It needs two examples of each
            class.

    Attributes:
        classes_: The labels, sorted.
        temperature_, threshold_: As given or learned; the threshold is None without `unknown`.
        learner_, encoder_: What adapts, and what prepares the examples.
        selection_: What was chosen for images, and why; None where nothing was to choose.
        support_: The examples seen, as tensors.

    Example:
        >>> X, y = [[0.0], [0.2], [1.0], [1.2]], ["low", "low", "high", "high"]
        >>> print(*FewShotClassifier().fit(X, y).predict([[0.1], [1.1]]))
        low high
    """

    _default = GaussianClasses
    _methods = METHODS

    def __init__(
        self,
        learner: Learner | str | Path | None = None,
        *,
        encoder: Encoder | str | None = None,
        temperature: float | Literal["auto"] = "auto",
        unknown: str | int | None = None,
        threshold: float | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(learner, encoder=encoder)
        self.temperature = temperature
        self.unknown = unknown
        self.threshold = threshold

    def fit(self, X: Any, y: Any, descriptions: Mapping[Any, Any] | None = None) -> Self:
        """Adapt to examples, and forget those seen before.

        Args:
            X: Numbers of shape (n, ...), or n examples for the encoder.
            y: Labels of shape (n,), all strings or all integers.
            descriptions: What is known of classes beside examples, by label: texts for the
                encoder, or vectors as the learner takes them. A class needs an example or a
                description; if all have one, X and y may be empty.

        Raises:
            ValueError: If the examples or descriptions cannot serve; a `DataError` or of
                scikit-learn.
        """
        return self._fit(X, y, None, descriptions, first=True)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        descriptions: Mapping[Any, Any] | None = None,
    ) -> Self:
        """Adapt to these examples and all seen before; they may be of new classes.

        Args:
            classes: All labels, if known; each needs an example or a description by now.
            descriptions: As of `fit`; those given before stay, but for the same label.

        Raises:
            ValueError: If the examples or descriptions cannot serve; a `DataError` or of
                scikit-learn.
        """
        first = not hasattr(self, "support_")
        return self._fit(X, y, classes, descriptions, first=first)

    def _fit(self, X: Any, y: Any, classes: Any, descriptions: Any, *, first: bool) -> Self:
        self._check_options()
        named = _labels(y) if descriptions is None else _names(descriptions)
        empty = descriptions is not None and _is_empty(y) and _is_empty(X)
        labels = named[:0] if empty else _labels(y)
        if _is_text(labels) != _is_text(named):
            raise _mixed(labels[0], named[0])
        if first:
            if empty and descriptions:
                self._start(list(descriptions.values()))
            else:
                self._start(X, labels)
        told: dict[Any, Tensor] = {}
        if descriptions is not None:
            told = dict(zip(named.tolist(), self._described(descriptions), strict=True))
        x = self._nothing(X, told, first) if empty else self._inputs(X, reset=first)
        check_consistent_length(x, labels)
        if not first:
            if _is_text(labels) != _is_text(self.classes_):
                raise _mixed(self.classes_[0], named[0])
            before = self.support_
            labels = np.concatenate([self.classes_[before.y.cpu().numpy()], labels])
            x = torch.cat([before.x, x])
            if before.attributes is not None:
                pairs = zip(self.classes_.tolist(), before.attributes, strict=True)
                told = {label: row for label, row in pairs if not bool(row.isnan().any())} | told
        known = np.union1d(labels, _labels(list(told))) if told else labels
        absent = [] if classes is None else np.setdiff1d(_labels(classes), known).tolist()
        if absent:
            raise DataError(
                f"expected at least one example of each class, got none of {absent[0]!r}: "
                "add one, or a description, or leave the class out"
            )
        self._settle(x, labels, known, told)
        return self

    def _check_options(self) -> None:
        for name, lowest in (("temperature", 0.0), ("threshold", -math.inf)):
            value: Any = getattr(self, name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value != "auto" and not (number and lowest < float(value) < math.inf):
                kind = "a positive number" if name == "temperature" else "a number"
                raise UsageError(f'expected {name} to be {kind} or "auto", got {value!r}')
        if self.unknown is None and self.threshold != "auto":
            raise UsageError("expected a label `unknown` together with a threshold, got none")

    def _described(self, descriptions: Mapping[Any, Any]) -> Tensor:
        """Descriptions as the learner takes them, of shape (n, ...)."""
        told = list(descriptions.values())
        texts = [isinstance(one, str) for one in told]
        if any(texts) != all(texts):
            raise DataError("expected descriptions all texts or all vectors, got both")
        if all(texts):
            empty = [label for label, one in descriptions.items() if not one.strip()]
            if empty:
                raise DataError(f"expected a text about each class, got none of {empty[0]!r}")
            if self.encoder_ is None:
                raise UsageError("expected vectors without an encoder, got texts: give encoder=")
            told = torch.as_tensor(self.encoder_(told)).detach().cpu()
        elif len(shapes := {np.shape(one) for one in told}) > 1 or () in shapes:
            raise DataError(f"expected descriptions of one shape (d,), got {sorted(shapes)}")
        array = check_array(told, allow_nd=True, input_name="descriptions")
        return torch.tensor(array).to(device_of(self.learner_), _dtype(self.learner_))

    def _nothing(self, X: Any, told: dict[Any, Tensor], first: bool) -> Tensor:
        """No example, of the shape (0, ...) of those to come."""
        if not first:
            return self.support_.x[:0]
        like = next(iter(told.values()))
        if len(shape := np.shape(X)[1:]):
            return like.new_zeros(0, *shape)
        if not self._is_closed and self.learner_.descriptions == "attributes":
            raise DataError(
                "expected X of shape (0, ...), as attributes do not say what examples look like, "
                f"got {X!r}"
            )
        return like.new_zeros(0, *like.shape)

    def _attributes(self, x: Tensor, classes: np.ndarray, told: dict[Any, Tensor]) -> Tensor | None:
        """A description of each class, NaN where there is none; None if no class has one."""
        if not told:
            return None
        kind = "inputs" if self._is_closed and self.learner is None else self.learner_.descriptions
        if kind is None:
            raise UsageError(
                "expected a learner that takes descriptions, such as PrototypicalNetworks(..., "
                f"described=True), got {type(self.learner_).__name__}"
            )
        shape = x.shape[1:] if kind == "inputs" else next(iter(told.values())).shape
        for label, one in told.items():
            if one.shape != shape:
                raise DataError(
                    f"expected descriptions of shape {tuple(shape)}, as "
                    f"{'the examples' if kind == 'inputs' else 'the others'}, got "
                    f"{tuple(one.shape)} of {label!r}"
                )
        none = x.new_full(shape, torch.nan)
        return torch.stack([told.get(label, none) for label in classes.tolist()])

    def _settle(
        self, x: Tensor, labels: np.ndarray, known: np.ndarray, told: dict[Any, Tensor]
    ) -> None:
        """Adapt to all examples, and learn what scores mean; refused examples change nothing."""
        classes = np.unique(known)
        y = np.searchsorted(classes, labels)
        if len(classes) < 2:
            raise DataError(
                f"expected at least 2 classes, got 1 class, {classes.item()!r}: add one"
            )
        if self.unknown is not None:
            (label,) = _labels([self.unknown])
            if _is_text(label) != _is_text(classes):
                raise _mixed(classes[0], self.unknown)
            if label in classes:
                raise DataError(
                    f"expected `unknown` to be a label of no class, got {self.unknown!r}"
                )
        attributes = self._attributes(x, classes, told)
        targets = torch.as_tensor(y, device=x.device)
        support = Support(x, targets, len(classes), attributes)
        learns_threshold = self.unknown is not None and self.threshold == "auto"
        rare = classes[np.bincount(y, minlength=len(classes)) < 2].tolist()
        if learns_threshold and rare:
            raise DataError(
                "expected at least 2 examples of each class to learn a threshold from, got "
                f"{np.sum(labels == rare[0])} of {rare[0]!r}: add one, or give a threshold"
            )
        if self._is_closed:
            self.learner_ = self._closed_form(bool(told)).to(x.device)
        temperature, threshold = self.temperature, self.threshold
        if (temperature == "auto" and not rare) or learns_threshold:
            scores, targets = scores_left_out(self._adapt, support)
            if temperature == "auto":
                temperature = fit_temperature([(scores, targets)])
            if learns_threshold:
                threshold = fit_threshold(scores)
        self._learn(support)
        self.classes_ = classes
        self.temperature_ = 1.0 if temperature == "auto" else float(temperature)
        self.threshold_ = None if self.unknown is None else float(threshold)

    def calibrate(self, tasks: Tasks, n_tasks: int = 100) -> Self:
        """Learn the temperature from the queries of the first `n_tasks` tasks, and set it.

        It becomes the option `temperature`, for this and later support sets. The tasks, whose
        examples are as the learner takes them, should be like those to come, of classes that it
        was not trained on.

        Raises:
            UsageError: With fewer than one task.
            DataError: If a task is not of classes.
        """
        if n_tasks < 1:
            raise UsageError(f"expected n_tasks >= 1, got {n_tasks}")
        if not hasattr(self, "support_"):
            self._start(None)
            if self._is_closed:
                self.learner_ = self._closed_form(False)
        device, dtype = device_of(self.learner_), _dtype(self.learner_)
        answers = []
        for i in range(n_tasks):
            episode = tasks[i].to(device).to(dtype)
            if episode.n_way is None:
                raise DataError("expected tasks of classes to calibrate on, got regression")
            answers.append((self._adapt(episode.support)(episode.query.x), episode.query.y.cpu()))
        self.temperature = fit_temperature(answers)
        if hasattr(self, "support_"):
            self.temperature_ = self.temperature
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`, shape (n, n_way)."""
        return (self._scores(X) / self.temperature_).softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The label of each query, shape (n,)."""
        best, index = self._scores(X).max(1)
        labels = self.classes_[index.numpy()]
        if self.threshold_ is None:
            return labels
        return np.where(best.numpy() < self.threshold_, np.asarray(self.unknown), labels)

    def calibration_error(self, X: Any, y: Any, n_bins: int = 15) -> float:
        """The expected calibration error of `predict_proba` on queries of known labels.

        Raises:
            DataError: If there is a label of no class.
        """
        probabilities, labels = self.predict_proba(X), _labels(y)
        if strange := np.setdiff1d(labels, self.classes_).tolist():
            raise DataError(f"expected labels of the classes fitted, got {strange[0]!r}")
        y = torch.from_numpy(np.searchsorted(self.classes_, labels))
        return expected_calibration_error(torch.from_numpy(probabilities), y, n_bins)

    def _fitted(self) -> dict[str, Any]:
        return {
            "classes": self.classes_.tolist(),
            "temperature": self.temperature_,
            "threshold": self.threshold_,
        }

    def _restore(self, support: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.classes_ = np.array(state["classes"])
        self.temperature_, self.threshold_ = state["temperature"], state["threshold"]
        self._learn(
            Support(support["x"], support["y"], len(self.classes_), support.get("attributes"))
        )


class FewShotRegressor(RegressorMixin, _FewShotEstimator):
    """A regressor of few examples: `fit` adapts a learner to them.

    Args:
        learner: Any learner of regression; a run folder; or None for `BayesianRidge`, which
            needs no meta-training. It stays as it is.
        encoder: Turns a list of examples of any kind into numbers of shape (n, ...), or the name
            of one, as of `FewShotClassifier`. With neither learner nor encoder, texts and images
            are embedded, and X else is an array of what the learner takes.

    Attributes:
        learner_, encoder_: What adapts, and what prepares the examples.
        support_: The examples seen, as tensors.

    Example:
        >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [1.0, 3.0, 5.0, 7.0, 9.0]
        >>> print(FewShotRegressor().fit(X, y).predict([[5.0]]).round(1))
        [11.]
    """

    _default = BayesianRidge

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to examples, and forget those seen before.

        Args:
            X: Numbers of shape (n, ...), or n examples for the encoder.
            y: Targets of shape (n,) or (n, d).

        Raises:
            ValueError: If the examples cannot serve; a `DataError` or of scikit-learn.
        """
        return self._fit(X, y, first=True)

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Adapt to these examples and all seen before.

        Raises:
            ValueError: If the examples cannot serve; a `DataError` or of scikit-learn.
        """
        return self._fit(X, y, first=not hasattr(self, "support_"))

    def _fit(self, X: Any, y: Any, *, first: bool) -> Self:
        targets = _targets(y)
        if first:
            self._start(X)
        x = self._inputs(X, reset=first)
        check_consistent_length(x, targets)
        flat = targets.ndim == 1
        y = torch.tensor(targets).to(x).reshape(len(x), -1)
        if not first:
            if (flat, y.shape[1]) != (self.flat_, self.support_.y.shape[1]):
                raise DataError(
                    f"expected targets of size {self.support_.y.shape[1]} as before, got "
                    f"{targets.shape}"
                )
            x, y = torch.cat([self.support_.x, x]), torch.cat([self.support_.y, y])
        self._learn(Support(x, y))
        self.flat_ = flat
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each query, shaped as the targets were: (n,) or (n, d)."""
        predictions = self._scores(X).numpy()
        return predictions[:, 0] if self.flat_ else predictions

    def _fitted(self) -> dict[str, Any]:
        return {"flat": self.flat_}

    def _restore(self, support: dict[str, Tensor], state: dict[str, Any]) -> None:
        super()._restore(support, state)
        self.flat_ = state["flat"]


def _of_descriptions() -> Learner:
    """What learns from descriptions without a learner: prototypes of the inputs as they are."""
    learner = PrototypicalNetworks(nn.Flatten(), scale=10.0, described=True, worth=WORTH)
    return learner.double().eval()


def _dtype(learner: Learner) -> torch.dtype:
    """The type of the learner's numbers; float64 for one that has none."""
    tensors = (*learner.parameters(), *learner.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float64)


def _refuse_listing(X: Any) -> None:
    """Refuse strings, paths and images where there is no encoder for them."""
    for i, one in enumerate(X if isinstance(X, list | tuple) else ()):
        if not isinstance(one, str | os.PathLike | Image.Image):
            continue
        raise UsageError(
            f"expected numbers without an encoder, got {type(one).__name__} as example {i}: give "
            "encoder=, for images quickstudy's Images"
        )


def _is_empty(values: Any) -> bool:
    return hasattr(values, "__len__") and len(values) == 0


def _names(descriptions: Any) -> np.ndarray:
    """The labels that descriptions are of.

    Raises:
        UsageError, DataError: If there is none, or it is none.
    """
    if not isinstance(descriptions, Mapping):
        kind = type(descriptions).__name__
        raise UsageError(f"expected descriptions as a dictionary by label, got {kind}")
    if not descriptions:
        raise DataError("expected the description of at least one class, got none")
    return _labels(list(descriptions))


def _labels(y: Any) -> np.ndarray:
    """Labels of shape (n,), all strings or all integers.

    Raises:
        DataError: If they are something else.
    """
    if y is None:
        raise DataError("a classifier requires y to be passed, but the target y is None")
    _refuse_several(y)
    plain = np.asarray(y)
    if plain.dtype.kind in "US":  # of integers beside strings, NumPy makes strings
        plain = np.asarray(y, dtype=object)
    y = column_or_1d(plain, warn=True)
    if not len(y):
        raise DataError("expected at least one label, got none")
    if (missing := [i for i, label in enumerate(y) if _is_missing(label)]) != []:
        raise DataError(
            f"expected a label for each example, got {_plain(y[missing[0]])!r} for example "
            f"{missing[0]} ({len(missing)} are missing): leave those out, or label them"
        )
    if y.dtype == object:
        strange = [v for v in y if not isinstance(v, str | numbers.Integral)]
        if strange:
            raise _not_a_label(strange[0])
        texts = [v for v in y if isinstance(v, str)]
        if 0 < len(texts) < len(y):
            raise _mixed(texts[0], next(v for v in y if not isinstance(v, str)))
        return np.array(y.tolist())
    if y.dtype.kind == "f":  # scikit-learn takes 1.0 for a label
        whole = (y == np.floor(y)) & (np.abs(y) < 2.0**63)
        if not whole.all():
            raise _not_a_label(y[~whole][0])
        return y.astype(np.int64)
    if y.dtype.kind not in "biuU":
        raise _not_a_label(y[0])
    return y


def _refuse_several(y: Any) -> None:
    """Refuse several labels an example.

    Raises:
        DataError: If there are.
    """
    several = ""
    if isinstance(y, list | tuple):
        for i, labels in enumerate(y):
            if isinstance(labels, list | tuple | set | frozenset) and len(labels) != 1:
                several = f"{labels!r} for example {i}"
                break
    elif len(shape := getattr(y, "shape", ())) > 1 and shape[1] != 1:
        several = f"an array of shape {tuple(shape)}"
    if several:
        raise DataError(
            f"expected one label for each example, got {several}: for several labels an example, "
            "fit one classifier for each label, as scikit-learn's MultiOutputClassifier does"
        )


def _is_missing(label: Any) -> bool:
    """Whether it is None, NaN, or pandas's NaT or NA."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return bool(isinstance(label, numbers.Real | np.datetime64) and label != label)


def _targets(y: Any) -> np.ndarray:
    if y is None:
        raise DataError("a regressor requires y to be passed, but the target y is None")
    y = check_array(y, ensure_2d=False, dtype="float64", input_name="y")
    return y if y.ndim == 2 else column_or_1d(y)


def _is_text(labels: np.ndarray | np.generic) -> bool:
    return labels.dtype.kind == "U"


def _not_a_label(value: Any) -> DataError:
    return DataError(
        f"expected labels that are strings or integers, got {_plain(value)!r} of type "
        f"{type(value).__name__}: for continuous targets, use FewShotRegressor"
    )


def _mixed(one: Any, other: Any) -> DataError:
    return DataError(
        f"expected labels all strings or all integers, got {_plain(one)!r} and {_plain(other)!r}: "
        "make them alike"
    )


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
