import pytest

from quickstudy.errors import hide_passwords, unknown


def test_of_many_names_the_nearest_are_given():
    known = [f"maml_{i}" for i in range(40)]
    text = str(unknown("recipe", "maml_40", known))
    assert text.startswith("unknown recipe 'maml_40'; did you mean 'maml_4'? Known: maml_")
    assert text.endswith("and 30 more")
    assert "Known: none" in str(unknown("name", "x", []))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:sec/r@et:secret@host/db", "postgresql://ann:***@host/db"),
        ("--storage=mysql://:secret@host", "--storage=mysql://:***@host"),
        ("postgresql//ann:secret@host", "postgresql//ann:***@host"),
        ("postgresql://ann:two secrets@host/db", "postgresql://ann:***@host/db"),
        (
            "postgresql://host/db?user=ann&Password=secret",
            "postgresql://host/db?user=ann&Password=***",
        ),
        ("http://host:8000/page", "http://host:8000/page"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
    ],
)
def test_passwords_in_urls_are_hidden(text, hidden):
    assert hide_passwords(text) == hidden
