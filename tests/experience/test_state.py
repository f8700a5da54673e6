"""The store against a model in memory, through random histories of every operation."""

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from quickstudy.errors import UsageError
from quickstudy.experience import ExperienceStore, Run, Strategy, Task, Trial, fingerprint_of

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.dictionaries(st.text(max_size=4), st.none() | st.booleans() | st.integers() | numbers)
times = st.integers(0, 10**15).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0, 0, n))
tasks = st.builds(
    Task,
    st.integers(0, 5).map(fingerprint_of),
    st.sampled_from(["few-shot", "table"]),
    text,
    st.dictionaries(text, numbers, max_size=3),
    plain,
)
strategies = st.builds(Strategy, st.just("learner"), st.sampled_from(["maml", "mann"]), plain)
runs = st.builds(Run, text, times, times, plain, st.none() | text, st.none() | text, plain)
scores = st.lists(numbers, max_size=4)


class Store(RuleBasedStateMachine):
    """Two stores, each a dict of records by key for a model."""

    new_place = None
    known_tasks, known_strategies, known_runs = Bundle("t"), Bundle("s"), Bundle("r")

    @initialize()
    def begin(self):
        self.places = [self.new_place(), self.new_place()]
        self.stores = [ExperienceStore(place) for place in self.places]
        self.models = [{}, {}]
        self.folder = Path(tempfile.mkdtemp())

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def keep(self, n, *records):
        for record in records:
            kind = type(record).__name__
            self.models[n].setdefault(
                (kind, getattr(record, "fingerprint", None) or record.id), record
            )

    @rule(target=known_tasks, n=st.integers(0, 1), task=tasks)
    def add_task(self, n, task):
        self.stores[n].record(tasks=[task])
        self.keep(n, task)
        return task

    @rule(target=known_strategies, n=st.integers(0, 1), strategy=strategies)
    def add_strategy(self, n, strategy):
        self.stores[n].record(strategies=[strategy])
        self.keep(n, strategy)
        return strategy

    @rule(target=known_runs, n=st.integers(0, 1), run=runs)
    def add_run(self, n, run):
        self.stores[n].record(run=run)
        self.keep(n, run)
        return run

    @rule(
        n=st.integers(0, 1),
        task=known_tasks,
        strategy=known_strategies,
        run=st.none() | known_runs,
        scores=scores,
        at=times,
        more=plain,
        whole=st.booleans(),
    )
    def add_one(self, n, task, strategy, run, scores, at, more, whole):
        trial = Trial(
            task.fingerprint, strategy.fingerprint, run and run.id, "mse", scores, cost=more, at=at
        )
        belongs = {"run": run, "tasks": [task], "strategies": [strategy]} if whole else {}
        referred = [task, strategy, *([run] if run else [])]
        known = {key for _, key in self.models[n]}
        keys = {getattr(one, "fingerprint", None) or one.id for one in referred}
        if not whole and not keys <= known:
            with pytest.raises(UsageError, match="that are in"):
                self.stores[n].record(trials=[trial])
            return
        self.stores[n].record(trials=[trial], **belongs)
        self.keep(n, *(referred if whole else []), trial)

    @rule(n=st.integers(0, 1), run=known_runs)
    def fail_half_way(self, n, run):
        lost = Trial(fingerprint_of("nowhere"), fingerprint_of("nowhere"))
        new = Task(fingerprint_of("lost"), "few-shot", "lost")
        with pytest.raises(UsageError, match="that are in"):
            self.stores[n].record(run=run, tasks=[new], trials=[lost])

    @rule(n=st.integers(0, 1), through=st.sampled_from(["merge", "export"]))
    def take_in(self, n, through):
        other = self.stores[1 - n]
        before = len(self.models[n])
        if through == "merge":
            new = self.stores[n].merge(self.places[1 - n])
        else:
            folder = other.export(self.folder / "out")
            new = self.stores[n].import_(folder)
            shutil.rmtree(folder)
        for key, record in self.models[1 - n].items():
            self.models[n].setdefault(key, record)
        assert sum(new.values()) == len(self.models[n]) - before

    @rule(n=st.integers(0, 1))
    def open_again(self, n):
        self.stores[n] = ExperienceStore(self.places[n], create=False)

    @invariant()
    def the_stores_hold_what_the_models_hold(self):
        for store, model in zip(self.stores, self.models, strict=True):
            found = [*store.runs(), *store.tasks(), *store.strategies(), *store.trials()]
            names = ((type(r).__name__, getattr(r, "fingerprint", None) or r.id) for r in found)
            assert dict(zip(names, found, strict=True)) == model
            trials = store.trials()
            assert trials == sorted(trials, key=lambda t: (t.at, t.id))
            for kind in ("few-shot", "table"):
                ids = {t.id for t in trials if model["Task", t.task].kind == kind}
                assert {row["trial"] for row in store.table(kind=kind)} == ids


def test_a_store_does_as_its_model(new_place):
    machine = type("StoreHere", (Store,), {"new_place": staticmethod(new_place)})
    examples = int(os.environ.get("QUICKSTUDY_EXAMPLES", "4"))
    options = {"stateful_step_count": 15, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, deadline=None, database=None, **options),
    )
