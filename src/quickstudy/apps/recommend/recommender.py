"""A recommender of two layers: bases, and a level above that tunes them to each user."""

from __future__ import annotations

import hashlib
import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from scipy import sparse

from quickstudy import errors
from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.bases import Base, BayesUser, Matrix
from quickstudy.apps.recommend.choice_level import ChoiceLevel, UnorderedChoiceLevel
from quickstudy.apps.recommend.identifiers import Catalogue, Unknown, identifier
from quickstudy.apps.recommend.interactions import Interactions, check_on_scale, user_folds
from quickstudy.apps.recommend.memory import check_memory, chunks
from quickstudy.apps.recommend.meta_level import Action, Drawn, Kind, MetaLevel, Seen, actions_of
from quickstudy.apps.recommend.neural import NEURAL_BASES
from quickstudy.apps.recommend.rating_level import RatingLevel
from quickstudy.engine import checkpoints
from quickstudy.errors import DataError, MissingError, RunError, UsageError, check_option
from quickstudy.learners.base import check_finite
from quickstudy.progress import track

__all__ = ["Adapted", "Recommender", "Suggestion"]

N_FOLDS = 4
"""Of the training users: the bases that a user trains the meta-level with have not seen them."""

MOST_LEVELS = 20

LEAST_USERS = 20
"""With two ratings or more."""

KIND = "recommender"


@dataclass(frozen=True)
class Suggestion:
    """An item that a user may like.

    Args:
        item, title: Its name, and what to call it; with the name where several have one title.
        rating: What is expected; None where clicks were learned from.
        likely: The probability of the upper half of the ratings; of being chosen next, from clicks.
        because: Titles of what the user rated well or chose that speaks for it most.
    """

    item: str
    title: str
    rating: float | None
    likely: float
    because: list[str]


class Recommender:
    """Learn from users with many ratings, or clicks, how to recommend to those with few.

    From ratings it learns what users like; from clicks, what they choose next.

    Args:
        meta: Whether the meta-level decides for each user; else the one action that is best for
            training users is taken for all.
        also: Networks that are meta-learned as further bases of ratings, by their names in
            `NEURAL_BASES`; each takes minutes.
        seed: Decides the bases' first factors, the folds, and what is drawn.

    Attributes:
        bases_: The base recommenders, of all training users.
        single_: The best action for all.
        level_: The level above.
        items_, titles_, levels_: Of the training data; levels are the different ratings and the
            ends of the scale, of clicks [1].
        catalogue_: Finds items by name or title.
        clicks_, ordered_: Whether it learned from clicks, and whether their order is known.
        actions_: Each base with each of its settings.
        encoder_: Makes vectors of users' attributes.
        singles_, drawn_: After `fit` alone: a level above for each action, the same for all users,
            and the ratings that all of them were learned from.

    Example:
        >>> from quickstudy.apps.recommend import Recommender, generated
        >>> recommender = Recommender().fit(generated(n_users=60, n_items=30))
        >>> user = recommender.adapt({"item 3": 5, "item 8": 1})
        >>> len(user.top_n(10))
        10
    """

    def __init__(self, *, meta: bool = True, also: Sequence[str] = (), seed: int = 0) -> None:
        for name in also:
            check_option("base", name, NEURAL_BASES)
        self.meta, self.also, self.seed = meta, tuple(also), seed

    def fit(self, data: Interactions) -> Self:
        """Learn bases and meta-level.

        Raises:
            DataError: If there are too few users or ratings, or too many different ratings.
        """
        self._set_kind(data.clicks, ordered=data.time is not None)
        if not data.clicks and not 2 <= len(data.levels) <= MOST_LEVELS:
            raise DataError(
                f"expected 2 to {MOST_LEVELS} different ratings, got {len(data.levels)}: "
                "round them, or take them as clicks"
            )
        self.levels_ = np.union1d(data.levels, data.extremes)
        check_memory(len(data.users), len(data.items), len(data.rating))
        able = int((data.counts >= 2).sum())
        if able < LEAST_USERS:
            raise DataError(f"expected {LEAST_USERS} users with two ratings each, got {able}")
        if data.clicks and data.time is None:
            warnings.warn(
                "the clicks have no times, so nothing is learned from their order, and evaluation "
                "takes them in a random one: give a column of times if the order is known",
                stacklevel=2,
            )
        self.items_, self.titles_ = data.items, data.titles or data.items
        self.catalogue_ = Catalogue(self.items_, self.titles_)
        self._seen = set(map(_digest, data.users))
        self.encoder_ = AttributeEncoder().fit(data.user_columns, len(data.users))
        parts = []
        for fold in track(user_folds(len(data.users), N_FOLDS, self.seed), "inner folds"):
            others = data.of_users(np.setdiff1d(np.arange(len(data.users)), fold))
            parts.append(self._drawn(self._bases(others), data.of_users(fold)))
        drawn = Drawn.of(parts)
        singles = {a: self.level(drawn, "single", a) for a in track(self.actions_, "settings")}
        errors = {a: level.error(drawn) for a, level in singles.items()}
        self.single_: Action = min(errors, key=lambda action: errors[action])
        self.level_ = self.level(drawn, "meta") if self.meta else singles[self.single_]
        self.singles_, self.drawn_ = singles, drawn
        self.bases_ = self._bases(data)
        return self

    def adapt(
        self,
        history: Mapping[Any, float] | Sequence[tuple[Any, float]] | Sequence[Any] = (),
        attributes: Mapping[str, Any] | None = None,
        *,
        unknown: Unknown = "raise",
    ) -> Adapted:
        """Learn a user from some ratings or clicks, maybe none. The recommender stays as it is.

        Args:
            history: Ratings by item, in the scale of the training data; or, if that was clicks, the
                items chosen, in order. Items are named by id, or by title where no other item has
                the same.
            attributes: What is known of the user, by the names of the training data's columns.
            unknown: "ignore" leaves out items that training did not have, with a warning; "raise"
                refuses them.

        Raises:
            DataError: For an item that is unknown or comes twice, a rating off the scale, ratings
                where clicks were learned from or the other way round, or an attribute that cannot
                be read.
        """
        self._check_fitted()
        pairs = self._pairs(history)
        places = self._positions([item for item, _ in pairs], unknown)
        rated = [(place, pair) for place, pair in zip(places, pairs, strict=True) if place >= 0]
        index = [int(place) for place, _ in rated]
        if len(set(index)) < len(index):
            twice = next(item for i, (_, (item, _)) in enumerate(rated) if index[i] in index[:i])
            raise DataError(f"expected each item once, got {twice!r} twice: keep the newest")
        known = {**self.encoder_.numbers, **self.encoder_.words}
        for name in attributes or {}:
            if name not in known:
                raise errors.unknown("attribute", name, known)
        order = np.argsort(index, kind="stable").astype(int)
        ratings = sparse.csr_matrix(
            (
                np.array([float(rated[i][1][1]) for i in order]),
                np.array(index, int)[order],
                np.array([0, len(index)]),
            ),
            shape=(1, len(self.items_)),
        )
        columns = {name: [value] for name, value in (attributes or {}).items()}
        return Adapted(self, ratings, self.encoder_(columns, 1))

    def _pairs(self, history: Mapping[Any, float] | Sequence[Any]) -> list[tuple[Any, float]]:
        """Items with ratings, or of clicks with places."""
        if isinstance(history, str):
            raise DataError(f"expected a list of items, got {history!r}: put it into a list")
        given: list[Any] = list(history.items() if isinstance(history, Mapping) else history)
        if self.clicks_:
            for entry in given:
                if isinstance(entry, Sequence) and not isinstance(entry, (str, bytes)):
                    raise DataError(
                        f"expected the names of items in order, as there were no ratings in "
                        f"training, got {entry!r}"
                    )
            return [(item, float(place)) for place, item in enumerate(given, 1)]
        for entry in given:
            if isinstance(entry, (str, bytes)) or not hasattr(entry, "__len__") or len(entry) != 2:
                raise DataError(f"expected items with ratings, got {entry!r}")
            if not isinstance(entry[1], numbers.Real):
                raise DataError(
                    f"expected a number as the rating of {entry[0]!r}, got {entry[1]!r}"
                )
        self._check_scale(np.array([rating for _, rating in given], float))
        return given

    def _positions(self, items: Sequence[Any], unknown: Unknown, of: str = "items") -> np.ndarray:
        """Positions in `items_`, -1 of those unknown, which a warning tells of."""
        check_option("unknown", unknown, get_args(Unknown))
        found = self.catalogue_.positions(items, unknown)
        absent = found < 0
        if absent.any():
            warnings.warn(
                f"{absent.sum()} of {len(items)} {of} are not among those of training and are "
                f"left out, {identifier(items[int(absent.argmax())])!r} for one",
                stacklevel=3,
            )
        return found

    def see(self, ratings: Matrix, users: np.ndarray) -> Seen:
        """What a level decides by.

        Args:
            ratings: What is known, users by items, as `Interactions.matrix` makes it.
            users: Their attributes, as `encoder_` makes them.
        """
        return self.level_.see(self.bases_, ratings, users, self.levels_)

    def probabilities(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        """Of each level, for all items, (n_users, n_items, n_levels); of clicks, of being chosen
        next, (n_users, n_items, 1).

        Raises:
            DataError: If one is not finite.
        """
        likely = self.level_.distribution(self.see(ratings, users))
        check_finite(torch.from_numpy(likely), "the recommender")
        return likely

    def top_all(self, data: Interactions, n: int = 10, *, unknown: Unknown = "raise") -> np.ndarray:
        """The best unseen items for each user of some data, given all their ratings there.

        Args:
            n: How many.
            unknown: Whether to refuse items that training did not have, or leave them out.

        Returns:
            Positions in `items_`, (n_users, n), best first; -1 where no more are unseen.
        """
        known, users = self.known(data, cold=False, unknown=unknown)
        if not 1 <= n <= len(self.items_):
            raise UsageError(f"expected n of 1 to {len(self.items_)}, the items, got {n}")
        ratings = known.matrix()
        best = []
        for users_at in chunks(len(users), len(self.items_)):
            part = ratings[users_at]
            scores = self.probabilities(part, users[users_at]) @ self.levels_
            rated = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr)), part.indices
            scores[rated] = -np.inf  # those rated 0 too
            top = np.argsort(-scores, 1, kind="stable")[:, :n]
            unseen = np.isfinite(np.take_along_axis(scores, top, 1))
            best.append(np.where(unseen, top, -1))
        return np.concatenate(best)

    def level(self, drawn: Drawn, kind: Kind, action: Action | None = None) -> MetaLevel:
        """A level above the bases, learned from what these have not seen."""
        return self._kind(self.levels_, self.actions_, kind, action).fit(drawn)

    def known(
        self, data: Interactions, *, cold: bool = True, unknown: Unknown = "raise"
    ) -> tuple[Interactions, np.ndarray]:
        """The same ratings by positions in `items_`, and the users' attributes.

        Args:
            cold: Refuse users that were seen in training.
            unknown: Whether to refuse items that training did not have, or leave them out.

        Raises:
            DataError: If an item or a rating is none of the training data's; or if all are to be
                cold, and a user was seen in training.
        """
        self._check_fitted()
        seen = [name for name in data.users if _digest(name) in self._seen] if cold else []
        if seen:
            more = f" and {len(seen) - 1} others" if len(seen) > 1 else ""
            raise DataError(
                f"expected users that were not seen in training, got {seen[0]!r}{more}: "
                "leave them out, as training knows their ratings"
            )
        rated = np.unique(data.item)
        place = np.full(len(data.items), -1)
        place[rated] = self._positions([data.items[i] for i in rated], unknown, "rated items")
        kept = place[data.item] >= 0
        if not kept.any():
            raise DataError("expected ratings of items of the training data, got none")
        if self.clicks_:
            data = data.as_clicks()
        elif data.clicks:
            raise DataError("expected ratings, as there were in training, got clicks")
        if self.clicks_ and self.ordered_ and data.time is None:
            raise DataError(
                "expected times, as in training, got none: the order of clicks is learned from"
            )
        self._check_scale(data.rating)
        known = replace(
            data,
            items=self.items_,
            user=data.user[kept],
            item=place[data.item[kept]],
            rating=data.rating[kept],
            time=None if data.time is None else data.time[kept],
            item_columns={},
            titles=self.titles_,
            scale=None,
        )
        return known, self.encoder_(data.user_columns, len(data.users))

    def read_attributes(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Attributes from texts: numbers where they were numbers in training, words else, several
        with "|" between them.

        Raises:
            DataError: If a number is none.
        """
        read: dict[str, Any] = {}
        for name, text in texts.items():
            try:
                read[name] = float(text) if name in self.encoder_.numbers else text.split("|")
            except ValueError:
                raise DataError(f"expected a number as {name!r}, got {text!r}") from None
        return read

    @property
    def n_users(self) -> int:
        """Training users."""
        return len(self._seen)

    @property
    def counts(self) -> np.ndarray:
        """Ratings of each item in training, (n_items,)."""
        return self._bayes.counts

    def title(self, item: str) -> str:
        """What to call an item, by its name."""
        return self.catalogue_.labels[self.catalogue_.positions([item])[0]]

    def save(self, folder: str | Path) -> None:
        """Write what was learned, without pickle. The training users are kept as hashes, to tell
        whether a user is new. A recommender saved there before is replaced once the new one is
        whole, and other processes may load it meanwhile.

        Raises:
            RunError: If the folder holds something else, or another process keeps saving there.
            DiskError: If it cannot be written.
        """
        self._check_fitted()
        folder = Path(folder)
        check_folder(folder)
        tensors = {
            name: {key: torch.tensor(value) for key, value in base.state().items()}
            for name, base in self.bases_.items()
        }
        state = {
            "application": KIND,
            "meta": self.meta,
            "also": list(self.also),
            "seed": self.seed,
            "levels": self.levels_.tolist(),
            "items": self.items_,
            "titles": self.titles_,
            "seen": sorted(self._seen),
            "attributes": self.encoder_.state(),
            "single": list(map(str, self.single_)),
            "ordered": self.ordered_,
        }
        tensors["level"] = self.level_.parameters
        checkpoints.save_version(folder, tensors, state)

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Bring back what `save` wrote; it recommends the same.

        Raises:
            MissingError: If nothing is saved there.
            RunError: If it is damaged, or of another kind.
        """
        found = checkpoints.latest_checkpoint(Path(folder))
        if found is None:
            raise MissingError(f"expected a recommender at {folder}, found none: train one")
        tensors, state, _ = found
        if state.get("application") != KIND:
            raise RunError(f"expected a recommender in {folder}, got something else saved")
        for name, part in tensors.items():
            checkpoints.check_weights(part, Path(folder) / name)
        try:
            return cls._restored(tensors, state)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folder} is damaged ({error!r}): train again") from None

    @classmethod
    def _restored(cls, tensors: dict[str, dict[str, Any]], state: dict[str, Any]) -> Recommender:
        made = cls(meta=state["meta"], also=state["also"], seed=state["seed"])
        made.levels_ = np.array(state["levels"])
        made._set_kind(len(made.levels_) == 1, ordered=state.get("ordered", True))
        made.items_, made.titles_ = state["items"], state["titles"]
        made.catalogue_ = Catalogue(made.items_, made.titles_)
        made._seen = set(state["seen"])
        made.encoder_ = AttributeEncoder.of(state["attributes"])
        name, setting = state["single"]
        made.single_ = (name, float(setting))
        made.bases_ = {
            name: base().restore({key: t.numpy() for key, t in tensors[name].items()})
            for name, base in made._classes.items()
        }
        kind: Kind = "meta" if made.meta else "single"
        made.level_ = made._kind(made.levels_, made.actions_, kind, made.single_)
        made.level_.parameters = tensors["level"]
        return made

    @property
    def _bayes(self) -> BayesUser:
        bayes = self.bases_["bayes"]
        assert isinstance(bayes, BayesUser)
        return bayes

    def _bases(self, data: Interactions) -> dict[str, Base]:
        n_users, n_items = len(data.users), len(data.items)
        users = self.encoder_(data.user_columns, n_users)
        items = AttributeEncoder().fit(data.item_columns, n_items)(data.item_columns, n_items)
        ratings = data.matrix()
        classes = self._classes.items()
        return {name: base().fit(ratings, users, items, self.seed) for name, base in classes}

    def _drawn(self, bases: dict[str, Base], data: Interactions) -> Drawn:
        rng = np.random.default_rng(self.seed)
        users = self.encoder_(data.user_columns, len(data.users))
        return self._kind.draw(bases, data, users, self.levels_, rng)

    def _set_kind(self, clicks: bool, ordered: bool) -> None:
        self.clicks_, self.ordered_ = clicks, ordered
        if clicks and self.also:
            raise UsageError(f"expected ratings for {', '.join(self.also)} to learn, got clicks")
        choice = ChoiceLevel if ordered else UnorderedChoiceLevel
        self._kind: type[MetaLevel] = choice if clicks else RatingLevel
        self._classes = {**self._kind.BASES, **{name: NEURAL_BASES[name] for name in self.also}}
        self.actions_ = actions_of(self._classes)

    def _check_scale(self, ratings: np.ndarray) -> None:
        check_on_scale(ratings, (self.levels_[0], self.levels_[-1]))

    def _check_fitted(self) -> None:
        if not hasattr(self, "bases_"):
            raise UsageError("expected a fitted recommender: call fit, or load a saved one")


class Adapted:
    """What a recommender knows of one user; `Recommender.adapt` makes it.

    Args:
        recommender: Fitted.
        ratings: The user's, (1, n_items).
        attributes: The user's, (1, d).
    """

    def __init__(self, recommender: Recommender, ratings: Matrix, attributes: np.ndarray) -> None:
        self.recommender, self.ratings, self.attributes = recommender, ratings, attributes
        self.probabilities = recommender.probabilities(ratings, attributes)[0]
        """Of each rating, (n_items, n_levels); of clicks, of being chosen next, (n_items, 1)."""

    def predict(self, items: Sequence[Any], *, unknown: Unknown = "raise") -> np.ndarray:
        """Expected ratings of items, shape (n,); of clicks, probabilities of being chosen next.

        Args:
            items: By id, or by title where no other item has the same.
            unknown: Whether to refuse items that training did not have, or give NaN for them.

        Raises:
            DataError: For an unknown item.
        """
        made = self.recommender
        places = made._positions(items, unknown)
        return np.where(places >= 0, self.probabilities[places] @ made.levels_, np.nan)

    def top_n(
        self,
        n: int = 10,
        *,
        among: Sequence[Any] | None = None,
        n_because: int = 2,
        unknown: Unknown = "raise",
    ) -> list[Suggestion]:
        """The items of the highest expected ratings, or likeliest to be chosen next, best first,
        without those rated or chosen already.

        Args:
            n: How many; fewer come if fewer are left.
            among: Only these.
            n_because: Reasons of each, at most.
            unknown: Whether to refuse items in `among` that training did not have, or leave them
                out.

        Raises:
            UsageError: If `n` is not positive.
            DataError: For an unknown item.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        made = self.recommender
        places = np.arange(len(made.items_))
        if among is not None:
            places = made._positions(among, unknown)
        places = np.setdiff1d(places[places >= 0], self.ratings.indices)
        scores = self.probabilities[places] @ made.levels_
        best = places[np.argsort(-scores, kind="stable")[:n]]
        upper = len(made.levels_) - max(1, len(made.levels_) // 2)
        reasons = self._reasons(best, n_because)
        return [
            Suggestion(
                made.items_[i],
                made.catalogue_.labels[i],
                None if made.clicks_ else float(self.probabilities[i] @ made.levels_),
                float(self.probabilities[i, upper:].sum()),
                [made.catalogue_.labels[j] for j in reasons[position]],
            )
            for position, i in enumerate(best)
        ]

    def explain(self) -> dict[str, Any]:
        """What the meta-level decided on for this user.

        Returns:
            "weights": how far each action is trusted, of ratings, to move them from the item's
            mean; "thresholds", of ratings: the blend above which each rating but the lowest is more
            likely than not to be reached; "usual": the same for the average training user.
        """
        made = self.recommender
        seen = made.see(self.ratings, self.attributes)
        names = [action_name(action) for action in made.actions_]

        def told(decision: dict[str, list[float]]) -> dict[str, Any]:
            return {**decision, "weights": dict(zip(names, decision["weights"], strict=True))}

        usual = told(made.level_.decision())
        return {**told(made.level_.decision(seen.users)), "usual": usual}

    def ask(self, n: int = 1, *, skip: Sequence[Any] = (), unknown: Unknown = "raise") -> list[str]:
        """The items whose ratings would tell most about this user, best first.

        One rating shrinks what not knowing the user adds to the variances of all items, weighted by
        how often they are rated; that times the share of users who could answer, as they rated it.
        It is greedy: each item counts on the answers to those before.

        Args:
            n: How many.
            skip: What the user was asked about and does not know.
            unknown: Whether to refuse items in `skip` that training did not have, or leave them
                out.

        Raises:
            UsageError: If `n` is not positive, or clicks were learned from.
            DataError: For an unknown item.
        """
        if n < 1:
            raise UsageError(f"expected n of 1 or more, got {n}")
        made = self.recommender
        if "bayes" not in made.bases_:
            raise UsageError(
                "expected a recommender of ratings to ask for some, got one of clicks: ask about "
                "what most have chosen"
            )
        passed = made._positions(skip, unknown)
        passed = passed[passed >= 0].tolist()
        return [made.items_[i] for i in made._bayes.ask(self.ratings, self.attributes, n, passed)]

    def _reasons(self, items: np.ndarray, n: int) -> list[list[int]]:
        """Positions of what was rated well, or chosen, and speaks for each item, the most first."""
        made = self.recommender
        pulls = made.bases_[made.level_.REASONS].pulls(self.ratings, self.attributes, items)
        liked = self.ratings.data >= made.levels_[len(made.levels_) // 2]
        found = []
        for column in pulls.T:
            order = np.argsort(-column, kind="stable")
            chosen = [j for j in order if liked[j] and column[j] > 0][:n]
            found.append([int(self.ratings.indices[j]) for j in chosen])
        return found


def check_folder(folder: Path) -> None:
    """Refuse a folder that a recommender cannot be saved in, before it is trained."""
    checkpoints.check_versions(folder, KIND, lambda state: state.get("application") == KIND)


def action_name(action: Action) -> str:
    """As `bayes 1`: the base and its setting."""
    return f"{action[0]} {action[1]:g}"


def _digest(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:16]
