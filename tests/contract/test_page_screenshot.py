"""The page about the webhook endpoint in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.function_url import FunctionUrl, Page
from tests.browser import Browser, browsing, installed
from tools.openapi import document
from tools.openapi_page import page

SIZES = {"desk": (1280, 800), "telephone": (390, 844)}
EXECUTABLE = installed()

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed: apt-get install chromium")


def nothing(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """The function behind the page, which is not called here."""
    return {"statusCode": 404, "headers": {}, "body": ""}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page as the local server shows it, policy and all."""
    with FunctionUrl(nothing, pages={"/": Page("text/html; charset=utf-8", page(document()))}) as url:
        yield url.address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(str(EXECUTABLE), tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


SEEN = """(() => {
    const light = colour => Math.max(...colour.match(/\\d+/g).slice(0, 3).map(Number));
    const texts = [...document.querySelectorAll("body *")].filter(found => found.checkVisibility() && found.innerText);
    const canvas = document.body.appendChild(document.createElement("div"));
    canvas.style.background = "Canvas";
    const [ground, ink] = [getComputedStyle(canvas).backgroundColor, getComputedStyle(document.body).color];
    return [light(ground), light(ink), texts.length];
})()"""
"""The brightness of background and text, up to 255, and the number of visible elements with text."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_page_renders(browser: Browser, address: str, size: tuple[int, int], dark: bool, tmp_path: Path) -> None:
    """It is full of text, in letters that stand out from a background of the wanted kind."""
    browser.open(address, *size, dark=dark)
    (tmp_path / "page.png").write_bytes(browser.picture())
    background, letters, texts = browser.value(SEEN)
    assert (background < 64) if dark else (background > 192)
    assert abs(background - letters) >= 150
    assert texts >= 50


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_nothing_overflows(browser: Browser, address: str, size: tuple[int, int]) -> None:
    """Nothing on the page is too wide, so that it needs no horizontal scrolling."""
    browser.open(address, *size)
    assert browser.value("[innerWidth, document.documentElement.scrollWidth]") == [size[0], size[0]]
    assert (
        browser.value(
            "[...document.querySelectorAll('body *')].filter(found => found.getBoundingClientRect().right > innerWidth"
            " || (found.clientWidth && found.scrollWidth > found.clientWidth)).map(found => found.outerHTML)"
        )
        == []
    )


def test_the_browser_finds_nothing_to_load(browser: Browser, address: str) -> None:
    """The page is whole after one request: no script ran, and nothing else was fetched."""
    browser.open(address, *SIZES["desk"])
    assert browser.value("document.title") == document()["info"]["title"]
    fetched = browser.value("performance.getEntriesByType('resource').map(found => found.name)")
    assert [name for name in fetched if not name.endswith("/favicon.ico")] == []
