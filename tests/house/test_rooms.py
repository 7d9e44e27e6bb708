"""Every room and sub-package stands in a layer of import-linter's contracts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]


def named(container: str) -> set[str]:
    """Modules of ``container`` that some layer names."""
    found = set()
    for contract in CONTRACTS:
        heads = [f"{name}." for name in contract.get("containers", [])] or [""]
        for layer in contract.get("layers", []):
            for name in re.split(r"[|]", layer):
                found |= {head + name.strip(" ()") for head in heads}
    return {name.removeprefix(f"{container}.") for name in found if name.startswith(container)}


@pytest.mark.parametrize(
    "room", ["likewise", "training", "collectors", "spark_jobs", "filters", "web"]
)
def test_every_part_of_a_room_has_its_layer(room: str) -> None:
    inside = {
        path.stem
        for path in (ROOT / room).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert inside - {"__init__"} - named(room) == set()


def test_no_contract_exempts_siblings() -> None:
    """A ``:`` between siblings would let them import each other."""
    layers = [layer for contract in CONTRACTS for layer in contract.get("layers", [])]
    assert not [layer for layer in layers if ":" in layer]
    assert not [contract for contract in CONTRACTS if "ignore_imports" in contract]
