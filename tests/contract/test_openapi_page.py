"""The page about the webhook endpoint, which `make serve` shows."""

from html.parser import HTMLParser

from tools.openapi import document
from tools.openapi_page import page

POST = document()["paths"]["/"]["post"]


class Page(HTMLParser):
    """Collects what a page links, loads and says."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.said = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]
        if named.get("id"):
            self.ids.add(str(named["id"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def test_the_page_says_what_the_document_says() -> None:
    """Every operation, answer and field stands on the page."""
    shown = Page(page(document()))
    schemas = document()["components"]["schemas"]
    named = [name for schema in schemas.values() for name in schema.get("properties", {})]
    missing = [word for word in [*POST["responses"], *POST["requestBody"]["content"], *named] if word not in shown.said]
    assert missing == []
    assert shown.open == []


def test_the_page_loads_nothing() -> None:
    """Every link stays on this server and is valid; there is no script and no asset."""
    shown = Page(page(document()))
    assert {target for target in shown.targets if not target.startswith("#")} == {"openapi.json"}
    assert {target[1:] for target in shown.targets if target.startswith("#")} <= shown.ids
    assert shown.tags.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert "url(" not in page(document())


def test_the_page_fits_a_telephone() -> None:
    """The layout follows the width of the window, and long words break."""
    html = page(document())
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "@media (max-width: 36rem)" in html
    assert "overflow-wrap: anywhere" in html


def test_the_page_escapes() -> None:
    """Markup in the document is escaped."""
    evil = {**document(), "info": {"title": "<script>", "description": "`<b>`"}}
    assert "script" not in Page(page(evil)).tags
    assert "<script>" in Page(page(evil)).said
