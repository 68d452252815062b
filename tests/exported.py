"""The HTML copy of the committed notebooks as they stand, for tests that read it without running anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from swaplib.workbook import pages, runner


def export(out: Path, *names: str) -> Path:
    """Export notebooks into a folder, all of them where none is named; return the folder of pages."""
    books = runner.choose(names)
    (out / "notebooks").mkdir()
    for book in books:
        shutil.copyfile(book, out / "notebooks" / book.name)
    (out / "manifest.json").write_text(json.dumps({"preset": "demo", "notebooks": {}}))
    copies = runner.notebooks(out / "notebooks")
    return pages.write(out, runner.root() / "figures", books[0].parent, copies).parent
