"""What the page shows in a real Chromium: nothing that a row says is run, and all can read and reach it anywhere."""

from __future__ import annotations

import re
import struct
import zlib

import pytest

import label_browser
from label_browser import count, expect, kinds, picture, saved
from label_pages import CLASSES, XSS, a_model, served, votes

# Fixtures of every test here.
browser, visit = label_browser.browser, label_browser.visit


def a_png(width=640, height=420) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (x * 255 // width, y * 255 // height, 120))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


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
