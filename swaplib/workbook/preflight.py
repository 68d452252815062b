"""What a run of the notebooks takes, before anything runs: missing weights, what is skipped, time and memory.

    print(preflight.check(runner.choose(["25", "50"]), "official").tell())

`swaplib run --dry-run` is this on the command line. Which weights a notebook loads, and for which of them it takes a
file of yours, is read from its own cells. Times and memory are estimates: what the notebook says about itself at the
demo preset, and the operations of the systems' swaps at the papers' sizes by what this machine does in a second.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import torch
import torch.nn.functional as F

from swaplib import families, generators, judges, weights
from swaplib.foreign import damaged, read_text
from swaplib.training.registry import Registry, find_file

REGISTRIES: Mapping[str, Registry] = {"families": families.ALL, "generators": generators.ALL, "judges": judges.ALL}
"""Module, as notebooks call it -> its models."""
# At the paper's size: 10⁹ operations of a swap, or of a picture that is generated (torch's FlopCounterMode), and
# gigabytes of the process while it makes one. Measured on a CPU, one pair at a time.
COSTS: Mapping[str, tuple[float, float]] = {
    "rsgan": (9, 0.6), "mask_guided": (76, 1.4), "smooth_swap": (131, 1.2), "stylegan2": (121, 1.3),
    "latent_swap": (158, 1.9), "e4s": (455, 4.2),
}  # fmt: skip
_PASSES = 6  # of a table's swaps: the swap, its way back, reconstructions, figures
_USUAL = 1.0  # gigabytes of a process with the judges and the renderer
_KEPT = 4e-4  # gigabytes of a rendered pair that is kept, with its true swap, at 128 px
_COUNTS = ("pairs", "pictures", "count", "people")  # parameters that say how many
_SMOKE = 0.3  # share of the demo's time that the smoke preset takes


@dataclass(frozen=True)
class Missing:
    """Weights that are not there.

    model    what they fill
    file     as its authors call the file; for our own networks, what they would be called
    source   from where; empty: nobody publishes them
    command  what makes them loadable
    licence  of the file
    """

    model: str
    file: str
    source: str
    command: str
    licence: str


@dataclass(frozen=True)
class Lesson:
    """A notebook's share of a run: seconds, gigabytes at its peak, and why it is skipped (empty: it runs)."""

    name: str
    seconds: float
    gigabytes: float
    missing: tuple[Missing, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Plan:
    """A run: its lessons in order, and on what. rate: 10⁹ operations that the device does in a second."""

    preset: str
    device: str
    rate: float
    lessons: tuple[Lesson, ...]
    about: str = ""  # the photographs, in words
    runs: tuple[Lesson, ...] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "runs", tuple(one for one in self.lessons if not one.skipped))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """All weights that are missing, each once."""
        return tuple(dict.fromkeys(one for lesson in self.lessons for one in lesson.missing))

    def tell(self) -> str:
        """Return the plan as text for a terminal."""
        lines = [f"preset {self.preset} on {self.device}{f', {self.about}' if self.about else ''}"]
        if self.missing:
            lines += ["missing"]
            for one in self.missing:
                lines += [f"  {one.model:<18} {one.file}{f', from {one.source}' if one.source else ''}"]
                lines += [f"{'':<20} {one.command}{f'; licence: {one.licence}' if one.licence else ''}"]
            if not all(one.source for one in self.missing):
                lines += ["  (what is trained is found where SWAPLIB_WEIGHTS names its folder)"]
        lines += [f"{'runs':<20} {'about':>9} {'memory':>9}"]
        lines += [f"  {one.name:<18} {_say(one.seconds):>9} {one.gigabytes:>6.1f} GB" for one in self.runs] or [
            "  nothing"
        ]
        if skipped := [one for one in self.lessons if one.skipped]:
            lines += ["skipped", *(f"  {one.name:<18} {one.skipped}" for one in skipped)]
        if self.runs:
            total, most = sum(one.seconds for one in self.runs), max(one.gigabytes for one in self.runs)
            lines += [f"together about {_say(total)}, one after the other, and at most {most:.1f} GB each"]
            lines += [f"(estimates; this {self.device} does {self.rate:,.0f} · 10⁹ operations in a second)"]
        return "\n".join(lines)


def _say(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def check(
    books: Sequence[Path],
    preset: str,
    plan: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, str] | None = None,
    device: str = "cpu",
    about: str = "",
) -> Plan:
    """Return what a run of notebooks takes.

    plan: parameters of each notebook, all of them. left_out: notebooks that are skipped anyway -> why. device: auto,
    cpu or cuda. about: the photographs, in words.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    rate, lessons = measure_rate(device), []
    for book in books:
        reason = (left_out or {}).get(book.stem, "")
        models = [] if reason else list(list_models(book, plan[book.stem]))
        own = str(plan[book.stem].get("preset", "demo"))
        given = weights.read_name(plan[book.stem].get("weights") or "")  # a file of the notebook's own
        wanted = [(registry, name) for registry, name in models if name != given]
        missing = tuple(one for registry, name in wanted if (one := _find_missing(registry, name, own)))
        if missing:
            names = ", ".join(dict.fromkeys(one.model for one in missing))
            reason = f"{names} {'is' if len(set(missing)) == 1 else 'are'} missing"
            unpublished = {one.model for one in missing if not one.source and own == weights.OFFICIAL}
            if yours := [name for name in list_own(book, plan[book.stem]) if name in unpublished]:
                reason += f": nobody publishes weights of {yours[0]}, name yours by --set weights=FILE"
        seconds, gigabytes = _estimate(book, plan[book.stem], [name for _, name in models], own, rate)
        lessons.append(Lesson(book.stem, seconds, gigabytes, missing, reason))
    return Plan(preset, device, rate, tuple(lessons), about)


# ---------------------------------------------------------------------------------------------- what is loaded


def list_models(book: Path, values: Mapping[str, Any]) -> Iterator[tuple[Registry, str]]:
    """Yield the models, each once, that a notebook loads at its parameter `preset`: a call `families.load(…, preset)`.

    Names may stand in the call, in a constant tuple or dict over which a loop goes, or in a parameter. Of those that
    `material.load_systems` takes, what is not there is left out, as long as something is.
    """
    for registry, name in dict.fromkeys(load[:2] for load in _find_loads(book, values)):
        if name in REGISTRIES[registry]:
            yield REGISTRIES[registry], name


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook. Raises ValueError for a file that is none, and as `foreign.check_file` does."""
    remedy = "take the committed one back with git, or run it again"
    text = read_text(path, "a notebook", remedy)
    try:
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises whatever its parts meet in a file of something else
        raise damaged(path, error, remedy) from error
    return notebook


def list_own(book: Path, values: Mapping[str, Any]) -> list[str]:
    """Return the models that a notebook loads from the file of its parameter `weights`, where one is given."""
    return [name for _, name, own in dict.fromkeys(_find_loads(book, values, everything=True)) if own]


def _find_loads(book: Path, values: Mapping[str, Any], everything: bool = False) -> list[tuple[str, str, bool]]:
    """Return module and name of each model that is loaded at the preset, and whether by the parameter `weights`.

    everything: also what is left out where it isn't there.
    """
    cells = [cell.source for cell in read_notebook(book).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(re.sub(r"^[%!].*$", "", source, flags=re.M) for source in cells))
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found = _constant(node.value, known)
            known |= {} if found is None else {node.targets[0].id: found}
    finder = _Finder(known | dict(values), everything)
    finder.visit(tree)
    return finder.found


class _Finder(ast.NodeVisitor):
    """Collects calls `module.load(name, preset)` and those of `material.load_systems`.

    known: constants and parameters by name.
    """

    def __init__(self, known: Mapping[str, Any], everything: bool):
        self.known, self.found = dict(known), []
        preset, file = str(known.get("preset", "demo")), known.get("weights")
        self.ready = {name for registry in REGISTRIES.values() for name in registry.ready(preset)}
        if everything:
            self.ready = {name for registry in REGISTRIES.values() for name in registry}
        elif file and weights.read_name(file):
            self.ready.add(weights.read_name(file))

    def visit_For(self, node: ast.For) -> None:
        self._within([(node.target, node.iter, [])], node)

    def visit_comprehension_of(self, node: ast.AST) -> None:
        self._within([(one.target, one.iter, one.ifs) for one in node.generators], node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_of

    def _within(self, loops: list[tuple[ast.expr, ast.expr, list[ast.expr]]], node: ast.AST) -> None:
        """Visit a loop with its variables known as all that they may be.

        A loop over what is `ready` takes that alone, but needs something.
        """
        before = dict(self.known)
        for target, over, conditions in loops:
            found = _constant(over, self.known)
            items = list(found) if isinstance(found, (list, tuple, dict, set)) else []
            if any(
                isinstance(part, ast.Attribute) and part.attr == "ready" for one in conditions for part in ast.walk(one)
            ):
                items = self._choose(items)
            for name, taken in _pair_up(target, items):
                self.known[name] = _Each(taken)
        self.generic_visit(node)
        self.known = before

    def _choose(self, items: Sequence[Any]) -> list[Any]:
        """Return what is there of some models, or all where nothing is."""
        return [one for one in items if one in self.ready] or [*items]

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        words = [word.value for word in node.keywords if word.arg == "preset"]
        module, arguments = getattr(node.func, "value", None), [*node.args, *words]
        called = isinstance(node.func, ast.Attribute) and isinstance(module, ast.Name) and len(arguments) > 1
        if not called or _name(arguments[1]) != "preset":
            return
        found, own = _constant(arguments[0], self.known), "weights" in map(_name, arguments[2:])
        if node.func.attr == "load" and module.id in REGISTRIES:
            names = found if isinstance(found, _Each) else [found]
            self.found += [(module.id, name, own) for name in names if isinstance(name, str)]
        elif (module.id, node.func.attr) == ("material", "load_systems"):
            self.found += [("families", name, own) for name in self._choose(found or ())]


class _Each(list):
    """What a loop's variable may be."""


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _constant(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return the value of a literal, of a name that is known, or of a dict's items and values; None for others."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("items", "values"):
        found = _constant(node.func.value, known)
        return list(getattr(found, node.func.attr)()) if isinstance(found, dict) else None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return None


def _pair_up(target: ast.expr, items: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield a loop's variables with what they take."""
    if isinstance(target, ast.Name):
        yield target.id, list(items)
    for k, one in enumerate(getattr(target, "elts", ())):
        if isinstance(one, ast.Name):
            yield one.id, [item[k] for item in items if isinstance(item, (tuple, list)) and len(item) > k]


def _find_missing(registry: Registry, name: str, preset: str) -> Missing | None:
    if name in registry.ready(preset):
        return None
    row = find_file(registry.kind(name))
    if preset == weights.OFFICIAL and row is not None:
        return Missing(name, row.files, row.project, "swaplib import FILE", row.licence)
    size = "demo" if preset == weights.OFFICIAL else preset
    command = f"swaplib train {name} --preset {size}{'' if row is None else ', or take --preset official'}"
    return Missing(name, f"{name}_{size}.safetensors, which nobody publishes", "", command, "")


# ---------------------------------------------------------------------------------------------- time and memory


def measure_rate(device: str = "cpu", seconds: float = 0.3) -> float:
    """Measure how many 10⁹ operations a device does in a second, by convolutions as the systems have them."""
    maps, kernels = torch.zeros(1, 128, 64, 64, device=device), torch.zeros(128, 128, 3, 3, device=device)
    operations, count = 2 * 128 * 128 * 9 * 64 * 64, 0
    F.conv2d(maps, kernels, padding=1).sum().item()
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        for _ in range(8):
            found = F.conv2d(maps, kernels, padding=1)
        found.sum().item()  # waits for a GPU
        count += 8
    return operations * count / took / 1e9


def _estimate(
    book: Path, values: Mapping[str, Any], names: Sequence[str], preset: str, rate: float
) -> tuple[float, float]:
    """Return seconds, and gigabytes at the peak."""
    from swaplib.workbook.runner import parameters  # it imports this module

    usual = {name: one.default for name, one in parameters(book).items()}
    counts = [(values[name], usual[name]) for name in _COUNTS if isinstance(usual.get(name), int)]
    more = max([1.0, *(here / max(1, there) for here, there in counts)])
    many = max([0, *(here for here, _ in counts)])
    seconds, gigabytes = _read_runtime(book) * more, _USUAL + many * _KEPT
    if preset == "smoke":
        return seconds * _SMOKE, gigabytes
    if preset in ("paper", weights.OFFICIAL):
        known = [(*COSTS[name], _scale(name, preset)) for name in names if name in COSTS]
        seconds += sum(max(many, 8) * _PASSES * cost * share / rate for cost, _, share in known)
        gigabytes += max([0.0, *(room * share for _, room, share in known)])
    return seconds, gigabytes


def _scale(name: str, preset: str) -> float:
    """Return how much of the paper's cost an imported model's pictures have, by their number of pixels."""
    registry = families.ALL.holder(name) if name in families.ALL else generators.ALL
    path = weights.find_released(name, preset)
    if preset != weights.OFFICIAL or not path.exists():
        return 1.0
    kind = registry.kind(name)
    return (weights.read_config(path, kind).size / kind.Config.paper().size) ** 2


def _read_runtime(book: Path) -> float:
    """Return the seconds that a notebook's first cell names as its runtime at the demo preset; 30 where it doesn't."""
    text = "\n".join(cell.source for cell in read_notebook(book).cells[:1])
    found = re.search(r"\*\*Runtime\*\* about (\d*)(½?) (second|minute)", text)
    if not found:
        return 30.0
    amount = float(found[1] or 0) + 0.5 * bool(found[2])
    return amount * (60 if found[3] == "minute" else 1)
