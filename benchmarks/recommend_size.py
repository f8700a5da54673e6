"""The recommender at size: seconds and memory to read, to learn and to recommend.

    python benchmarks/recommend_size.py            # all, one after the other
    python benchmarks/recommend_size.py ratings-1m # one of them, beside those measured before

The data is generated: popularity falls as a power law, users differ in how much they rate, and
ratings follow eight factors, which also decide what is rated. Each case runs in a process of its
own; its memory is the most that the process held at once (maximum resident set size). Seconds are
of the processor, of all threads. Writes benchmarks/results/recommend_size.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import Recommender, load_interactions
from quickstudy.experiments.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "recommend_size.json"
CASES = {
    "ratings-1m": (100_000, 10_000, 1_000_000, False),
    "clicks-1m": (100_000, 10_000, 1_000_000, True),
    "ratings-10m": (70_000, 10_000, 10_000_000, False),
}
"""Users, items, interactions, and whether they are clicks."""

N_FACTORS = 8
N_ALONE, N_IN_BATCH = 100, 2000
"""Users that are recommended to one at a time, and all at once."""


def write_ratings(path: Path, n_users: int, n_items: int, n_ratings: int, seed: int = 0) -> None:
    """Write a file with the columns user, item, rating and time."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(20, n_items + 20) ** 0.8
    activity = rng.lognormal(0, 1, n_users)
    user_factors = 0.6 * rng.normal(size=(n_users, N_FACTORS)) / np.sqrt(N_FACTORS)
    item_factors = rng.normal(size=(n_items, N_FACTORS))
    user_bias, item_bias = 0.4 * rng.normal(size=n_users), 0.4 * rng.normal(size=n_items)
    pairs = np.zeros(0, np.int64)
    while len(pairs) < n_ratings:
        n = 2 * (n_ratings - len(pairs)) + 1000
        user = rng.choice(n_users, n, p=activity / activity.sum())
        item = rng.choice(n_items, n, p=popularity / popularity.sum())
        affinity = (user_factors[user] * item_factors[item]).sum(1)
        is_chosen = rng.random(n) < 1 / (1 + np.exp(-2 * affinity))
        pairs = np.unique(np.concatenate([pairs, user[is_chosen] * n_items + item[is_chosen]]))
    user, item = np.divmod(rng.permutation(pairs)[:n_ratings], n_items)
    expected = 3.5 + user_bias[user] + item_bias[item]
    expected += (user_factors[user] * item_factors[item]).sum(1)
    rating = np.clip(np.round(expected + 0.7 * rng.normal(size=n_ratings)), 1, 5).astype(int)
    time_of_rating = 1_500_000_000 + rng.integers(50_000_000, size=n_ratings)
    columns = (column.tolist() for column in (user, item, rating, time_of_rating))
    with path.open("w") as file:
        file.write("user,item,rating,time\n")
        for u, i, r, t in zip(*columns, strict=True):
            file.write(f"u{u},i{i},{r},{t}\n")


def measure(case: str) -> dict[str, Any]:
    """Seconds of each step, and the memory of all, in this process."""
    clicks = CASES[case][3]
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.process_time()
        yield
        seconds[step] = time.process_time() - began

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        subprocess.run([sys.executable, __file__, "--write", case, path], check=True)
        with timed("read"):
            data = load_interactions(path, clicks=clicks)
    recommender = Recommender()
    with timed("fit"):
        recommender.fit(data)
    rows = np.argsort(data.user[: 50 * N_ALONE], kind="stable")
    histories: dict[int, list[tuple[str, Any]]] = {}
    for row in rows.tolist():
        histories.setdefault(int(data.user[row]), []).append(
            (data.items[data.item[row]], data.rating[row])
        )
    alone = list(histories.values())[:N_ALONE]
    recommender.adapt().top_n(10)
    with timed("adapt and top 10 of a user alone"):
        for history in alone:
            known = [item for item, _ in history] if clicks else history
            recommender.adapt(known).top_n(10)
    seconds["adapt and top 10 of a user alone"] /= len(alone)
    some = data.of_users(np.arange(N_IN_BATCH))
    with timed("top 10 of a user in a batch"):
        recommender.top_all(some, 10)
    seconds["top 10 of a user in a batch"] /= N_IN_BATCH
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "users": len(data.users),
        "items": len(data.items),
        "interactions": len(data.rating),
        "cpu_seconds": seconds,
        "peak_gigabytes": peak / 1e9,
    }


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--write"]:
        write_ratings(Path(arguments[2]), *CASES[arguments[1]][:3])
        return
    if arguments[:1] == ["--measure"]:
        print(json.dumps(measure(arguments[1])))
        return
    for case in arguments or CASES:
        command = [sys.executable, __file__, "--measure", case]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        entry = {**provenance(0), **json.loads(output)}
        print(json.dumps(entry, indent=1))
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**results, case: entry}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
