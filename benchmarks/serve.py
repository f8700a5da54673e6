"""The service under load: MovieLens 100K, a client of its own machine.

    python benchmarks/serve.py

Needs the data set ml-100k. Trains a recommender, starts `quickstudy serve`, and asks it for the top
10 of users with 0, 10 and 20 ratings, drawn from the training data, by one client and by more at
once, each with a connection that stays open. "server_ms" is the processor time that the service
takes for a request, which other work on the machine leaves as it is. Then more clients than it
holds requests, who are answered or told to come back; and 200 connections of a byte a second,
beside which others are served. Writes benchmarks/results/serve.json.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.apps.recommend import Recommender, load_ml_100k
from quickstudy.experiments.provenance import provenance

ROOT = Path(__file__).parent.parent
COMMAND = "from quickstudy.cli import main; main()"
N_REQUESTS, MAX_SECONDS, SLOW = 600, 60.0, 200


class Service:
    """`quickstudy serve` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        words = ["serve", "--recommender", str(folder), "--port", "0", "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "}\n")
        self.port = int(json.loads("".join(lines) + "}")["url"].rpartition(":")[2])

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 130


def bodies(n_ratings: int) -> list[str]:
    """Requests of training users with so many of their ratings."""
    data = load_ml_100k()
    rng = np.random.default_rng(0)
    made = []
    for user in rng.choice(np.flatnonzero(data.user_counts >= n_ratings), 100, replace=False):
        rows = rng.choice(np.flatnonzero(data.user == user), n_ratings, replace=False)
        rated = [{"item": data.items[data.item[r]], "rating": data.rating[r]} for r in rows]
        made.append(json.dumps({"ratings": rated}))
    return made


def load(
    service: Service, method: str, path: str, sent: list[str | None], clients: int
) -> dict[str, Any]:
    """Clients at once, each with one connection, until all have sent their share."""
    times: list[float] = []
    codes: Counter[int] = Counter()
    began = time.monotonic()

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        for i in range(first, N_REQUESTS, clients):
            if time.monotonic() - began > MAX_SECONDS:
                break
            start = time.perf_counter()
            connection.request(method, path, sent[i % len(sent)], headers)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - start)
            codes[answer.status] += 1

    before = service.cpu()
    at_once([lambda i=i: work(i) for i in range(clients)])
    took = time.monotonic() - began
    ms = 1000 * np.array(times)
    return {
        "clients": clients,
        "requests": len(ms),
        "answers": {str(code): n for code, n in sorted(codes.items())},
        "per_second": round(len(ms) / took, 1),
        "median_ms": round(float(np.median(ms)), 2),
        "p99_ms": round(float(np.quantile(ms, 0.99)), 2),
        "server_ms": round(1000 * (service.cpu() - before) / len(ms), 2),
    }


def at_once(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def trickle(service: Service, stop: threading.Event) -> list[socket.socket]:
    """Connections that begin a request and go on with a byte a second."""
    head = b"POST /api/recommender/recommend HTTP/1.1\r\nHost: localhost\r\n"
    whole = head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    made = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(SLOW)]
    for i, connection in enumerate(made):
        connection.sendall(head if i % 2 else whole)

    def go_on() -> None:
        while not stop.wait(1):
            for connection in made:
                try:
                    connection.send(b"x")
                except OSError:
                    continue  # given up by the service

    threading.Thread(target=go_on, daemon=True).start()
    return made


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "ml-100k"
        Recommender().fit(load_ml_100k()).save(place)
        service = Service(place)
        try:
            post = "/api/recommender/recommend"

            def add(what: str, method: str, path: str, sent: list[Any], clients: int) -> None:
                rows.append({"what": what, **load(service, method, path, sent, clients)})
                print(rows[-1], flush=True)

            add("health", "GET", "/api/health", [None], 1)
            add("search", "GET", "/api/recommender/items?search=star", [None], 1)
            for n in (0, 10, 20):
                add(f"top 10 from {n} ratings", "POST", post, bodies(n), 1)
            ten = bodies(10)
            add("5 to ask, from 10 ratings", "POST", "/api/recommender/ask", ten, 1)
            for clients in (4, 16, 128):
                add("top 10 from 10 ratings", "POST", post, ten, clients)
            stop = threading.Event()
            slow = trickle(service, stop)
            add(f"health, beside {SLOW} slow connections", "GET", "/api/health", [None], 1)
            add(f"top 10 from 10 ratings, beside {SLOW} slow", "POST", post, ten, 1)
            stop.set()
            for connection in slow:
                connection.close()
            add("top 10 from 10 ratings, after them", "POST", post, ten, 1)
        finally:
            service.stop()
    place = ROOT / "benchmarks" / "results" / "serve.json"
    place.write_text(json.dumps({**provenance(0), "table": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
