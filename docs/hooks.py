"""Hooks of mkdocs: files outside of `docs/` as pages of the site, and links to them.

Documents link to files of the repository as code-hosting sites want it, relative to the document. In the site such a
link leads to the page that is made of the file here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_SHIM = re.compile(r"https://[\w.]+/iframe-worker/shim")
_LINK = re.compile(r"\]\(([^)#:\s]+)((?:#[^)\s]*)?)\)")
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
    "contrib/README.md": "development/contrib.md",
    **{
        f"site_configs/{path.name}": f"site-files/{path.stem}.md"
        for path in sorted((_ROOT / "site_configs").glob("*.yaml"))
    },
}
"""File of the repository -> its page in the site."""
_BOOSTS = {"reference": 2.0, "start": 1.5, "guides": 1.5, "development": 0.5, "site-files": 0.3}
"""Weight in the search, by folder: a setting is found in the reference before the site files that use it."""
_SOURCES = {page: source for source, page in _PAGES.items() if page != "index.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside of `docs/`."""
    for page, source in _SOURCES.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".yaml"):
            text = f"# {Path(source).name}\n\n``` yaml\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to their pages."""
    uri = page.file.src_uri
    page.meta["search"] = {"boost": _BOOSTS.get(uri.partition("/")[0], 1.0)}
    source = _SOURCES.get(uri, f"docs/{uri}")

    def link(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(source), match[1]))
        found = _PAGES.get(target, target.removeprefix("docs/") if source != f"docs/{uri}" else None)
        if found is None:
            return match[0]
        return f"]({os.path.relpath(found, os.path.dirname(uri) or '.')}{match[2]})"

    return _LINK.sub(link, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Let the search work from a folder without a network: the theme would load the shim of workers from elsewhere."""
    return _SHIM.sub(os.path.relpath("assets/folder-worker.js", os.path.dirname(page.url) or "."), output)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for pages without a document, such as 404.html."""
    return _SHIM.sub("/assets/folder-worker.js", output)
