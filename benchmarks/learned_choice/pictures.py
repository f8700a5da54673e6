"""Images of quickstudy's data sets, scikit-learn's digits, images of Debian 12, and drawn textures
and shapes, embedded by EfficientNet-Lite0 and the backbone of the run for drawn characters.

`DATA` are Omniglot (MIT), Caltech 101 (CC BY 4.0), sign digits (Apache-2.0) and glyphs, which
quickstudy draws. Of Debian 12 are dataset-fashion-mnist 0.0~git20200523 (MIT), mate-backgrounds
1.26.0 (GPL-2+, CC BY-SA 4.0), and the packages of `FONTS` (mostly OFL) and `ICONS` (GPL, LGPL and
CC BY-SA). Images reach the encoders as Pillow images, as a user's do.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn import datasets as scikit_learn

from bank import Domain, Jobs, choose_rows, debian, generator
from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    IMAGE_ENCODER,
    images_of,
    named_encoder,
)
from quickstudy.apps.fewshot.views import STATISTICS_SIZE, pixel_statistics
from quickstudy.experiments.run import load_run
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.images import Images

N_DRAWN, PER_CLASS = 16, 16
"""Classes of textures and shapes, and images of each."""

FONTS = (
    "adf-libris beteckna breip cabin cantarell comfortaa comic-neue courier-prime dancingscript"
    " dkg-handwriting ebgaramond ecolier-court engadget fanwood femkeklaver goudybookletter"
    " humor-sans inconsolata isabella junction karla lato leckerli-one lobster mononoki ocr-a"
    " oldstandard open-sans play quicksand roboto-slab rufscript tomsontalks vollkorn"
    " yanone-kaffeesatz"
)
ICONS = (
    "elementary-xfce-icon-theme gnome-colors-common gnome-icon-theme gnome-icon-theme-gartoon"
    " gnome-icon-theme-nuovo gnome-icon-theme-suede gnome-icon-theme-yasis lxde-icon-theme"
    " mate-icon-theme tango-icon-theme moka-icon-theme faenza-icon-theme paper-icon-theme"
    " obsidian-icon-theme"
)

Picture = Image.Image


@cache
def drawings() -> tuple[Images, torch.nn.Module]:
    """How the run for drawn characters takes images, and its backbone."""
    recipe, learner = load_run(DRAWINGS_RUN)
    return images_of(recipe), learner.backbone.eval()  # pyright: ignore[reportAttributeAccessIssue,reportReturnType]


def views(images: Sequence[Picture]) -> dict[str, np.ndarray]:
    """Embeddings (N, d)."""
    prepare, backbone = drawings()
    with torch.no_grad():
        drawn = torch.cat(
            [backbone(prepare(images[i : i + 64])) for i in range(0, len(images), 64)]
        )
    encode = named_encoder(IMAGE_ENCODER)
    return {IMAGE_ENCODER: encode(images).numpy(), DRAWINGS_RUN: drawn.numpy()}


def statistics(images: Sequence[Picture]) -> dict[str, np.ndarray]:
    """Of each image, the shares of mid-grey and of colourful pixels (N,)."""
    both = pixel_statistics(Images(STATISTICS_SIZE, 3, fit="stretch")(images)).numpy()
    return {"mid_grey": both[:, 0], "coloured": both[:, 1]}


def domain_of(images: Sequence[Picture], y: np.ndarray, group: str, about: str) -> Domain:
    return Domain("image", group, y, views(images), about, statistics(images))


def of_data(
    data: str,
    splits: Sequence[str],
    about: str,
    change: Callable[[Picture], Picture],
    group: str | None = None,
    *,
    n_classes: int,
    per_class: int,
) -> Domain:
    """Images of a data set of quickstudy, changed in some way."""
    parts = [
        load_dataset(data, split, image_size=105 if data == "omniglot" else 84) for split in splits
    ]
    x = torch.cat([part.x for part in parts])
    labels = [f"{i} {int(label)}" for i, part in enumerate(parts) for label in part.y]
    rows, y = choose_rows(
        labels,
        generator(f"{data} {splits}"),
        min_per_class=12,
        max_per_class=per_class,
        max_classes=n_classes,
    )
    images = [change(picture(x[int(row)].numpy())) for row in rows]
    return domain_of(images, y, group or data, about)


def picture(x: np.ndarray) -> Picture:
    """An image of bytes (1 or 3, H, W)."""
    return Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0))


def inverted(image: Picture) -> Picture:
    return Image.fromarray(255 - np.asarray(image))


def small(image: Picture) -> Picture:
    return image.resize((28, 28), Image.Resampling.BILINEAR).resize(image.size)


def digits(dark: bool) -> Domain:
    data: Any = scikit_learn.load_digits()
    rows, y = choose_rows(data.target, generator("digits"), max_per_class=40)
    x = (data.images[rows] * 255 / 16).round().astype(np.uint8)
    images = [Image.fromarray(255 - one if dark else one) for one in x]
    return domain_of(images, y, "digits", "scikit-learn's digits, 8x8 pixels (CC BY 4.0)")


def fashion(sources: Path) -> Domain:
    folder = debian("dataset-fashion-mnist", sources)
    (image_file,) = folder.rglob("t10k-images-idx3-ubyte.gz")
    (label_file,) = folder.rglob("t10k-labels-idx1-ubyte.gz")
    x = np.frombuffer(gzip.decompress(image_file.read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress(label_file.read_bytes()), np.uint8, offset=8)
    rows, y = choose_rows(labels.tolist(), generator("fashion"), max_per_class=32)
    images = [Image.fromarray(one) for one in x.reshape(-1, 28, 28)[rows]]
    about = "Fashion-MNIST, test images, 28x28, bright on black (MIT)"
    return domain_of(images, y, "fashion_mnist", about)


def texture(rng: np.random.Generator, parameters: dict[str, np.ndarray]) -> Picture:
    """Noise whose spectrum a class sets: a frequency, an angle, how narrow, and two colours."""
    size = 84
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    along = fx * np.cos(parameters["angle"]) + fy * np.sin(parameters["angle"])
    across = -fx * np.sin(parameters["angle"]) + fy * np.cos(parameters["angle"])
    distance = ((np.abs(along) - parameters["frequency"]) / parameters["width"]) ** 2
    envelope = np.exp(-(distance + (across / parameters["spread"]) ** 2) / 2)
    noise = np.fft.fft2(rng.normal(size=(size, size)))
    x = np.real(np.fft.ifft2(noise * envelope))
    x = ((x - x.mean()) / x.std() * 0.25 + 0.5 + rng.uniform(-0.1, 0.1)).clip(0, 1)[..., None]
    low, high = parameters["colours"]
    return Image.fromarray((255 * (low + (high - low) * x)).astype(np.uint8))


def textures(grey: bool) -> Domain:
    rng = generator("textures")
    images, y = [], np.repeat(np.arange(N_DRAWN), PER_CLASS)
    for _ in range(N_DRAWN):
        colours = np.repeat(rng.random((2, 1)), 3, 1) if grey else rng.random((2, 3))
        parameters = {
            "angle": rng.uniform(0, np.pi),
            "frequency": rng.uniform(0.02, 0.25),
            "width": rng.uniform(0.01, 0.06),
            "spread": rng.uniform(0.02, 0.3),
            "colours": np.array([[0.1] * 3, [0.9] * 3]) if grey else colours,
        }
        images += [texture(rng, parameters) for _ in range(PER_CLASS)]
    about = "Generated: noise whose spectrum and colours a class sets."
    return domain_of(images, y, "textures", about)


def polygon(rng: np.random.Generator, corners: np.ndarray) -> Picture:
    """A shape somewhere on a plain ground, turned and in a colour of its own."""
    ground, ink = rng.integers(0, 256, (2, 3))
    angle, scale = rng.uniform(-0.5, 0.5), rng.uniform(18, 34)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = 42 + rng.uniform(-8, 8, 2) + scale * corners @ turn
    image = Image.new("RGB", (84, 84), tuple(map(int, ground)))
    ImageDraw.Draw(image).polygon([(float(a), float(b)) for a, b in place], tuple(map(int, ink)))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def shapes() -> Domain:
    rng = generator("shapes")
    images, y = [], np.repeat(np.arange(N_DRAWN), PER_CLASS)
    for _ in range(N_DRAWN):
        n = int(rng.integers(3, 11))
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        radii = rng.uniform(0.35, 1, n)[:, None]
        corners = radii * np.stack([np.cos(angles), np.sin(angles)], 1)
        images += [polygon(rng, corners) for _ in range(PER_CLASS)]
    about = "Generated: polygons; a class sets the shape, not place, turn, size or colours."
    return domain_of(images, y, "shapes", about)


def printed_characters(sources: Path) -> Domain:
    """Letters and digits, a font of each family."""
    images, labels = [], []
    for family in FONTS.split():
        folder = debian(f"fonts-{family}", sources)
        files = sorted((f for e in ("ttf", "otf") for f in folder.rglob(f"*.{e}")), key=rank)
        if not files:
            continue
        font = ImageFont.truetype(files[0], 56)
        for character in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789":
            image = Image.new("L", (84, 84), 255)
            ImageDraw.Draw(image).text((42, 42), character, 0, font, anchor="mm")
            if np.asarray(image).min() < 128:
                images.append(image)
                labels.append(character)
    rows, y = choose_rows(labels, generator("printed"), max_per_class=PER_CLASS, min_per_class=12)
    about = "Letters and digits in one font of each of 35 families of Debian 12 (mostly OFL)."
    return domain_of([images[row] for row in rows], y, "printed_characters", about)


def rank(path: Path) -> tuple[bool, str]:
    """Regular fonts first."""
    return "regular" not in path.stem.casefold(), path.name


def size_of(path: Path) -> int:
    """In pixels, of an icon in a folder such as 48x48; 0 if none says it."""
    sizes = [re.fullmatch(r"(\d+)(?:x\1)?", part) for part in path.parts]
    return next((int(size[1]) for size in sizes if size), 0)


def icons(sources: Path) -> Domain:
    """Icons of a name, one of each theme, without those that are equal."""
    images, labels, known_pixels = [], [], set()
    for theme in ICONS.split():
        known: dict[str, Path] = {}
        paths = (p for p in debian(theme, sources).rglob("*.png") if size_of(p) and p.exists())
        for path in sorted(paths, key=lambda p: (abs(size_of(p) - 48), str(p))):
            known.setdefault(path.stem, path)
        for name, path in known.items():
            icon = Image.open(path).convert("RGBA")
            paper = Image.new("RGBA", icon.size, (255, 255, 255, 255))
            image = Image.alpha_composite(paper, icon).convert("RGB")
            if image.tobytes() not in known_pixels:
                known_pixels.add(image.tobytes())
                images.append(image)
                labels.append(name)
    options = {"max_per_class": PER_CLASS, "min_per_class": 8, "max_classes": 40}
    rows, y = choose_rows(labels, generator("icons"), **options)
    about = "Icons of a name in themes of Debian 12 (GPL, LGPL, CC BY-SA), about 48x48 on white."
    return domain_of([images[row] for row in rows], y, "icons", about)


def crops(sources: Path) -> Domain:
    """Places of a photograph, each a class."""
    rng, images, labels = generator("crops"), [], []
    for path in sorted(debian("mate-backgrounds", sources).rglob("*.jpg")):
        photograph = Image.open(path).convert("RGB")
        photograph = photograph.resize((960, 600), Image.Resampling.BILINEAR)
        for _ in range(PER_CLASS):
            left, top = int(rng.integers(0, 960 - 120)), int(rng.integers(0, 600 - 120))
            images.append(photograph.crop((left, top, left + 120, top + 120)))
            labels.append(path.stem)
    rows, y = choose_rows(labels, rng, min_per_class=PER_CLASS, max_classes=N_DRAWN)
    about = "Crops of photographs of mate-backgrounds 1.26 (GPL, CC BY-SA): which photograph it is."
    return domain_of([images[row] for row in rows], y, "crops", about)


def jobs(sources: Path) -> Jobs:
    characters = {"n_classes": 60, "per_class": 20}
    for part in ("evaluation", "background"):
        about = (
            f"Omniglot (MIT), dark on light, 60 characters of the {part} alphabets. The run "
            f"{DRAWINGS_RUN} is trained on Omniglot."
        )
        options = (about, inverted)
        yield f"omniglot_{part}", partial(of_data, "omniglot", (part,), *options, **characters)
    yield "sklearn_digits_dark", partial(digits, True)
    yield "sign_digits_colour", partial(signs, "colour")
    yield "fashion_mnist", partial(fashion, sources)
    yield "caltech_colour", partial(caltech, "colour", 40)
    yield "printed_characters", partial(printed_characters, sources)
    yield "textures_colour", partial(textures, False)
    yield "shapes", shapes
    yield "icons", partial(icons, sources)
    yield "crops", partial(crops, sources)
    yield "caltech_grey", partial(caltech, "grey", 30)
    options = ("quickstudy's glyphs, dark on light", inverted)
    yield "glyphs", partial(of_data, "glyphs", ("test",), *options, n_classes=30, per_class=15)
    yield "textures_grey", partial(textures, True)
    yield "caltech_small", partial(caltech, "small", 20)
    yield "caltech_blurred", partial(caltech, "blurred", 20)
    yield "sign_digits_grey", partial(signs, "grey")
    yield "sklearn_digits_bright", partial(digits, False)


def signs(how: str) -> Domain:
    about = f"Sign digits (Apache-2.0), {how}"
    options: Any = {"n_classes": 10, "per_class": 50 if how == "colour" else 25}
    return of_data("sign_digits", ("test",), about, CHANGES[how], **options)


def caltech(how: str, n_classes: int) -> Domain:
    about = (
        f"Caltech 101 (CC BY 4.0), 84x84, {how}. EfficientNet has seen classes of it, in ImageNet."
    )
    options: Any = {"group": "caltech", "n_classes": n_classes, "per_class": PER_CLASS}
    return of_data("caltech101_84", ("train", "validation", "test"), about, CHANGES[how], **options)


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "colour": lambda image: image,
    "grey": lambda image: image.convert("L"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "small": small,
}
