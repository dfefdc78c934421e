"""The page for labelling in a real Chromium: by keyboard, by touch, on a desktop, on a phone, and under attack."""

from __future__ import annotations

import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("pandas")
pytest.importorskip("playwright")
pytest.importorskip("sklearn")
pytest.importorskip("sqlalchemy")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
if not (shutil.which("chromium") or shutil.which("google-chrome")):
    pytest.skip("needs Chromium", allow_module_level=True)

from playwright import sync_api

from label_pages import CLASSES, XSS, a_model, served, votes

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
expect = sync_api.expect
expect.set_options(timeout=10_000)
# Where pictures of the page are kept, to be looked at; nowhere unless it is set.
PICTURES = os.environ.get("PICKWISE_PICTURES")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Open pages, each in a browser of its own, and see to it that nothing is run, refused or asked for elsewhere."""
    contexts, troubles = [], []

    def opened(server, name="anna", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda said: troubles.append(said.text) if "Content Security" in said.text else None)
        base = server.url.partition("?")[0]
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((base, "blob:", "data:")) else troubles.append(asked.url),
        )
        page.goto(server.url)
        if name:
            page.get_by_label("Your name").fill(name)
            page.keyboard.press("Enter")
            expect(page.locator("#work")).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def picture(page, name) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


def count(page, done, asked) -> None:
    expect(page.locator("#count")).to_have_text(re.compile(f"^{done} of {asked} "))


def saved(page) -> None:
    expect(page.locator("#saved")).to_have_text("All saved")


def a_png(width=640, height=420) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (x * 255 // width, y * 255 // height, 120))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def kinds(place):
    return sorted((kind, label) for _, _, kind, label in votes(place))


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


def test_nothing_that_a_row_says_is_run(tmp_path, visit) -> None:
    place = tmp_path / "project"
    import pandas as pd

    frame = pd.DataFrame({"id": XSS, "<b>text</b>": XSS, "file": [f"{text}.png" for text in XSS], "n": 1.5})
    (tmp_path / "media").mkdir()
    options = {"media": tmp_path / "media", "highlight": "script|img"}
    told = {"id": "id", "columns": ["<b>text</b>", "file", "n"], "classes": [*XSS], "options": options}
    with served(place, frame, rows=len(XSS), model=a_model(XSS), **told) as (_, server):
        page = visit(server, name=XSS[0])
        seen = set()
        for number in range(len(XSS)):
            expect(page.locator("#work")).to_be_visible()
            seen.add(page.locator("#item").inner_text().count("alert"))
            if number == 1:
                picture(page, "attacked")
            page.keyboard.press(str(number + 1))
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        saved(page)
        page.locator("#show-history").click()
        expect(page.locator("#history button")).to_have_count(len(XSS))
        assert page.evaluate("window.pwned") is None
        assert page.locator("main script, main img, main svg, dialog script, dialog img, dialog svg").count() == 0
        assert 0 not in seen
    assert {label for _, _, _, label in votes(place)} >= {f'"{XSS[0]}"'}


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


def test_images(tmp_path, visit) -> None:
    place, media = tmp_path / "project", tmp_path / "media"
    media.mkdir()
    (media / "a b#ä.png").write_bytes(a_png(1600, 1000))
    (media / "large.png").write_bytes(a_png(20, 20) + b"\0" * 20_000_000)
    (media / "damaged.png").write_bytes(b"no image")
    names = ["a b#ä.png", "large.png", "damaged.png", "gone.png"]
    shown = set()
    with served(place, names, rows=4, options={"media": media}) as (_, server):
        page = visit(server)
        missing, image = page.locator("#item .missing"), page.locator("#item img[src]")
        for _ in names:
            expect(missing.or_(image).first).to_be_visible()
            if missing.count() or "damaged" in image.get_attribute("alt"):
                expect(missing).to_contain_text(re.compile("no such file|cannot be shown"))
                shown.add(missing.inner_text())
            else:
                expect(image).not_to_have_js_property("naturalWidth", 0)
                shown.add(image.get_attribute("alt"))
                if image.get_attribute("alt") == names[0]:
                    zoom(page, image)
            page.keyboard.press("1")
            saved(page)
    assert len(votes(place)) == len(shown) == 4


def zoom(page, image) -> None:
    fitted = image.bounding_box()["width"]
    picture(page, "image")
    image.click()
    assert image.bounding_box()["width"] > 1.3 * fitted
    page.keyboard.press("z")
    assert image.bounding_box()["width"] == pytest.approx(fitted, abs=1)
    image.hover()
    page.mouse.wheel(0, -100)
    expect(image).to_have_attribute("style", re.compile("width"))
    assert image.bounding_box()["width"] > 1.1 * fitted


def test_sounds(tmp_path, visit) -> None:
    import wave

    (tmp_path / "media").mkdir()
    with wave.open(str(tmp_path / "media" / "beep.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with served(tmp_path / "project", ["beep.wav"], rows=1, options={"media": tmp_path / "media"}) as (_, server):
        page = visit(server)
        expect(page.locator("#item audio")).to_have_js_property("duration", 0.5)


def test_a_notebook_of_this_machine_shows_the_page(tmp_path, visit, browser) -> None:
    """In a frame of another site, where its cookie does not reach."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.png").write_bytes(a_png(60, 40))
    place = tmp_path / "project"
    with served(place, ["a.png"] * 3, rows=3, options={"media": tmp_path / "media"}) as (_, server):

        class Notebook(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(server._repr_html_().encode())

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as notebook:
            threading.Thread(target=notebook.serve_forever).start()
            page = browser.new_page()
            page.goto(f"http://localhost:{notebook.server_port}/")
            frame = page.frame_locator("iframe")
            frame.get_by_label("Your name").fill("anna")
            frame.get_by_role("button", name="Begin").click()
            frame.locator("#item img").click()
            frame.get_by_role("button", name="spam").click()
            expect(frame.locator("#saved")).to_have_text("All saved")
            page.close()
            notebook.shutdown()
    assert kinds(place) == [("label", '"spam"')]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width", "height"), [("desktop", 1280, 800), ("phone", 375, 667)])
def test_looks(tmp_path, visit, scheme: str, device: str, width: int, height: int) -> None:
    told = ["שלום, זה טקסט מימין לשמאל: free", "A long text. " * 120, "You have won a free prize, claim it now!"]
    is_phone = device == "phone"
    options = {
        "viewport": {"width": width, "height": height},
        "color_scheme": scheme,
        "has_touch": is_phone,
        "is_mobile": is_phone,
    }
    with served(tmp_path / "project", told, rows=3, options={"highlight": "free|prize"}) as (project, server):
        page = visit(server, name="", **options)
        picture(page, f"{device}-{scheme}-name")
        page.get_by_label("Your name").fill("Anna")
        page.keyboard.press("Enter")
        for number in range(3):
            expect(page.locator("#work")).to_be_visible()
            picture(page, f"{device}-{scheme}-{number}")
            page.keyboard.press("121"[number])
        expect(page.locator("#empty-head")).to_have_text("Round 1 is complete")
        picture(page, f"{device}-{scheme}-complete")
        project.collect()
        project.fit()
        project.relabel(3)
        expect(page.locator("#suggestions button").first).to_be_visible()
        picture(page, f"{device}-{scheme}-suggested")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert contrasts(page) == []
        page.keyboard.press("?")
        picture(page, f"{device}-{scheme}-keys")


def contrasts(page):
    """Name elements whose text stands out less than WCAG asks for (4.5 to 1)."""
    return page.evaluate("""() => {
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = (c) => {
        const [r, g, b] = c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const under = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
      return [...document.querySelectorAll("main *, header *, footer *")].filter((e) => e.checkVisibility()
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
        let alpha = 1; for (let p = e; p; p = p.parentElement) alpha *= getComputedStyle(p).opacity;
        const below = under(e), over = rgb(getComputedStyle(e).color);
        const ink = over.slice(0, 3).map((v, i) => alpha * v + (1 - alpha) * below[i]);
        const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), `${e.tagName} ${e.id} ${e.textContent.slice(0, 20)}`]; })
        .filter(([ratio]) => ratio < 4.5).map(([ratio, name]) => `${name}: ${ratio.toFixed(2)}`); }""")


def test_every_control_has_a_name_and_the_keyboard_reaches_it(tmp_path, visit) -> None:
    with served(tmp_path / "project", rows=3) as (_, server):
        page = visit(server)
        unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input")]
          .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.labels?.length || e.ariaLabel))
          .map((e) => e.outerHTML)""")
        assert unnamed == []
        reached = set()
        for _ in range(25):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.textContent.trim()"))
        assert {"ham1", "spam2", "Skip S", "Undo U", "History"} <= {re.sub(r"\\s+", " ", each) for each in reached}
        page.locator("#classes button").nth(1).focus()
        page.keyboard.press("Enter")  # the button, not the model's suggestion
        count(page, 1, 3)
    assert [label for _, _, _, label in votes(tmp_path / "project")] == [f'"{CLASSES[1]}"']


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
