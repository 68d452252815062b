"""The headless runner: every notebook in order, with checked parameters, into build/ and never in place.

`run` executes with papermill, makes an HTML copy with an index page, writes manifest.json and the gallery of figures,
all below build/: the checkout stays as it was, unless `update` renews what is committed in it. The notebooks' own
parameters cells are the demo preset; presets/smoke.yaml and presets/paper.yaml state what differs from it.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
import papermill
import torch
from joblib import Parallel, cpu_count, delayed
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_markdown_cell
from papermill.exceptions import PapermillExecutionError

from swaplib import data, figures
from swaplib.foreign import read_yaml
from swaplib.provenance import checkout, clear_left_over, commit, replacing, sha256, versions, write_text
from swaplib.weights import OFFICIAL, read_name
from swaplib.workbook import claims, pages, preflight
from swaplib.workbook.preflight import read_notebook

PRESETS = ("smoke", "demo", "paper")
MAX_BYTES = 600_000


class WorkbookError(RuntimeError):
    """A problem with a notebook, preset or parameter, described in one sentence."""


# ---------------------------------------------------------------------------------------------- notebooks, parameters


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: `name: annotation = default  # help`."""

    name: str
    annotation: str
    default: Any
    help: str = ""


def root() -> Path:
    """Return the checkout, which holds notebooks/ and build/.

    Raises WorkbookError where swaplib is installed without one.
    """
    path = checkout()
    if path is None:
        raise WorkbookError("no notebooks beside the package: run swaplib from a checkout of the project")
    return path


def notebooks(folder: str | Path | None = None) -> list[Path]:
    """Return the workbook's notebooks, in reading order."""
    folder = Path(folder) if folder else root() / "notebooks"
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def choose(names: Iterable[str], folder: str | Path | None = None) -> list[Path]:
    """Choose notebooks by name, number or path, in reading order; all of them where no name is given.

    names: such as "00_start", "00", "notebooks/00_start.ipynb".
    """
    every, names = notebooks(folder), list(names)
    chosen = set()
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        found = [path for path in every if path.stem == stem or path.stem.split("_")[0] == stem]
        if not found:
            raise WorkbookError(f"no notebook {name!r}: choose from {', '.join(path.stem for path in every)}")
        chosen.update(found)
    return [path for path in every if path in chosen or not names]


def parameters(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook.

    They are read from the source itself, since papermill's own reader skips lines that it can't parse.
    Raises WorkbookError for one without annotation or with a computed default, and for a cell that isn't Python.
    """
    tagged = [
        cell.source
        for cell in read_notebook(notebook).cells
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ())
    ]
    if not tagged:
        return {}
    try:
        body = ast.parse(tagged[0]).body
        tokens = [*tokenize.generate_tokens(StringIO(tagged[0]).readline)]
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        raise WorkbookError(
            f"{notebook.name}: its cell of parameters isn't Python: write `name: int = 0  # what`"
        ) from error
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)) or node.value is None:
            raise WorkbookError(
                f"{notebook.name}: {ast.unparse(node)!r} is no parameter: write `name: int = 0  # what`"
            )
        try:
            default = ast.literal_eval(node.value)
        except ValueError as error:
            raise WorkbookError(f"{notebook.name}: parameter {node.target.id} must be a literal") from error
        name, annotation = node.target.id, ast.unparse(node.annotation)
        found[name] = Parameter(name, annotation, default, comments.get(node.end_lineno, ""))
    return found


def fits(value: Any, annotation: str) -> bool:
    """Return whether a value is of a type that is written as text.

    Types: int, float, str, bool, None, list[…], dict[…, …], … | ….
    """
    return _fits(value, ast.parse(annotation, mode="eval").body)


def _fits(value: Any, node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _fits(value, node.left) or _fits(value, node.right)
    if isinstance(node, ast.Constant) and node.value is None:
        return value is None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "list":
        return isinstance(value, list) and all(_fits(item, node.slice) for item in value)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "dict":
        key, item = node.slice.elts
        return isinstance(value, dict) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    kinds = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list, "dict": dict}
    if not isinstance(node, ast.Name) or node.id not in kinds:
        raise WorkbookError(f"parameters can't have the type {ast.unparse(node)!r}: use {', '.join(kinds)}")
    # bool is a subclass of int, but True is no count.
    return isinstance(value, kinds[node.id]) and (node.id == "bool" or not isinstance(value, bool))


def convert(text: str, parameter: Parameter) -> Any:
    """Convert a value typed on the command line to the parameter's own type.

    "1e-4" is a number only where one is wanted.
    """
    if fits(text, parameter.annotation):
        return text
    try:
        value = {"true": True, "false": False, "none": None}[text.lower()]
    except KeyError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
    if not fits(value, parameter.annotation):
        raise WorkbookError(f"{parameter.name} must be {parameter.annotation}, got {text!r}")
    return value


def load_preset(name: str, folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Return a preset's values by notebook, all checked against the notebook's own parameters."""
    folder = Path(folder) if folder else root() / "notebooks"
    path = folder / "presets" / f"{name}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise WorkbookError(f"no preset {name!r}: choose from {', '.join(known)} in {path.parent}")
    if path.is_file() and not path.stat().st_size:  # it changes nothing
        return {}
    preset = read_yaml(path, "a preset", "write NOTEBOOK: {NAME: VALUE} in it") or {}
    if not isinstance(preset, dict) or not all(isinstance(values, (dict, type(None))) for values in preset.values()):
        raise WorkbookError(f"{path} holds no values by notebook: write NOTEBOOK: {{NAME: VALUE}} in it")
    books = {book.stem: book for book in notebooks(folder)}
    for stem, values in preset.items():
        if stem not in books:
            raise WorkbookError(f"{path.name} names the notebook {stem!r}, which does not exist")
        check(books[stem], values or {}, where=path.name)
    return {stem: dict(values or {}) for stem, values in preset.items()}


def check(notebook: Path, values: Mapping[str, Any], where: str = "values") -> None:
    """Raise WorkbookError for a parameter that the notebook lacks or a value of another type."""
    known = parameters(notebook)
    for name, value in values.items():
        if name not in known:
            raise WorkbookError(
                f"{where}: {notebook.stem} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
            )
        if not fits(value, known[name].annotation):
            raise WorkbookError(f"{where}: {notebook.stem} wants {name}: {known[name].annotation}, got {value!r}")


def settings(
    books: list[Path], preset: str = "demo", values: Mapping[str, Any] | None = None, folder: str | Path | None = None
) -> dict[str, dict[str, Any]]:
    """Return what to set in each notebook: the preset's values, and `values` where it has such a parameter.

    Text is converted to the parameter's type. A file of weights is for the notebooks that load its model. Raises
    WorkbookError for a name that none of the notebooks has, and for weights that none of them loads.
    """
    chosen = load_preset(preset, folder)
    plan = {book.stem: chosen.get(book.stem, {}) for book in books}
    known = {book.stem: parameters(book) for book in books}
    for name, value in (values or {}).items():
        having = [stem for stem in plan if name in known[stem]]
        if not having:
            names = sorted({parameter for book in known.values() for parameter in book})
            raise WorkbookError(f"no notebook of this run has a parameter {name!r}; there are {', '.join(names)}")
        for stem in having:
            plan[stem] |= {name: convert(value, known[stem][name]) if isinstance(value, str) else value}
    for book in books:
        check(book, plan[book.stem])
        _check_places(book.stem, plan[book.stem])
    _hand_out_weights([book for book in books if plan[book.stem].get("weights")], plan)
    return plan


def _hand_out_weights(books: list[Path], plan: dict[str, dict[str, Any]]) -> None:
    """Take the files of weights away from the notebooks that don't load their model, where another one does."""
    loaded = {book.stem: preflight.list_own(book, _all_values(book, plan[book.stem])) for book in books}
    for stem, names in loaded.items():
        model = read_name(plan[stem]["weights"])
        if model in names:
            continue
        if not any(model in others for others in loaded.values()):
            wanted = " or ".join(names)
            raise WorkbookError(f"{stem}: {plan[stem]['weights']} holds weights of {model}: name a file of {wanted}")
        del plan[stem]["weights"]


def _check_places(stem: str, values: dict[str, Any]) -> None:
    """Make the paths among a notebook's values absolute; raise WorkbookError for what isn't there.

    weights: a file. data: a folder of prepared photographs. device: cpu or cuda.
    """
    for name, is_there in (("weights", Path.is_file), ("data", Path.is_dir)):
        if isinstance(values.get(name), str):
            path = Path(values[name]).expanduser().resolve()
            if not is_there(path):
                raise WorkbookError(f"{stem}: there is no {'file' if name == 'weights' else 'folder'} {path} ({name})")
            values[name] = str(path)
    if isinstance(values.get("weights"), str) and read_name(values["weights"]) is None:
        raise WorkbookError(
            f"{stem}: {values['weights']} holds no weights of swaplib's: a published file needs swaplib import first"
        )
    if isinstance(values.get("data"), str):
        try:
            count = len(data.open(values["data"]))
        except (OSError, ValueError) as error:
            raise WorkbookError(f"{stem}: {error}") from error
        if count < 2:
            raise WorkbookError(f"{stem}: {values['data']} holds {count} faces: prepare at least two people's")
    if values.get("device", "cpu") not in ("cpu", "cuda"):
        raise WorkbookError(f"{stem}: unknown device {values['device']!r}: choose cpu or cuda")
    if values.get("device") == "cuda" and not torch.cuda.is_available():
        raise WorkbookError(f"{stem}: there is no CUDA device here: choose the device cpu")


# ---------------------------------------------------------------------------------------------- running


@dataclass
class Report:
    """What a run did: seconds by notebook, where its products are, and what `update` renewed in the checkout.

    plan: what it was to take, and what it skipped.
    """

    out: Path
    figures: Path
    seconds: dict[str, float] = field(default_factory=dict)
    renewed: list[str] = field(default_factory=list)
    plan: preflight.Plan | None = None

    @property
    def index(self) -> Path:
        return self.out / "html" / "index.html"


def plan_run(
    names: Iterable[str] = (),
    preset: str = "demo",
    values: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
) -> preflight.Plan:
    """Check what `run` checks before the first notebook starts, and return what the run takes and skips.

    A notebook whose weights are missing is skipped, and at the preset "official" one that nothing of it was made for.
    """
    books = choose(list(names), folder)
    plan = settings(books, preset, values, folder)
    made = load_preset(preset, folder) if preset == OFFICIAL else {book.stem: {} for book in books}
    left_out = {book.stem: "is about rendered faces and our own weights" for book in books if book.stem not in made}
    full = {book.stem: _all_values(book, plan[book.stem]) for book in books}
    device = next((one["device"] for one in full.values() if "device" in one), "cpu")
    folders = {one["data"] for one in full.values() if one.get("data")}
    about = ", ".join(f"{len(data.open(folder))} photographs of {Path(folder).name}" for folder in sorted(folders))
    return preflight.check(books, preset, full, left_out, device, about)


def _all_values(book: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in parameters(book).items()} | dict(values)


def run(
    names: Iterable[str] = (),
    preset: str = "demo",
    values: Mapping[str, Any] | None = None,
    update: bool = False,
    folder: str | Path | None = None,
    out: str | Path | None = None,
    figures_folder: str | Path | None = None,
    progress: bool = True,
    jobs: int | None = None,
) -> Report:
    """Execute notebooks; everything is checked before the first one starts.

    names: which ones (`choose`). values: parameters to set, text or typed (`settings`). out: build/<preset>.
    figures_folder: build/figures for a plain demo run, otherwise <out>/figures, so that a quick run never replaces
        the pictures of the whole workbook.
    update: renew what is committed (executed notebooks, figures/, claims), and only what changed; only for a plain
        demo run. Figures and claims in `figures_folder` from earlier runs of the same notebooks are included.
    jobs: notebooks that run side by side, each with one thread; as many as there are cores by default. They start, and
        are reported, in reading order; those numbered 9x, which show what the others made, wait for all of these.
    Notebooks that `plan_run` skips are left out, unless they were named: then, and where none is left, WorkbookError is
    raised. It is raised, too, for wrong parameters, and at the first failing cell with notebook, cell and error; what
    ran before stays in `out`.
    """
    plain = preset == "demo" and not values
    if update and not plain:
        raise WorkbookError("only a plain demo run can update the notebooks: leave preset and parameters alone")
    names = list(names)
    books = choose(names, folder)
    if not books:
        raise WorkbookError(f"no notebooks in {folder or root() / 'notebooks'}")
    plan, takes = settings(books, preset, values, folder), plan_run(names, preset, values, folder)
    if not takes.runs or ((names or update) and len(takes.runs) < len(books)):
        raise WorkbookError(_tell_missing(takes))
    books = [book for book in books if book.stem in {lesson.name for lesson in takes.runs}]
    out = Path(out).resolve() if out else root() / "build" / preset
    own = Path(figures_folder) if figures_folder else figures.folder() if plain else out / "figures"
    pictures = own.resolve()
    for folder in (out, pictures):
        clear_left_over(folder)
    report = Report(out, pictures, plan=takes)
    full = {book: _all_values(book, plan[book.stem]) for book in books}
    last = [book for book in books if book.stem.startswith("9")]
    with _environment(SWAPLIB_FIGURES=str(pictures)):
        for together in ([book for book in books if book not in last], last):
            tasks = [(book, out / "notebooks" / book.name, plan[book.stem], full[book], pictures) for book in together]
            for book, seconds in zip(together, _execute_all(tasks, jobs or cpu_count(), progress), strict=True):
                report.seconds[book.stem] = seconds
                _write_manifest(out, preset, book, full[book], seconds)
        figures.write_gallery()
    if update:
        report.renewed = _renew(books, out, pictures, everything=not names)
    pages.write(out, pictures, books[0].parent, notebooks(out / "notebooks"))
    return report


def _tell_missing(takes: preflight.Plan) -> str:
    """Say in one sentence why notebooks can't run, and what helps first."""
    skipped = "; ".join(f"{one.name}: {one.skipped}" for one in takes.lessons if one.skipped)
    first = f": {takes.missing[0].file}, {takes.missing[0].command}" if takes.missing else ""
    return f"not all of it can run at the preset {takes.preset} ({skipped}){first}; swaplib run --dry-run lists it all"


@contextmanager
def _environment(**values: str):
    """Set environment variables for the duration of a block; kernels inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _execute_all(tasks: list[tuple], jobs: int, progress: bool) -> Iterator[float]:
    """Run notebooks, each task the first arguments of `_execute`; yield their seconds in order."""
    if min(jobs, len(tasks)) < 2:
        for task in tasks:
            yield _execute(*task, progress)
        return
    done = Parallel(min(jobs, len(tasks)), return_as="generator")(
        delayed(_execute)(*task, progress=False, threads=1) for task in tasks
    )
    for (book, *_), seconds in zip(tasks, done, strict=True):
        if progress:  # the bars of several notebooks would overwrite each other
            print(f"{book.stem:<18} {seconds:6.1f} s", file=sys.stderr, flush=True)
        yield seconds


def _execute(
    book: Path,
    output: Path,
    values: dict[str, Any],
    full: dict[str, Any],
    pictures: Path,
    progress: bool,
    threads: int | None = None,
) -> float:
    """Run one notebook through papermill, turning its errors into one sentence; return the seconds that it took.

    values: what to set; full: all its parameters, for the record of what it makes. pictures: where it saves figures.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    environment = {"SWAPLIB_FIGURES": str(pictures)}
    environment["SWAPLIB_RUN"] = json.dumps({"notebook": book.stem, "parameters": full, "set": values})
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    start = time.perf_counter()
    bar = {"desc": f"{book.stem:<18}", "bar_format": "{desc} {bar:24} {n_fmt}/{total_fmt} cells  {elapsed}"}
    try:
        with _environment(**environment), _without_truth(book, output, full) as source:
            papermill.execute_notebook(
                str(source), str(output), parameters=values or None, cwd=str(output.parent), kernel_name="python3",
                progress_bar=bar if progress else False, request_save_on_cell_execute=False,
                extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except PapermillExecutionError as error:
        line = next((line for line in error.source.splitlines() if line.strip()), "")
        raise WorkbookError(
            f"{book.stem}, cell {error.exec_count} ({line.strip()[:60]}): {error.ename}: {error.evalue}; "
            f"the notebook up to there is {output}"
        ) from error
    except DeadKernelError as error:
        raise WorkbookError(f"{book.stem}: its process died, perhaps for lack of memory: set smaller sizes") from error
    return round(time.perf_counter() - start, 1)


@contextmanager
def _without_truth(book: Path, output: Path, values: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a notebook to execute: on photographs or imported weights, without the cells tagged `TRUTH`."""
    if not values.get("data") and values.get("preset") != OFFICIAL:
        yield book
        return
    notebook = read_notebook(book)
    left = [new_markdown_cell(_LEFT_OUT) if TRUTH in cell.metadata.get("tags", ()) else cell for cell in notebook.cells]
    notebook.cells = [cell for k, cell in enumerate(left) if not k or cell.source != left[k - 1].source]
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, book.name)
        nbformat.write(notebook, source)
        yield source


TRUTH = "truth"
"""Tag of cells about rendered faces, whose truth is known, and about our own weights: others do without them."""
_LEFT_OUT = "*Left out here: this is about rendered faces, whose truth is known, or about this workbook's own weights.*"


def _write_manifest(out: Path, preset: str, book: Path, values: dict[str, Any], seconds: float) -> None:
    """Enter one notebook into <out>/manifest.json."""
    path = out / "manifest.json"
    known = pages.read_run(out)["notebooks"] if path.exists() else {}
    known[book.stem] = {
        "parameters": values, "seconds": seconds, "sha256": sha256(book), "commit": commit(), "versions": versions(),
    }  # fmt: skip
    text = json.dumps({"preset": preset, "notebooks": dict(sorted(known.items()))}, indent=1, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _renew(books: list[Path], out: Path, pictures: Path, everything: bool) -> list[str]:
    """Renew notebooks, and the figures and claims in figures/ beside them; return the names of what changed."""
    renewed = [book.name for book in books if _put_back(out / "notebooks" / book.name, book)]
    target = books[0].resolve().parent.parent / "figures"
    if target == pictures:  # the run wrote there itself
        return renewed
    # What studies and benchmarks saved belongs to no notebook: include it when all notebooks are.
    whose = None if everything else [book.stem for book in books]
    renewed += [f"claim {id}" for id in claims.refresh(pictures, target, whose)]
    return renewed + figures.refresh(pictures, target, whose)


def _put_back(executed: Path, book: Path) -> bool:
    """Replace a notebook by its executed form, without the run's times, if that shows anything new.

    Raises WorkbookError for one that is too large.
    """
    notebook = pages.without_widgets(read_notebook(executed))
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    text = nbformat.writes(notebook)
    if len(text.encode()) > MAX_BYTES:
        raise WorkbookError(
            f"{book.stem} takes {len(text) // 1000} kB with its outputs, more than {MAX_BYTES // 1000}: show fewer or "
            "smaller pictures"
        )
    if _contents(notebook) == _contents(read_notebook(book)):
        return False
    return write_text(book, text.rstrip("\n") + "\n")


def _contents(notebook: nbformat.NotebookNode) -> list[tuple]:
    """Return what a notebook says and shows, without ids and versions."""
    return [(cell.cell_type, cell.source, cell.get("outputs", [])) for cell in notebook.cells]
