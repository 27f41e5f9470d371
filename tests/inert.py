"""A page as a test reads it: its elements and its text, and that nothing in it could do harm."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, and its text: not that of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.cdata_elem is None:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_inert(html: str) -> None:
    """Nothing that is fetched, and no script but the page's own."""
    without = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "http://" not in without
    assert "https://" not in without
    assert not re.search(r"url\(|@import", without)
    elements = Page(html).elements
    assert [attributes for tag, attributes in elements if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    for tag, attributes in elements:
        assert tag not in {"iframe", "object", "embed", "link", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "poster", "action", "xlink:href"}:
                assert (value or "").startswith(("data:image/webp;base64,", "#"))
