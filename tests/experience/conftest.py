"""Stores to test on: a SQLite file, and a schema of its own on a PostgreSQL server.

The server is that of QUICKSTUDY_TEST_POSTGRES (a URL), or a private one that is started where
PostgreSQL is installed; without either, its tests skip.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


def _binary(name):
    return next((str(p / name) for p in BINARIES if (p / name).exists()), shutil.which(name))


def _server_account():
    """PostgreSQL refuses to run as root: the account to run it as, or None for our own."""
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


@pytest.fixture(scope="session")
def postgres():
    """The URL of a PostgreSQL server."""
    if given := os.environ.get("QUICKSTUDY_TEST_POSTGRES"):
        yield given
        return
    initdb, server = _binary("initdb"), _binary("postgres")
    if not initdb or not server:
        pytest.skip("no PostgreSQL here: install it, or set QUICKSTUDY_TEST_POSTGRES to a URL")
    account = _server_account()
    folder = Path(tempfile.mkdtemp(prefix="qs-pg-", dir="/tmp"))  # a socket's path must be short
    if account:
        shutil.chown(folder, account)
    options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if account:
        options |= {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}
    words = ["-D", str(folder / "data"), "-A", "trust", "-U", "quickstudy", "-E", "UTF8"]
    subprocess.run([initdb, *words, "--no-sync", "--locale=C"], check=True, **options)
    words = ["-D", str(folder / "data"), "-F", "-k", str(folder), "-c", "listen_addresses="]
    process = subprocess.Popen([server, *words], **options)
    url = f"postgresql+psycopg://quickstudy@/postgres?host={folder}"
    try:
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url, process):
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(300):
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            assert process.poll() is None, "the PostgreSQL server did not start"
            time.sleep(0.1)
    raise TimeoutError("the PostgreSQL server does not answer")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request, tmp_path):
    """Makes places for new stores, on either database."""
    if request.param == "sqlite":
        yield lambda: str(tmp_path / f"{uuid.uuid4().hex}.db")
        return
    server = request.getfixturevalue("postgres")
    engine, made = sa.create_engine(server, poolclass=sa.NullPool), []

    def new():
        schema = f"qs_{uuid.uuid4().hex}"
        with engine.begin() as conn:
            conn.exec_driver_sql(f"CREATE SCHEMA {schema}")
        made.append(schema)
        url = sa.make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
        return url.render_as_string(hide_password=False)

    yield new
    with engine.begin() as conn:
        for schema in made:
            conn.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def place(new_place):
    return new_place()
