import asyncio
import importlib
import re
import socket
import sys
import threading
import time

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from quickstudy.errors import MissingError, UsageError
from quickstudy.serve import create_app, is_local, listen, middleware, tokens

JSON = {"Content-Type": "application/json"}


def serve(**options):
    """The service of an application that does what a path says."""
    routes = APIRouter()
    hold, held = threading.Event(), threading.Semaphore(0)

    @routes.get("/fail")
    def fail() -> None:
        raise RuntimeError("secret")

    @routes.get("/hold")
    def wait() -> str:
        held.release()
        hold.wait(10)
        return "done"

    @routes.post("/take")
    def take(body: dict[str, int]) -> int:
        return len(body)

    client = TestClient(
        create_app({"odd": routes}, **options),
        base_url="http://localhost",
        raise_server_exceptions=False,
    )
    return client, hold, held


def test_it_says_what_it_serves_and_describes_each_endpoint(client):
    health = client.get("/api/health").json()
    assert health["status"] == "ok"
    assert health["applications"] == ["recommender"]
    described = client.get("/api/openapi.json").json()
    operations = described["paths"]["/api/recommender/recommend"]["post"]
    assert operations["description"]
    assert set(operations["responses"]) >= {"200", "401", "413", "422", "503"}
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_the_page_and_all_that_it_names_come_from_the_service(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    modules = [f"/{name}" for name in named if name.endswith(".js")]
    for name in {*named, "api.js", "stars.js"}:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|eval\(", answer.text)
    assert modules
    assert not re.search(r"<script>| on\w+=| style=", page.text)  # nothing that the policy forbids


@pytest.mark.parametrize("path", ["/", "/style.css", "/api/health", "/nothing", "/api/nothing"])
def test_all_answers_say_what_a_browser_may_do_with_them(client, path):
    headers = client.get(path, headers={"Origin": "http://evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert headers["cache-control"] == ("no-store" if path.startswith("/api/") else "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2f..%2fpyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/%252e%252e/etc/passwd",
        "//etc/passwd",
        "/style.css/../service.py",
        "/style.css%00.py",
        "/api/recommender/../../etc/passwd",
        "/service.py",
        "/__init__.py",
    ],
)
def test_no_path_leads_out_of_the_page(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example", 400),
        ("", 400),
    ],
)
def test_another_name_in_the_host_header_is_refused(client, host, code):
    assert client.get("/api/health", headers={"Host": host}).status_code == code


def test_names_can_be_allowed():
    named, *_ = serve(hosts=["films.example"])
    assert named.get("/api/health", headers={"Host": "films.example:80"}).status_code == 200
    assert named.get("/api/health", headers={"Host": "other.example"}).status_code == 400
    for name in ("films.example:80", "films*", "http://films.example", ""):
        with pytest.raises(UsageError, match="expected a host such as"):
            create_app({}, hosts=[name])
    anyone, *_ = serve(hosts=["*"])
    assert anyone.get("/api/health", headers={"Host": "other.example"}).status_code == 200


def test_a_token_guards_all_but_health_the_description_and_the_page():
    guarded, hold, _ = serve(token="a-long-secret")
    hold.set()
    for path in ("/api/health", "/api/openapi.json", "/"):
        assert guarded.get(path).status_code == 200
    for header in (b"", b"Bearer no", b"Bearer \xe9", b"Basic a-long-secret"):
        answer = guarded.get("/api/odd/hold", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in answer.json()["detail"]
    headers = {"Authorization": "Bearer a-long-secret"}
    assert guarded.get("/api/odd/hold", headers=headers).json() == "done"


def test_each_wrong_token_waits_longer_than_that_before_and_the_right_one_does_not(monkeypatch):
    monkeypatch.setattr(tokens, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(tokens, "MAX_DELAY", 0.2)
    guarded, hold, _ = serve(token="a-long-secret")
    hold.set()

    def seconds(**headers):
        began = time.monotonic()
        guarded.get("/api/odd/hold", headers=headers)
        return time.monotonic() - began

    took = [seconds(Authorization="Bearer no") for _ in range(4)]
    assert all(t >= least for t, least in zip(took, (0.05, 0.1, 0.2, 0.2), strict=True))
    monkeypatch.setattr(tokens, "MAX_DELAY", 60.0)
    assert seconds(Authorization="Bearer a-long-secret") < 5
    assert seconds() < 5  # as a page that does not have it yet
    monkeypatch.setattr(tokens, "FAILURES_EXPIRE_AFTER", 0.0)
    assert seconds(Authorization="Bearer no") < 5


def test_addresses_with_wrong_tokens_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_TRACKED_ADDRESSES", 3)
    refusals = tokens.DelayedRefusals(None)
    assert [refusals.next_delay(f"10.0.0.{i % 5}") for i in range(10)] == [0.1] * 10
    assert len(refusals.failures) == 3
    assert [round(refusals.next_delay("::1"), 1) for _ in range(8)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        5,
        5,
    ]


def test_many_wrong_tokens_at_once_are_not_all_held(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_DELAYED_REFUSALS", 2)
    monkeypatch.setattr(tokens, "FIRST_DELAY", 1.0)
    app = serve(token="a-long-secret")[0].app
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/odd/hold",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer no")],
        "client": ("10.0.0.1", 1),
    }

    async def status():
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b""}

        await app(dict(scope), receive, send)
        return sent[0]["status"]

    async def all_three():
        return await asyncio.gather(*(status() for _ in range(3)))

    assert sorted(asyncio.run(all_three())) == [401, 401, 429]


def test_a_failure_is_reported_without_its_details():
    answer = serve()[0].get("/api/odd/fail")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "the service failed; its log says why"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_huge_body_is_refused_announced_or_not():
    client, *_ = serve()
    huge = b'{"a": ' + b" " * middleware.MAX_BODY_BYTES + b"1}"

    def pieces():
        for start in range(0, len(huge), 1000):
            yield huge[start : start + 1000]

    for content in (huge, pieces()):
        answer = client.post("/api/odd/take", content=content, headers=JSON)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("expected a body of 256 KiB at most")
    assert client.post("/api/odd/take", json={"a": 1}).json() == 1


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.05)
    app = serve()[0].app
    sent = []

    async def never():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/odd/take",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408
    assert b"within 0.05 seconds" in sent[1]["body"]


def test_more_concurrent_requests_than_allowed_get_503(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENT_REQUESTS", 2)
    client, hold, held = serve()
    with client:  # one loop for all requests
        codes = []
        waiting = [
            threading.Thread(target=lambda: codes.append(client.get("/api/odd/hold").status_code))
            for _ in range(2)
        ]
        for thread in waiting:
            thread.start()
        for _ in waiting:
            assert held.acquire(timeout=10)
        answer = client.get("/api/openapi.json")
        health = client.get("/api/health").status_code
        hold.set()
        for thread in waiting:
            thread.join(10)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert health == 200
        assert codes == [200, 200]
        assert client.get("/api/openapi.json").status_code == 200


def test_an_address_that_is_taken_or_elsewhere_is_refused():
    with listen("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(
            UsageError, match=f"a free port of this machine, got 127.0.0.1, port {port}"
        ):
            listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="name another with --host"):
        listen("192.0.2.1", 0)
    assert not is_local("films.example")


def test_slow_bodies_keep_nobody_out(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENT_REQUESTS", 1)
    app = serve()[0].app
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/health",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }

    async def answer(receive):
        sent = []

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        return sent[0]["status"] if sent else None

    async def both():
        gone = asyncio.Event()

        async def slow():
            await gone.wait()
            return {"type": "http.disconnect"}

        async def whole():
            return {"type": "http.request", "body": b""}

        waiting = asyncio.create_task(answer(slow))
        await asyncio.sleep(0)
        code = await answer(whole)
        gone.set()
        return code, await waiting

    assert asyncio.run(both()) == (200, None)


def test_answers_are_sent_without_delay():
    """Two writes an answer would wait for each other by Nagle's algorithm, some 40 ms."""
    with listen("127.0.0.1", 0) as at:
        assert at.proto == socket.IPPROTO_TCP


def test_without_its_packages_it_says_how_to_install_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "quickstudy.serve")
    with pytest.raises(MissingError, match=r"pip install 'quickstudy\[serve\]'"):
        importlib.import_module("quickstudy.serve")
