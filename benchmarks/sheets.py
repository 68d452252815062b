"""Show how the rendered people have changed: contact sheets of sets that two versions of the renderer made.

    git worktree add --detach ../first 1cd436a       # the last with the renderer's first version
    swaplib render now/calm --count 16 --seed 5 --size 256
    python benchmarks/sheets.py calm before/calm now/calm

and for before/calm the same rendering in ../first; the wild world with --world wild. Saves the figure
prepare/before_and_now_{world}: eight people of each, 256 pixels wide, drawn by the same seed.
"""

from __future__ import annotations

import argparse

from swaplib import data, figures

COUNT, INCHES = 8, 256 / figures.STYLE["savefig.dpi"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=("calm", "wild"))
    parser.add_argument("before", help="a prepared dataset")
    parser.add_argument("now", help="a prepared dataset")
    chosen = parser.parse_args()
    figures.style()
    rows = {title: data.open(getattr(chosen, title))[range(COUNT)] for title in ("before", "now")}
    sheet = figures.grid(rows, as_rows=True, size=INCHES)
    caption = f"Eight people of the {chosen.world} world, drawn by the renderer's first version and by its second."
    print(figures.save(sheet, f"prepare/before_and_now_{chosen.world}", caption=caption, seed=5))


if __name__ == "__main__":
    main()
