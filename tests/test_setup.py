"""The lists of packages agree, and what README, Makefile and CITATION promise is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
# conda-forge's names where they differ from PyPI's.
CONDA = {"dlib-bin": "dlib", "opencv-python-headless": "opencv", "torch": "pytorch", "playwright": "playwright-python"}


def project() -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pytest brings it along there
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> dict[str, str]:
    """Name -> least version, of the package itself and of extras."""
    found = project()
    lists = [found["dependencies"], *(found["optional-dependencies"][extra] for extra in extras)]
    pairs = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text).groups() for items in lists for text in items)
    return dict(pairs)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split(";")[0].strip().split("==") for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_conda_and_pip_lists_are_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *items, by_pip = environment["dependencies"]
    items += by_pip["pip"]
    listed = dict(item.split(">=") if ">=" in item else (item, "") for item in items)
    assert listed.pop("python") == project()["requires-python"].removeprefix(">=")
    assert listed.pop("pip") == ""
    wanted = {CONDA.get(name, name): least for name, least in requirements("dev").items()}
    assert listed == {**wanted, "distributed": wanted["dask"]}  # pip's dask[distributed] is two packages here
    assert environment["channels"][0] == "conda-forge"


def test_every_requirement_is_pinned_at_or_above_its_least_version():
    pinned = pins()
    wanted = requirements("dev", "cluster", "bake")
    assert set(wanted) <= set(pinned)
    low = {name: pinned[name] for name, least in wanted.items() if number(pinned[name]) < number(least)}
    assert low == {}


def test_installed_versions_are_the_pinned_ones():
    from importlib.metadata import PackageNotFoundError, version

    if not (Path(sys.prefix) / ".ready").exists():
        pytest.skip("not in the environment that make creates")
    differing = {}
    for name, pinned in pins().items():
        try:
            if version(name).split("+")[0] != pinned:
                differing[name] = (version(name), pinned)
        except PackageNotFoundError:
            continue  # an extra that is not installed
    assert differing == {}


def test_no_file_of_the_setup_names_a_machine():
    for name in ("Makefile", ".ci/run", "constraints.txt", "environment.yml", "pyproject.toml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|file://|--index-url|find-links|/(home|root|work|tmp|opt)/", text), name


def test_makefile_has_the_promised_targets_and_readme_names_only_those():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"workbook", "check", "test", "lab", "refresh", "clean"} <= targets
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README.read_text(), re.MULTILINE))
    assert {"workbook", "test"} <= named <= targets


def test_make_writes_below_build_but_for_what_it_renews():
    text = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"--figures (\S+)", text)) == {"build/refreshed"}
    assert set(re.findall(r"SWAPLIB_FIGURES=(\S+)", text)) == {"$(CURDIR)/build/tested/figures"}
    assert [line.split()[1:] for line in text.splitlines() if "--update" in line] == [
        ["run", "--update", "--figures", "build/refreshed"]
    ]


def test_readme_names_only_commands_and_options_that_exist():
    from typer.main import get_command

    from swaplib.cli import app

    commands = get_command(app).commands
    for block in re.findall(r"```(?:bash|sh)\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            words = line.split("#")[0].split()
            if words[:1] != ["swaplib"]:
                continue
            assert words[1] in commands, line
            command = commands[words[1]]
            if hasattr(command, "commands"):  # a group
                assert words[2] in command.commands, line
                command = command.commands[words[2]]
            known = {option for item in command.params for option in item.opts}
            assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, line


def test_readme_python_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_readme_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_citation_names_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    numbers = {re.search(r"\d{4}\.\d{5}", item["url"]).group() for item in citation["references"]}
    assert numbers == {"1804.03447", "1905.10346", "2112.05907", "2402.18351", "2211.14068"}
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]
    assert all(item["authors"] and item["title"] and item["year"] for item in citation["references"])


def test_licence_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
