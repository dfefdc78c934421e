"""Labelling at the page in a real Chromium: by keyboard and by touch, in two browsers, and while the server is away."""

from __future__ import annotations

import re

import label_browser
from label_browser import count, expect, kinds, picture, saved
from label_pages import a_model, served, votes

# Fixtures of every test here.
browser, visit = label_browser.browser, label_browser.visit


def test_a_round_by_keyboard(tmp_path, visit) -> None:
    place = tmp_path / "project"
    (tmp_path / "guide.md").write_text("# Guidelines\n\n- **spam** wants your money <script>alert(1)</script>\n")
    with served(place, rows=8, options={"guidelines": tmp_path / "guide.md", "highlight": "free|prize"}) as (
        project,
        server,
    ):
        page = visit(server)
        count(page, 0, 8)
        assert "token" not in page.url
        page.keyboard.press("g")
        expect(page.locator("#guidelines")).to_contain_text("<script>alert(1)</script>")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keys")).to_be_visible()
        page.keyboard.press("Escape")
        first = page.locator("#item").inner_text()
        page.keyboard.press("2")
        expect(page.locator("#item")).not_to_have_text(first)
        count(page, 1, 8)
        page.keyboard.press("u")
        assert page.locator("#item").inner_text() == first
        expect(page.locator("#why")).to_contain_text("you answered: spam")
        count(page, 0, 8)
        page.keyboard.press("1")
        for key in "sansn1":
            saved(page)
            page.keyboard.press(key)
        expect(page.locator("#count")).to_have_text(re.compile("^7 of 8"))
        page.reload()
        count(page, 7, 8)
        expect(page.locator("#annotator")).to_have_text("anna")
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_have_text("There is no suggestion to accept.")
        page.keyboard.press("3")
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        page.keyboard.press("u")
        expect(page.locator("#why")).to_contain_text("you answered: other")
        page.keyboard.press("2")
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        saved(page)
        assert project.status().open == 0
    answers = kinds(place)
    assert len(answers) == 8
    assert ("label", '"spam"') in answers
    assert {kind for kind, _ in answers} == {"label", "skip", "abstain", "none_of_these"}


def test_the_suggestions_of_the_model(tmp_path, visit) -> None:
    place = tmp_path / "project"
    with served(place, rows=3) as (project, server):
        page = visit(server)
        for key in "221":
            page.keyboard.press(key)
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        project.collect()
        project.fit()
        project.relabel(3)
        expect(page.locator("#suggestions button").first).to_contain_text("ham")
        expect(page.locator("#suggestions button").first).to_contain_text("80 %")
        picture(page, "suggestions")
        page.keyboard.press("h")
        expect(page.locator("#model")).to_be_hidden()
        page.keyboard.press("Enter")  # what is not seen is not accepted
        expect(page.locator("#problem")).to_be_visible()
        page.keyboard.press("h")
        page.keyboard.press("Enter")
        expect(page.locator("#count")).to_have_text(re.compile("^1 of 3"))
        page.locator("#show-history").click()
        page.locator("#history button").nth(0).click()
        expect(page.locator("#why")).to_contain_text("you answered: ham")
        page.keyboard.press("3")
        saved(page)
    assert ("label", '"other"') in kinds(place)


def test_a_round_by_touch(tmp_path, visit) -> None:
    place = tmp_path / "project"
    with served(place, rows=4) as (_, server):
        page = visit(server, name="", viewport={"width": 375, "height": 667}, has_touch=True, is_mobile=True)
        page.get_by_label("Your name").fill("Ben")
        page.get_by_role("button", name="Begin").tap()
        for button in ("spam", "Skip", "Cannot tell"):
            before = page.locator("#item").inner_text()
            page.get_by_role("button", name=button).tap()
            expect(page.locator("#item")).not_to_have_text(before)
        page.get_by_role("button", name="Undo").tap()
        expect(page.locator("#why")).to_contain_text("you answered: cannot tell")
        page.get_by_role("button", name="ham").tap()
        page.get_by_role("button", name="None of these").tap()
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        saved(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [kind for kind, _ in kinds(place)] == ["label", "label", "none_of_these", "skip"]


def test_two_browsers_share_a_round(tmp_path, visit) -> None:
    place = tmp_path / "project"
    with served(place, rows=14) as (_, server):
        anna, ben = visit(server), visit(server, "Ben")
        for page in (anna, ben):
            expect(page.locator("#work")).to_be_visible()
        assert anna.locator("#item").inner_text() != ben.locator("#item").inner_text()
        for _ in range(7):
            for page, key in ((anna, "1"), (ben, "2")):
                if page.locator("#work").is_visible():
                    page.keyboard.press(key)
                    saved(page)
        for page in (anna, ben):
            while page.locator("#work").is_visible():
                page.keyboard.press("1")
                saved(page)
            expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
    found = votes(place)
    assert len(found) == len({row for row, *_ in found}) == 14
    assert {who for _, who, _, _ in found} == {"anna", "Ben"}


def test_a_name_that_is_changed_while_rows_are_on_their_way(tmp_path, visit) -> None:
    place, asked = tmp_path / "project", []
    with served(place) as (_, server):
        page = visit(server, name=None)

        def hold(route) -> None:
            asked.append(route)

        page.route("**/api/next", hold, times=1)

        def call_oneself(name) -> None:
            page.get_by_label("Your name").fill(name)
            page.keyboard.press("Enter")
            page.wait_for_timeout(100)

        call_oneself("anna")
        page.locator("#annotator").click()
        call_oneself("ben")
        asked[0].continue_()
        expect(page.locator("#work")).to_be_visible()
        page.keyboard.press("1")
        saved(page)
        expect(page.locator("#problem")).to_be_hidden()
    assert [(who, label) for _, who, _, label in votes(place)] == [("ben", '"ham"')]


def test_a_correction_that_is_given_up_leaves_its_row_answered(tmp_path, visit) -> None:
    with served(tmp_path / "project") as (_, server):
        page = visit(server)
        first = page.locator("#item").inner_text()
        page.keyboard.press("1")
        page.keyboard.press("2")
        saved(page)
        third = page.locator("#item").inner_text()
        for place in (1, 0):
            page.get_by_role("button", name="History").click()
            page.locator("#history button").nth(place).click()
            expect(page.locator("#why")).to_contain_text("you answered")
        page.keyboard.press("3")
        expect(page.locator("#why")).not_to_contain_text("you answered")
        assert page.locator("#item").inner_text() == third != first


def test_answers_wait_for_a_server_that_is_away(tmp_path, visit) -> None:
    place = tmp_path / "project"
    with served(place, rows=6) as (_, server):
        page = visit(server)
        page.context.set_offline(True)
        page.keyboard.press("1")
        page.keyboard.press("2")
        expect(page.locator("#saved")).to_contain_text("2 not saved yet")
        assert votes(place) == []
        another = page.context.new_page()  # the one with the answers is closed half-way
        page.close(run_before_unload=False)
        page.context.set_offline(False)
        another.goto(server.url)
        expect(another.locator("#saved")).to_have_text("All saved")
        count(another, 2, 6)
    assert [label for _, _, _, label in sorted(votes(place), key=str)].count('"spam"') == 1


def test_five_hundred_classes(tmp_path, visit) -> None:
    place = tmp_path / "project"
    classes = [f"class {number:03} {'ß' if number == 345 else ''}".strip() for number in range(500)]
    with served(place, rows=3, classes=classes, model=a_model(classes)) as (_, server):
        page = visit(server)
        expect(page.locator("#classes button")).to_have_count(500)
        page.keyboard.press("/")
        page.keyboard.type("34")
        expect(page.locator("#classes button")).to_have_count(15)
        picture(page, "many-classes")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        saved(page)
        page.keyboard.press("/")
        page.keyboard.type("ß")
        page.keyboard.press("Enter")
        saved(page)
        page.keyboard.press("1")
        expect(page.locator("#empty-head")).to_be_visible()
        saved(page)
    assert [label for _, label in kinds(place)] == ['"class 000"', '"class 134"', '"class 345 ß"']


def test_several_labels_a_row(tmp_path, visit) -> None:
    place = tmp_path / "project"
    with served(place, rows=3, task="multilabel", model=None) as (_, server):
        page = visit(server)
        expect(page.locator("#confirm")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_contain_text("Nothing is chosen")
        page.keyboard.press("3")
        page.keyboard.press("1")
        picture(page, "several-labels")
        page.keyboard.press("Enter")
        page.keyboard.press("n")
        page.get_by_role("button", name="spam").click()
        page.get_by_role("button", name="Confirm").click()
        expect(page.locator("#empty-head")).to_be_visible()
        saved(page)
    assert [label for _, label in kinds(place)] == ['["ham", "other"]', '["spam"]', "[]"]


def test_numbers(tmp_path, visit) -> None:
    from sklearn.linear_model import Ridge

    place = tmp_path / "project"
    with served(place, [[float(n), 1.0] for n in range(9)], rows=2, task="regression", classes=None, model=Ridge()) as (
        _,
        server,
    ):
        page = visit(server)
        page.keyboard.type("2.5")
        picture(page, "numbers")
        page.keyboard.press("Enter")
        saved(page)
        page.keyboard.press("s")
        expect(page.locator("#empty-head")).to_be_visible()
        saved(page)
    assert kinds(place) == [("label", "2.5"), ("skip", None)]


def test_the_next_row_is_there_at_once(tmp_path, visit) -> None:
    with served(tmp_path / "project", rows=60) as (_, server):
        page = visit(server)
        took = page.evaluate("""async () => {
          const took = [];
          for (let number = 0; number < 25; number += 1) {
            const before = document.getElementById("why").textContent, began = performance.now();
            document.dispatchEvent(new KeyboardEvent("keydown", {key: "1", bubbles: true}));
            while (document.getElementById("why").textContent === before) await new Promise((r) => setTimeout(r));
            await new Promise((r) => requestAnimationFrame(r));
            took.push(performance.now() - began);
            await new Promise((r) => setTimeout(r, 100));
          }
          return took.sort((a, b) => a - b); }""")
        saved(page)
    print(f"from key to next row: median {took[12]:.1f} ms, most {took[-1]:.1f} ms")  # noqa: T201 - a figure to look at
    assert len(took) == 25
