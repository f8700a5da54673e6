import numpy as np
import pytest

from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.errors import DataError

COLUMNS = {
    "age": [20, 30, 40, 50, None, 60] * 5,
    "sport": ["golf", "chess", "golf", None, "golf", "rare"] * 5,
    "likes": [["a", "b"], ["a"], [], None, ["b"], ["c"]] * 5,
    "id": [f"user {i}" for i in range(30)],
}


def test_numbers_are_standardised_and_words_are_of_those_seen_often():
    encoder = AttributeEncoder().fit(COLUMNS, 30)
    x = encoder(COLUMNS, 30)
    assert x.shape == (30, len(encoder.names))
    known = x[:, encoder.names.index("age")][np.arange(30) % 6 != 4]
    assert known.mean() == pytest.approx(0)
    assert known.std() == pytest.approx(1)
    assert x[0, encoder.names.index("likes=b")] == 1
    assert not any(name.startswith("id=") for name in encoder.names)


def test_numbers_of_numpy_are_numbers():
    ages = np.array([20, 40, 60])
    encoder = AttributeEncoder().fit({"age": ages}, 3)
    assert encoder.names == ["1", "age", "age²"]
    assert np.array_equal(encoder({"age": ages}, 3), encoder({"age": ages.tolist()}, 3))


def test_what_is_missing_or_new_is_nothing_but_the_constant():
    encoder = AttributeEncoder().fit(COLUMNS, 30)
    nothing = [1.0] + [0.0] * (len(encoder.names) - 1)
    assert encoder({}, 1).tolist() == [nothing]
    assert encoder({"age": [None], "sport": ["judo"], "more": [1]}, 1).tolist() == [nothing]


def test_an_encoder_comes_back_from_its_state():
    encoder = AttributeEncoder().fit(COLUMNS, 30)
    again = AttributeEncoder.of(encoder.state())
    assert np.array_equal(again(COLUMNS, 30), encoder(COLUMNS, 30))


def test_numbers_among_words_are_refused():
    with pytest.raises(DataError, match="numbers or words in 'age', got both"):
        AttributeEncoder().fit({"age": [20, "old"]}, 2)
    encoder = AttributeEncoder().fit(COLUMNS, 30)
    with pytest.raises(DataError, match="finite number as 'age', got 'old'"):
        encoder({"age": ["old"]}, 1)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"age": [1e20]}, r"'age' as in training, 30 ± 10, got 1e\+20"),
        ({"trade": [3]}, "a word or words as 'trade', got 3"),
    ],
)
def test_what_cannot_be_an_attribute_is_refused(columns, says):
    encoder = AttributeEncoder().fit({"age": [20, 40], "trade": ["baker", "smith"]}, 2)
    with pytest.raises(DataError, match=says):
        encoder(columns, 1)
