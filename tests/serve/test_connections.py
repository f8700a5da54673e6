"""Clients that are silent, slow or many, at a service in a process of its own, on this machine."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress

import pytest

from quickstudy.serve import connections

SERVICE = """
import resource, sys, time
from fastapi import APIRouter
from quickstudy.serve import connections, create_app, listen, run

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
connections.CLIENT_TIMEOUT = float(sys.argv[1])
routes = APIRouter()

@routes.get("/large")
def large() -> str:
    return "x" * 20_000_000

at = listen("127.0.0.1", 0)
at.listen()
print(at.getsockname()[1], flush=True)
run(create_app({"odd": routes}), at)
"""
MOST = 128
"""Connections, where a process may open 256 files."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a limit on open files")


@contextmanager
def service(head_seconds=60.0):
    """Serve until the block ends; gives the address and, after it, what was logged."""
    words = [sys.executable, "-c", SERVICE, str(head_seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    logged = []
    try:
        port = process.stdout.readline()
        assert port, process.stderr.read()
        yield ("127.0.0.1", int(port)), logged
        process.terminate()
        logged.append(process.communicate(timeout=30)[1])
    finally:
        process.kill()
        process.wait()


def health(address):
    """Seconds until health is answered."""
    began = time.monotonic()
    url = f"http://{address[0]}:{address[1]}/api/health"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert json.loads(answer.read())["status"] == "ok"
    return time.monotonic() - began


def closed(client, seconds=15):
    """Whether the other end closes a connection in some seconds."""
    client.settimeout(seconds)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /api/odd HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["silent", "slow head", "slow body"],
)
def test_hundreds_of_waiting_connections_keep_nobody_out_and_fill_no_log(words):
    with service() as (address, logged), ExitStack() as open_ones:
        clients = []
        for _ in range(400):
            client = open_ones.enter_context(socket.create_connection(address, timeout=20))
            clients.append(client)
            with suppress(ConnectionError):
                client.sendall(words)
        for _ in range(5):
            health(address)
        assert all(closed(client) for client in clients[: 400 - MOST - 10])
    assert len(logged[0]) < 20_000


def test_a_request_that_does_not_come_in_time_is_given_up():
    with service(head_seconds=0.5) as (address, _), socket.create_connection(address) as client:
        for letter in b"GET / HTTP/1.1\r\nX-Slow: " + b"a" * 30:  # a byte now and then is no help
            try:
                client.sendall(bytes([letter]))
            except ConnectionError:
                break
            time.sleep(0.05)
        assert closed(client)
        health(address)


def test_the_second_request_of_a_connection_has_to_come_in_time_too():
    whole = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with service(head_seconds=0.5) as (address, _), socket.create_connection(address) as client:
        for _ in range(3):
            time.sleep(0.2)
            client.sendall(whole)
            answer = client.recv(65536)
            while not answer.endswith(b"}"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(whole[:9])
        assert closed(client)


def test_an_answer_that_is_not_taken_is_given_up():
    with service(head_seconds=0.5) as (address, _), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address)
        client.sendall(b"GET /api/odd/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(3)
        received = 0
        client.settimeout(15)
        try:
            while part := client.recv(1 << 20):
                received += len(part)
        except ConnectionError:
            pass
        assert received < 20_000_000
        health(address)


def test_invalid_requests_write_some_lines_a_minute():
    with service() as (address, logged):
        for _ in range(200):
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(b"nonsense\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 400")
    lines = logged[0].splitlines()
    assert len(lines) == connections.MAX_LOG_RECORDS
    assert "more of this minute are left out" in lines[-1]


def test_a_log_goes_on_in_the_next_minute(monkeypatch):
    few = connections.LogRateLimit()
    record = logging.LogRecord("name", logging.ERROR, "", 0, "%d things", (3,), None)
    passed = sum(few.filter(record) for _ in range(100))
    assert passed == connections.MAX_LOG_RECORDS
    assert record.getMessage() == "3 things (more of this minute are left out)"
    monkeypatch.setattr(connections, "LOG_PERIOD", 0.0)
    assert few.filter(record)
