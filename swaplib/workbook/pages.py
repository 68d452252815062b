"""The HTML copy of the workbook: a folder of pages that need no kernel and no network, wherever it is put.

`write` starts at the notebooks that were executed and at the gallery, and follows their links: a Markdown file becomes
a page, any other file is copied, and a link to what isn't there becomes plain text. Formulas are set while the pages
are written, as MathML, which browsers draw and screen readers read.
"""

from __future__ import annotations

import base64
import hashlib
import io
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image

from swaplib import figures
from swaplib.figures.saving import read_manifest
from swaplib.foreign import read_json
from swaplib.provenance import replacing
from swaplib.workbook.preflight import read_notebook

# ---------------------------------------------------------------------------------------------- notebooks


def headline(notebook: Path) -> tuple[str, str]:
    """Return a notebook's title and its one sentence: the first heading, and the first line of text below it."""
    cells = [cell.source for cell in read_notebook(notebook).cells if cell.cell_type == "markdown"]
    lines = [line.strip() for line in (cells[0].splitlines() if cells else []) if line.strip()]
    title = next((line.lstrip("# ") for line in lines if line.startswith("#")), notebook.stem)
    return title, next((line for line in lines if not line.startswith("#")), "")


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Remove live widgets and their state, so that readers without a kernel see the still picture beside them.

    Of the studio's still pictures, which are there both as HTML and by themselves, the picture is kept.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            if "swaplib-still" in output.get("data", {}).get("text/html", ""):
                del output.data["text/html"]
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    return notebook


_PICTURES = ("image/png", "image/jpeg")


def _shown(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode, str, str]]:
    """Yield each picture among a notebook's outputs: its cell, its output, its type, and the heading above it."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([heading, *re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)])[-1]
        for output in cell.get("outputs", ()):
            for kind in _PICTURES:
                if kind in output.get("data", {}):
                    yield cell, output, kind, heading


def _open(output: NotebookNode, kind: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(output.data[kind])))


def _describe(notebook: NotebookNode, stem: str, entries: Mapping[str, dict]) -> None:
    """Give each picture of a notebook its size and an alt text: its caption, or the heading that it stands under."""
    captions = {name: one["caption"] for name, one in entries.items() if one["notebook"] == stem and one["caption"]}
    for cell, output, kind, heading in _shown(notebook):
        width, height = _open(output, kind).size
        name = output.data.get("text/plain", "")
        saved = re.findall(r'figures\.save\(\s*\w+,\s*f?"([^"]+)"', cell.source)
        patterns = [re.sub(r"\{[^}]*\}", "*", one) for one in saved]
        told = [text for name, text in captions.items() if any(fnmatchcase(name, one) for one in patterns)]
        if name and not name.startswith("<"):
            alt = f"{name}, as a still picture"
        else:
            alt = told[0] if len(told) == 1 else f"A picture of the section “{heading}”"
        output.metadata[kind] = {"alt": alt, "width": width, "height": height}


def _write_cover(notebook: NotebookNode, path: Path) -> bool:
    """Write the upper left of a notebook's first picture of faces; return whether it has any picture.

    Charts, which are mostly white, say little at this size, and stand in only where there is nothing else.
    """
    pictures = [np.asarray(_open(output, kind).convert("RGB")) for _, output, kind, _ in _shown(notebook)]
    if not pictures:
        return False
    chosen = next((one for one in pictures if np.mean(one > 240) < 0.5), pictures[0])
    height = min(len(chosen), int(chosen.shape[1] / _COVER))
    cut = Image.fromarray(chosen[:height, : int(height * _COVER)]).resize((480, int(480 / _COVER)), Image.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save_picture(np.asarray(cut), path)
    return True


_COVER = 1.6  # width by height of the pictures on the index page


# ---------------------------------------------------------------------------------------------- Markdown


class _Renderer(IPythonRenderer):
    """Markdown of one page: its links lead to what is in the copy, its formulas are MathML, its tables scroll."""

    def __init__(self, page: _Page):
        super().__init__(escape=False)
        self.page = page

    def link(self, text: str, url: str, title: str | None = None) -> str:
        address = self.page.lead(url)
        return text if address is None else super().link(text, address, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        address = self.page.lead(url)
        return text if address is None else super().image(text, address, title)

    def inline_html(self, html: str) -> str:
        return _ADDRESS.sub(self._lead, html)

    def _lead(self, found: re.Match[str]) -> str:
        address = self.page.lead(unescape(found[2][1:-1]))
        return "" if address is None else f'{found[1]}="{escape(address)}"'

    block_html = inline_html

    def heading(self, text: str, level: int, **attributes) -> str:
        return f'<h{level} id="{self.page.name(text)}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        text = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", text)  # an empty corner is the heading of nothing
        return f'<div class="scroll"{_REACHED.format("table")}><table>{text}</table></div>'

    def inline_math(self, body: str) -> str:
        return _set_formula(body)

    def block_math(self, body: str) -> str:
        return _set_formula(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return _set_formula(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)


# What may be wider than the screen is reached by keyboard, so that it can be scrolled; code is wrapped instead.
_REACHED = ' tabindex="0" role="group" aria-label="{}"'
_OUTPUT = re.compile(r'(<div class="[^"]*\boutput_subarea\b[^"]*")(?=>\s*<(?:pre|img)\b)')
_ADDRESS = re.compile(r"""\b(href|src)=("[^"]*"|'[^']*')""")
_SETTER = LatexToMathML()


def _set_formula(body: str, display: bool = False) -> str:
    """Convert TeX to MathML; what the converter doesn't know stays as it is written."""
    try:
        formula = _SETTER.convert_with_local_state(body, displaystyle=display)
    except LatexError:
        return f"<code>{escape(body)}</code>"
    return f'<span class="formula"{_REACHED.format("formula")}>{formula}</span>' if display else formula


# ---------------------------------------------------------------------------------------------- the copy


def read_run(out: Path) -> dict[str, Any]:
    """Read which notebooks a run has executed, and how. Raises as `foreign.read_json` does."""
    fields = {"preset": str, "notebooks": dict}
    return read_json(out / "manifest.json", "a list of notebooks", "delete it and run the notebooks again", fields)


def write(out: Path, pictures: Path, folder: Path, books: Iterable[Path]) -> Path:
    """Write the HTML copy into <out>/html in place of an earlier one, with an index page; return the index.

    books: executed notebooks in <out>/notebooks. pictures: where the run saved its figures. folder: the notebooks' own,
    beside which lies what they link to, and in which their solutions are.
    """
    books = list(books)
    with tempfile.TemporaryDirectory(dir=out) as place:
        copy = _Copy(Path(place, "html"), folder.resolve(), pictures, {book.name: book for book in books})
        copy.write_index(books, read_run(out))
        for book in books:
            copy.need(f"notebooks/{book.name}")
            copy.need(f"notebooks/solutions/{book.name}")
        copy.need(_GALLERY)
        copy.write_needed()
        shutil.rmtree(out / "html", ignore_errors=True)
        copy.target.rename(out / "html")
    return out / "html" / "index.html"


_GALLERY = "figures/README.md"


@dataclass
class _Copy:
    """A copy while it is written. Files are named as in the project: "notebooks/00_start.ipynb"."""

    target: Path
    folder: Path
    pictures: Path
    books: Mapping[str, Path]
    needed: dict[str, Path] = field(default_factory=dict)
    exporter: HTMLExporter = field(
        default_factory=lambda: HTMLExporter(
            template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
        )
    )

    def find(self, name: str) -> Path | None:
        """Find a file of the project as the copy shows it: executed, drawn by the run, or as it stands."""
        project, (top, _, rest) = self.folder.parent, name.partition("/")
        if top == "notebooks" and name.endswith(".ipynb"):
            solved = self.folder / rest
            return self.books.get(rest, solved if Path(rest).name in self.books and rest.startswith("solu") else None)
        places = [self.pictures / rest, project / name] if top == "figures" else [project / name]
        return next((place for place in places if place.is_file()), None)

    def need(self, name: str) -> str | None:
        """Have a file of the project in the copy; return its place there, or None where there is none."""
        path = None if name.startswith("..") else self.find(name)
        if path is None or not path.is_file():
            return None
        self.needed.setdefault(name, path)
        stem, ending = posixpath.splitext(name.removeprefix("notebooks/"))
        return f"{stem}.html" if ending in (".md", ".ipynb") else stem + ending

    def write_needed(self) -> None:
        """Write all that is needed, and what it needs in turn."""
        done: set[str] = set()
        while left := [name for name in self.needed if name not in done]:
            for name in left:
                done.add(name)
                self._write(name, self.needed[name])

    def _write(self, name: str, source: Path) -> None:
        place = self.need(name)
        page = _Page(self, name, place)
        if name.endswith(".ipynb"):
            notebook = without_widgets(read_notebook(source))
            _describe(notebook, source.stem, self.entries)
            page.save(headline(source)[0], page.convert(notebook), page.policy(notebook))
        elif name.endswith(".md"):
            # A card begins with facts for model hubs; a table has no heading of its own.
            text = re.sub(r"\A---\n.*?\n---\n", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)
            title = re.search(r"^# +(.+)$", text, re.MULTILINE)
            entry = self.entries.get(name.removeprefix("figures/").removesuffix(".md"), {})
            head = f"<h1>{escape(source.stem)}</h1><p>{escape(entry.get('caption') or '')}</p>"
            page.save(title[1] if title else source.stem, ("" if title else head) + page.render(text))
        else:
            (self.target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.target / place)

    @cached_property
    def entries(self) -> dict[str, dict]:
        """What is recorded of figures and tables by name: of the run's own, otherwise of the committed ones."""
        return read_manifest(self.folder.parent / "figures") | read_manifest(self.pictures)

    def write_index(self, books: Iterable[Path], manifest: Mapping) -> None:
        """Write the index page: each lesson with a picture and its one sentence."""
        page, items = _Page(self, "notebooks/index", "index.html"), []
        for book in books:
            title, sentence = headline(book)
            seconds = manifest["notebooks"].get(book.stem, {}).get("seconds")
            cover = f"covers/{book.stem}.jpg"
            has_cover = _write_cover(read_notebook(book), self.target / cover)
            size = f'width="480" height="{int(480 / _COVER)}"'
            picture = f'<img src="{quote(cover)}" alt="" {size}>' if has_cover else ""
            took = "" if seconds is None else f'<p class="muted">ran in {float(seconds):.0f} s</p>'
            items.append(
                f'<li><a href="{quote(book.stem)}.html">{picture}<h2>{escape(title)}</h2></a>'
                f"{page.render(sentence)}{took}</li>"
            )
        body = (
            "<h1>swaplib</h1><p>A workbook on face swapping in latent spaces, run with the "
            f"{escape(manifest['preset'])} preset.{_GALLERY_LINE if self.need(_GALLERY) else ''}</p>"
            f'<ol class="lessons">{"".join(items)}</ol>'
        )
        page.save("swaplib", body)


_GALLERY_LINE = ' <a href="figures/README.html">All figures and tables</a>'


@dataclass
class _Page:
    """One page of a copy. source: its name in the project, from which its links count; place: where it is written."""

    copy: _Copy
    source: str
    place: str
    names: set[str] = field(default_factory=set)

    @cached_property
    def render(self) -> Callable[[str], str]:
        """What converts Markdown to HTML."""
        return MarkdownWithMath(renderer=_Renderer(self)).render

    def convert(self, notebook: NotebookNode) -> str:
        """Convert the cells of a notebook to HTML."""
        self.copy.exporter.register_filter("markdown2html", self.render)
        return _OUTPUT.sub(rf"\1{_REACHED.format('output')}", self.copy.exporter.from_notebook_node(notebook)[0])

    def lead(self, url: str) -> str | None:
        """Return where a link leads in the copy; None where it leads nowhere."""
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            return url if parts.scheme in ("http", "https", "mailto") else None
        if not parts.path:
            return url
        place = self.copy.need(posixpath.normpath(posixpath.join(posixpath.dirname(self.source), unquote(parts.path))))
        if place is None:
            return None
        return quote(self.up(place)) + (f"#{parts.fragment}" if parts.fragment else "")

    def up(self, place: str) -> str:
        """Return the address of a file of the copy, as seen from this page."""
        return posixpath.relpath(place, posixpath.dirname(self.place) or ".")

    def name(self, heading: str) -> str:
        """Return a heading's name, by which links find it; a page has each only once."""
        words = re.sub(r"<[^>]*>|[^\w\s-]", "", heading).strip().lower()
        name = first = re.sub(r"\s", "-", words)
        while name in self.names:
            name = f"{first}-{int(name.removeprefix(first).lstrip('-') or 0) + 1}"
        self.names.add(name)
        return name

    @staticmethod
    def policy(notebook: NotebookNode) -> str:
        """Return what else a notebook's page may do: run the scripts of its strips, told by their hashes."""
        shown = [
            output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", ())
        ]
        scripts = {
            script
            for html in shown
            if "swaplib-strip" in html
            for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        }
        hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in sorted(scripts)]
        return "; script-src " + " ".join(f"'sha256-{one}'" for one in hashes) if hashes else ""

    def save(self, title: str, body: str, more: str = "") -> None:
        """Write the page. more: of its policy."""
        path, home = self.copy.target / self.place, self.up("index.html")
        path.parent.mkdir(parents=True, exist_ok=True)
        way = "" if self.place == "index.html" else f'<nav><a href="{home}">swaplib: all lessons</a></nav>'
        page = _PAGE.format(policy=_POLICY.format(more=more), title=escape(title), style=_STYLE, way=way, body=body)
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")


# ---------------------------------------------------------------------------------------------- the look

# Pages load nothing from elsewhere and send nothing; what stands in them as text stays text.
_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'{more}"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>{style}</style></head><body>
{way}<main>
{body}
</main></body></html>
"""
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #22272e; --muted: #5b6470; --link: #2f5d8a; --line: #d6dade;
  --box: #f5f6f8; --key: #8a2f6d; --text: #2c6a3f; --number: #a2461b; --name: #2f5d8a }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e2e6ea; --muted: #a0aab4; --link: #8ab8e6;
  --line: #39424c; --box: #1d232a; --key: #e39bcb; --text: #93cfa6; --number: #efae8d; --name: #8ab8e6 } }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 54rem;
  margin: 1.5rem auto 3rem; padding: 0 1rem; overflow-wrap: break-word }
a { color: var(--link) } .muted { color: var(--muted); font-size: .9rem }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 .5em } h1 { margin-top: .6em }
img { max-width: 100%; height: auto; border-radius: 3px }
pre, code { font: .875rem/1.5 ui-monospace, monospace } code { overflow-wrap: anywhere }
p > code, h1 > code, h2 > code, h3 > code { font-size: .9em }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere }
.output_subarea pre { white-space: pre; overflow-wrap: normal }
.cell { margin: .8rem 0 } .input_area pre { background: var(--box); border-radius: 4px; padding: .6rem .8rem }
.output_subarea, .scroll { overflow-x: auto; max-width: 100%; margin: .5rem 0 }
.output_stderr { color: var(--muted) }
table { border-collapse: collapse; border: 0; font-size: .9rem; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .8rem .3rem 0; border: 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
td > img { max-width: none }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math }
.formula { display: block; overflow: auto hidden; padding: .3rem 0 }
[tabindex="0"]:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
blockquote { margin: .8rem 0; padding-left: 1rem; border-left: 3px solid var(--line) }
.highlight [class^=k], .highlight .ow { color: var(--key) } .highlight [class^=s] { color: var(--text) }
.highlight [class^=c] { color: var(--muted) } .highlight [class^=m] { color: var(--number) }
.highlight .nf, .highlight .nc, .highlight .nb, .highlight .nd { color: var(--name) }
.lessons { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  gap: 1.5rem } .lessons h2 { font-size: 1.05rem; margin: .5rem 0 .2rem } .lessons p { margin: 0 }
.lessons img { display: block; width: 100% }
@media (max-width: 40rem) { .output_png > img, .output_jpeg > img { max-width: max(100%, 30rem) }
  table { width: max-content } td, th { max-width: 15rem }
  main .swaplib-strip img[data-live] { width: 43vw } }
"""
