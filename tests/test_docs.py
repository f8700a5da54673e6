"""What the documentation shows runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["automl.md", "extending.md", "few_shot.md", "recommender.md", "serve.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_in_the_order_of_the_page(page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    assert blocks
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec", dont_inherit=True), names)
    for value in list(names.values()):
        if isinstance(value, type) and value.__module__ == "page" and "Test" in value.__name__:
            value().test_predictor_gives_a_finite_score_for_each_query_and_class()
