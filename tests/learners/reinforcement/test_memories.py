import pytest
import torch

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.memories import AttentiveMemory, RecurrentMemory


@pytest.mark.parametrize("kind", [RecurrentMemory, AttentiveMemory])
def test_step_by_step_is_the_same_as_the_whole_sequence(kind):
    torch.manual_seed(0)
    memory = kind(3, 8).double()
    inputs = torch.randn(
        40, 5, 3, dtype=torch.float64
    )  # more steps than there is room for at first
    state, outputs = memory.start(5), []
    for one in inputs:
        out, state = memory.step(one, state)
        outputs.append(out)
    torch.testing.assert_close(torch.stack(outputs), memory(inputs))


@pytest.mark.parametrize("kind", [RecurrentMemory, AttentiveMemory])
def test_no_step_sees_a_later_one_and_no_environment_another(kind):
    torch.manual_seed(0)
    memory = kind(3, 8)
    inputs = torch.randn(6, 4, 3)
    changed = inputs.clone()
    changed[3:, 2] += 1
    before, after = memory(inputs), memory(changed)
    differs = (before != after).any(2)
    assert not differs[:3].any()
    assert differs[3:, 2].all()
    assert not differs[:, [0, 1, 3]].any()


def test_one_layer_of_attention_takes_what_came_before_for_a_set():
    torch.manual_seed(0)
    memory = AttentiveMemory(3, 8, layers=1)
    inputs = torch.randn(6, 2, 3)
    shuffled = torch.cat([inputs[[2, 0, 4, 1, 3]], inputs[5:]])
    torch.testing.assert_close(memory(inputs)[-1], memory(shuffled)[-1])


@pytest.mark.parametrize("options", [{"layers": 0}, {"heads": 3}, {"heads": 0}])
def test_sizes_that_do_not_fit_are_refused(options):
    with pytest.raises(UsageError, match="heads divide"):
        AttentiveMemory(3, 8, **options)
