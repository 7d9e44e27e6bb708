"""Which model that is here already fits a line of classes: same classes, weights, preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones import registry
from filters.classes import ClassNames
from likewise import weights
from likewise.errors import LikewiseError
from likewise.study import Study
from training.models.classes import ClassScorer
from training.models.saved import class_names, load_classes

__all__ = ["Match", "find_model", "studies_below"]


@dataclass(frozen=True, slots=True)
class Match:
    """A model that fits, its study, and what was said about it and the others."""

    study: Study | None
    model: ClassScorer | None
    said: tuple[str, ...]


def studies_below(folder: Path) -> list[Path]:
    """The folder itself and its folders, where they are studies; in the order of their names."""
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [path for path in places if (path / "likewise.toml").is_file()]


def find_model(classes: Sequence[str], places: Iterable[Path]) -> Match:
    """The first model of the studies in ``places`` that tells exactly these classes apart.

    Raises:
        ConfigError: a study's configuration is not valid.
    """
    wanted = {ClassNames.key(name) for name in classes}
    said = []
    for place in places:
        study = Study.open(place)
        for name in class_names(study):
            try:
                model = load_classes(study, name)
            except LikewiseError as error:
                said.append(f"not {place}, model {name}: {error}")
                continue
            why = _unfit(model, wanted, study)
            if why is None:
                card = model.card
                said.append(
                    f"taken: {place}, model {name}: the classes are the same, "
                    f"{card['backbone']} {card['layer']} with the same weights and preprocessing, "
                    f"{card['classifier']}"
                )
                return Match(study, model, tuple(said))
            said.append(f"not {place}, model {name}: {why}")
    return Match(None, None, tuple(said))


def _unfit(model: ClassScorer, wanted: set[str], study: Study) -> str | None:
    there = {ClassNames.key(name) for name in model.classes}
    if there != wanted:
        return f"its classes are {', '.join(model.classes)}"
    backbone = model.backbone
    if backbone not in registry.BACKBONES:
        return f"this likewise knows no network {backbone}"
    if weights.at_hand(registry.get(backbone).weights) is None:
        return f"the weights of {backbone} are not at hand"
    network = model.card.get("network")
    if network is not None:
        there_is = (study.root / "models" / str(network)).is_file()
        return None if there_is else "its fine-tuned network is gone"
    features = study.manifest("features")
    made_by = None if features is None else features.extra.get("maker")
    if made_by not in (None, model.card["maker"]):
        return "it reads features of other weights or of another preprocessing"
    return None
