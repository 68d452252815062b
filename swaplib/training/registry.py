"""Models by name: built, started with frozen models for training, loaded with released weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from swaplib import weights
from swaplib.training.model import FrozenModel, Model
from swaplib.weights import OFFICIAL
from swaplib.weights.catalogue import OFFICIAL as FILES
from swaplib.weights.catalogue import OfficialFile

PRESETS = ("smoke", "demo", "paper")
FURTHER = ("known", "photo", "printed", "views")  # presets that the configs of some models have besides
T = TypeVar("T", bound=Model)


class Registry(Generic[T]):
    """Classes of models, each under its name.

    what    they are, in error messages
    below   registries of the models that these take as frozen ones
    """

    def __init__(self, what: str, kinds: Sequence[type[T]], below: Sequence[Registry] = ()):
        self.what, self.below = what, tuple(below)
        self._kinds = {kind.name: kind for kind in kinds}
        self._shared: dict[tuple, FrozenModel] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of those that have something to learn."""
        return tuple(name for name, kind in self._kinds.items() if kind.phases is not Model.phases)

    @property
    def everything(self) -> dict[str, Registry]:
        """Name -> registry of all that can be trained here and below, those that others learn from first."""
        lower = {name: found for registry in self.below for name, found in registry.everything.items()}
        return lower | dict.fromkeys(self.trained, self)

    def ready(self, preset: str = "demo") -> tuple[str, ...]:
        """Return the names of those that `load` gives at a preset: released or imported, or with nothing to learn."""
        if preset == OFFICIAL:
            return tuple(name for name in self if not self.has_weights(name) or self.find_imported(name))
        return tuple(
            name for name in self if not self.has_weights(name) or weights.find_released(name, preset).exists()
        )

    def find_imported(self, name: str) -> str | None:
        """Return the model, a frozen one's stand-ins included, that has been imported in its place; None without."""
        names = (name, *self.kind(name).stand_ins)
        return next((one for one in names if weights.find_released(one, OFFICIAL).exists()), None)

    def has_weights(self, name: str) -> bool:
        """Return whether a model is anything without weights: it learns, or a published file fills it."""
        return name in self.trained or bool(self.kind(name).official)

    def kind(self, name: str) -> type[T]:
        """Return the class of that name. Raises ValueError for an unknown one."""
        if name not in self._kinds:
            raise ValueError(f"unknown {self.what} {name!r}: choose one of {', '.join(self._kinds)}")
        return self._kinds[name]

    def config(self, name: str, preset: str | Any) -> Any:
        """Return the config at a preset; a config itself is passed on.

        "official" is the paper's as long as no published file says otherwise. Raises ValueError for an unknown name and
        for a preset that is neither in `PRESETS` nor one of `FURTHER` that the model's config has.
        """
        own = self.kind(name).Config
        if isinstance(preset, own):
            return preset
        if preset == OFFICIAL:
            return own.paper()
        if preset not in PRESETS and not (preset in FURTHER and hasattr(own, preset)):
            raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
        return getattr(own, preset)()

    def build(
        self, name: str, preset: str | Any = "demo", seed: int = 0, frozen: Mapping[str, nn.Module] | None = None
    ) -> T:
        """Build the model of that name at a preset's size, untrained: it follows from the arguments alone.

        preset: its name, or a config of the model's own. frozen: frozen models by the constructor's keywords
        (`Model.frozen_models`); those that are not named are untrained ones. To train, see `start`.
        Raises ValueError as `config` does.
        """
        chosen, kind = self.config(name, preset), self.kind(name)
        given = dict(frozen or {})
        for keyword, which in kind.frozen_models(chosen).items():
            if keyword not in given:
                given[keyword] = self.holder(which[0])._untrained(*which)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(chosen, **given)

    def start(self, name: str, preset: str | Any = "demo", seed: int = 0) -> T:
        """Build a model to be trained: as `build`, with the weights that are found for its frozen models.

        Raises ValueError as `build` and `weights.load` do.
        """
        wanted = self.kind(name).frozen_models(self.config(name, preset))
        found = {keyword: self.holder(which[0]).frozen(*which) for keyword, which in wanted.items()}
        return self.build(name, preset, seed, found)

    def load(
        self,
        name: str,
        preset: str = "demo",
        device: str | torch.device = "cpu",
        file: str | os.PathLike | None = None,
    ) -> T:
        """Load the model of that name, trained, in evaluation mode: with a preset's released weights or a file's.

        preset: also "photo", weights of the demo's size that learned from photographs, too, where there are such, and
        "official", imported weights (`swaplib import`) at the size of the published file.
        file: weights saved by `weights.save`; the config is then the one they were trained with, not the preset's.
        Raises ValueError as `build` and `weights.load` do, FileNotFoundError where there are no such weights.
        """
        kind = self.kind(name)
        of_file = preset in ("photo", OFFICIAL)  # whose sizes are those of the file
        if file is None and not self.has_weights(name):
            return self.build(name, "demo" if of_file else preset).to(device).eval()
        imported = self.find_imported(name) if file is None and preset == OFFICIAL else None
        if imported not in (None, name):
            return self.holder(imported).load(imported, OFFICIAL, device)
        if file is None:
            chosen = None if of_file else self.config(name, preset)
            file = weights.find_released(name, preset)
            if not file.exists():
                raise FileNotFoundError(_missing(self.kind(name), preset))
        else:
            chosen = None
        config = weights.read_config(file, kind) if chosen is None else chosen
        teachers = self._taught_by(kind, config, file)
        if chosen is None:
            with torch.device("meta"):  # a config that asks for a giant is found out before there is one
                weights.check_fit(self.build(name, config, frozen=teachers), file)
        model = weights.load(self.build(name, config, frozen=teachers), file).to(device)
        return model.eval() if name in self.trained else model.freeze()

    def frozen(self, name: str, preset: str, sha256: str | None = None) -> T:
        """Return a frozen model, shared by all who ask for it, with the weights found for the preset.

        sha256: of the file that it has to be. Without weights an untrained one with `trained` False is returned;
        who learns from it then refuses. At the preset "official", published models may take its place, or else our own
        of the paper's size, those that know photographs, or the demo's.
        """
        path = weights.find_released(name, preset, sha256)
        if not path.exists():
            return self._find_stand_in(name) if preset == OFFICIAL else self._untrained(name, preset)
        key = (path, path.stat().st_mtime_ns)
        if key not in self._shared:
            model = self.load(name, file=path).for_inference()
            model.sha256 = weights.file_sha256(path)
            self._shared[key] = model.freeze()
        return self._shared[key]

    def _find_stand_in(self, name: str) -> FrozenModel:
        """Return what takes the place of a frozen model that has not been imported."""
        if imported := self.find_imported(name):
            return self.holder(imported).frozen(imported, OFFICIAL)
        ours = (preset for preset in ("paper", "photo", "demo") if weights.find_released(name, preset).exists())
        return self.frozen(name, next(ours, "paper"))

    def _untrained(self, name: str, preset: str | Any) -> T:
        """Return a shared frozen model with the random weights of seed 0."""
        # Under the device "meta", where the largest models are only counted, tensors hold nothing.
        key = (name, self.config(name, preset), torch.get_default_device())
        if key not in self._shared:
            model = self.build(name, preset)
            model.trained = False
            self._shared[key] = model.freeze()
        return self._shared[key]

    def _taught_by(self, kind: type[Model], config: Any, file: str | os.PathLike) -> dict[str, nn.Module | None]:
        """Return the frozen models that weights in a file were trained with; None for one that they can do without.

        Raises ValueError where one is missing.
        """
        named = weights.read_frozen(file)
        found = {}
        for keyword, (name, preset) in kind.frozen_models(config).items():
            sha256 = named.get(keyword)
            if preset == OFFICIAL and keyword in kind.optional and not self.holder(name).find_imported(name):
                found[keyword] = None
                continue
            with weights.searching(Path(file).parent):  # files that were trained together lie together
                model = found[keyword] = self.holder(name).frozen(name, preset, sha256)
            if sha256 and model.sha256 != sha256 and keyword not in kind.training_only:
                raise ValueError(
                    f"{file} works with the {name}_{preset}.safetensors of SHA-256 {sha256[:12]}… and no other, which "
                    "is not found: put that file into a folder of SWAPLIB_WEIGHTS, or train these weights again"
                )
        return found

    def holder(self, name: str) -> Registry:
        """Return the registry, here or below, that knows a name. Raises ValueError for an unknown one."""
        if name in self._kinds:
            return self
        for registry in self.below:
            if name in registry or any(name in lower for lower in registry.below):
                return registry.holder(name)
        raise ValueError(f"unknown frozen model {name!r}: there are {', '.join(n for r in self.below for n in r)}")


def find_file(kind: type[Model]) -> OfficialFile | None:
    """Return the published file that fills a model, or a stand-in of it; None where there is none."""
    rows = {row.name: row for row in FILES}
    return next((rows[name] for name in (kind.name, *kind.stand_ins) if name in rows), None)


def _missing(kind: type[Model], preset: str) -> str:
    name = kind.name
    if preset == OFFICIAL:
        row = find_file(kind)
        if row is None:
            return f"no published file fills {name}: choose the preset demo, or train it (swaplib train {name})"
        return f"{name} has not been imported: get {row.files} from {row.project}, then say swaplib import FILE"
    if preset == "photo":
        return f"{name} has no released weights that know photographs: choose the preset demo, or train your own"
    return (
        f"{name} has no released weights for the preset {preset}: train it (swaplib train {name} --preset "
        f"{preset}), put a file of them into a folder of SWAPLIB_WEIGHTS (the project's repository has some that the "
        "package leaves out), or choose another preset"
    )
