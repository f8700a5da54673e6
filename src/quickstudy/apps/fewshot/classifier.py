"""A few-shot classifier with scikit-learn's interface: any learner, behind `fit` and `predict`.

Needs scikit-learn, which quickstudy's extra `fewshot` installs.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.apps.fewshot.base import Encoder, FewShotEstimator, FittedPredictor, dtype_of
from quickstudy.apps.fewshot.descriptions import (
    attributes_by_label,
    attributes_of_classes,
    encode_descriptions,
    labels_of_descriptions,
    no_examples,
)
from quickstudy.apps.fewshot.explanation import Explanation, explain
from quickstudy.apps.fewshot.inputs import Kind as InputKind
from quickstudy.apps.fewshot.inputs import kind_of
from quickstudy.apps.fewshot.labels import as_labels, is_text, mixed_labels
from quickstudy.apps.fewshot.methods import METHODS
from quickstudy.apps.fewshot.saving import ClassifierState
from quickstudy.apps.fewshot.support_notes import support_notes
from quickstudy.apps.fewshot.unlabelled import check_pool, choose_to_label
from quickstudy.apps.fewshot.views import KINDS, default_blend, encoder_of_views
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.engine.calibration import (
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    scores_left_out,
)
from quickstudy.errors import DataError, QuickstudyError, UsageError, require
from quickstudy.learners import BayesianPrototypes, Learner
from quickstudy.learners.base import device_of
from quickstudy.learners.transfer.blend import BlendedTask, Kind
from quickstudy.learners.transfer.closed_form import GaussianClasses
from quickstudy.tasks import Support, Tasks

try:
    from sklearn.base import ClassifierMixin, clone
    from sklearn.utils.validation import check_consistent_length, check_is_fitted
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = ["FewShotClassifier"]

PRIOR_STRENGTH = 1.0
"""How many examples a description counts as, if the user gives no learner: the value meta-learned
for the names of intents, embedded by MiniLM, on the training domains of clinc150
(`benchmarks/zero_shot.py`)."""


class FewShotClassifier(ClassifierMixin, FewShotEstimator):
    """A classifier from few examples per class: `fit` adapts a learner to them.

    Args:
        learner: Any learner, meta-trained or not; a run folder, or the name of a run that comes
            with quickstudy ("handwriting", "glyphs"); a method that needs no meta-training
            ("gaussian_classes", "nearest_centroid", "nearest_neighbour", "ridge" or
            "linear_probe"); or None for `LearnedBlend`, which weighs many methods by what it has
            learned from other tasks (see `explain`), and with descriptions `BayesianPrototypes` of
            the inputs as they are. The learner that is given does not change.
        encoder: Turns a list of examples of any kind into numbers of shape (n, ...), as `Images`
            does; or the name of one, such as "minilm" or "efficientnet_lite0", or of several joined
            by a plus. Without, a run takes images prepared as in its training, and another learner
            arrays. With neither learner nor encoder, texts are embedded by MiniLM and the
            multilingual Universal Sentence Encoder, images by EfficientNet-Lite0 and the run
            "handwriting", sounds by log-mel features and a speech encoder, series by MiniRocket's
            kernels, and `LearnedBlend` weighs them.
        temperature: What scores are divided by before softmax. "auto" learns it from the examples,
            each left out once, if every class has two; else it is 1, as it is for the default
            learner, whose probabilities are calibrated. That takes one adaptation per example, at
            most 12; a given number takes none. See `calibrate`.
        unknown: Label of a query whose greatest score is below the threshold; with None, each query
            gets the label of a class. A string or an integer, like the labels.
        threshold: Least score of a known class. "auto" learns it from the examples, each left out
            once, so that one in twenty queries of known classes is below. It needs two examples of
            each class.
        check: Warn in a line of an example whose label does not fit, of copies in two classes, and
            of examples unlike those that a run was trained on (`quickstudy doctor` says more).
        kind: "series" if arrays are time series, of shape (n, length) or (n, channels, length); by
            default arrays are plain numbers, and lists of series whose lengths differ are series. A
            method that is named sees the features of series by MiniRocket's kernels.

    Attributes:
        classes_: The labels, sorted.
        temperature_, threshold_: As given or learned; the threshold is None without `unknown`.
        learner_, encoder_: What adapts, and what prepares the examples.
        kind_: What the examples are taken for: "text", "image", "sound", "series" or "numbers".
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
        kind: Literal["numbers", "series"] | None = None,
        check: bool = True,
    ) -> None:
        super().__init__(learner, encoder=encoder)
        self.check = check
        self.kind = kind
        self.temperature = temperature
        self.unknown = unknown
        self.threshold = threshold

    def fit(
        self,
        X: Any,
        y: Any,
        descriptions: Mapping[Any, Any] | None = None,
        *,
        unlabelled: Any = None,
    ) -> Self:
        """Adapt to these examples alone.

        Args:
            X: Numbers of shape (n, ...), or n examples for the encoder.
            y: Labels of shape (n,), all strings or all integers.
            descriptions: What is known of classes in addition to examples, by label: texts for the
                encoder, or vectors as the learner takes them. A class needs an example or a
                description; if all have one, X and y may be empty.
            unlabelled: More examples, like X, whose labels are not known and may be none of y.
                The default learner uses them as far as they help: `explain` says how far, and why.

        Raises:
            ValueError: If the examples or descriptions cannot serve; a `DataError` or of
                scikit-learn.
        """
        return self._fit(X, y, None, descriptions, unlabelled, first=True)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        descriptions: Mapping[Any, Any] | None = None,
        *,
        unlabelled: Any = None,
    ) -> Self:
        """Adapt to these examples and all seen before; they may be of new classes.

        Args:
            classes: All labels, if known; each needs an example or a description by now.
            descriptions: As of `fit`; those given before stay, but for the same label.
            unlabelled: As of `fit`, in place of those given before, which else stay.

        Raises:
            ValueError: If the examples or descriptions cannot serve; a `DataError` or of
                scikit-learn.
        """
        first = not hasattr(self, "support_")
        return self._fit(X, y, classes, descriptions, unlabelled, first=first)

    def _fit(
        self, X: Any, y: Any, classes: Any, descriptions: Any, unlabelled: Any, *, first: bool
    ) -> Self:
        self._check_options()
        self._check_kind(described=descriptions is not None)
        # The labels of the descriptions, in their order; without descriptions, of the examples.
        named = as_labels(y) if descriptions is None else labels_of_descriptions(descriptions)
        empty = descriptions is not None and _is_empty(y) and _is_empty(X)
        labels = named[:0] if empty else as_labels(y)
        if is_text(labels) != is_text(named):
            raise mixed_labels(labels[0], named[0])
        if first:
            self._described = descriptions is not None
            self._prepare(list(descriptions.values()) if empty and descriptions else X)
        described: dict[Any, Tensor] = {}  # descriptions by label
        if descriptions is not None:
            rows = torch.tensor(encode_descriptions(descriptions, self.encoder_))
            rows = rows.to(device_of(self.learner_), dtype_of(self.learner_))
            described = dict(zip(named.tolist(), rows, strict=True))
        if not empty:
            x = self._inputs(X, reset=first)
        elif first:
            x = no_examples(X, next(iter(described.values())), self._descriptions_kind)
        else:
            x = self.support_.x[:0]
        check_consistent_length(x, labels)
        pool = None if unlabelled is None else self._pool(unlabelled, x)
        if not first:
            if is_text(labels) != is_text(self.classes_):
                raise mixed_labels(self.classes_[0], named[0])
            before = self.support_
            pool = before.unlabelled if pool is None else pool
            labels = np.concatenate([self.classes_[before.y.cpu().numpy()], labels])
            x = torch.cat([before.x, x])
            described = attributes_by_label(self.classes_, before.attributes) | described
        # Labels with an example or a description.
        known = np.union1d(labels, as_labels(list(described))) if described else labels
        absent = [] if classes is None else np.setdiff1d(as_labels(classes), known).tolist()
        if absent:
            raise DataError(
                f"expected at least one example of each class, got none of {absent[0]!r}: "
                "add one, or a description, or leave the class out"
            )
        self._adapt_to_all(x, labels, known, described, pool)
        return self

    def _pool(self, unlabelled: Any, x: Tensor) -> Tensor:
        """Unlabelled examples as the learner takes them, of the shape of the examples x."""
        is_default = self._is_default and not self._described
        if not (is_default or self.learner_.uses_unlabelled):
            raise UsageError(
                "expected unlabelled examples only for a learner that uses them, as the default "
                f"one, got {_learner_name(self)}"
                f"{' for descriptions' if self._described else ''}: leave out learner= and "
                "descriptions, or unlabelled="
            )
        check_pool(unlabelled, self.kind_ if is_default and self.encoder is None else None)
        return self._inputs(unlabelled, reset=False, like=x)

    def _check_options(self) -> None:
        for name, lowest in (("temperature", 0.0), ("threshold", -math.inf)):
            value: Any = getattr(self, name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value != "auto" and not (number and lowest < float(value) < math.inf):
                kind = "a positive number" if name == "temperature" else "a number"
                raise UsageError(f'expected {name} to be {kind} or "auto", got {value!r}')
        if self.unknown is None and self.threshold != "auto":
            raise UsageError("expected a label `unknown` together with a threshold, got none")

    def _check_kind(self, *, described: bool) -> None:
        """Refuse `kind="series"` where nothing would embed them."""
        if self.kind not in (None, "numbers", "series"):
            raise UsageError(f'expected kind to be "numbers", "series" or None, got {self.kind!r}')
        if self.kind != "series":
            return
        others = {
            "descriptions": described,
            f"encoder={self.encoder!r}": self.encoder is not None,
            f"learner={self.learner!r}": not (self.learner is None or self.learner in METHODS),
        }
        for other, is_given in others.items():
            if is_given:
                raise UsageError(
                    'expected kind="series" with the default learner or a method by name, which '
                    f"see features of the series, got {other}: leave out kind="
                )

    @property
    def _descriptions_kind(self) -> str | None:
        """As `descriptions` of the learner; the default one for descriptions takes inputs."""
        return "inputs" if self._is_default else self.learner_.descriptions

    def _adapt_to_all(
        self,
        x: Tensor,
        labels: np.ndarray,
        known: np.ndarray,
        described: dict[Any, Tensor],
        pool: Tensor | None,
    ) -> None:
        """Adapt to all examples, and learn temperature and threshold; errors change nothing."""
        classes = np.unique(known)
        y = np.searchsorted(classes, labels)
        if len(classes) < 2:
            raise DataError(
                f"expected at least 2 classes, got 1 class, {classes.item()!r}: add one"
            )
        self._check_unknown(classes)
        attributes = attributes_of_classes(
            classes, described, x, self._descriptions_kind, type(self.learner_).__name__
        )
        targets = torch.as_tensor(y, device=x.device)
        support = Support(x, targets, len(classes), attributes, pool)
        rare = classes[np.bincount(y, minlength=len(classes)) < 2].tolist()
        if self._learns_threshold and rare:
            raise DataError(
                "expected at least 2 examples of each class to learn a threshold from, got "
                f"{np.sum(labels == rare[0])} of {rare[0]!r}: add one, or give a threshold"
            )
        if self._is_closed_form:
            self.learner_ = self._closed_form(x.shape[1:].numel(), bool(described)).to(x.device)
        adapted = self._adapt(support)
        temperature, threshold = self._fit_scale(adapted, support, learns_temperature=not rare)
        self._predictor, self.support_ = adapted, support
        self.classes_ = classes
        self.temperature_, self.threshold_ = temperature, threshold
        if self.check:
            named = None if isinstance(self.learner, Learner) else self.learner
            run, of_run = (named, self.learner_) if self.recipe_ else (None, None)
            of_numbers = self.encoder_ is None
            for note in support_notes(support, classes, of_run, run, of_numbers=of_numbers):
                warnings.warn(note, stacklevel=4)  # the caller of fit

    @property
    def _learns_threshold(self) -> bool:
        return self.unknown is not None and self.threshold == "auto"

    def _check_unknown(self, classes: np.ndarray) -> None:
        if self.unknown is None:
            return
        (label,) = as_labels([self.unknown])
        if is_text(label) != is_text(classes):
            raise mixed_labels(classes[0], self.unknown)
        if label in classes:
            raise DataError(f"expected `unknown` to be a label of no class, got {self.unknown!r}")

    def _fit_scale(
        self, adapted: FittedPredictor, support: Support, *, learns_temperature: bool
    ) -> tuple[float, float | None]:
        """Temperature and threshold, as given or learned from examples that are left out."""
        temperature: Any = self.temperature
        threshold: Any = self.threshold if self.unknown is not None else None
        blended = adapted.predictor if isinstance(adapted.predictor, BlendedTask) else None
        # The probabilities of the default learner are calibrated.
        learns_temperature &= temperature == "auto" and blended is None
        if learns_temperature or self._learns_threshold:
            left_out = blended.left_out() if blended else scores_left_out(self._adapt, support)
            if learns_temperature:
                temperature = fit_temperature([left_out])
            if self._learns_threshold:
                threshold = fit_threshold(left_out[0])
        return (
            1.0 if temperature == "auto" else float(temperature),
            None if threshold is None else float(threshold),
        )

    def calibrate(self, tasks: Tasks, n_tasks: int = 100) -> Self:
        """Learn the temperature from the queries of the first `n_tasks` tasks, and set it.

        It becomes the option `temperature`, for this and later support sets. The tasks should be
        like those to come, of classes that the learner was not trained on; their examples are not
        encoded.

        Raises:
            UsageError: With fewer than one task.
            DataError: If a task is not of classes.
        """
        if n_tasks < 1:
            raise UsageError(f"expected n_tasks >= 1, got {n_tasks}")
        if not hasattr(self, "support_"):
            self._described = False
            self._prepare(None)
            if self._is_closed_form:
                self.learner_ = self._closed_form(tasks[0].support.x.shape[1:].numel(), False)
        device, dtype = device_of(self.learner_), dtype_of(self.learner_)
        scores_and_labels = []
        for i in range(n_tasks):
            episode = tasks[i].to(device).to(dtype)
            if episode.n_way is None:
                raise DataError("expected tasks of classes to calibrate on, got regression")
            scores_and_labels.append(
                (self._adapt(episode.support)(episode.query.x), episode.query.y.cpu())
            )
        self.temperature = fit_temperature(scores_and_labels)
        if hasattr(self, "support_"):
            self.temperature_ = self.temperature
        return self

    def predict_proba(self, X: Any, *, transductive: bool = False) -> np.ndarray:
        """The probability of each class, in the order of `classes_`, shape (n, n_way).

        Args:
            transductive: As of `predict`.
        """
        scores = self._transductive_scores(X) if transductive else self._scores(X)
        return (scores / self.temperature_).softmax(1).numpy()

    def predict(self, X: Any, *, transductive: bool = False) -> np.ndarray:
        """The label of each query, shape (n,).

        Args:
            transductive: Whether the queries are unlabelled examples too, see `fit`: an answer then
                depends on the other queries, and the classifier stays as it is. A query is taken
                for as likely of each class before it is seen, and no class is given a share of the
                queries: they may be of few of the classes, or of others.
        """
        scores = self._transductive_scores(X) if transductive else self._scores(X)
        best, index = scores.max(1)
        labels = self.classes_[index.numpy()]
        if self.threshold_ is None:
            return labels
        return np.where(best.numpy() < self.threshold_, np.asarray(self.unknown), labels)

    def _transductive_scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        x = self._pool(X, self.support_.x)
        known = self.support_.unlabelled
        pool = x if known is None else torch.cat([known, x])
        return self._adapt(replace(self.support_, unlabelled=pool))(x)

    def suggest_labels(self, pool: Any, n: int = 10) -> np.ndarray:
        """Which unlabelled examples to label next; nothing is trained for it.

        Before `fit`, they are typical and diverse: many are near each, and all lie near some. After
        `fit`, they also are what the classifier is unsure about, and unlike what is labelled.

        Args:
            pool: Unlabelled examples, like X of `fit`.
            n: How many to label.

        Returns:
            Their indices in the pool, shape (n,), the most useful first.

        Raises:
            ValueError: If the pool cannot serve, or has fewer than n.

        Example:
            >>> FewShotClassifier().suggest_labels([[0.0], [0.1], [0.2], [5.0], [5.1]], 2).tolist()
            [0, 3]
        """
        check_pool(pool, None)
        if not hasattr(self, "support_"):
            new: Any = clone(self)
            new._described = False
            new._prepare(pool)
            x = new._inputs(pool, reset=True)
            if new._is_closed_form:
                new.learner_ = new._closed_form(x.shape[1:].numel(), False)
            return choose_to_label(x, n, new.learner_).numpy()
        x = self._inputs(pool, reset=False)
        probabilities = (self._predictor(x) / self.temperature_).softmax(1)
        task = self._predictor.predictor
        return choose_to_label(x, n, self.learner_, self.support_, task, probabilities).numpy()

    def calibration_error(self, X: Any, y: Any, n_bins: int = 15) -> float:
        """The expected calibration error of `predict_proba` on queries of known labels.

        Raises:
            DataError: If there is a label of no class.
        """
        probabilities, labels = self.predict_proba(X), as_labels(y)
        if unseen := np.setdiff1d(labels, self.classes_).tolist():
            raise DataError(f"expected labels of the classes fitted, got {unseen[0]!r}")
        y = torch.from_numpy(np.searchsorted(self.classes_, labels))
        return expected_calibration_error(torch.from_numpy(probabilities), y, n_bins)

    def explain(self) -> Explanation:
        """What the default learner weighed for these examples, and the accuracy it expects.

        Raises:
            UsageError: If a learner was given, which weighs nothing.
        """
        check_is_fitted(self)
        task = self._predictor.predictor
        if not isinstance(task, BlendedTask):
            raise UsageError(
                f"expected the default learner to explain its choice, got {_learner_name(self)}: "
                "leave out learner= and descriptions"
            )
        return explain(task)

    def _reason(self) -> str:
        task = self._predictor.predictor
        return str(explain(task)) if isinstance(task, BlendedTask) else ""

    def _prepare(self, X: Any) -> None:
        given: Any = self.kind
        self.kind_: Kind = KINDS[given or _kind_of(X)]
        super()._prepare(X)

    def _default_encoder(self, X: Any) -> tuple[str | None, Any]:
        given: Any = self.kind
        kind: InputKind = given or kind_of(X)
        if self._described:
            return super()._default_encoder(X)
        if self.learner is None:
            return encoder_of_views(kind, X)
        if kind == "series":
            return None, SeriesEncoder.fitted(X, values=False)
        return super()._default_encoder(X)

    def _closed_form(self, size: int, described: bool) -> Learner:
        if self.learner is not None:
            return super()._closed_form(size, described)
        if described:
            prototypes = BayesianPrototypes(nn.Flatten(), scale=10.0, prior_strength=PRIOR_STRENGTH)
            return prototypes.double().eval()
        return default_blend(self.kind_, self.encoder_, size, self._encoder_name)

    def _state(self) -> ClassifierState:
        return ClassifierState(
            classes=self.classes_.tolist(),
            temperature=self.temperature_,
            threshold=self.threshold_,
            kind=self.kind_,
        )

    def _take(self, state: ClassifierState) -> None:
        self.classes_ = np.array(state.classes)
        self.temperature_, self.threshold_ = state.temperature, state.threshold
        self.kind_ = state.kind

    def _support_of(self, tensors: dict[str, Tensor]) -> Support:
        attributes, unlabelled = tensors.get("attributes"), tensors.get("unlabelled")
        return Support(tensors["x"], tensors["y"], len(self.classes_), attributes, unlabelled)


def _kind_of(X: Any) -> InputKind:
    """The kind of examples, for the gate; numbers where an encoder of one's own takes others."""
    try:
        return "numbers" if X is None else kind_of(X)
    except QuickstudyError:
        return "numbers"


def _learner_name(classifier: FewShotClassifier) -> str:
    named = classifier.learner
    return named if isinstance(named, str) else type(classifier.learner_).__name__


def _is_empty(values: Any) -> bool:
    return hasattr(values, "__len__") and len(values) == 0
