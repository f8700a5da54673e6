"""The base of the few-shot classifier and regressor: inputs, adaptation, saving and loading.

Needs scikit-learn, which quickstudy's extra `fewshot` installs.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quickstudy.apps.fewshot.labels import plain
from quickstudy.apps.fewshot.methods import (
    EncodedImages,
    default_encoder,
    images_of,
    make_method,
    named_encoder,
)
from quickstudy.apps.fewshot.saving import (
    ClassifierState,
    CodeEncoder,
    CodeLearner,
    ImageEncoder,
    ImageViewsEncoder,
    MethodLearner,
    NamedEncoder,
    NoEncoder,
    RegressorState,
    RunLearner,
    SavedEncoder,
    SavedEstimator,
    SeriesViewsEncoder,
    read_estimator,
    write_estimator,
)
from quickstudy.apps.fewshot.views import ImageViews
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.engine import checkpoints
from quickstudy.errors import DataError, UsageError, require
from quickstudy.experiments.run import load_run
from quickstudy.html import html_table
from quickstudy.learners import Learner, Predictor
from quickstudy.learners.base import check_finite, device_of
from quickstudy.recipes.loading import parse_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import estimator_html_repr
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        validate_data,
    )
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = ["QUERY_BATCH", "Encoder", "FewShotEstimator", "FittedPredictor", "dtype_of"]

QUERY_BATCH = 1000
"""Queries that are predicted in one batch."""

Encoder = Callable[[Sequence[Any]], Any]


class FewShotEstimator(BaseEstimator):
    """The base of the few-shot classifier and regressor."""

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
    def _is_closed_form(self) -> bool:
        """Whether the learner is a closed-form method, as the user gives no trained one."""
        return self.learner in (None, *self._methods) and self.recipe_ is None

    @property
    def _is_default(self) -> bool:
        """Whether the user leaves the learner to quickstudy."""
        return self._is_closed_form and self.learner is None

    def _prepare(self, X: Any) -> None:
        """Set learner and encoder, for examples of the kind of X, or as saved if it is None."""
        self.recipe_: Recipe | None = None
        self._set_learner()
        self._set_encoder(X)
        if X is not None and isinstance(self.encoder_, Images | EncodedImages | ImageViews):
            self.encoder_ = self.encoder_.fitted(X)

    def _set_learner(self) -> None:
        learner = self.learner
        if learner is None or learner in self._methods:
            self.learner_: Learner = self._default().eval()  # until the examples' shape is known
        elif isinstance(learner, Learner):
            self.learner_ = copy.deepcopy(learner).eval()
        elif isinstance(learner, str | os.PathLike):
            self.recipe_, self.learner_ = load_run(learner)
        else:
            raise UsageError(
                "expected as learner a Learner, a run folder, a name or None, got "
                f"{type(learner).__name__}"
            )
        if self.learner_.acts:
            raise UsageError(
                f"{type(self.learner_).__name__} learns to act in environments: expected a learner "
                "of examples; let its policy() act, or test its run with `quickstudy test`"
            )

    def _set_encoder(self, X: Any) -> None:
        encoder, name = self.encoder, None
        if isinstance(encoder, str):
            name = encoder
        elif encoder is None and self.recipe_ is not None:
            name = self.recipe_.data.encoder
            if name is None and self.recipe_.data.of_images:
                encoder = images_of(self.recipe_)
        elif encoder is None and self._is_closed_form and X is not None:
            name, encoder = self._default_encoder(X)
        self._encoder_name = name
        self.encoder_: Any = named_encoder(name) if name else encoder

    def _default_encoder(self, X: Any) -> tuple[str | None, Any]:
        """The encoder of examples if the user names nothing, by name or itself."""
        return default_encoder(X), None

    def _closed_form(self, size: int, described: bool) -> Learner:
        """Make the closed-form learner, for a user who gives no learner with weights.

        Args:
            size: How many numbers an example has.
            described: Whether classes have descriptions.
        """
        del size, described
        if self.learner is not None:
            return make_method(str(self.learner))
        return self._default().eval()

    def _inputs(self, X: Any, *, reset: bool, like: Tensor | None = None) -> Tensor:
        """Examples as the learner takes them, of shape (n, ...).

        Args:
            like: Examples whose shape they must have; by default the support set's, unless reset.
        """
        if self.encoder_ is None:
            _refuse_unencoded(X)
            try:
                array = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric")
            except ValueError:
                _refuse_several_shapes(X)
                raise
        else:
            examples = [] if isinstance(X, str | bytes) else list(X)
            if not examples:
                raise DataError(f"expected a sequence of examples, got {X!r}")
            for i, example in enumerate(examples):
                if isinstance(example, str) and not example.strip():
                    raise DataError(f"expected a text or path, got an empty one as example {i}")
            encoded = self.encoder_(examples)
            if isinstance(encoded, Tensor):
                encoded = encoded.detach().cpu()
            array = check_array(encoded, allow_nd=True, input_name="the encoder's output")
            check_consistent_length(array, examples)
        x = torch.tensor(array).to(device_of(self.learner_), dtype_of(self.learner_))
        like = self.support_.x if like is None and not reset else like
        if like is not None and (known := like.shape[1:]) != x.shape[1:]:
            raise DataError(
                f"expected examples of shape {tuple(known)} as in the support set, got "
                f"{tuple(x.shape[1:])}"
            )
        return x

    def _adapt(self, support: Support) -> FittedPredictor:
        """Adapt the learner; its predictor takes any number of queries and computes no gradient."""
        learner = type(self.learner_).__name__
        with torch.no_grad():
            try:
                predictor = self.learner_.adapt(support)
            except (RuntimeError, IndexError) as error:
                raise _unfit(learner, support.x, error) from error
        return FittedPredictor(predictor, learner)

    def _learn(self, support: Support) -> None:
        self._predictor = self._adapt(support)
        self.support_ = support

    def _scores(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return self._predictor(self._inputs(X, reset=False))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "support_")

    def _html_repr(self) -> str:
        """A table of learner, encoder and support set, above scikit-learn's own display."""
        shown: str = estimator_html_repr(self)
        if not self.__sklearn_is_fitted__():
            return shown
        rows = [
            ["learner", self.learner if isinstance(self.learner, str) else _name(self.learner_)],
            ["encoder", self._encoder_name or _name(self.encoder_)],
            ["examples", len(self.support_)],
        ]
        if self.support_.n_way is not None:
            rows.append(["classes", self.support_.n_way])
        if reason := self._reason():
            rows.append(["chosen", reason])
        return html_table([type(self).__name__, ""], rows) + shown

    def _reason(self) -> str:
        """What the default learner weighed, in a line; empty for another learner."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the predictor, which may be any function: a copy adapts again."""
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
        once the new one is complete, and other processes may load it meanwhile.

        Raises:
            RunError: If the folder holds something else, or another process keeps saving there.
            DiskError: If it cannot be written.
        """
        check_is_fitted(self)
        saved = SavedEstimator(
            estimator=type(self).__name__,  # pyright: ignore[reportArgumentType]
            learner=self._saved_learner(),
            encoder=self._saved_encoder(),
            options={
                name: plain(value)
                for name, value in self.get_params(deep=False).items()
                if name not in ("learner", "encoder")
            },
            n_features=getattr(self, "n_features_in_", None),
            feature_names=list(getattr(self, "feature_names_in_", [])),
            state=self._state(),
        )
        write_estimator(Path(folder), saved, self.learner_.state_dict(), self.support_)

    def _saved_learner(self) -> MethodLearner | RunLearner | CodeLearner:
        if self.recipe_ is not None:
            return RunLearner(recipe=json.loads(self.recipe_.as_json()))
        if self._is_closed_form:
            return MethodLearner(name=self.learner)  # pyright: ignore[reportArgumentType]
        return CodeLearner(name=type(self.learner_).__name__)

    def _saved_encoder(self) -> SavedEncoder:
        if self._encoder_name:
            images = getattr(self.encoder_, "images", None)
            return NamedEncoder(name=self._encoder_name, bits=images.bits if images else None)
        if self.encoder_ is None:
            return NoEncoder()
        if isinstance(self.encoder_, ImageViews):
            return ImageViewsEncoder(bits=self.encoder_.bits)
        if isinstance(self.encoder_, SeriesEncoder):
            return SeriesViewsEncoder(**vars(self.encoder_))
        if isinstance(self.encoder_, Images):
            return ImageEncoder(options=vars(self.encoder_))
        return CodeEncoder()

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
            learner: If the saved learner was neither of a run nor a named method, one made in the
                same way, which receives its weights.
            encoder: The encoder, if it was neither `Images` nor named.

        Raises:
            MissingError: If nothing is saved there.
            RunError: If it is damaged, or of another kind.
            UsageError: If the learner or encoder is code that has to be given, and is not.
        """
        saved, weights, support = read_estimator(Path(folder), cls.__name__)
        options: dict[str, Any] = saved.options
        estimator = cls(
            learner=saved.learner.restore(learner),
            encoder=saved.encoder.restore(encoder),
            **options,
        )
        estimator._prepare(None)
        if isinstance(saved.encoder, NamedEncoder) and isinstance(
            estimator.encoder_, EncodedImages
        ):
            images = estimator.encoder_
            estimator.encoder_ = EncodedImages(
                images.encoder, images.images.size, saved.encoder.bits
            )
        if isinstance(saved.learner, RunLearner):
            estimator.recipe_ = parse_recipe(saved.learner.recipe)
        if isinstance(saved.learner, MethodLearner):
            estimator._take(saved.state)
            size = support["x"].shape[1:].numel()
            estimator.learner_ = estimator._closed_form(size, "attributes" in support)
        if isinstance(saved.learner, MethodLearner):  # what an older version had not is as shipped
            weights = {**estimator.learner_.state_dict(), **weights}
        try:
            checkpoints.load_weights(estimator.learner_, weights)
        except RuntimeError as error:
            raise UsageError(
                f"expected a learner made as the saved one, whose weights do not fit that given: "
                f"{error}"
            ) from None
        if not isinstance(saved.learner, MethodLearner):
            estimator.learner = estimator.learner_
        if saved.n_features is not None:
            estimator.n_features_in_ = saved.n_features
        if saved.feature_names:
            estimator.feature_names_in_ = np.array(saved.feature_names, dtype=object)
        estimator._take(saved.state)
        support = {name: t.to(device_of(estimator.learner_)) for name, t in support.items()}
        estimator._learn(estimator._support_of(support))
        return estimator

    def _state(self) -> ClassifierState | RegressorState:
        """What was learned in addition to the support set."""
        raise NotImplementedError

    def _take(self, state: Any) -> None:
        """Set what `_state` returned."""
        raise NotImplementedError

    def _support_of(self, tensors: dict[str, Tensor]) -> Support:
        """The support set of saved tensors."""
        raise NotImplementedError


@dataclass(frozen=True)
class FittedPredictor:
    """A learner's predictor, for any number of queries, without gradients.

    Args:
        predictor: As the learner gave it.
        learner: The name of its class.
    """

    predictor: Predictor
    learner: str

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (n, n_way) or predictions (n, d), float64 on the CPU.

        Raises:
            DataError: If the learner cannot take the queries, or a score is not finite.
        """
        with torch.no_grad():
            try:
                scores = torch.cat([self.predictor(part) for part in x.split(QUERY_BATCH)]).cpu()
            except (RuntimeError, IndexError) as error:
                raise _unfit(self.learner, x, error) from error
        return check_finite(scores, self.learner).double()


def _unfit(learner: str, x: Tensor, error: Exception) -> DataError:
    return DataError(f"{learner} cannot learn from examples of shape {tuple(x.shape[1:])}: {error}")


def _name(part: Any) -> str:
    """The name of a learner or an encoder, for display."""
    if part is None:
        return "none"
    return getattr(part, "__name__", type(part).__name__)


def dtype_of(learner: Learner) -> torch.dtype:
    """The dtype of the learner's weights; float64 for one without."""
    tensors = (*learner.parameters(), *learner.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float64)


def _refuse_unencoded(X: Any) -> None:
    """Refuse strings, paths and images where there is no encoder for them."""
    for i, example in enumerate(X if isinstance(X, list | tuple) else ()):
        if not isinstance(example, str | os.PathLike | Image.Image):
            continue
        raise UsageError(
            f"expected numbers without an encoder, got {type(example).__name__} as example {i}: "
            "give encoder=, for images quickstudy's Images"
        )


def _refuse_several_shapes(X: Any) -> None:
    """Refuse examples of several shapes, in better words than NumPy's."""
    if not isinstance(X, list | tuple) and getattr(X, "ndim", 0) != 1:
        return
    shapes = [_shape(one) for one in X]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DataError(
                f"expected examples of one shape, got {shapes[0]} as example 0 and {shape} as "
                f"example {i}: make them alike, or leave out learner= and kind= for series of "
                "several lengths"
            )


def _shape(one: Any) -> tuple[int, ...] | str:
    try:
        return np.shape(one)
    except ValueError:
        return "rows of several lengths"
