"""Generated classes of series, each family with many random classes.

B series, T steps, C classes. A family draws the parameters of its classes and then the series of
labels `y` (B,).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bank import Domain, Jobs, generator

Generator = np.random.Generator
Family = Callable[[Generator, np.ndarray, int, int], np.ndarray]

N_CLASSES, PER_CLASS = (20, 20, 6), 50
"""Of the variants of a family."""


def noisy(x: np.ndarray, rng: Generator, most: float = 0.5) -> np.ndarray:
    return x + rng.uniform(0.05, most) * rng.normal(size=x.shape)


def random_walks(rng: Generator, n: int, length: int, smooth: int = 1) -> np.ndarray:
    """Series (n, T) of mean 0 and variance 1."""
    x = rng.normal(size=(n, length)).cumsum(1)
    for _ in range(smooth - 1):
        x = x.cumsum(1)
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


def sinusoids(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """A frequency a class, at random phase and amplitude."""
    frequency = rng.uniform(1, length / 5, n_classes)[y, None]
    phase, amplitude = rng.uniform(0, 2 * np.pi, (len(y), 1)), rng.uniform(0.5, 2, (len(y), 1))
    return noisy(amplitude * np.sin(2 * np.pi * frequency * np.linspace(0, 1, length) + phase), rng)


def harmonics(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """A timbre a class: strengths of overtones, at random pitch and phase."""
    n = 6
    strength = np.exp(rng.normal(0, 1, (n_classes, n)))[y]
    pitch = rng.uniform(2, 4, (len(y), 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (len(y), n, 1))
    time = np.linspace(0, 1, length)
    waves = np.sin(2 * np.pi * pitch * np.arange(1, n + 1)[:, None] * time + phase)  # (B, n, T)
    return noisy((strength[..., None] * waves).sum(1) / strength.sum(1, keepdims=True), rng, 0.2)


def beats(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Beats like those of an electrocardiogram: five waves whose place, width and height a class
    sets, at a rate and a phase of their own."""
    time = np.linspace(0, 1, length)
    place = np.array([0.2, 0.36, 0.4, 0.44, 0.65]) + 0.03 * rng.normal(size=(n_classes, 5))
    width = np.array([0.03, 0.012, 0.015, 0.012, 0.05]) * np.exp(
        0.3 * rng.normal(size=(n_classes, 5))
    )
    height = np.array([0.2, -0.2, 1, -0.3, 0.35]) + 0.15 * rng.normal(size=(n_classes, 5))
    rate, start = rng.uniform(1.5, 3, (len(y), 1)), rng.uniform(0, 1, (len(y), 1))
    phase = ((rate * time + start) % 1)[..., None]  # (B, T, 1)
    waves = height[y, None] * np.exp(-(((phase - place[y, None]) / width[y, None]) ** 2) / 2)
    drift = 0.2 * np.sin(2 * np.pi * (time * rng.uniform(0.2, 1, (len(y), 1)) + start))
    return noisy(waves.sum(-1) + drift, rng, 0.1)


def autoregressive(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Processes of second order, whose damping and frequency a class sets."""
    radius, angle = rng.uniform(0.5, 0.98, n_classes), rng.uniform(0, np.pi, n_classes)
    first, second = (2 * radius * np.cos(angle))[y], -(radius**2)[y]
    x = np.zeros((len(y), length + 50))
    noise = rng.normal(size=x.shape)
    for t in range(2, x.shape[1]):
        x[:, t] = first * x[:, t - 1] + second * x[:, t - 2] + noise[:, t]
    return x[:, 50:]


def motifs(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """A short shape a class, somewhere in noise."""
    size = length // 4
    shapes = rng.uniform(1.5, 3) * random_walks(rng, n_classes, size, 2)
    x = 0.5 * random_walks(rng, len(y), length)
    place = rng.integers(0, length - size, len(y))[:, None] + np.arange(size)
    x[np.arange(len(y))[:, None], place] += shapes[y]
    return noisy(x, rng, 0.3)


def templates(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """A smooth curve a class, warped in time and scaled."""
    curves = random_walks(rng, n_classes, length, 2)
    bend = rng.uniform(-0.5, 0.5, (len(y), 1))
    time = np.linspace(0, 1, length) + bend * 0.3 * np.sin(np.pi * np.linspace(0, 1, length))
    x = np.stack(
        [np.interp(t, np.linspace(0, 1, length), curves[c]) for t, c in zip(time, y, strict=True)]
    )
    return noisy(rng.uniform(0.7, 1.4, (len(y), 1)) * x, rng)


def change_points(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Two trends a class that meet at its change point."""
    before, after = rng.normal(0, 3, (2, n_classes))
    place = rng.uniform(0.2, 0.8, n_classes)[y, None] + 0.04 * rng.normal(size=(len(y), 1))
    time = np.linspace(0, 1, length) - place
    x = np.where(time < 0, before[y, None] * time, after[y, None] * time)
    return noisy(x + rng.normal(size=(len(y), 1)), rng)


def steps(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Levels in a row, each of a random length: a class sets levels, not times."""
    levels = rng.normal(0, 1, (n_classes, 4))
    cuts = np.sort(rng.uniform(0, 1, (len(y), 3)), 1)
    part = (np.linspace(0, 1, length)[None, :, None] > cuts[:, None]).sum(-1)  # (B, T)
    return noisy(np.take_along_axis(levels[y], part, 1), rng)


def cylinder_bell_funnel(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Saito 1994: a plateau, a rise or a fall between a random start and end; here at lengths and
    heights that differ by class."""
    low = rng.uniform(0.1, 0.4, n_classes)[y]
    height = rng.uniform(3, 9, n_classes)[y] + rng.normal(size=len(y))
    start = rng.uniform(0.05, 0.3, len(y))
    end = start + low + rng.uniform(0, 0.15, len(y))
    time = np.linspace(0, 1, length)
    inside = (time >= start[:, None]) & (time < end[:, None])
    rise = (time - start[:, None]) / (end - start)[:, None]
    shape = np.select(
        [(y % 3 == 0)[:, None], (y % 3 == 1)[:, None]], [np.ones_like(rise), rise], 1 - rise
    )
    return inside * height[:, None] * shape + rng.normal(size=(len(y), length))


def control_charts(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Alcock and Manolopoulos 1999: normal, cyclic, rising, falling, shifted up or down; with more
    classes, of several strengths."""
    kind, strength = y % 6, 1 + (y // 6) * 1.2
    time = np.linspace(0, 1, length)
    cycle = np.sin(2 * np.pi * time * rng.uniform(3, 6, (len(y), 1)))
    trend, shift = 4 * time, 4.0 * (time > rng.uniform(0.3, 0.7, (len(y), 1)))
    sign = np.where(np.isin(kind, (3, 5)), -1, 1)[:, None]
    shape = np.select(
        [(kind == 0)[:, None], (kind == 1)[:, None], (kind < 4)[:, None]],
        [np.zeros_like(cycle), 2 * cycle, np.broadcast_to(trend, cycle.shape)],
        shift,
    )
    noise = np.where(kind == 0, strength, 1)[:, None] * rng.normal(size=cycle.shape)
    return strength[:, None] * sign * shape + noise


def logistic_maps(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Chaos whose parameter a class sets, from a random start."""
    parameter = rng.uniform(3.5, 4.0, n_classes)[y]
    x = np.zeros((len(y), length))
    x[:, 0] = rng.uniform(0.1, 0.9, len(y))
    for t in range(1, length):
        x[:, t] = parameter * x[:, t - 1] * (1 - x[:, t - 1])
    return noisy(x, rng, 0.1)


def lorenz(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Three channels of Lorenz's equations, whose parameters a class sets: (B, 3, T)."""
    sigma, rho, beta = (rng.uniform(a, b, n_classes)[y] for a, b in ((6, 14), (20, 60), (1.5, 4)))
    state, x = rng.normal(0, 5, (3, len(y))), []
    for _ in range(500 + 4 * length):
        a, b, c = state
        change = np.stack([sigma * (b - a), a * (rho - c) - b, a * b - beta * c])
        state = state + 0.006 * change
        x.append(state)
    return noisy(np.stack(x)[500::4].transpose(2, 1, 0), rng)


def chirps(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Tones that rise or fall between two frequencies of the class."""
    first, last = rng.uniform(1, length / 6, (2, n_classes))
    time = np.linspace(0, 1, length)
    phase = first[y, None] * time + (last - first)[y, None] * time**2 / 2
    return noisy(np.sin(2 * np.pi * (phase + rng.uniform(0, 1, (len(y), 1)))), rng)


def bursts(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Events at a rate and of a decay that a class sets, as of spikes or arrivals."""
    rate, decay = rng.uniform(1, 15, n_classes)[y], rng.uniform(1, 12, n_classes)[y]
    events = rng.poisson(rate[:, None] / length, (len(y), length)).astype(np.float64)
    x = np.zeros_like(events)
    for t in range(length):
        x[:, t] = events[:, t] + (x[:, t - 1] * np.exp(-1 / decay) if t else 0)
    return noisy(x, rng, 0.2)


def motion_channels(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Six channels that move together at a class's rhythm, phases and strengths: (B, 6, T)."""
    rhythm = rng.uniform(1, 6, n_classes)[y] * np.exp(0.08 * rng.normal(size=len(y)))
    phases, strengths = (
        rng.uniform(0, 1, (n_classes, 6)),
        np.exp(0.7 * rng.normal(size=(n_classes, 6))),
    )
    turns = rhythm[:, None] * np.linspace(0, 1, length) + rng.uniform(0, 1, (len(y), 1))
    wave = np.sin(2 * np.pi * (turns[:, None] + phases[y][..., None]))
    return noisy(strengths[y][..., None] * wave, rng, 0.8)


def sensors(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Four measurements, each in its own unit and slow to change, as of weather: a class sets their
    levels, ranges and seasons: (B, 4, T)."""
    n = 4
    unit, origin = np.exp(2 * rng.normal(size=(n, 1))), 3 * rng.normal(size=(n, 1))
    level = rng.uniform(0.5, 2) * rng.normal(size=(n_classes, n, 1))
    extent = np.exp(0.4 * rng.normal(size=(n_classes, n, 1)))
    season = np.sin(
        2 * np.pi * (np.linspace(0, 1, length) + rng.uniform(0, 1, (len(y), 1, 1)))
        + rng.uniform(0, 2, (n_classes, n, 1))[y]
    )
    memory = rng.uniform(0.5, 0.95)
    x, noise = np.zeros((len(y), n, length)), rng.normal(size=(len(y), n, length))
    for t in range(length):
        x[..., t] = memory * x[..., t - 1] + (1 - memory**2) ** 0.5 * noise[..., t]
    own = 0.5 * rng.normal(size=(len(y), n, 1))
    return unit * (origin + level[y] + own + extent[y] * (0.5 * season + x))


def loads(rng: Generator, y: np.ndarray, n_classes: int, length: int) -> np.ndarray:
    """Consumption through a day, at the class's level and hours, never below zero."""
    hour = np.linspace(0, 24, length)
    level = np.exp(0.5 * rng.normal(size=n_classes))[y, None]
    peaks = rng.uniform(5, 21, (n_classes, 2, 1))[y] + 0.7 * rng.normal(size=(len(y), 2, 1))
    heights = np.exp(0.5 * rng.normal(size=(n_classes, 2, 1)))[y]
    width = rng.uniform(1, 4, (n_classes, 2, 1))[y]
    shape = (heights * np.exp(-(((hour - peaks) / width) ** 2) / 2)).sum(1)
    own = np.exp(0.25 * rng.normal(size=(len(y), 1)))
    return level * own * np.maximum(noisy(0.5 + shape, rng, 0.3), 0)


FAMILIES: dict[str, Family] = {
    f.__name__: f
    for f in (
        sinusoids,
        harmonics,
        beats,
        autoregressive,
        motifs,
        templates,
        change_points,
        steps,
        cylinder_bell_funnel,
        control_charts,
        logistic_maps,
        lorenz,
        chirps,
        bursts,
        motion_channels,
        sensors,
        loads,
    )
}


def generate(name: str, family: str, n_classes: int) -> Domain:
    rng = generator(name)
    length = int(rng.choice([48, 64, 96, 128]))
    y = rng.permutation(np.arange(PER_CLASS * n_classes) % n_classes)
    x = FAMILIES[family](rng, y, n_classes, length)
    about = f"Generated: {family}. {FAMILIES[family].__doc__}"
    return Domain("series", family, y, {"raw": x}, about)


def jobs(sources: Path) -> Jobs:
    del sources
    for family in FAMILIES:
        for variant, n_classes in enumerate(N_CLASSES):
            name = f"generated_{family}_{variant}"
            yield name, partial(generate, name, family, n_classes)
