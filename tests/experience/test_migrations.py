"""Every earlier schema is upgraded, by one process or many, and killed half-way leaves it whole.

`golden/REVISION.sql` is a store as that schema wrote it; each new revision adds one.
"""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from quickstudy.experience import ExperienceStore, store
from quickstudy.experience.database import revision_of
from quickstudy.experience.schema import METADATA, SCHEMA

GOLDEN = Path(__file__).parent / "golden"
REVISIONS = sorted(path.stem for path in GOLDEN.glob("*.sql"))


@pytest.fixture
def golden(tmp_path):
    def make(revision):
        path = tmp_path / f"{revision}.db"
        conn = sqlite3.connect(path)
        conn.executescript((GOLDEN / f"{revision}.sql").read_text())
        conn.close()
        return path

    return make


def shape(path):
    conn = sqlite3.connect(path)
    found = conn.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    conn.close()
    return found


def test_the_schema_is_that_of_the_newest_migration_and_has_a_golden_store():
    assert ScriptDirectory(str(store.MIGRATIONS)).get_heads() == [SCHEMA]
    assert REVISIONS[-1] == SCHEMA


def test_migrations_make_the_tables_that_the_code_uses(place):
    def differences(conn):
        options = {"version_table": "experience_schema"}
        return compare_metadata(MigrationContext.configure(conn, opts=options), METADATA)

    assert ExperienceStore(place)._read(differences) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_golden_store_opens_with_all_it_holds(golden, revision, tmp_path):
    opened = ExperienceStore(golden(revision), create=False)
    ExperienceStore(tmp_path / "new.db")
    assert shape(tmp_path / "new.db") == shape(opened.place)
    (task,), (strategy,), (run,) = opened.tasks(), opened.strategies(), opened.runs()
    scored, failed = opened.trials()
    assert (task.name, task.features["ways"]) == ("digits all, 5-way 1-shot", 5)
    assert (strategy.name, strategy.configuration) == ("maml", {"options": {"inner_lr": 0.4}})
    assert (run.command, run.started.year) == ("quickstudy test runs/maml", 2026)
    assert (scored.scores, scored.metric, scored.run) == ([0.5, 1.0], "accuracy", run.id)
    assert (failed.failure, failed.mean) == ("out of memory", None)


NEXT = """
import os, sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.add_column("experience_tasks", sa.Column("more", sa.Text))
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
"""

OPEN = """
import sys
from pathlib import Path
from quickstudy.experience import store
store.MIGRATIONS, store.SCHEMA = Path(sys.argv[1]), "0002"
print(len(store.ExperienceStore(sys.argv[2]).tasks()))
"""


def test_an_older_store_is_upgraded_by_many_at_once_also_after_a_kill(place, tmp_path, monkeypatch):
    folder = shutil.copytree(store.MIGRATIONS, tmp_path / "migrations")
    (folder / "versions" / "v0002_next.py").write_text(NEXT)
    first = ExperienceStore(place)
    words = [sys.executable, "-c", OPEN, str(folder), place]
    monkeypatch.setenv("DIE", "1")
    assert subprocess.run(words).returncode == -9
    assert ExperienceStore(place)._read(revision_of) == "0001"
    monkeypatch.delenv("DIE")
    workers = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(3)]
    assert [worker.communicate(timeout=120)[0] for worker in workers] == [b"0\n"] * 3
    names = first._read(
        lambda conn: [c["name"] for c in sa.inspect(conn).get_columns("experience_tasks")]
    )
    assert "more" in names
    with pytest.raises(ValueError, match="got 0002 of quickstudy"):
        ExperienceStore(place)


def test_a_store_of_no_known_schema_is_refused_in_a_line(golden):
    path = golden("0001")
    conn = sqlite3.connect(path)
    conn.execute("UPDATE experience_schema SET version_num = '0000'")
    conn.commit()
    conn.close()
    with pytest.raises(ValueError, match="is damaged") as found:
        ExperienceStore(path)
    assert "\n" not in str(found.value)
