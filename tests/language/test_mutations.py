"""Texts spoiled at random: whatever stands in a file, a report comes back and nothing raises."""

import json
import random
import re
from pathlib import Path

import pytest

from archdsl import api, render

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```arch\n(.*?)```", re.DOTALL)
TEXTS = sorted(
    text
    for page in (ROOT / "docs" / "errors").glob("*.md")
    for text in FENCE.findall(page.read_text("utf-8"))
)
TOKENS = sorted(set(re.findall(r"\w+|[^\w\s]", "".join(TEXTS))))
ODD = ["0", "-1", "9" * 30, "1.5", '"', "{", "}", "(", ")", "é", "\u202e", "\x00", "\r", "\t", ""]
SEEDS = range(8)
TEXTS_A_SEED = 60


def spoiled(text: str, generator: random.Random) -> str:
    """The text with a few tokens replaced, removed, added or exchanged."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(generator.choice([1, 1, 2, 3])):
        here, there = generator.randrange(len(parts)), generator.randrange(len(parts))
        match generator.randrange(5):
            case 0:
                parts[here] = generator.choice(TOKENS)
            case 1:
                parts[here] = generator.choice(ODD)
            case 2:
                parts.insert(here, generator.choice(TOKENS))
            case 3:
                parts[here], parts[there] = parts[there], parts[here]
            case _:
                parts[here] = ""
    return "".join(parts)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_text_gets_a_report(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(TEXTS_A_SEED):
        text = spoiled(generator.choice(TEXTS), generator) + "\n"
        result = api.check(text)
        assert result.ok or result.diagnostics
        for diagnostic in result.diagnostics:
            span = diagnostic.span
            inside = span is None or 0 <= span.start <= span.end <= len(text)
            assert inside or span.file != "text.arch", (text, diagnostic)
            json.dumps(render.record(diagnostic, result.sources))
            assert render.concise(diagnostic, result.sources).isprintable()
        render.report(result.diagnostics, result.sources)
