"""Pages and files of the site that stand outside docs/: the README as its first page, what pages link to as files.

Links stay as they are on a code host, relative to the file in the repository; here each becomes one within the site.
One that leads to no file of the repository is a warning, as are those of mkdocs; `--strict` makes them errors.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger(f"mkdocs.hooks.{__name__}")

OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
           "SECURITY.md": "security.md"}  # fmt: skip
"""File of the repository → page of the site."""
ATTACHED = "repository"
"""Folder of the site with the files that are no pages."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(_root(config) / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have every relative link lead to where its target is on the site; attach the file where it is no page."""
    homes = {shown: name for name, shown in OUTSIDE.items()}
    here = page.file.src_uri
    home = homes.get(here, f"docs/{here}")

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), link[1]))
        path = _root(config) / target
        if not path.is_file():
            log.warning("%s links to %s, and %s is no file of the repository", home, link[1], target)
            return link[1]
        shown = OUTSIDE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if shown is None:
            shown = f"{ATTACHED}/{target}"
            if files.get_file_from_path(shown) is None:
                files.append(File.generated(config, shown, abs_src_path=str(path)))
        return posixpath.relpath(shown, posixpath.dirname(here) or ".")

    # Of what stands between backticks nothing is a link.
    parts = CODE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(on_site, part) for number, part in enumerate(parts))


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent
