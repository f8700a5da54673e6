"""Whether another learner promises more on a support set than a run does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.apps.doctor.examples import LoadedSupport
from quickstudy.apps.fewshot.methods import named_encoder
from quickstudy.apps.fewshot.views import ImageViews, default_blend, encoder_name
from quickstudy.diagnostics.finding import Finding, Skipped, Threshold
from quickstudy.learners.transfer.blend import ExpectedAccuracy
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images, folder_bit_depth, load_image_folder

__all__ = ["DEFAULT_LEARNER", "advise", "default_accuracy"]

DEFAULT_LEARNER = "default learner"
"""The name of the measure."""


def advise(expected: Finding, default: ExpectedAccuracy) -> Finding:
    """Compare the accuracy to expect of a run with that of the default learner, both from the same
    examples, left out in turn. The default learner is advised if even the low end of its interval
    is above what the run is expected to reach.

    Args:
        expected: Of the run, by `expected_accuracy`.
        default: Of `LearnedBlend`, adapted to the same support set.
    """
    assert expected.value is not None
    is_better = default.low > expected.value
    return Finding(
        DEFAULT_LEARNER,
        "warning" if is_better else "fine",
        default.mean,
        f"Expect {default.mean:.0%} of new examples to be right by the default learner "
        f"({default.low:.0%} to {default.high:.0%}, nine times in ten), and {expected.value:.0%} "
        "by this run.",
        "Leave out the learner's name to use the default learner." if is_better else "",
        (default.low, default.high),
        Threshold(expected.value, "for the low end: what this run is expected to reach"),
    )


def default_accuracy(path: Path, loaded: LoadedSupport) -> ExpectedAccuracy | Skipped:
    """The accuracy to expect of the default learner.

    Args:
        path: Of the examples.
        loaded: The same as the run takes them.

    Raises:
        MissingError: If the encoder that the examples need is not installed.
    """
    y, n_way = loaded.task.y, loaded.task.n_way
    if int(y.bincount().min()) < 2:
        return Skipped(DEFAULT_LEARNER, "it takes two examples of each class to compare by")
    if loaded.pixels is not None:
        views = ImageViews(folder_bit_depth(path))

        def prepare(how: Images) -> Tensor:
            how = replace(how, bits=views.bits)
            return load_image_folder(path, **vars(how)).x.float() / 255

        x = views.embed(prepare)
        blend = default_blend("image", views, x.shape[1])
    elif loaded.columns:
        x = loaded.task.x.flatten(1)
        blend = default_blend("numbers", None, x.shape[1])
    else:
        name = encoder_name("texts")
        encoder = named_encoder(name)
        x = encoder(loaded.words)  # pyright: ignore[reportCallIssue]
        blend = default_blend("text", encoder, x.shape[1], name)
    with torch.no_grad():
        return blend.adapt(Support(x.double(), y, n_way)).expected_accuracy()
