"""The page in a browser: Chromium, if it is installed, or what QUICKSTUDY_TEST_BROWSER names."""

import os
import shutil
import threading
import time

import pytest
import uvicorn

from quickstudy.serve import create_app, listen, recommender_routes

FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    names = (os.environ.get("QUICKSTUDY_TEST_BROWSER", ""), "chromium", "chromium-browser")
    place = next(filter(None, map(shutil.which, names)), None)
    if place is None:
        pytest.skip("no Chromium here: install it, or set QUICKSTUDY_TEST_BROWSER to one")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=place, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def expect():
    function = pytest.importorskip("playwright.sync_api").expect
    function.set_options(timeout=20_000)
    return function


@pytest.fixture(scope="module")
def serve(recommender):
    """Starts services of a recommender in threads; gives their addresses."""
    servers = []

    def start(recommender=recommender, **options):
        app = create_app({"recommender": recommender_routes(recommender, "films")}, **options)
        at = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{at.getsockname()[1]}/"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def url(serve):
    return serve()


@pytest.fixture
def page(browser, url):
    """The page, which must not complain."""
    context = browser.new_context()
    opened = context.new_page()
    said = []
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(url)
    yield opened
    context.close()
    assert not said


def titles(page, where="#list"):
    page.locator("#list:not([aria-busy=true])").wait_for()  # no newer list is on its way
    return page.locator(f"{where} .title").all_text_contents()


def test_the_list_changes_as_one_rates_and_survives_a_reload(page, expect):
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#basis")).to_contain_text("What most people like")
    before = titles(page)
    questions = page.locator("#questions > li")
    expect(questions).to_have_count(6)
    questions.nth(0).get_by_label("1 of 5").press("ArrowRight")  # by keyboard: from 1 to 2
    questions.nth(1).get_by_label("5 of 5").press("Space")
    expect(page.locator("#basis")).to_have_text("From 2 ratings of yours.")
    expect(page.locator("#list .because").first).to_contain_text("because you liked")
    expect(page.get_by_role("status")).to_contain_text("The list begins with 1.")
    assert titles(page) != before
    rated = titles(page, "#rated")
    assert set(rated) == set(titles(page, "#questions")[:2])

    page.reload()
    expect(page.locator("#basis")).to_have_text("From 2 ratings of yours.")
    assert titles(page, "#rated") == rated
    expect(page.locator("#questions").get_by_label("5 of 5").nth(1)).to_be_checked()
    page.get_by_role("button", name=f"Remove the rating of {rated[0]}").click()
    expect(page.locator("#basis")).to_have_text("From 1 rating of yours.")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#basis")).to_contain_text("What most people like")
    assert titles(page) == before


def test_other_questions_and_attributes_change_the_list(page, expect):
    questions = page.locator("#questions > li")
    expect(questions).to_have_count(6)
    first = titles(page, "#questions")
    page.get_by_role("button", name="Ask me something useful").click()
    expect(page.locator("#questions .title").first).not_to_have_text(first[0])
    assert not set(first) & set(titles(page, "#questions"))
    expect(page.locator("#list > li")).to_have_count(10)
    before = page.locator("#list").text_content()
    page.locator("#attributes summary").click()
    page.get_by_label("trade").select_option("smith")
    page.get_by_label("age").fill("20")
    page.get_by_label("age").press("Tab")
    expect(page.locator("#list")).not_to_have_text(before)
    suggested = titles(page)[0]
    page.locator("#list .small").first.click()  # rate what was suggested
    assert titles(page, "#questions")[0] == suggested
    expect(questions.first.get_by_label("1 of 5")).to_be_focused()


def test_a_title_is_text_whatever_it_says(page, expect):
    page.get_by_label("Search titles").fill("img src")
    matches = page.locator("#questions > li")
    expect(matches).to_have_count(1)
    expect(matches.locator(".title")).to_contain_text("<img src=x onerror=")
    matches.locator("label").last.click()
    expect(page.locator("#list .because").first).to_contain_text("<img src=x onerror=")
    assert page.locator("main img").count() == 0
    assert page.title() == "Recommender · quickstudy"
    page.get_by_label("Search titles").fill("no such film")
    expect(page.locator("#hint")).to_have_text("Nothing is called “no such film”.")


def test_when_the_service_does_not_answer_no_rating_is_lost(page, expect):
    expect(page.locator("#list > li")).to_have_count(10)
    page.route("**/api/**", lambda route: route.abort())
    page.locator("#questions > li").first.locator("label").nth(3).click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    expect(page.locator("#rated > li")).to_have_count(1)
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#basis")).to_have_text("From 1 rating of yours.")


def test_the_page_asks_for_a_token(browser, serve, expect):
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve(token="a-long-secret"))
    for secret in ("wrong", "a-long-secret"):
        page.get_by_label("The token of this service").fill(secret)
        page.get_by_role("button", name="Go on").click()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#token")).to_be_hidden()
    context.close()


def test_it_fits_a_phone(browser, url, expect):
    context = browser.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#jump")).to_contain_text("For you: 1.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()


def refuse(route):
    route.fulfill(status=422, json={"detail": "expected something else"})


def test_a_refused_list_is_reported_although_the_questions_came(browser, url, expect):
    context = browser.new_context()
    page = context.new_page()
    page.route("**/api/recommender/recommend", refuse)
    page.goto(url)
    expect(page.locator("#questions > li")).to_have_count(6)
    expect(page.get_by_role("alert")).to_contain_text("expected something else")
    expect(page.locator("#basis")).to_have_text("There is no list yet.")
    page.get_by_role("button", name="Ask me something useful").click()
    expect(page.locator("#hint")).to_contain_text("What you think of these")
    expect(page.get_by_role("alert")).to_contain_text("expected something else")
    page.unroute("**/api/recommender/recommend")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.get_by_role("alert")).to_be_hidden()
    context.close()


def test_a_list_that_is_out_of_date_says_so_and_gives_no_reasons(page, expect):
    page.locator("#questions > li").first.get_by_label("5 of 5").press("Space")
    expect(page.locator("#list .because").first).to_be_visible()
    page.route("**/api/recommender/recommend", refuse)
    page.get_by_role("button", name="Remove the rating of").click()
    expect(page.locator("#basis")).to_have_text("Out of date: it is from before your last change.")
    expect(page.locator("#list .because").first).to_be_hidden()
    page.get_by_role("button", name="Ask me something useful").click()
    expect(page.get_by_role("alert")).to_contain_text("expected something else")
    page.unroute("**/api/recommender/recommend")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#basis")).to_contain_text("What most people like")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_starting_over_leaves_no_list_of_before(page, expect):
    expect(page.locator("#list > li")).to_have_count(10)
    page.locator("#questions > li").first.locator("label").nth(3).click()
    expect(page.locator("#basis")).to_have_text("From 1 rating of yours.")
    page.route("**/api/recommender/**", lambda route: route.abort())
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    expect(page.locator("#list > li")).to_have_count(0)
    expect(page.locator("#basis")).to_have_text("There is no list yet.")


def test_what_failed_is_seen_on_a_phone_wherever_one_is(browser, url, expect):
    context = browser.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#list > li")).to_have_count(10)
    page.route("**/api/recommender/**", lambda route: route.abort())
    page.locator("#questions > li").last.locator("label").nth(3).click()
    for where in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
        page.evaluate(f"scrollTo(0, {where})")
        expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    context.close()


def test_a_wrong_token_is_reported(browser, serve, expect):
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve(token="a-long-secret"))
    expect(page.get_by_text("does not know this token")).to_be_hidden()
    page.get_by_label("The token of this service").fill("wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("does not know this token")).to_be_visible()
    context.close()


def test_a_page_of_clicks_is_chosen_on(browser, of_clicks, serve, expect):
    context = browser.new_context()
    page = context.new_page()
    page.goto(serve(recommender=of_clicks))
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#rate-title")).to_have_text("Choose what you know")
    before = titles(page)
    page.locator("#questions .choice").first.click()
    expect(page.locator("#basis")).to_have_text("From 1 choice of yours.")
    chosen = titles(page, "#rated")[0]
    assert chosen not in titles(page)
    assert titles(page) != before
    expect(page.locator("#list .foot").first).to_contain_text("to be next, for most")
    page.get_by_role("button", name=f"Remove {chosen}").click()
    expect(page.locator("#basis")).to_contain_text("What most people begin with")
    context.close()


@pytest.mark.parametrize(("scale", "label"), [("halves", "2.5 of 5"), ("eleven", "7 of 10")])
def test_scales_of_halves_and_of_ten_have_stars(browser, url, expect, scale, label):
    values = [i / 2 for i in range(1, 11)] if scale == "halves" else list(range(11))
    context = browser.new_context()
    page = context.new_page()
    about = page.request.get(f"{url}api/recommender").json()
    page.route("**/api/recommender", lambda route: route.fulfill(json={**about, "scale": values}))
    page.goto(url)
    expect(page.locator("#questions > li")).to_have_count(6)
    first = page.locator("#questions > li").first
    assert first.locator("input[type=radio]").count() == len(values)
    expect(first.get_by_label(label, exact=True)).to_have_count(1)
    context.close()
