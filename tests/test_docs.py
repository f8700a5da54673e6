"""What the documentation shows runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["automl.md", "extending.md", "few_shot.md", "recommender.md"])
def test_the_code_of_a_page_runs_in_the_order_of_the_page(page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    assert blocks
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec", dont_inherit=True), names)
    for value in list(names.values()):
        if isinstance(value, type) and value.__name__.startswith("Test"):
            value().test_predictor_gives_a_finite_score_for_each_query_and_class()
