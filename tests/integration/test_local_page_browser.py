"""The page of `make serve` in a real browser: with a mouse, with the keyboard, and on a phone."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from local.aws_stand_in import AwsStandIn
from local.demo import VOLUME, WINDOWS_VOLUME
from tests.browser import Browser, browsing, installed
from tests.local_page import Served, served

DESKTOP, PHONE = (1280, 800), (390, 844)
EXECUTABLE = installed()
LISTED = f"document.querySelector('input[value=\"{VOLUME}\"]')"
"""The input of the disk that is detached, while its server has it."""

VERDICT = "document.querySelector('#verdict:not([hidden])')?.innerText"

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def page(aws_server: AwsStandIn) -> Iterator[Served]:
    with served(aws_server) as page:
        yield page


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(str(EXECUTABLE), tmp_path_factory.mktemp("browser") / "profile", timeout=240) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser, page: Served) -> Iterator[Browser]:
    """The browser with a reset cloud; the console must stay empty."""
    page.post("reset")
    one_browser.console_errors.clear()
    yield one_browser
    assert one_browser.console_errors == []


def opened(
    browser: Browser, page: Served, size: tuple[int, int] = DESKTOP, fragment: str = "", dark: bool = False
) -> None:
    """Open the page, and wait until it is connected and shows the servers."""
    browser.open("about:blank", *size)  # a changed fragment alone does not reload the page
    browser.open(page.stack.webhook_url + fragment, *size, dark=dark)
    assert browser.awaited(f"{LISTED} && document.querySelector('#link.live') && true")


def detach(browser: Browser, volume_id: str = VOLUME) -> None:
    """Send a request for this disk, and wait until the page shows it."""
    before = browser.value("location.hash")
    browser.value(f"document.querySelector('input[value=\"{volume_id}\"]').click()")
    browser.value("document.getElementById('send').click()")
    assert browser.awaited(f"location.hash != '{before}'")


def test_the_page_shows_a_detach_up_to_its_verdict(browser: Browser, page: Served) -> None:
    """The picture has a mark for each look, the DELETE and the verdict; the list describes them in words."""
    opened(browser, page)
    detach(browser)
    assert "detached_now" in browser.awaited(VERDICT)
    marks = [browser.value(f"document.querySelectorAll('#picture .{kind}').length") for kind in ("cut", "end", "look")]
    assert marks[:2] == [1, 1]
    assert marks[2] >= 2
    steps = browser.value("document.getElementById('steps').innerText")
    assert "compute lists the disk, block storage says in-use. DELETE sent, answered 202." in steps
    assert "compute does not list it, block storage says available." in steps
    assert browser.awaited(f"!{LISTED}")
    assert "Verdict: detached" in browser.value("document.getElementById('status').textContent")


def test_a_reset_attaches_the_disk_again(browser: Browser, page: Served) -> None:
    """The detached disk is in its server's list again."""
    opened(browser, page)
    detach(browser)
    assert browser.awaited(f"!{LISTED}")
    browser.value("document.getElementById('reset').click()")
    assert browser.awaited(f"{LISTED} && true")


def test_a_request_has_a_link(browser: Browser, page: Served) -> None:
    """A page that is opened with the link, or a choice from the list, shows the request and its verdict."""
    opened(browser, page)
    detach(browser, WINDOWS_VOLUME)
    assert "attestation_required" in browser.awaited(VERDICT)
    link = browser.value("document.querySelector('#list li.chosen a').hash")
    assert link == browser.value("location.hash")
    detach(browser)
    assert "detached_now" in browser.awaited(VERDICT)
    browser.value(f"document.querySelector('#list a[href=\"{link}\"]').click()")
    assert browser.awaited(f"{VERDICT}?.includes('attestation_required')")
    page.post("reset")
    opened(browser, page, fragment=link)
    assert "attestation_required" in browser.awaited(VERDICT)


def test_a_detach_by_keyboard(browser: Browser, page: Served) -> None:
    """Tab reaches every control, the focus is visible, and Enter sends the request."""
    opened(browser, page)
    browser.value(f"{LISTED}.click()")
    browser.value("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        browser.press("Tab")
        reached.append(browser.value("document.activeElement.id || document.activeElement.name || ''"))
        assert browser.value(
            "(found => [found, found.closest('.choice')].some(one => one && getComputedStyle(one).outlineStyle == "
            "'solid'))(document.activeElement)"
        ), reached
        if reached[-1] == "dry_run":
            browser.press(" ")
        if reached[-1] == "send":
            break
    assert [name for name in reached if name in ("volume", "scenario", "unmounted", "dry_run", "send")] == [
        "volume", "scenario", "unmounted", "dry_run", "send"]  # fmt: skip
    before = browser.value("location.hash")
    browser.press("Enter")
    assert browser.awaited(f"location.hash != '{before}'")
    assert "would_detach" in browser.awaited(VERDICT)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "telephone"])
def test_nothing_overflows(browser: Browser, page: Served, size: tuple[int, int], tmp_path: Path) -> None:
    """The page needs no horizontal scrolling, at the start and with a request shown."""
    opened(browser, page, size)
    detach(browser, WINDOWS_VOLUME)
    assert browser.awaited(VERDICT)
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    (tmp_path / "page.png").write_bytes(browser.picture())
    assert browser.value("[innerWidth, document.documentElement.scrollWidth]") == [size[0], size[0]]
    assert (
        browser.value(
            "[...document.querySelectorAll('main *, header *')].filter(found => found.checkVisibility() && "
            "!found.matches('.visually-hidden, legend, svg *') && (found.getBoundingClientRect().right > innerWidth"
            " || (found.clientWidth && found.scrollWidth > found.clientWidth + 1))).map(found => found.outerHTML)"
        )
        == []
    )


LOW_CONTRAST = """(() => {
    const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(one => one / 255)
        .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = found => {
        const colour = getComputedStyle(found).backgroundColor, [r, g, b, a = 1] = parts(colour);
        return colour.startsWith("rgb") && a === 1 || !found.parentElement ? [r, g, b] : ground(found.parentElement);
    };
    const texts = [...document.querySelectorAll("body *:not(svg *, option)")].filter(found =>
        found.checkVisibility() && [...found.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    return texts.map(found => {
        const [one, other] = [light(parts(getComputedStyle(found).color)), light(ground(found))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        return [Math.round(ratio * 100) / 100, found.outerHTML.slice(0, 120)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""
"""The texts with less contrast than WCAG 2.2 requires (1.4.3, AA), with their contrast."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("volume_id", [VOLUME, WINDOWS_VOLUME], ids=["detached", "failed"])
def test_every_text_has_enough_contrast(
    browser: Browser, page: Served, volume_id: str, dark: bool, tmp_path: Path
) -> None:
    """The contrast suffices in both colour schemes and for each verdict."""
    opened(browser, page, dark=dark)
    detach(browser, volume_id)
    assert browser.awaited(VERDICT)
    (tmp_path / "page.png").write_bytes(browser.picture())
    assert browser.value(LOW_CONTRAST) == []


def test_headings_names_and_landmarks(browser: Browser, page: Served) -> None:
    """Headings skip no level, every control has a label, ids are unique, and links have targets."""
    opened(browser, page)
    levels = browser.value("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(found => +found.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(level <= before + 1 for before, level in pairwise(levels))
    controls = "[...document.querySelectorAll('input, button')]"
    assert browser.value(f"{controls}.filter(found => !found.closest('label') && !found.innerText).length") == 0
    ids = browser.value("[...document.querySelectorAll('[id]')].map(found => found.id)")
    assert len(ids) == len(set(ids))
    targets = browser.value("[...document.querySelectorAll('a[href^=\"#\"]')].map(found => found.hash.slice(1))")
    assert {target for target in targets if not target.startswith("request-")} <= set(ids)
    assert browser.value("['header', 'nav', 'main'].every(one => document.querySelector(one))")
    loaded = browser.value("performance.getEntriesByType('resource').map(found => found.name)")
    assert all(name.startswith(page.stack.webhook_url) for name in loaded)
