"""The schema of a saved estimator, and how it is written and read, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from quickstudy.apps.fewshot.methods import METHODS
from quickstudy.apps.fewshot.views import ImageViews
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.engine import checkpoints
from quickstudy.errors import MissingError, RunError, UsageError
from quickstudy.experiments.build import make_learner
from quickstudy.learners import Learner
from quickstudy.learners.transfer.blend import Kind
from quickstudy.recipes.loading import parse_recipe
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images

__all__ = [
    "ClassifierState",
    "CodeEncoder",
    "CodeLearner",
    "ImageEncoder",
    "ImageViewsEncoder",
    "MethodLearner",
    "NamedEncoder",
    "NoEncoder",
    "RegressorState",
    "RunLearner",
    "SavedEncoder",
    "SavedEstimator",
    "SeriesViewsEncoder",
    "read_estimator",
    "write_estimator",
]


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _CompleteLearner(_Saved):
    """A learner that can be made from what is saved alone."""

    def restore(self, given: Learner | None) -> Any:
        if given is not None:
            raise UsageError("expected no learner=, since the saved one is complete")
        return self.make()

    def make(self) -> Any:
        raise NotImplementedError


class MethodLearner(_CompleteLearner):
    """A method in closed form, or None for the default."""

    kind: Literal["method"] = "method"
    name: Literal[METHODS] | None  # pyright: ignore[reportInvalidTypeForm]

    def make(self) -> str | None:
        return self.name


class RunLearner(_CompleteLearner):
    """The learner of a run, by its recipe."""

    kind: Literal["run"] = "run"
    recipe: dict[str, Any]

    def make(self) -> Learner:
        return make_learner(parse_recipe(self.recipe))


class CodeLearner(_Saved):
    """A learner that the user made: its code is not saved."""

    kind: Literal["code"] = "code"
    name: str

    def restore(self, given: Learner | None) -> Learner:
        if given is None:
            raise UsageError(
                f"expected learner=, a {self.name} made as the saved one, since its code is not "
                "saved"
            )
        return given


class _CompleteEncoder(_Saved):
    """An encoder, or none, that can be made from what is saved alone."""

    def restore(self, given: Any) -> Any:
        if given is not None:
            raise UsageError("expected no encoder=, since the saved one is complete or had none")
        return self.make()

    def make(self) -> Any:
        raise NotImplementedError


class NoEncoder(_CompleteEncoder):
    kind: Literal["none"] = "none"

    def make(self) -> None:
        return None


class NamedEncoder(_CompleteEncoder):
    """An encoder by name, and the bits of the 16-bit images that it was fitted to."""

    kind: Literal["named"] = "named"
    name: str
    bits: int | None = Field(None, ge=1, le=16)

    def make(self) -> str:
        return self.name


class ImageEncoder(_CompleteEncoder):
    """The options of `Images`."""

    kind: Literal["images"] = "images"
    options: dict[str, str | int | None]

    def make(self) -> Images:
        options: Any = self.options
        return Images(**options)


class ImageViewsEncoder(_CompleteEncoder):
    """The views of images that the default learner has, and the bits of 16-bit images."""

    kind: Literal["image_views"] = "image_views"
    bits: int | None = Field(None, ge=1, le=16)

    def make(self) -> ImageViews:
        return ImageViews(self.bits)


class SeriesViewsEncoder(_CompleteEncoder):
    """The options of `SeriesEncoder`."""

    kind: Literal["series"] = "series"
    length: int = Field(ge=3, le=10**6)
    channels: int = Field(ge=1, le=10**4)
    values: bool = True

    def make(self) -> SeriesEncoder:
        return SeriesEncoder(self.length, self.channels, self.values)


class CodeEncoder(_Saved):
    """A callable that the user made."""

    kind: Literal["code"] = "code"

    def restore(self, given: Any) -> Any:
        if given is None:
            raise UsageError("expected encoder=, the saved one's, since a callable cannot be saved")
        return given


SavedEncoder = (
    NoEncoder | NamedEncoder | ImageEncoder | ImageViewsEncoder | SeriesViewsEncoder | CodeEncoder
)


class ClassifierState(_Saved):
    """What a classifier learned in addition to the support set."""

    classes: list[int] | list[str]
    temperature: float = Field(gt=0)
    threshold: float | None
    kind: Kind


class RegressorState(_Saved):
    """What a regressor learned in addition to the support set."""

    flat: bool


class SavedEstimator(_Saved):
    """All of an estimator but its tensors."""

    estimator: Literal["FewShotClassifier", "FewShotRegressor"]
    learner: Annotated[MethodLearner | RunLearner | CodeLearner, Field(discriminator="kind")]
    encoder: Annotated[SavedEncoder, Field(discriminator="kind")]
    options: dict[str, str | int | float | None]
    n_features: int | None
    feature_names: list[str]
    state: ClassifierState | RegressorState


def write_estimator(
    folder: Path, saved: SavedEstimator, weights: dict[str, Tensor], support: Support
) -> None:
    """Write an estimator; one saved there before is replaced once the new one is complete.

    Raises:
        RunError: If the folder holds something else, or another process keeps saving there.
        DiskError: If it cannot be written.
    """
    checkpoints.check_versions(folder, "estimator", lambda state: "estimator" in state)
    examples = {"x": support.x, "y": support.y}
    if support.attributes is not None:
        examples["attributes"] = support.attributes
    if support.unlabelled is not None:
        examples["unlabelled"] = support.unlabelled
    tensors = {"weights": weights, "support": examples}
    checkpoints.save_version(folder, tensors, saved.model_dump(mode="json"))


def read_estimator(
    folder: Path, estimator: str
) -> tuple[SavedEstimator, dict[str, Tensor], dict[str, Tensor]]:
    """Read what `write_estimator` wrote.

    Args:
        estimator: The name of its class.

    Returns:
        What was saved, the learner's weights, and the support set: x, y, and maybe attributes and
        unlabelled.

    Raises:
        MissingError: If nothing is saved there.
        RunError: If it is damaged, or of another class.
    """
    latest = checkpoints.latest_checkpoint(folder)
    if latest is None:
        raise MissingError(f"expected a saved estimator at {folder}, found none: save one")
    tensors, state, _ = latest
    if (kind := state.get("estimator")) != estimator:
        raise RunError(
            f"expected a {estimator} in {folder}, got {kind}: load it with its own class"
        )
    try:
        saved = SavedEstimator.model_validate(state)
        weights, support = tensors["weights"], tensors["support"]
        x, y = support["x"], support["y"]
    except (ValidationError, KeyError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else f"no {error}"
        raise RunError(
            f"{folder} holds no estimator of this version of quickstudy ({reason}): fit and save "
            "it again"
        ) from None
    checkpoints.check_weights(weights, folder)
    checkpoints.check_weights({"x": x, "y": y}, folder)
    if not x.is_floating_point():
        raise RunError(f"expected examples in {folder} that are real numbers, got integers")
    return saved, weights, support
