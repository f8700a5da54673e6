"""How `FewShotClassifier()` learns from a few recordings: letters, voices, instruments.

    apt-get download asterisk-core-sounds-{en,es,fr,it,ru}-wav klettres-data sonic-pi-samples
    for package in *.deb; do dpkg-deb -x $package recordings; done
    python benchmarks/sounds.py recordings

The recordings come from packages of Debian 12, and are not part of quickstudy:

- asterisk-core-sounds 1.6.1, voice prompts of telephones at 8 kHz by Allison Smith (English and
  Spanish; CC BY-SA 3.0), June Wallack (French; CC BY-SA 3.0), Carlo Flora (Italian; CC BY 3.0) and
  a woman of ivrvoice.ru (Russian; CC BY 3.0).
- klettres-data 22.12.3, letters spoken for children learning to read, one speaker a language; GPL 2
  or later.
- sonic-pi-samples 3.2.2, sounds for making music, most of them CC0; five are CC BY-SA 4.0.

Tasks, of which nothing in quickstudy has seen a recording:

- letters: the alphabet of a language. Each shot is another speaker, and the queries are by one
  more: two speakers of Spanish, French and Italian, three of English. All letters, and five.
- voices: five voices, which say sentences. Queries are 20 other sentences of each.
- instruments: five kinds of sound, such as bass drums, tablas and electric blips. Queries are 5
  others of each.

Beside the default learner there are logistic regression on log-mel features, and the default
learner on them alone. Needs the extra "sound"; the speech encoder is used where efficientword-net
is installed. Writes benchmarks/results/sounds.json; intervals are of 95 %, over draws.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from quickstudy.apps.fewshot.views import default_blend, encoder_name
from quickstudy.encoders import ENCODERS, N_LOG_MEL_FEATURES
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track
from quickstudy.tasks import Support

RESULTS = Path(__file__).parent / "results" / "sounds.json"
N_WAY, N_DRAWS, SHOTS = 5, 50, (1, 2, 5)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
"""Folders of asterisk-core-sounds."""

KLETTRES = {"en": ("en", "en_GB"), "es": ("es",), "fr": ("fr",), "it": ("it",)}
"""Folders of klettres-data by language."""

KINDS = ("ambi", "bd", "drum", "elec", "loop", "perc", "tabla")
"""How the names of at least ten of sonic-pi-samples begin."""

MAX_SENTENCES, MIN_SECONDS = 60, 1.0
"""Of a voice, and the length from which a prompt is a sentence rather than a word."""


class Task(NamedTuple):
    """Rows of a support set and of queries, with their classes."""

    support: NDArray[np.int64]
    support_y: NDArray[np.int64]
    query: NDArray[np.int64]
    query_y: NDArray[np.int64]


def embed(paths: list[Path]) -> Tensor:
    """All views of recordings side by side, (n, d)."""
    encoder = ENCODERS.find(encoder_name("sounds")).load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are resampled
        return encoder(paths).double()


def spoken_letters(folder: Path, language: str) -> list[dict[str, Path]]:
    """By speaker and letter."""
    asterisk = folder / "usr/share/asterisk/sounds" / VOICES[language] / "letters"
    speakers = [{letter: asterisk / f"{letter}.wav" for letter in LETTERS}]
    klettres = folder / "usr/share/klettres"
    for name in KLETTRES[language]:
        sounds = ElementTree.parse(klettres / name / "sounds.xml").iterfind(".//alphabet/sound")
        files = {one.attrib["name"].lower(): klettres / one.attrib["file"] for one in sounds}
        speakers.append({letter: files[letter] for letter in LETTERS if letter in files})
    return speakers


def tasks_of_letters(rows: list[dict[str, int]], n_shot: int, n_way: int | None) -> Iterator[Task]:
    """Every choice of the speaker of the queries and of those of the examples; all letters, or five
    at random.

    Args:
        rows: By speaker and letter.
    """
    shared = [letter for letter in LETTERS if all(letter in speaker for speaker in rows)]
    speakers = range(len(rows))
    choices = [
        (new, known)
        for new in speakers
        for known in itertools.combinations([s for s in speakers if s != new], n_shot)
    ]
    rng = np.random.default_rng(0)
    for new, known in choices:
        for _ in range(N_DRAWS // len(choices) if n_way else 1):
            letters = rng.choice(shared, n_way, replace=False) if n_way else shared
            y = np.arange(len(letters))
            support = np.array([rows[s][letter] for s in known for letter in letters])
            query = np.array([rows[new][letter] for letter in letters])
            yield Task(support, np.tile(y, len(known)), query, y)


def tasks_of_classes(y: NDArray[np.int64], n_shot: int, n_query: int) -> Iterator[Task]:
    """Five classes at random, and of each some examples and some queries."""
    for draw in range(N_DRAWS):
        rng = np.random.default_rng(draw)
        classes = rng.choice(np.unique(y), N_WAY, replace=False)
        rows = [rng.permutation(np.flatnonzero(y == c))[: n_shot + n_query] for c in classes]
        yield Task(
            np.concatenate([r[:n_shot] for r in rows]),
            np.repeat(np.arange(N_WAY), n_shot),
            np.concatenate([r[n_shot:] for r in rows]),
            np.repeat(np.arange(N_WAY), n_query),
        )


def accuracies(x: Tensor, task: Task) -> dict[str, float]:
    """Of each learner, on the queries of a task."""
    name = encoder_name("sounds")
    query_y = torch.from_numpy(task.query_y)
    n_way = len(np.unique(task.support_y))
    found = {}
    for views in dict.fromkeys((name, "log_mel")):
        part = x[:, : x.shape[1] if views == name else N_LOG_MEL_FEATURES]
        blend = default_blend("sound", ENCODERS.find(views).load(), part.shape[1], views)
        support = Support(part[task.support], torch.from_numpy(task.support_y), n_way)
        answers = blend.adapt(support)(part[task.query]).argmax(1)
        found[f"default learner on {views}"] = float((answers == query_y).double().mean())
    log_mel = x[:, :N_LOG_MEL_FEATURES].numpy()
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    logistic.fit(log_mel[task.support], task.support_y)
    found["logistic regression on log_mel"] = logistic.score(log_mel[task.query], task.query_y)
    return found


def summary(x: Tensor, tasks: Iterator[Task], about: str) -> dict[str, Any]:
    each = [(task, accuracies(x, task)) for task in track(list(tasks), about)]
    names = each[0][1]
    rows = {}
    for name in names:
        scores = [found[name] for _, found in each]
        spread = 1.96 * statistics.stdev(scores) / len(scores) ** 0.5
        rows[name] = {"accuracy": statistics.mean(scores), "interval": spread}
    print(about, json.dumps(rows), flush=True)
    n_way = len(np.unique(each[0][0].support_y))
    return {"tasks": len(each), "chance": 1 / n_way, **rows}


def letters(folder: Path) -> dict[str, Any]:
    report = {}
    for language in KLETTRES:
        speakers = spoken_letters(folder, language)
        paths = [path for speaker in speakers for path in speaker.values()]
        x, number = embed(paths), {path: row for row, path in enumerate(paths)}
        rows = [{letter: number[p] for letter, p in speaker.items()} for speaker in speakers]
        for n_shot in range(1, len(speakers)):
            for n_way in (5, None):
                about = f"{language}, {n_way or 'all'} letters, {n_shot} shots"
                report[about] = summary(x, tasks_of_letters(rows, n_shot, n_way), about)
    return report


def of_groups(groups: dict[str, list[Path]], n_query: int) -> dict[str, Any]:
    x = embed([path for paths in groups.values() for path in paths])
    y = np.repeat(np.arange(len(groups)), [len(paths) for paths in groups.values()])
    return {
        f"{n} shots": summary(x, tasks_of_classes(y, n, n_query), f"{', '.join(groups)}, {n} shots")
        for n in SHOTS
    }


def voices(folder: Path) -> dict[str, Any]:
    groups = {}
    for language, name in VOICES.items():
        paths = sorted((folder / "usr/share/asterisk/sounds" / name).glob("*.wav"))
        long = [path for path in paths if soundfile.info(path).duration >= MIN_SECONDS]
        some = np.random.default_rng(0).permutation(len(long))[:MAX_SENTENCES]
        groups[language] = [long[i] for i in some]
    return of_groups(groups, n_query=20)


def instruments(folder: Path) -> dict[str, Any]:
    samples = folder / "usr/share/sonic-pi/samples"
    groups = {kind: sorted(samples.glob(f"{kind}_*.flac")) for kind in KINDS}
    groups["elec"].remove(samples / "elec_tick.flac")  # shorter than the 25 ms that are read
    return of_groups(groups, n_query=5)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    report: dict[str, Any] = {**provenance(0), "views": encoder_name("sounds")}
    for make in (instruments, letters, voices):
        report[make.__name__] = make(given)
        print(make.__name__, json.dumps(report[make.__name__], indent=1), flush=True)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
