"""Which of several candidates learns a support set best, and why: by examples left out, beside
what the images themselves say beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    IMAGE_ENCODER,
    METHOD_FOR_EMBEDDINGS,
    EncodedImages,
    images_of,
    in_colour,
    make_method,
    named_encoder,
)
from quickstudy.engine.calibration import scores_left_out
from quickstudy.errors import MissingError
from quickstudy.experiments.run import load_run
from quickstudy.html import html_table
from quickstudy.learners.base import Predictor
from quickstudy.tasks import Support
from quickstudy.tasks.images import Images

__all__ = ["Candidate", "Selection", "photograph_log_odds", "select", "select_for_images"]

COLOUR_LOG_ODDS = 5.0
"""Of photographs against drawings, where images are in colour."""

MID_GREY_CUT, MID_GREY_SLOPE = 0.31, 25.0
"""The share of mid-grey pixels from which images are rather photographs, and how fast that becomes
certain. Five of scikit-learn's handwritten digits, 8x8 and so greyer than other drawings, have 0.25
to 0.32, and 0.31 in one set of twenty; five photographs of hands (sign_digits) have 0.52 to 0.76
(`benchmarks/image_selection.py`)."""

LARGEST_LOG_ODDS = 5.0

STATISTICS_SIZE = 64
"""Of the images that statistics are taken of, in pixels."""


@dataclass(frozen=True)
class Candidate:
    """A way to learn a support set.

    Args:
        name: In words.
        adapt: Learns from a support set of its inputs.
        embed: Makes its inputs (n, ...), when they are needed.
        log_odds: Of being the best, before anything is left out.
    """

    name: str
    adapt: Callable[[Support], Predictor]
    embed: Callable[[], Tensor]
    log_odds: float = 0.0


@dataclass(frozen=True)
class Selection:
    """What was chosen, and why. A notebook shows it as a table.

    Args:
        name: The candidate that was chosen.
        reason: Why, in a line.
        correct: How many left-out examples each candidate predicted correctly, the chosen one
            first; empty where none was left out.
        n_left_out: Of how many.
    """

    name: str
    reason: str
    correct: dict[str, int] = field(default_factory=dict)
    n_left_out: int = 0

    def _repr_html_(self) -> str:
        if not self.correct:
            return html_table(["chosen", "because"], [[self.name, self.reason]])
        rows = [[name, n, "chosen" * (name == self.name)] for name, n in self.correct.items()]
        header = ["candidate", f"correct of {self.n_left_out} left out", ""]
        return html_table(header, rows, self.reason)


def select(candidates: Sequence[Candidate], y: Tensor, about: str) -> Selection:
    """Choose the candidate with the most examples named rightly when left out, where `log_odds`
    count as examples. With an example a class nothing can be left out, and they alone decide.

    Args:
        candidates: At least one.
        y: Labels 0..n_way-1 of the support set, shape (n,).
        about: What `log_odds` are taken from, in words.
    """
    n_way = int(y.max()) + 1
    if int(y.bincount(minlength=n_way).min()) < 2 or len(candidates) == 1:
        best = max(candidates, key=lambda candidate: candidate.log_odds)
        return Selection(best.name, f"{best.name}, since {about}")
    right = []
    with torch.no_grad():
        for candidate in candidates:
            support = Support(candidate.embed(), y, n_way)
            scores, targets = scores_left_out(candidate.adapt, support)
            right.append(int((scores.argmax(1) == targets).sum()))
    ranked = sorted(
        zip(candidates, right, strict=True), key=lambda pair: -(pair[0].log_odds + pair[1])
    )
    counts = ", ".join(f"{candidate.name} {n}" for candidate, n in ranked)
    best = ranked[0][0].name
    reason = f"{best}: of {len(y)} examples left out, right were {counts}; and {about}"
    return Selection(best, reason, {c.name: n for c, n in ranked}, len(y))


def photograph_log_odds(images: Tensor) -> tuple[float, str]:
    """How much images look like photographs rather than drawings, and a phrase that says why.

    Photographs have colour, or shades: a pixel is mid-grey from a fifth to four fifths of the way
    from the darkest to the brightest of its image.

    Args:
        images: Shape (n, 3, height, width) in 0..1.

    Returns:
        Log-odds within plus and minus `LARGEST_LOG_ODDS`, and the phrase.
    """
    if in_colour(images):
        return COLOUR_LOG_ODDS, "the images are in colour"
    grey = images.mean(1).flatten(1)
    low, high = grey.quantile(torch.tensor([0.01, 0.99]), dim=1)[..., None]
    relative = (grey - low) / (high - low).clamp_min(0.05)
    share = float(((relative > 0.2) & (relative < 0.8)).float().mean())
    odds = (share - MID_GREY_CUT) * MID_GREY_SLOPE
    phrase = (
        f"{share:.0%} of the pixels are mid-grey, as in {'photographs' if odds > 0 else 'drawings'}"
    )
    return max(-LARGEST_LOG_ODDS, min(LARGEST_LOG_ODDS, odds)), phrase


def select_for_images(prepare: Callable[[Images], Tensor], y: Tensor) -> Selection:
    """Choose between the run for drawn characters, `DRAWINGS_RUN`, and ridge regression of what the
    encoder `IMAGE_ENCODER` makes.

    Args:
        prepare: Makes the support set's images (n, channels, size, size) in 0..1.
        y: Labels 0..n_way-1, shape (n,).

    Raises:
        MissingError: If the images look like photographs, and the encoder is not installed.
    """
    log_odds, about = photograph_log_odds(prepare(Images(STATISTICS_SIZE, 3, fit="stretch")))
    recipe, learner = load_run(DRAWINGS_RUN)
    drawings = images_of(recipe)
    candidates = [Candidate(DRAWINGS_RUN, learner.adapt, lambda: prepare(drawings))]
    try:
        known = named_encoder(IMAGE_ENCODER)
    except MissingError as error:
        if log_odds > 0:
            raise
        return Selection(
            DRAWINGS_RUN, f"{DRAWINGS_RUN}, since {about}; {IMAGE_ENCODER} not tried: {error}"
        )
    assert isinstance(known, EncodedImages)
    candidates.append(
        Candidate(
            f"{METHOD_FOR_EMBEDDINGS} on {IMAGE_ENCODER}",
            make_method(METHOD_FOR_EMBEDDINGS).adapt,
            lambda: known.encoder(prepare(known.images)).double(),
            log_odds,
        )
    )
    return select(candidates, y, about)
