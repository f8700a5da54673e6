"""The command that serves, as a process that is started and stopped."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

import command
from quickstudy.apps.recommend import Recommender, generated
from quickstudy.cli.serve import _complete_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("serve") / "films"
    Recommender().fit(generated(n_users=40, n_items=20)).save(place)
    return place


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_130(folder, number):
    words = ["serve", "--recommender", str(folder), "--port", "0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from quickstudy.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            told += line
        url = json.loads(told)["url"]
        with urllib.request.urlopen(f"{url}/api/recommender", timeout=10) as answer:
            about = json.loads(answer.read())
            assert "server" not in answer.headers
        assert (about["name"], about["items"]) == ("films", 20)
        process.send_signal(number)
        assert process.wait(15) == 130
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("words", "token", "says"),
    [
        (["--recommender", "nowhere"], "", "expected a recommender at nowhere, found none"),
        (["--host", "0.0.0.0"], "", "expected a token, as other machines reach 0.0.0.0"),
        (["--host", "0.0.0.0"], "short", "QUICKSTUDY_TOKEN of 16 or more letters"),
        (["--host", "no such host"], "x" * 16, "expected a free port of this machine"),
    ],
)
def test_what_cannot_be_served_is_refused(capsys, monkeypatch, words, token, says):
    monkeypatch.setenv("QUICKSTUDY_TOKEN", token)
    before = signal.getsignal(signal.SIGTERM)
    code, out, err = command.run(capsys, "serve", "--port", "0", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_port_in_use_is_refused_before_anything_is_learned(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = command.run(capsys, "serve", "--port", port)
    assert code == 2
    assert f"port {port} (Address already in use): name another" in err


def test_trained_recommenders_complete(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert _complete_run("fi") == ["films"]
    assert _complete_run("runs") == []
