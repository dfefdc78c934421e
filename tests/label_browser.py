"""A real Chromium that visits the page for labelling, and what tests look for there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from label_pages import votes

pytest.importorskip("playwright")
if not (shutil.which("chromium") or shutil.which("google-chrome")):
    pytest.skip("needs Chromium", allow_module_level=True)

from playwright import sync_api

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
    assert troubles == [], troubles


def picture(page, name) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


def count(page, done, asked) -> None:
    expect(page.locator("#count")).to_have_text(re.compile(f"^{done} of {asked} "))


def saved(page) -> None:
    expect(page.locator("#saved")).to_have_text("All saved")


def kinds(place):
    return sorted((kind, label) for _, _, kind, label in votes(place))
