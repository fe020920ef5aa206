"""Every emitted class at its own and at other values of every parameter, beside the spec there."""

from __future__ import annotations

import shutil
from math import prod
from pathlib import Path

import pytest
from network_parity import SHIPPED, namespace
from second_values import difference, specified, trials

from archdsl import api
from archdsl.weights.state_dict import known_shape, state

FILES = sorted(set(SHIPPED.values()))
SMALL = Path(__file__).parents[1] / "support" / "followed.arch"


def smallest(path: Path) -> api.Network:
    """Of the models of a file the one with the fewest weights."""
    networks = [api.load(path, name) for name, other in SHIPPED.items() if other == path]
    sizes = [sum(prod(known_shape("", w.dims)) for w in state(n.ir).values()) for n in networks]
    return networks[sizes.index(min(sizes))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_classes_follow_their_parameters(path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(path.parent, tmp_path / "specs")
    assert_followed(smallest(path), path, folder)


@pytest.mark.parametrize("name", api.check(SMALL).models)
def test_every_way_to_depend_on_a_parameter_is_followed(name: str, tmp_path: Path) -> None:
    assert_followed(api.load(SMALL, name), SMALL, tmp_path)


def assert_followed(network: api.Network, path: Path, folder: Path) -> None:
    classes = namespace(network.to_source())
    found: dict[str, str | None] = {}
    for trial in trials(network):
        wanted = specified(trial, path, folder)
        if wanted is not None:
            found[trial.id] = difference(trial, wanted, classes)
        elif trial.is_own:
            found[trial.id] = "the spec refuses its own values"
    assert {id: text for id, text in found.items() if text is not None} == {}
