"""The documents say what the code does."""

from pathlib import Path

import pytest

from dicom_node.reference import BLOCKS, renewed

ROOT = Path(__file__).parents[2]
DOCUMENTS = tuple(ROOT / folder / "README.md" for folder in ("", "config", "dicom_node"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_generated_parts_are_up_to_date(path):
    text = path.read_text(encoding="utf-8")
    assert renewed(text) == text, "run `make docs`"


def test_every_generated_part_stands_in_a_document():
    together = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert [name for name in BLOCKS if f"<!-- generated: {name} -->" not in together] == []


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": " in line and "##" in line}
    assert {"demo", "test", "serve", "lint", "bench", "help"} <= targets
    assert "make demo" in text
    assert "make test" in text
