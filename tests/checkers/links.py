"""Checks the internal links of a built site: `python -m tests.checkers.links build/docs` fails for broken links.

Sphinx checks links in the sources of pages. This checker also finds links of the theme and of the API reference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := found.get(name))}
        self.links += [value for name in ("href", "src") if (value := found.get(name))]


def broken(site: Path) -> Iterator[str]:
    """Yield each internal link to a missing file or anchor, with its page."""
    pages = {path.resolve(): _read(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there.is_dir():
                there /= "index.html"
            anchors = pages[there].ids if there in pages else set()
            if not there.exists() or (parts.fragment and there in pages and unquote(parts.fragment) not in anchors):
                yield f"{path.relative_to(site.resolve())}: {link}"


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


if __name__ == "__main__":
    found = sorted(set(broken(Path(sys.argv[1]))))
    sys.exit("\n".join(["Broken links:", *found]) if found else 0)
