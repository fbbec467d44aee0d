"""The first page: a whole game, a map of the whole book, closed routes."""

import re

import pytest
from bookbinder.book import find_book
from site_helpers import visit

BOOK = find_book()
PAGE, *OTHERS = BOOK.pages
NAMES = {page.name for page in BOOK.pages}
DOC = re.compile(r"\{doc\}`/([^`]+)`")
GAME = ".hm-broken-model"


def section(label: str) -> str:
    """Return the text below a label, to the next one."""
    text = "".join(PAGE.text.split(f"({label})=")[1:])
    return text.split("\n(intro-")[0]


def rounds() -> list[dict]:
    state = next(iter(PAGE.read_twin().metadata.widgets.values()))["state"]
    (game,) = (m["state"] for m in state.values() if "rounds" in m["state"])
    return game["rounds"]


def test_both_answers_of_each_round_are_whole_and_differ():
    assert len(rounds()) == 3
    for played in rounds():
        first, second = played["answers"]
        assert first != second
        for answer in (first, second):
            assert re.fullmatch(r"[A-Z].*[.]", answer), answer


def test_neither_place_nor_length_gives_the_broken_one_away():
    assert {played["broken"] for played in rounds()} == {0, 1}


def test_each_round_lights_the_blocks_from_its_bug_on():
    for played in rounds():
        right = played["bars"][1 - played["broken"]]
        wrong = played["bars"][played["broken"]]
        allowed, block = played["tolerance"], played["block"]
        assert len(right) == len(wrong) == 30
        assert max(right) < allowed / 10
        assert max(wrong[: block - 1], default=0) < allowed / 10
        assert min(wrong[block - 1 :]) > 100 * allowed
        assert played["page"] in NAMES
        title = BOOK.page(played["page"]).text.split("\n# ")[1]
        assert title.startswith(f"{played['title']}\n")


def test_without_a_script_the_answers_stand_in_the_page():
    played = rounds()[0]
    text = PAGE.read_twin().cells[1].source
    for words in (played["question"], *played["answers"], played["says"]):
        assert words in text
    before, after = text.split("<details>")
    assert played["says"] not in before
    assert f"**{'AB'[played['broken']]}**" in after


def test_the_map_shows_every_page_of_the_book_and_no_other():
    found = DOC.findall(section("intro-parts"))
    assert sorted(found) == sorted(page.name for page in OTHERS)
    assert section("intro-parts").count("<svg") == 8


def test_the_time_of_a_route_is_that_of_its_pages():
    routes = section("intro-routes").strip().split("\n\n")
    timed = [text for text in routes if "{minutes}" in text]
    assert len(timed) == 5
    for text in timed:
        (pages,) = re.findall(r"\{minutes\}`([^`]+)`", text)
        told = [f"book/{name}" for name in pages.split()]
        assert told == DOC.findall(text)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 390])
def test_the_game_is_played_by_keyboard(browser, address, width):
    played = rounds()
    with visit(browser, address, width=width) as reader:
        reader.open(f"{PAGE.name}.html")
        page = reader.page
        page.set_viewport_size(
            {"width": width, "height": 900 if width > 500 else 844}
        )
        assert page.query_selector(".landing-static").is_hidden()
        for button in page.query_selector_all(f"{GAME} .hm-card button"):
            box = button.bounding_box()
            assert box["y"] + box["height"] < page.viewport_size["height"]
        assert not page.query_selector(f"{GAME} .hm-off")
        for number, each in enumerate(played, 1):
            # guess wrong in the first round, right in all others
            guess = each["broken"] if number > 1 else 1 - each["broken"]
            page.focus(f"{GAME} .hm-card:nth-child({guess + 1}) button")
            page.keyboard.press("Enter")
            off = page.query_selector_all(f"{GAME} .hm-off")
            near = page.query_selector_all(f"{GAME} .hm-near")
            assert (len(off), len(near)) == (
                31 - each["block"], 29 + each["block"],
            )  # fmt: skip
            told = page.inner_text(f"{GAME} .hm-result")
            assert f"block {each['block']}, in its {each['place']}" in told
            assert each["says"] in told
            assert f"{number - 1} of {number} found" in told
            link = page.query_selector(f"{GAME} .hm-result a")
            target = link.evaluate("e => e.href")
            assert target == f"{address}/{each['page']}.html"
            page.focus(f"{GAME} .hm-next")
            page.keyboard.press("Enter")
        asked = page.inner_text(f"{GAME} .hm-question")
        assert played[0]["question"] in asked
        assert not page.query_selector(f"{GAME} .hm-off")
        assert reader.faults == []


@pytest.mark.slow
def test_the_page_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{address}/{PAGE.name}.html")
        shown = page.locator(".landing-static")
        for answer in rounds()[0]["answers"]:
            assert shown.get_by_text(answer, exact=True).is_visible()
        # the page sets its apostrophes
        says = shown.get_by_text(rounds()[0]["says"].replace("'", "’"))
        assert not says.is_visible()
        page.click(".landing-static summary")
        assert says.is_visible()
    finally:
        context.close()
