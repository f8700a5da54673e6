import math

import numpy as np
import pytest

from quickstudy.diagnostics.efficiency import (
    CostPoint,
    adaptation_area,
    frontier,
    half_cost,
    jump_start,
    shots_to_score,
)
from quickstudy.diagnostics.finding import Finding, Skipped, Threshold
from quickstudy.diagnostics.scarcity import fit_power_law, size_to_target
from quickstudy.errors import DataError


def curve(n):
    return 0.98 - 0.5 * n**-0.7


def test_a_power_law_is_found_and_its_size_is_the_inverse_of_its_score():
    sizes = [1, 2, 4, 8, 16]
    law = fit_power_law(sizes, [curve(n) for n in sizes], [0.002] * 5)
    assert law.score(32) == pytest.approx(curve(32), abs=0.01)
    assert law.score(law.size(0.9)) == pytest.approx(0.9)
    low, high = law.size_interval(0.9)
    assert low < (0.5 / 0.08) ** (1 / 0.7) < high


def test_a_target_beyond_the_limit_is_out_of_reach():
    sizes = [1, 2, 4, 8, 16, 32]
    law = fit_power_law(sizes, [0.8 - 0.5 * n**-1.5 for n in sizes], [0.001] * 6)
    found = size_to_target(law, 0.99, have=5)
    assert found.is_warning
    assert found.value == math.inf
    assert found.as_dict()["value"] is None
    assert "out of reach" in found.verdict


def test_two_sizes_are_too_few():
    with pytest.raises(DataError, match="three sizes"):
        fit_power_law([1, 2], [0.5, 0.6], [0.1, 0.1])


def test_the_area_is_the_integral_over_the_logarithm_of_the_shots():
    shots, means = [1, 2, 5, 10], [0.4, 0.5, 0.7, 0.75]
    found = adaptation_area(shots, [[m, m] for m in means])
    expected = np.trapezoid(means, np.log(shots)) / math.log(10)
    assert found.value == pytest.approx(expected)


def test_the_oracle_scores_1_and_the_shots_to_a_score_lie_between_those_measured():
    assert adaptation_area([1, 5], [[1.0], [1.0]]).value == 1
    found = shots_to_score([1, 4], [[0.5, 0.5], [0.9, 0.9]], 0.7)
    assert found.value == pytest.approx(2.0)
    assert shots_to_score([1, 4], [[0.5], [0.6]], 0.9).value == math.inf
    assert shots_to_score([1, 4], [[0.95], [0.99]], 0.9).value == 1


def test_a_jump_start_below_the_baseline_is_a_warning():
    rng = np.random.default_rng(0)
    baseline = rng.uniform(0.3, 0.5, 50)
    assert jump_start(baseline - 0.1, baseline).is_warning
    assert jump_start(baseline + 0.1, baseline).status == "fine"


def test_half_of_the_cost_is_the_best_for_at_most_half():
    points = [CostPoint("a", 0.9, 10), CostPoint("b", 0.85, 5), CostPoint("c", 0.7, 1)]
    found = half_cost(points, points[0])
    assert isinstance(found, Finding)
    assert found.value == pytest.approx(0.05)
    assert [p.name for p in frontier(points)] == ["c", "b", "a"]
    assert isinstance(half_cost(points, points[2]), Skipped)


def test_text_of_a_finding_is_escaped_in_html():
    found = Finding("<b>", "warning", 1.0, "<script>", threshold=Threshold(0.5, "x"))
    assert "<script>" not in found._repr_html_()
