"""What any store keeps to, on SQLite and on PostgreSQL."""

import os
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyarrow import parquet

from quickstudy import table_files, text_files
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experience import ExperienceStore, Run, Strategy, Task, Trial, fingerprint_of

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def task(number=0, kind="few-shot"):
    name = f"ta%k_{number}"
    return Task(fingerprint_of(number), kind, name, {"ways": 5, "lr": 1e-30}, {"data": ["é\u0000"]})


def strategy(number=0):
    return Strategy("learner", f"learner {number}", {"lr": 0.1 + number, "big": 10**30})


def trial(run=None, of=None, by=None, seconds=0, **more):
    return Trial(
        (of or task()).fingerprint,
        (by or strategy()).fingerprint,
        run and run.id,
        **{"metric": "accuracy", "scores": [0.1, 1 / 3], "seconds": 1.5, **more},
        at=BEGAN + timedelta(seconds=seconds, microseconds=1),
    )


def run(number=0):
    later = BEGAN + timedelta(seconds=number)
    return Run(f"quickstudy test {number}", BEGAN, later, {"a": None}, report={"x": [1, {}]})


def fill(store, number=3):
    """A store with runs, tasks, strategies and trials; returns the trials."""
    tasks, strategies = [task(), task(1, "table")], [strategy(), strategy(1)]
    made = run()
    trials = [
        trial(made, tasks[i % 2], strategies[i % 2], i, metric="mse" if i % 2 else "accuracy")
        for i in range(number)
    ]
    store.record(run=made, tasks=tasks, strategies=strategies, trials=trials)
    return trials


def everything(store):
    return store.runs(), store.tasks(), store.strategies(), store.trials()


class TestStore:
    def test_what_is_kept_comes_back_equal_also_to_another_process(self, place):
        made = run()
        failed = trial(made, metric=None, scores=[], failure="out of memory", cost={"flops": 1e9})
        ok = trial(made, seconds=1)
        new = ExperienceStore(place).record(
            run=made, tasks=[task()], strategies=[strategy()], trials=[ok, failed]
        )
        assert new == {"runs": 1, "tasks": 1, "strategies": 1, "trials": 2}
        assert everything(ExperienceStore(place, create=False)) == (
            [made],
            [task()],
            [strategy()],
            [failed, ok],
        )

    def test_what_is_there_already_is_passed_over(self, place):
        store = ExperienceStore(place)
        fill(store)
        before = everything(store)
        again = trial(id=before[3][0].id, scores=[0.9])
        renamed = Task(task().fingerprint, "few-shot", "another name")
        new = store.record(
            run=before[0][0], tasks=[renamed], strategies=[strategy()], trials=[again, again]
        )
        assert not any(new.values())
        assert everything(store) == before

    def test_a_record_that_cannot_be_kept_takes_all_with_it(self, place):
        store = ExperienceStore(place)
        with pytest.raises(UsageError, match="that are in"):
            store.record(run=run(), tasks=[task()], strategies=[strategy()], trials=[trial(run())])
        assert everything(store) == ([], [], [], [])
        with pytest.raises(UsageError, match="that are in"):
            store.record(trials=[trial()])

    def test_trials_are_found_by_kind_task_strategy_and_metric(self, place):
        store = ExperienceStore(place)
        trials = fill(store, 4)
        even, odd = trials[::2], trials[1::2]
        assert store.trials() == trials
        assert store.trials(kind="table") == odd
        assert store.trials(task="ta%k_0") == even
        assert store.trials(task=task(1).fingerprint[:9]) == odd
        assert store.trials(task="%") == store.trials(task="ta_k_0") == []
        assert store.trials(strategy="learner 1", metric="mse") == odd
        assert store.trials(strategy="learner 1", metric="accuracy") == []
        rows = store.table(kind="table")
        assert [row["trial"] for row in rows] == [t.id for t in odd]
        assert rows[0]["task_name"] == "ta%k_1"
        assert rows[0]["configuration"] == strategy(1).configuration
        assert rows[0]["features"] == task().features
        assert rows[0]["mean"] == pytest.approx((0.1 + 1 / 3) / 2)

    def test_show_finds_any_record_by_the_beginning_of_its_id(self, place):
        store = ExperienceStore(place)
        trials = fill(store)
        made = store.runs()[0]
        for record in (trials[0], made):
            assert store.show(record.id) == record
        assert store.show(task(1).fingerprint[:16]) == task(1, "table")
        assert store.show(strategy().fingerprint) == strategy()
        for unknown in ("", "nothing", "%", "\0"):
            with pytest.raises(UsageError, match="none"):
                store.show(unknown)
        twice = [trial(id=f"{uuid.UUID(int=n)}") for n in (1, 2)]
        store.record(trials=twice)
        with pytest.raises(UsageError, match="several"):
            store.show("00000000")

    def test_an_export_imports_once_and_a_merge_likewise(self, new_place, tmp_path):
        store, other = ExperienceStore(new_place()), ExperienceStore(there := new_place())
        fill(store)
        folder = store.export(tmp_path / "new" / "out")
        assert sorted(path.name for path in folder.iterdir()) == [
            "runs.parquet",
            "strategies.parquet",
            "tasks.parquet",
            "trials.parquet",
        ]
        assert other.import_(folder)["trials"] == 3
        assert everything(other) == everything(store)
        assert not any(other.import_(folder).values())
        third = ExperienceStore(new_place())
        third.record(tasks=[task()], strategies=[strategy(2)], trials=[trial(by=strategy(2))])
        assert third.merge(there) == {"runs": 1, "tasks": 1, "strategies": 2, "trials": 3}
        assert not any(third.merge(there).values())
        assert len(third.trials()) == 4
        with pytest.raises(UsageError, match="there already"):
            store.export(folder)

    def test_an_import_that_is_not_whole_leaves_nothing(self, new_place, tmp_path):
        store, other = ExperienceStore(new_place()), ExperienceStore(new_place())
        fill(store)
        folder = store.export(tmp_path / "out")
        for name in ("tasks", "trials"):
            file = folder / f"{name}.parquet"
            whole = file.read_bytes()
            for content in (whole[:-1], b"", b"PAR1" * 9):
                file.write_bytes(content)
                with pytest.raises(DataError, match=f"{name}.parquet is damaged"):
                    other.import_(folder)
                assert everything(other) == ([], [], [], [])
            file.unlink()
            with pytest.raises(MissingError, match=f"{name}.parquet"):
                other.import_(folder)
            file.write_bytes(whole)
        file = folder / "tasks.parquet"
        parquet.write_table(parquet.read_table(file).slice(0, 1), file)
        with pytest.raises(DataError, match="not whole"):
            other.import_(folder)
        table = parquet.read_table(file).replace_schema_metadata({"quickstudy.experience": "9999"})
        parquet.write_table(table, file)
        with pytest.raises(DataError, match="got 9999"):
            other.import_(folder)
        assert everything(other) == ([], [], [], [])
        with pytest.raises(MissingError, match="expected a folder"):
            other.import_(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("bound", "most", "message"),
        [
            ("MAX_CELLS", 20, "expected 20 cells and"),
            ("MAX_COLUMNS", 3, "3 columns at most"),
            ("MAX_BYTES", 9_000, "9,000 bytes at most, got [0-9,]+ in .* when it is decoded"),
        ],
    )
    def test_an_import_larger_than_memory_is_refused(
        self, new_place, tmp_path, monkeypatch, bound, most, message
    ):
        store, other = ExperienceStore(new_place()), ExperienceStore(new_place())
        fill(store)
        folder = store.export(tmp_path / "out")
        table = parquet.read_table(folder / "tasks.parquet").slice(0, 1)
        times = 1 if bound != "MAX_BYTES" else 100
        parquet.write_table(pa.concat_tables([table] * times), folder / "tasks.parquet")
        monkeypatch.setattr(text_files if bound == "MAX_BYTES" else table_files, bound, most)
        with pytest.raises(DataError, match=message):
            other.import_(folder)
        assert everything(other) == ([], [], [], [])

    def test_the_table_is_one_file_for_reading_elsewhere(self, place, tmp_path):
        store = ExperienceStore(place)
        fill(store, 2)
        file = store.export(tmp_path / "trials.parquet")
        assert store.export(file) == file  # again, in its place
        rows = parquet.read_table(file).to_pylist()
        assert [row["scores"] for row in rows] == [row["scores"] for row in store.table()]
        assert [row["at"] for row in rows] == [row["at"] for row in store.table()]
        assert rows[0]["features"] == '{"lr":1e-30,"ways":5.0}'
        assert list(tmp_path.glob(".tmp-*")) == []
        with pytest.raises(MissingError, match="expected a folder"):
            store.import_(file)

    def test_many_records_come_out_as_they_went_in(self, new_place, tmp_path):
        store, other = ExperienceStore(new_place()), ExperienceStore(new_place())
        fill(store)
        trials = [trial(seconds=n) for n in range(1200)]  # some batches
        store.record(trials=trials)
        assert other.import_(store.export(tmp_path / "out"))["trials"] == 1203
        assert other.trials(task="ta%k_0") == store.trials(task="ta%k_0")
        assert len(store.table()) == 1203

    def test_processes_open_a_new_store_at_once(self, place):
        code = (
            "import sys; from quickstudy.experience import *\n"
            "s = ExperienceStore(sys.argv[1]); s.record(tasks=[Task('0' * 64, 'a', 'b')])\n"
            "s.record(strategies=[Strategy('learner', sys.argv[2])])"
        )
        words = [sys.executable, "-c", code, place]
        workers = [subprocess.Popen([*words, str(n)]) for n in range(4)]
        assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
        store = ExperienceStore(place, create=False)
        assert len(store.tasks()) == 1
        assert len(store.strategies()) == 4

    def test_threads_that_write_in_other_orders_all_succeed(self, place):
        store, failures = ExperienceStore(place), []
        tasks = [task(n) for n in range(20)]

        def write(order):
            try:
                for _ in range(3):
                    new = [Task(fingerprint_of(uuid.uuid4().hex), "a", "b")]
                    store.record(tasks=[*tasks, *new][::order])
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(order,)) for order in (1, -1, 1, -1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store.tasks()) == 32

    def test_a_store_that_is_not_there_is_not_made_by_looking(self, place, new_place):
        with pytest.raises(MissingError, match="expected an experience store"):
            ExperienceStore(place, create=False)
        with pytest.raises(MissingError, match="expected an experience store"):
            ExperienceStore(new_place()).merge(place)
        if "://" not in place:
            assert not Path(place).exists()

    def test_a_store_of_a_newer_quickstudy_is_refused_and_left_alone(self, place):
        fill(ExperienceStore(place))
        engine = sa.create_engine(place if "://" in place else f"sqlite:///{place}")
        with engine.begin() as conn:
            conn.exec_driver_sql("UPDATE experience_schema SET version_num = '9999'")
            conn.exec_driver_sql(
                "INSERT INTO experience_upgrades VALUES ('9999', '7.1', '2030-01-01 00:00:00')"
            )
        with pytest.raises(DataError, match=r"got 9999 of quickstudy 7\.1: upgrade"):
            ExperienceStore(place)
        with engine.begin() as conn:
            found = conn.exec_driver_sql("SELECT count(*) FROM experience_trials").scalar()
        assert found == 3
        engine.dispose()


def test_sqlite_is_set_for_safety(tmp_path):
    store = ExperienceStore(tmp_path / "x.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    found = store._read(lambda conn: [conn.exec_driver_sql(f"PRAGMA {n}").scalar() for n in names])
    assert found == ["delete", 3, 1, 60000]


def test_a_transaction_waits_its_turn(tmp_path, monkeypatch):
    """Also when SQLite itself has given up waiting."""
    monkeypatch.setattr("quickstudy.experience.database.BUSY_SECONDS", 0.01)
    store = ExperienceStore(tmp_path / "x.db")
    holder = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}").raw_connection()
    holder.driver_connection.isolation_level = None
    holder.driver_connection.execute("BEGIN IMMEDIATE")
    tried = threading.Event()
    waiting = threading.Thread(target=lambda: (tried.set(), store.record(tasks=[task()])))
    waiting.start()
    tried.wait()
    waiting.join(0.2)
    assert waiting.is_alive()
    holder.driver_connection.execute("ROLLBACK")
    waiting.join(30)
    assert store.tasks() == [task()]
    monkeypatch.setattr("quickstudy.experience.store.ATTEMPTS", 2)
    holder.driver_connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="locked by another process"):
        store.record(tasks=[task(1)])
    holder.close()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("mysql://host/db", "sqlite:///FILE or postgresql"),
        ("sqlite://", "sqlite:///FILE or postgresql"),
        ("sqlite:///:memory:", "sqlite:///FILE or postgresql"),
        ("sqlite:///x.db?mode=ro", "sqlite:///FILE or postgresql"),
        ("a b://", "expected a path, or a URL"),
        (None, 'is "off"'),
    ],
)
def test_a_place_that_can_be_none_is_refused(place, message):
    with pytest.raises(UsageError, match=message):
        ExperienceStore(place)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@host:port/db",
        "postgresql://ann:sec@ret@host/db",
        "postgresql://ann:sec/ret@host:x/db",
        "postgresql//ann:secret@host/db",
        "postgresql:/ann:secret@host/db",
        "ann:secret@host/db",
        "sqlite://ann:secret@host/db",
        "mysql://ann:secret@host/db",
        "nosuch://host/db?password=secret",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", url)
    with pytest.raises(UsageError, match="expected a path") as refused:
        ExperienceStore()
    assert "ret" not in str(refused.value)
    assert not any(tmp_path.iterdir())


def test_the_place_is_named_by_the_environment_or_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", f"sqlite:///{tmp_path}/named.db")
    assert ExperienceStore().place == f"{tmp_path}/named.db"
    monkeypatch.delenv("QUICKSTUDY_EXPERIENCE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = ExperienceStore().place
    assert place.startswith(str(tmp_path / "home"))
    assert place.endswith(os.path.join("quickstudy", "experience.db"))


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    with pytest.raises(MissingError, match="cannot reach postgresql") as found:
        ExperienceStore(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(found.value)
