"""The HTML copy: links that lead somewhere, formulas without a network, text that stays text, a policy that holds."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from exported import export
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from swaplib.workbook import pages, runner


def without_scripts(text: str) -> str:
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


def prose(text: str) -> str:
    """What a page says outside of code."""
    return html.unescape(re.sub(r"<(pre|code)\b.*?</\1>|<[^>]*>", "", without_scripts(text), flags=re.DOTALL))


def addresses(text: str) -> list[str]:
    found = re.findall(r'\b(?:href|src)="([^"]*)"', without_scripts(text))
    return [html.unescape(one) for one in found if not one.startswith("data:")]


def policy(text: str) -> str:
    return html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1])


# ---------------------------------------------------------------------------------------------- of the whole workbook


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """All pages of the workbook by path, exported from the notebooks as they are committed."""
    folder = export(tmp_path_factory.mktemp("copy"))
    return {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))}


@pytest.mark.slow
def test_every_link_leads_somewhere_within_the_copy(texts):
    home = min(texts, key=lambda path: len(path.parts)).parent
    names = {path: set(re.findall(r'\bid="([^"]*)"', text)) for path, text in texts.items()}
    dead = []
    for path, text in texts.items():
        for address in addresses(text):
            parts = urlsplit(address)
            if parts.scheme in ("http", "https"):
                continue
            end = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if home not in end.parents or not end.is_file() or (parts.fragment and parts.fragment not in names[end]):
                dead.append(f"{path.relative_to(home)}: {address}")
    assert dead == []
    assert {book.stem for book in runner.notebooks()} <= {path.stem for path in texts if path.parent == home}


@pytest.mark.slow
def test_formulas_are_set_without_a_script(texts):
    left = {path.name: re.findall(r".{20}\$.{20}", prose(text)) for path, text in texts.items()}
    assert {name: found for name, found in left.items() if found} == {}
    unknown = [re.findall(r"<code>[^<]*\\[a-zA-Z]+[^<]*", without_scripts(text)) for text in texts.values()]
    assert [one for one in unknown if one] == []
    lesson = next(text for path, text in texts.items() if path.stem == "24_latent_swap" and "mixer" in text)
    assert lesson.count("<math") >= 15
    assert "<munder" in lesson


@pytest.mark.slow
def test_pages_are_in_order_for_readers_of_every_kind(texts):
    for path, text in texts.items():
        body = without_scripts(text)
        assert '<html lang="en">' in text
        assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text.replace("/>", ">")
        levels = [int(level) for level in re.findall(r"<h([1-6])\b", body)]
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(b <= a + 1 for a, b in pairwise(levels)), path
        assert not re.search(r"<img(?![^>]*\balt=)", body), path
        names = re.findall(r'\bid="([^"]*)"', body)
        assert len(names) == len(set(names)), path


@pytest.mark.slow
def test_pictures_are_told_by_their_captions_and_apps_shown_as_stills(texts):
    lesson = next(text for path, text in texts.items() if path.stem == "01_sliders" and "Recap" in text)
    told = [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]+)"[^>]*src="data:image/jpeg', lesson)]
    entries = json.loads((runner.root() / "figures" / "manifest.json").read_text(encoding="utf-8"))
    assert entries["sliders/parts"]["caption"] in told
    assert "Studio(rsgan), as a still picture" in told
    assert "A picture of the section “The family, and a state”" in told


@pytest.mark.slow
def test_the_index_shows_each_lesson_with_a_picture_and_its_sentence(texts):
    index = next(path for path in texts if path.name == "index.html")
    for book in runner.notebooks():
        title, _ = pages.headline(book)
        entry = re.search(rf'<li><a href="{book.stem}.html">(.*?)</a>(.*?)</li>', texts[index], re.DOTALL)
        assert html.escape(title) in entry[1]
        assert len(prose(entry[2])) > 20
        with Image.open(index.parent / "covers" / f"{book.stem}.jpg") as cover:
            assert cover.size == (480, 300)
            assert b"DigitalSourceType" in cover.info["xmp"]


@pytest.mark.slow
def test_pages_state_what_they_may_load_and_only_strips_run(texts):
    for path, text in texts.items():
        rules = policy(text)
        assert rules.startswith("default-src 'none';")
        assert "connect-src" not in rules
        assert "http" not in rules
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        hashes = {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts}
        assert set(re.findall(r"'sha256-([^']+)'", rules)) == hashes, path
        assert ("script-src" in rules) == ('class="swaplib-strip"' in text), path
        assert "unsafe-inline" not in rules.partition("script-src")[2]


# ---------------------------------------------------------------------------------------------- of a small one

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def small(tmp_path):
    """Write a project of one executed notebook and its files; return what exports it."""
    folder, out = tmp_path / "project" / "notebooks", tmp_path / "out"
    for place in (folder, out / "notebooks", out / "figures"):
        place.mkdir(parents=True)
    (out / "manifest.json").write_text('{"preset": "<demo>", "notebooks": {"10_first": {"seconds": 3.2}}}')

    def write(*cells, **files):
        notebook = new_notebook(cells=[new_markdown_cell("# First\n\nOne sentence."), *cells])
        nbformat.write(notebook, out / "notebooks" / "10_first.ipynb")
        for name, text in files.items():
            (folder.parent / f"{name}.md").write_text(text)
        return pages.write(out, out / "figures", folder, [out / "notebooks" / "10_first.ipynb"]).parent

    return write


def test_links_are_followed_and_those_that_lead_nowhere_are_plain_text(small):
    text = (
        "[a card](../card.md#two-words) [gone](../gone.md) [a lesson](20_second.ipynb) [away](../../away.md) "
        "[abroad](https://example.org/a) [bad](javascript:alert(1)) <img src='x' alt=''> <a href='../card.md'>raw</a>"
    )
    target = small(new_markdown_cell(text), card="---\nlicense: x\n---\n# Card\n\n## Two words\n\n[back](card.md)")
    page = (target / "10_first.html").read_text()
    assert addresses(page) == ["index.html", "card.html#two-words", "https://example.org/a", "card.html"]
    assert all(word in prose(page) for word in ("gone", "a lesson", "away", "bad"))
    card = (target / "card.html").read_text()
    assert '<h2 id="two-words">' in card
    assert "license" not in card
    assert not (target / "away.html").exists()


def test_formulas_that_nobody_knows_stay_as_they_are_written(small):
    page = (small(new_markdown_cell(r"$\unheard{x} < 1$ and $x^2$")) / "10_first.html").read_text()
    assert r"<code>\unheard{x} &lt; 1</code>" in page
    assert "<msup>" in page


def test_what_is_text_stays_text(small):
    outputs = [
        new_output("stream", text=EVIL),
        new_output("execute_result", {"text/plain": EVIL}),
        new_output("error", ename=EVIL, evalue=EVIL, traceback=[EVIL]),
    ]
    tagged = new_code_cell(f"name: str = {EVIL!r}  # {EVIL}", metadata={"tags": ["parameters"]}, outputs=outputs)
    formula = new_markdown_cell(rf"$\text{{{EVIL}}}$ and `{EVIL}`")
    target = small(tagged, formula)
    for path in target.rglob("*.html"):
        text = path.read_text()
        assert "<script" not in text, path
        assert "script-src" not in policy(text), path
    assert "&lt;demo&gt;" in (target / "index.html").read_text()
    assert html.unescape(without_scripts((target / "10_first.html").read_text())).count("alert(1)") >= 6


def test_a_new_copy_replaces_the_old_one(small):
    (small(new_markdown_cell("[a card](../card.md)"), card="# Card") / "stray.html").touch()
    target = small(new_markdown_cell("nothing"))
    assert sorted(path.name for path in target.iterdir()) == ["10_first.html", "index.html"]


def test_of_an_app_the_committed_notebook_keeps_the_still_picture_alone():
    still = {"image/jpeg": "abcd", "text/html": '<div class="swaplib-still">…</div>', "text/plain": "Studio(rsgan)"}
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    table = {"text/html": "<table></table>", "image/jpeg": "abcd"}
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in (still, view, table)]
    outputs.append(nbformat.v4.new_output("stream", text="told"))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("app", outputs=outputs)])
    kept = pages.without_widgets(book).cells[0].outputs
    assert [output.get("data") for output in kept] == [
        {"image/jpeg": "abcd", "text/plain": "Studio(rsgan)"},
        table,
        None,
    ]
