from datetime import datetime, timedelta, timezone

import pytest

from quickstudy.errors import UsageError
from quickstudy.experience import Run, Strategy, Task, Trial, canonical_json, fingerprint_of

NAN = float("nan")
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
TASK = fingerprint_of("task")


def test_a_strategy_is_its_kind_name_and_options_in_any_order():
    one = Strategy("learner", "maml", {"a": 1, "b": [1, 2]})
    assert one == Strategy("learner", "maml", {"b": (1, 2), "a": 1})
    others = [
        Strategy("pipeline", "maml", {"a": 1, "b": [1, 2]}),
        Strategy("learner", "reptile", {"a": 1, "b": [1, 2]}),
        Strategy("learner", "maml", {"a": 1, "b": [2, 1]}),
        Strategy("learner", "maml", {"a": True, "b": [1, 2]}),
    ]
    assert len({s.fingerprint for s in [one, *others]}) == 5


def test_records_do_not_share_what_they_were_made_of():
    options = {"a": [1]}
    strategy = Strategy("learner", "maml", options)
    options["a"].append(2)
    assert strategy.configuration == {"a": [1]}


def test_times_are_utc():
    run = Run("quickstudy test", NOON, NOON)
    assert run.started.isoformat() == "2026-01-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Task("x", "few-shot", "a"), "SHA-256"),
        (lambda: Task(TASK, "few-shot", "a", {"ways": NAN}), "what JSON can hold"),
        (lambda: Task(TASK, "few-shot", "a", {"ways": "5"}), "features.ways"),
        (lambda: Task(TASK, "few-shot", "zero\0"), "zero character"),
        (lambda: Task(TASK, "few-shot", "half \ud800"), "UTF-8"),
        (lambda: Strategy("learner", "a", {"lr": NAN}), "what JSON can hold"),
        (lambda: Strategy("learner", "a", {"lr": object()}), "what JSON can hold"),
        (lambda: Strategy("learner", "a", [1]), "a dict as configuration"),
        (lambda: Trial(TASK, TASK, metric="accuracy", scores=[NAN]), "finite number as scores"),
        (lambda: Trial(TASK, TASK, metric="accuracy", scores="5"), "list of numbers"),
        (lambda: Trial(TASK, TASK, scores=[1.0]), "the metric of the scores"),
        (lambda: Trial(TASK, TASK, at=datetime(2026, 1, 1)), "time with its zone"),
        (lambda: Trial(TASK, TASK, id="../../etc"), "UUID"),
        (lambda: Run("a", "yesterday", NOON), "time with its zone"),
    ],
)
def test_what_cannot_be_kept_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_canonical_json_has_no_nan():
    with pytest.raises(UsageError, match="what JSON can hold"):
        canonical_json([NAN])
