"""Every emitted class at a second value of every parameter, beside the spec at that value."""

from __future__ import annotations

from pathlib import Path

import pytest

from archdsl import api
from archdsl.ir.lowering import Unsupported
from archdsl.resources import shipped_models
from tests.support.second_values import difference, executed, trials

SHIPPED = {name: path for name, path in shipped_models().items() if name.islower()}
SOURCES = sorted({path: name for name, path in SHIPPED.items()}.items())
"""One model of every file; the others of a family differ in numbers alone."""


@pytest.mark.parametrize(("path", "name"), SOURCES, ids=[name for _, name in SOURCES])
def test_classes_follow_their_parameters(path: Path, name: str) -> None:
    network = api.load(path, name)
    try:
        scope = executed(network)
    except Unsupported as refusal:
        pytest.skip(refusal.reason)
    found = {trial.id: difference(trial, path, scope) for trial in trials(name, network)}
    assert {id: text for id, text in found.items() if text is not None} == {}
