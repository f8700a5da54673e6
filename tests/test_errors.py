from quickstudy.errors import unknown


def test_of_many_names_the_nearest_are_given():
    known = [f"maml_{i}" for i in range(40)]
    text = str(unknown("recipe", "maml_40", known))
    assert text.startswith("unknown recipe 'maml_40'; did you mean 'maml_4'? Known: maml_")
    assert text.endswith("and 30 more")
    assert "Known: none" in str(unknown("name", "x", []))
