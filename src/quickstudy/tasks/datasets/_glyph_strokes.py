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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

__all__ = ["Glyphs", "draw_glyphs"]

from quickstudy.progress import track

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Points = NDArray[Any]  # complex

STROKES, PIECES, STEPS = 5, 5, 10  # most strokes a character; pieces a stroke; pen steps a piece
BRUSH = 0.8  # how far the broadest pen spreads its ink
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
    for alphabet in track(range(n_alphabets), "drawing glyphs"):
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
    candidates = write_characters(rng, 3 * count)
    looks = thumbnails(candidates)
    distance = np.linalg.norm(looks[:, None] - looks[None], axis=-1)
    chosen = [0]
    while len(chosen) < count:  # farthest of the next few candidates from those already chosen
        rest = [c for c in range(3 * count) if c not in chosen][:12]
        chosen.append(rest[int(distance[np.ix_(rest, chosen)].min(axis=1).argmax())])
    return Programs(**{k: v[chosen] for k, v in vars(candidates).items()})


def write_characters(rng: np.random.Generator, n: int) -> Programs:
    """Sample a style for one alphabet, and ``n`` characters in that style."""
    strokes, pieces = (n, STROKES), (n, STROKES, PIECES)

    # The style: a repertoire of arcs, headings and corners, and some habits.
    curviness, chaining, symmetry, freedom = rng.beta([2, 2, 1.5, 1.5], [2, 2, 3, 3])
    compass = rng.choice([np.pi / 2, np.pi / 4, np.pi / 3])
    n_arcs = int(rng.integers(4, 9))
    arc_bend = rng.choice([0.35, 0.5, 1.0, 1.5, 2.0], n_arcs, p=[0.15, 0.2, 0.35, 0.1, 0.2]) * np.pi
    arc_bend *= rng.choice([-1, 1], n_arcs) * (rng.random(n_arcs) < curviness)
    arc_length = rng.choice([0.3, 0.5, 0.8, 1.0], n_arcs) * (1 + 0.3 * np.abs(arc_bend))
    headings = np.array([0, 0, 0.5, 0.5, 0.25, 0.75, 1.0, 1.5]) * np.pi + rng.normal(0, 0.05, 8)
    corners = compass * rng.choice([1, 1, 2, 2, 3], 4) * rng.choice([-1, 1], 4)
    corners = np.where(np.abs(corners) > 2.6, np.sign(corners) * 2.1, corners)

    # The strokes: chains of arcs, joined smoothly or at corners; a few are mere dots.
    n_strokes = np.clip(1 + rng.poisson(rng.uniform(0.6, 2.6), n), 1, STROKES)
    n_pieces = np.minimum(rng.geometric(1 - 0.6 * chaining - 0.15, strokes), PIECES)
    n_pieces[:, 0] = np.maximum(n_pieces[:, 0], 5 - n_strokes - (rng.random(n) < 0.3))
    dot = (rng.random(strokes) < 0.25 * freedom) & (np.arange(STROKES) > 0)
    n_pieces[dot] = 1
    n_pieces[np.arange(STROKES) >= n_strokes[:, None]] = 0
    arc = rng.integers(n_arcs, size=pieces)
    turn = np.where(rng.random(pieces) < 0.25, 0.0, rng.choice(corners, pieces))
    for j in range(2, PIECES):  # humps and zigzags: a piece may repeat the last one but one
        again = rng.random(strokes) < 0.4
        arc[again, j], turn[again, j] = arc[again, j - 2], turn[again, j - 1]
        turn[again, j] *= rng.choice([-1, 1], again.sum())
    length = arc_length[arc] * rng.uniform(0.9, 1.1, pieces)
    length[dot] = 0.06
    length *= np.arange(PIECES) < n_pieces[..., None]
    bend = arc_bend[arc] * rng.choice([1, 1, 1, -1], strokes)[..., None]
    turn[..., 0] = rng.choice(headings, strokes) - bend[..., 0] * rng.choice([0, 0.5], strokes)

    # The relations: where a stroke touches an earlier one.
    parent = np.maximum(np.arange(STROKES) - rng.geometric(0.6, strokes), 0)
    hold = rng.choice([0.0, 0.0, 0.0, 0.5], strokes)
    at = rng.choice([0.0, 0.0, 0.25, 0.5, 0.5, 0.75, 1.0, 1.0], strokes)
    free = (rng.random(strokes) < 0.5 * freedom) | dot
    gap = rng.uniform(0.25, 0.6, strokes) * np.exp(1j * rng.uniform(0, TAU, strokes))
    offset = np.where(free, gap, 0)
    bridge = (rng.random(strokes) < 0.25) & ~free
    reach = np.where(bridge, np.abs(at - rng.choice([0.5, 1.0], strokes)), -1.0)
    hold[bridge] = 0.0

    # Symmetry: some strokes are the mirror image, or the repetition, of the one before.
    for s in range(1, STROKES):
        twin = (rng.random(n) < 0.7 * symmetry) & (s < n_strokes) & ~dot[:, s] & ~dot[:, s - 1]
        mirror = twin & (rng.random(n) < 0.6)
        for part in (length, turn, bend):
            part[twin, s] = part[twin, s - 1]
        for part in (turn, bend):
            part[mirror, s] *= -1
        turn[mirror, s, 0] += np.pi
        parent[twin, s], reach[twin, s], hold[twin, s] = s - 1, -1.0, 0.0
        at[twin, s] = rng.choice([0.0, 0.0, 1.0], twin.sum())
        offset[twin & ~mirror, s] = 0.35 * np.exp(1j * compass * rng.integers(16))
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


def frame(pen: Points, drawn: Any) -> tuple[Points, Floats]:
    """Centre and longest side of each character's bounding box."""
    flat: Any = np.where(drawn[..., None], pen, pen[:, :1, :1]).reshape(len(pen), -1)
    low: Any = flat.real.min(1) + 1j * flat.imag.min(1)
    high: Any = flat.real.max(1) + 1j * flat.imag.max(1)
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

    wobble = 0.5 * np.exp(hand(0.3))[:, None]  # some hands are shakier than others
    piece = (STROKES, PIECES)
    q.length = q.length * np.exp(wobble[..., None] * hand(0.17, *piece, habit=0.1))
    q.length = q.length * np.exp(wobble * hand(0.17, STROKES, habit=0.1))[..., None]
    q.turn = q.turn + wobble[..., None] * hand(0.13, *piece, habit=0.1)
    q.bend = q.bend * np.exp(wobble[..., None] * hand(0.12, *piece, habit=0.1))
    q.bend = q.bend + wobble[..., None] * hand(0.18, *piece, habit=0.1)
    q.at = np.clip(q.at + wobble * hand(0.07, STROKES, habit=0.0), 0, 1)
    miss = hand(0.05, STROKES, habit=0.0) + 1j * hand(0.05, STROKES, habit=0.0)
    q.offset = q.offset + wobble * miss
    pen = trace(q)

    smooth = uniform_filter1d(pen, 5, axis=-1, mode="nearest")
    rounding = 1 / (1 + np.exp(-hand(2.0)))[:, None, None]
    pen = pen + rounding * (smooth - pen)

    centre, size = frame(pen, q.length.any(axis=-1))
    pen = (pen - centre[:, None, None]) / size[:, None, None]
    for scale in (3.0, 5.0, 8.0):  # elastic: a few random waves displace the plane
        wave = (hand(scale) + 1j * hand(scale))[:, None, None]
        push = (hand(0.12) + 1j * hand(0.12))[:, None, None] / scale
        phase = rng.uniform(0, TAU, (n, 1, 1))
        pen = pen + push * np.sin((wave.conjugate() * pen).real + phase)
    turnscale = 0.66 * np.exp(hand(0.11) + 1j * hand(0.08))
    squash = hand(0.06) + 1j * hand(0.06)  # aspect and shear
    shift = hand(0.04) + 1j * hand(0.04)
    pen = (pen + squash[:, None, None] * pen.conjugate()) * turnscale[:, None, None]
    return pen + shift[:, None, None] + (0.5 + 0.5j)


def splat(pen: Points, size: int) -> Floats:
    """Spread the pen's path over the nearest pixels; returns ``(n, size, size)`` ink."""
    length = np.abs(np.diff(pen, axis=-1))
    step = np.nonzero(length > 0)
    dabs = np.ceil(2 * length[step]).astype(np.int64)  # at least two dabs of ink a pixel
    which = np.repeat(np.arange(len(dabs)), dabs)
    along = (np.arange(len(which)) - (np.cumsum(dabs) - dabs)[which] + 0.5) / dabs[which]
    image, weight = step[0][which], (length[step] / dabs)[which]
    spot = pen[:, :, :-1][step][which] + along * np.diff(pen, axis=-1)[step][which] - (0.5 + 0.5j)
    left, top = (np.floor(v).astype(np.int64) for v in (spot.real, spot.imag))
    x, y = spot.real - left, spot.imag - top
    ink = np.zeros(len(pen) * size * size)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + right, top + down
        share = np.abs(1 - right - x) * np.abs(1 - down - y)
        share *= (column >= 0) & (column < size) & (row >= 0) & (row < size)
        pixel = (image * size + np.clip(row, 0, size - 1)) * size + np.clip(column, 0, size - 1)
        ink += np.bincount(pixel, weight * share, len(ink))
    return ink.reshape(len(pen), size, size)


def raster(pen: Points, rng: np.random.Generator, n_drawers: int, size: int) -> NDArray[np.uint8]:
    """Draw pen positions given in the unit square with a thin grey pen."""
    width = np.tile(rng.uniform(0.95, 1.25, n_drawers), len(pen) // n_drawers)
    brush = np.tile(rng.beta(0.3, 1.2, n_drawers), len(pen) // n_drawers)[:, None, None]
    ink = splat(pen * size, size) * width[:, None, None]
    broad = 2.5 * gaussian_filter(ink, (0, 1.0, 1.0))
    ink = ink + BRUSH * brush * (broad - ink)
    return np.rint(255 * np.minimum(ink, 1.0)).astype(np.uint8)
