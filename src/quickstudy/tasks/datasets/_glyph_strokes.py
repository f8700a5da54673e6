"""Glyphs: invented alphabets of handwritten characters, drawn by a stroke program.

A procedural stand-in for Omniglot that needs no download, after the "motor program" view of
characters of Lake, Salakhutdinov and Tenenbaum (2015).  The story has four steps:

1. an *alphabet* has a style: a few primitive strokes it reuses, and habits for joining them;
2. a *character* is a program of one to five strokes, each a chain of primitives that starts on,
   ends on, or crosses an earlier stroke;
3. a *drawer* performs the program in their own hand: shaky angles and lengths, rounded
   corners, missed joins, a slant, an elastic distortion;
4. the *raster* turns the traced pen positions into a small grey image.

Points of the plane are complex numbers: a pen step is ``length * exp(1j * heading)`` and an affine
map is ``a * z + b * conj(z) + c``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

__all__ = ["Glyphs", "draw_glyphs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Points = NDArray[np.complex128]

STROKES, PIECES, STEPS = 5, 3, 20  # most strokes a character; pieces a stroke; pen steps a piece
TAU = 2 * np.pi


class Glyphs(NamedTuple):
    """Drawn characters; see `draw_glyphs`."""

    images: NDArray[np.uint8]
    labels: Ints
    class_names: list[str]


@dataclass
class Programs:
    """Stroke programs of many characters: arrays of shape ``(characters, STROKES[, PIECES])``.

    A piece is an arc: it turns by ``turn``, then runs ``length`` while bending by ``bend``.
    The stroke's point ``hold`` (0 start ... 1 end) is put on the point ``at`` of stroke
    ``parent``, ``offset`` away from it; if ``reach`` >= 0, the stroke is then stretched so that
    it ends on the point ``reach`` of that parent.  Unused pieces and strokes have length 0.
    """

    length: Floats
    turn: Floats
    bend: Floats
    parent: Ints
    hold: Floats
    at: Floats
    reach: Floats
    offset: Points


def draw_glyphs(
    n_alphabets: int,
    *,
    seed: int,
    n_characters: tuple[int, int] = (20, 30),
    n_drawers: int = 20,
    image_size: int = 28,
) -> Glyphs:
    """Invent alphabets, and have every character drawn once by each of several drawers.

    Args:
        n_alphabets: Number of alphabets.  Alphabet ``k`` of a seed is always the same, however
            many others are drawn.
        seed: Decides everything; no global random state is read or written.
        n_characters: Fewest and most characters of an alphabet, both included.
        n_drawers: Images per character.  Each alphabet has its own drawers.
        image_size: Side of the square images, in pixels.

    Returns:
        ``(images, labels, class_names)``: images, uint8 of shape ``(n_classes * n_drawers,
        image_size, image_size)``, ink 255 on 0, sorted by class; labels, int64 of shape
        ``(n_classes * n_drawers,)``, from 0 to ``n_classes - 1``; and a name per class.

    Example:
        >>> images, labels, names = draw_glyphs(2, seed=0, n_characters=(5, 5), n_drawers=3)
        >>> images.shape, labels.tolist()[:5], names[-1]
        ((30, 28, 28), [0, 0, 0, 1, 1], 'alphabet001/character04')
    """
    images: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for alphabet in range(n_alphabets):
        root = np.random.SeedSequence(seed, spawn_key=(alphabet,))
        designer, hand = (np.random.Generator(np.random.Philox(s)) for s in root.spawn(2))
        count = int(designer.integers(n_characters[0], n_characters[1] + 1))
        programs = invent_alphabet(designer, count)
        images.append(raster(perform(programs, hand, n_drawers), hand, n_drawers, image_size))
        names += [f"alphabet{alphabet:03d}/character{c:02d}" for c in range(count)]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), n_drawers)
    blank = np.zeros((0, image_size, image_size), np.uint8)
    return Glyphs(np.concatenate([blank, *images]), labels, names)


def invent_alphabet(rng: np.random.Generator, count: int) -> Programs:
    """Invent a style, write candidate characters in it, and keep the most distinct ones."""
    candidates = write_characters(rng, 2 * count)
    looks = thumbnails(candidates)
    distance = np.linalg.norm(looks[:, None] - looks[None], axis=-1)
    chosen = [0]
    while len(chosen) < count:  # farthest of the next few candidates from those already chosen
        rest = [c for c in range(2 * count) if c not in chosen][:8]
        chosen.append(rest[int(distance[np.ix_(rest, chosen)].min(axis=1).argmax())])
    return Programs(**{k: v[chosen] for k, v in vars(candidates).items()})


def write_characters(rng: np.random.Generator, n: int) -> Programs:
    """Sample a style for one alphabet, and ``n`` characters in that style."""
    shape = (n, STROKES, PIECES)

    # The style: a repertoire of arcs and of corner angles, and habits.
    n_arcs, n_corners = rng.integers(5, 10), rng.integers(2, 5)
    curviness, chaining, symmetry, freedom = rng.beta(2, 2), *rng.beta(1.5, 3, 3)
    compass = rng.choice([np.pi / 2, np.pi / 4, np.pi / 6])
    arcs_length = rng.choice([0.25, 0.5, 0.75, 1.0], n_arcs) * rng.uniform(0.8, 1.2, n_arcs)
    bends = rng.choice([0.5, 1.0, 1.5, 2.0], n_arcs, p=[0.3, 0.4, 0.1, 0.2]) * np.pi
    curved = rng.random(n_arcs) < curviness
    arcs_bend = np.where(curved, bends * rng.choice([-1, 1], n_arcs), rng.normal(0, 0.1, n_arcs))
    arcs_length *= 1 + 0.3 * np.abs(arcs_bend)
    headings = compass * rng.integers(0, 16, 5) + rng.normal(0, 0.1, 5)
    corners = rng.choice([0.4, 0.5, 0.65, 0.8], n_corners) * rng.choice([-1, 1], n_corners) * np.pi

    # The strokes: chains of arcs, some of them short ticks or dots.
    mean_strokes = rng.uniform(1.6, 3.6)
    n_strokes = np.clip(rng.poisson(mean_strokes - 1, n) + 1, 1, STROKES)
    n_pieces = np.minimum(rng.geometric(1 - 0.7 * chaining - 0.2, (n, STROKES)), PIECES)
    n_pieces[n_strokes == 1] = rng.integers(2, PIECES + 1, (int((n_strokes == 1).sum()), 1))
    arc = rng.integers(n_arcs, size=shape)
    length = arcs_length[arc] * rng.uniform(0.85, 1.15, shape)
    bend = arcs_bend[arc] * rng.choice([1, 1, 1, -1], shape)
    turn = np.where(
        rng.random(shape) < 0.25, 0.0, rng.choice(corners, shape) * rng.choice([1, 1, -1], shape)
    )
    turn[..., 0] = rng.choice(headings, shape[:2]) - bend[..., 0] / 2 * rng.integers(0, 2, (n, 1))
    dot = rng.random((n, STROKES)) < 0.15 * freedom
    dot[:, 0] = False
    length[dot] = 0.06
    n_pieces[dot] = 1
    length *= np.arange(PIECES) < n_pieces[..., None]
    length *= (np.arange(STROKES) < n_strokes[:, None])[..., None]

    # The relations: where each stroke touches an earlier one.
    ends = np.array([0.0, 0.0, 0.5, 1.0, 1.0])
    parent = np.maximum(np.arange(STROKES) - rng.geometric(0.6, (n, STROKES)), 0)
    hold = rng.choice([0.0, 0.0, 0.0, 0.5], (n, STROKES))
    at = np.where(
        rng.random((n, STROKES)) < 0.6,
        rng.choice(ends, (n, STROKES)),
        rng.uniform(0.15, 0.85, (n, STROKES)),
    )
    free = (rng.random((n, STROKES)) < 0.5 * freedom) | dot
    gap = rng.uniform(0.25, 0.6, (n, STROKES)) * np.exp(1j * rng.uniform(0, TAU, (n, STROKES)))
    offset = np.where(free, gap, 0)
    bridge = (rng.random((n, STROKES)) < 0.25) & ~free & (n_pieces < 3)
    reach = np.where(bridge, (at + rng.uniform(0.4, 0.6, (n, STROKES))) % 1.0, -1.0)

    # Symmetry: some strokes are the mirror image, or the repetition, of the one before.
    for s in range(1, STROKES):
        twin = (rng.random(n) < 0.6 * symmetry) & (s < n_strokes) & ~dot[:, s] & ~dot[:, s - 1]
        mirror = twin & (rng.random(n) < 0.6)
        for part in (length, turn, bend):
            part[twin, s] = part[twin, s - 1]
        bend[mirror, s] *= -1
        turn[mirror, s] *= -1
        turn[mirror, s, 0] += np.pi
        parent[twin, s], reach[twin, s], hold[twin, s] = s - 1, -1.0, 0.0
        at[mirror, s] = rng.choice([0.0, 0.0, 1.0], int(mirror.sum()))
        offset[twin & ~mirror, s] += 0.3 * np.exp(1j * compass * rng.integers(16))
    return Programs(length, turn, bend, parent, hold, at, reach, offset)


def trace(p: Programs) -> Points:
    """Run stroke programs: pen positions, of shape ``(n, STROKES, PIECES * STEPS + 1)``."""
    n = len(p.length)
    before = np.cumsum(p.turn + p.bend, axis=-1) - p.bend
    heading = before[..., None] + p.bend[..., None] * (np.arange(STEPS) + 0.5) / STEPS
    steps = (p.length[..., None] / STEPS * np.exp(1j * heading)).reshape(n, STROKES, -1)
    pen = np.concatenate([np.zeros((n, STROKES, 1)), np.cumsum(steps, axis=-1)], axis=-1)
    last = (p.length > 0).sum(axis=-1) * STEPS
    row = np.arange(n)
    for s in range(1, STROKES):
        up = p.parent[:, s]
        point = lambda t: pen[row, up, np.rint(t * last[row, up]).astype(int)]  # noqa: B023, E731
        start = point(p.at[:, s]) + p.offset[:, s]
        span = pen[row, s, -1]
        reach = p.reach[:, s] >= 0
        chord = point(np.maximum(p.reach[:, s], 0)) - start
        stretch = np.where(reach & (np.abs(span) > 0.1), chord / np.where(span == 0, 1, span), 1.0)
        stretch = np.where((np.abs(stretch) > 3) | (np.abs(stretch) < 0.2), 1.0, stretch)
        pen[:, s] *= stretch[:, None]
        held = pen[row, s, np.rint(p.hold[:, s] * last[:, s]).astype(int)]
        pen[:, s] += (start - held)[:, None]
    return pen


def frame(pen: Points, drawn: NDArray[np.bool_]) -> tuple[Points, Floats]:
    """Centre and longest side of each character's bounding box."""
    flat = np.where(drawn[..., None], pen, pen[:, :1, :1]).reshape(len(pen), -1)
    low = flat.real.min(1) + 1j * flat.imag.min(1)
    high = flat.real.max(1) + 1j * flat.imag.max(1)
    size = high - low
    return (low + high) / 2, np.maximum(np.maximum(size.real, size.imag), 0.2)


def thumbnails(p: Programs) -> Floats:
    """Blurred, noise-free views of characters, to compare them."""
    pen = trace(p)
    drawn = p.length.any(axis=-1)
    centre, size = frame(pen, drawn)
    pen = (pen - centre[:, None, None]) / size[:, None, None]
    images = splat(pen * 8 + 6 + 6j, 12)
    return np.minimum(images, 1.0).reshape(len(images), -1)


def perform(p: Programs, rng: np.random.Generator, n_drawers: int) -> Points:
    """Have each drawer draw each character: pen positions in the unit square."""
    n = len(p.length) * n_drawers
    q = Programs(**{k: np.repeat(v, n_drawers, axis=0) for k, v in vars(p).items()})

    def hand(sigma: float, *shape: int, habit: float = 0.5) -> Floats:
        """Normal noise, part a habit of the drawer and part new for every character."""
        usual = np.tile(rng.normal(size=(n_drawers, *shape)), (len(p.length),) + (1,) * len(shape))
        fresh = rng.normal(size=(n, *shape))
        return sigma * (np.sqrt(habit) * usual + np.sqrt(1 - habit) * fresh)

    wobble = np.exp(hand(0.35))[:, None]  # some hands are shakier than others
    piece = (STROKES, PIECES)
    q.length = q.length * np.exp(wobble[..., None] * hand(0.15, *piece, habit=0.1))
    q.length = q.length * np.exp(hand(0.12, STROKES, habit=0.1))[..., None]
    q.turn = q.turn + wobble[..., None] * hand(0.12, *piece, habit=0.1)
    q.bend = q.bend * np.exp(wobble[..., None] * hand(0.12, *piece, habit=0.1))
    q.bend = q.bend + wobble[..., None] * hand(0.15, *piece, habit=0.1)
    q.at = np.clip(q.at + hand(0.05, STROKES, habit=0.0), 0, 1)
    miss = hand(0.04, STROKES, habit=0.0) + 1j * hand(0.04, STROKES, habit=0.0)
    q.offset = q.offset + wobble * miss
    pen = trace(q)

    smooth = uniform_filter1d(pen, 9, axis=-1, mode="nearest")
    rounding = 1 / (1 + np.exp(-hand(2.0)))[:, None, None]
    pen = pen + rounding * (smooth - pen)

    centre, size = frame(pen, q.length.any(axis=-1))
    pen = (pen - centre[:, None, None]) / size[:, None, None]
    for scale in (3.0, 5.0, 8.0):  # elastic: a few random waves displace the plane
        wave = (hand(scale) + 1j * hand(scale))[:, None, None]
        push = (hand(0.12) + 1j * hand(0.12))[:, None, None] / scale
        phase = rng.uniform(0, TAU, (n, 1, 1))
        pen = pen + push * np.sin((wave.conjugate() * pen).real + phase)
    turnscale = 0.62 * np.exp(hand(0.15) + 1j * hand(0.1))
    squash = hand(0.1) + 1j * hand(0.08)  # aspect and shear
    shift = hand(0.05) + 1j * hand(0.05)
    pen = (pen + squash[:, None, None] * pen.conjugate()) * turnscale[:, None, None]
    return pen + shift[:, None, None] + (0.5 + 0.5j)


def splat(pen: Points, size: int) -> Floats:
    """Spread every pen step over the four nearest pixels; returns ``(n, size, size)`` ink."""
    step = np.abs(np.diff(pen, axis=-1))
    image, stroke, t = np.nonzero(step > 0)
    weight = step[image, stroke, t]
    spot = (pen[image, stroke, t] + pen[image, stroke, t + 1]) / 2
    x, y = (np.clip(v, 0.5, size - 0.501) - 0.5 for v in (spot.real, spot.imag))
    left, top = x.astype(np.int64), y.astype(np.int64)
    x, y = x - left, y - top
    index = (image * size + top) * size + left
    ink = np.zeros(len(pen) * size * size + size + 2)
    for corner, share in (
        (0, (1 - x) * (1 - y)),
        (1, x * (1 - y)),
        (size, (1 - x) * y),
        (size + 1, x * y),
    ):
        ink += np.bincount(index + corner, weight * share, len(ink))
    return ink[: len(pen) * size * size].reshape(len(pen), size, size)


def raster(
    pen: Points, rng: np.random.Generator, n_drawers: int, size: int
) -> NDArray[np.uint8]:
    """Draw pen positions given in the unit square with a thin grey pen."""
    width = np.tile(rng.uniform(0.8, 1.2, n_drawers), len(pen) // n_drawers)
    ink = splat(pen * size, size) * width[:, None, None]
    return np.rint(255 * np.minimum(ink, 1.0)).astype(np.uint8)
