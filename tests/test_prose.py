"""What the style of the project asks of docstrings and of README, checked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from swaplib.workbook import releasing

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for folder in ("swaplib", "studies", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
# Words that begin a noun phrase or a question, not an instruction.
NOT_VERBS = set(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "its",
        "it",
        "all",
        "each",
        "every",
        "one",
        "two",
        "three",
        "some",
        "any",
        "no",
        "whether",
        "how",
        "what",
        "which",
        "who",
        "whose",
        "where",
        "when",
        "why",
        "of",
        "in",
        "on",
        "at",
        "for",
        "from",
        "by",
        "with",
        "within",
        "as",
        "if",
        "names",
        "name",
        "number",
        "numbers",
        "images",
        "pictures",
        "codes",
        "faces",
        "mean",
        "means",
        "same",
        "such",
        "there",
    ]
)
AVOIDED = re.compile(r"\banew\b|\bso many\b|\bcritics?\b|\bheld still\b", re.IGNORECASE)


def docstrings(tree: ast.Module):
    """Functions with a docstring that are no properties: (name, line, first line)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            decorators = {ast.unparse(one).split(".")[-1].split("(")[0] for one in node.decorator_list}
            if not decorators & {"property", "cached_property", "fixture"}:
                yield node.name, node.lineno, text.splitlines()[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_instructions_in_plain_words(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    wrong = []
    for name, line, first in docstrings(tree):
        word = re.split(r"\W", first.strip("`"), maxsplit=1)[0].lower()
        if word in NOT_VERBS or first.rstrip().endswith("?"):
            wrong.append(f"{line} {name}: {first}")
    assert wrong == []
    assert not (ast.get_docstring(tree) or "").split("\n")[0].rstrip().endswith("?"), "a question as a module's title"
    assert [line.strip() for line in text.splitlines() if AVOIDED.search(line)] == []


def block(name: str) -> str:
    """A generated part of README."""
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", (ROOT / "README.md").read_text(), re.DOTALL)[1]


def test_readme_is_short_and_its_tables_are_the_generated_ones():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110
    assert block("results") == releasing.results_markdown()


def test_rooms_have_their_parts_in_order():
    """Docstring with symbols and differences, Config, then networks, losses and the family, under these headings."""
    for name in ("rsgan", "mask_guided", "smooth_swap", "latent_swap", "e4s"):
        text = (ROOT / "swaplib" / "families" / f"{name}.py").read_text(encoding="utf-8")
        document = ast.get_docstring(ast.parse(text))
        assert "arXiv:" in document, name
        assert "| paper | here |" in document, name
        assert re.search(r"[Ww]here we differ", document), name
        places = [text.index("class Config:"), *(text.index(f"- {title}\n") for title in ("losses", "family"))]
        places.append(text.index("    # -- the contract"))
        assert places == sorted(places), name
