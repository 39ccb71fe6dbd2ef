"""Templates: what is read from a text, a file, or a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.templates import RECIPES, explicit_template, read_template


def test_a_template_is_filled_without_reading_the_texts() -> None:
    template, recipe = explicit_template("{ {x} [{query}] / [{document}] {instruction}", "be {query}")
    assert recipe is None
    assert template.fill("{document}", "{query} {x}") == "{ {x} [{document}] / [{query} {x}] be {query}"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_carries_a_pair(name: str) -> None:
    for instruction in (None, "Find it.") if "{instruction}" in RECIPES[name].text else (None,):
        template, recipe = explicit_template(name, instruction)
        assert recipe is RECIPES[name]
        assert template.query_first
        filled = template.fill("the query", "the document")
        assert filled.index("the query") < filled.index("the document")
        assert instruction is None or instruction in filled


def test_an_added_instruction_stands_before_the_query() -> None:
    without, _ = explicit_template("mxbai-rerank-v2", None)
    told, _ = explicit_template("mxbai-rerank-v2", "Find it.")
    assert told.as_text() == without.as_text().replace("query: {query}", "instruction: Find it.\nquery: {query}")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{query} only", r"cannot carry a pair: \{document\} stands there 0 times"),
        ("{document}{document}", r"\{query\} stands there 0 times; \{document\} stands there 2 times"),
        ("{query}{document}{instruction}{instruction}", r"\{instruction\} stands there 2 times"),
        ("{instruction} {query} {document}", r"has a place for an instruction and none was given; pass --instruction"),
        ("qwen-reranker", r"unknown template 'qwen-reranker'; did you mean 'qwen3-reranker'\?"),
    ],
)
def test_a_template_that_cannot_carry_a_pair_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        explicit_template(text, None)


@pytest.mark.parametrize("value", ["{query} {document}", "monot5"])
def test_an_instruction_without_a_place_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"an instruction was given, but template .* has no \{instruction\}"):
        explicit_template(value, "Find it.")


def test_a_file_loses_its_closing_line_end_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_bytes("naïve {query}\r\n{document}\n\n\n".encode())
    assert read_template(str(path)) == "naïve {query}\n{document}\n\n"
    assert read_template("monot5") == "monot5"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown template 'monot'; did you mean 'monot5'\?.*or the path of a text file"
    ):
        read_template("monot")
    (tmp_path / "latin.txt").write_bytes("café {query}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read: .*expected a text file in UTF-8"):
        read_template(str(tmp_path / "latin.txt"))
