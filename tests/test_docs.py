"""What the documentation shows runs."""

import functools
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import run as torchrun

from command import run
from drawings import draw_boxes
from quickstudy.cli.app import command as quickstudy_command
from quickstudy.cli.output import seconds_in
from quickstudy.learners import LEARNERS
from quickstudy.recipes.loading import load_recipe
from quickstudy.testing import DatasetContract, LearnerContract, ReinforcementContract

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ALGORITHMS = sorted(p for p in (DOCS / "algorithms").glob("*.md") if p.name != "README.md")
PAGES = [
    "automl.md",
    "diagnosis.md",
    "experience.md",
    "extending.md",
    "few_shot.md",
    "recommender.md",
    "reinforcement.md",
    "serve.md",
    "training.md",
    "unlabelled.md",
    *(str(page.relative_to(DOCS)) for page in ALGORITHMS),
]
QUICKSTUDY: Any = quickstudy_command()
PROGRAMS = ("quickstudy", "torchrun", "make", "pip", "python")


def run_code_of(page: Path) -> dict[str, Any]:
    """Run the Python of a page in the order of the page; what it defines, by name."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page.name, "exec", dont_inherit=True), names)
    return names


def test_the_code_of_readme_prints_what_it_says(capsys):
    run_code_of(ROOT / "README.md")
    printed = re.findall(r"print\(.*\)\n# (.*)", (ROOT / "README.md").read_text())
    assert len(printed) >= 2
    assert set(printed) <= set(capsys.readouterr().out.splitlines())


QUICK_TESTS: dict[type, str] = {
    DatasetContract: "test_train_validation_and_test_share_no_class",
    LearnerContract: "test_predictor_gives_a_finite_score_for_each_query_and_class",
    ReinforcementContract: "test_its_policy_acts_through_trials_and_is_finite",
}
"""Of each contract that pages inherit."""


@pytest.mark.usefixtures("few_glyphs")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_in_the_order_of_the_page(page, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    names = run_code_of(DOCS / page)
    for value in list(names.values()):
        if isinstance(value, type) and value.__module__ == "page" and "Test" in value.__name__:
            (kind,) = set(QUICK_TESTS) & set(value.__mro__)
            getattr(value(), QUICK_TESTS[kind])()


SHAPE = [
    "Idea",
    "Equation",
    "Try it",
    "In the code",
    "What differs from the paper",
    "Results",
    "What the log shows",
    "When not to use it",
]


def sections_of(page: str) -> dict[str, str]:
    """The parts of a page by their headings; what stands above the first is under its title."""
    title, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    return {"title": title} | dict(part.split("\n", 1) for part in parts)


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_an_algorithm_page_has_the_shape_of_all(page):
    sections = sections_of(page.read_text())
    assert list(sections) == ["title", *SHAPE]
    assert sections["title"].startswith("# ")
    ((alt, picture),) = re.findall(r"!\[(.*?)\]\((.*?)\)", sections["title"])
    assert len(alt) > 30
    assert (page.parent / picture).is_file()
    assert sections["Equation"].count("$$") >= 2
    assert any(text.startswith("quickstudy ") for text in commands_of(sections["Try it"]))
    assert "```python\n" in sections["Try it"]
    assert all(text.strip() for text in sections.values())


@pytest.mark.parametrize("page", ALGORITHMS, ids=lambda page: page.stem)
def test_the_code_that_an_algorithm_page_names_is_in_the_source(page):
    names = re.findall(r"`([A-Za-z_]\w+)`", sections_of(page.read_text())["In the code"])
    assert names
    assert set(names) <= words_of_the_source()


@functools.cache
def words_of_the_source() -> set[str]:
    sources = (path.read_text() for path in (ROOT / "src").rglob("*.py"))
    return {word for source in sources for word in re.findall(r"\w+", source)}


def test_every_learner_of_the_catalogue_has_a_page():
    titles = [" ".join(sections_of(page.read_text())["title"].split()) for page in ALGORITHMS]
    for name, kind in LEARNERS.items():
        assert sum(f"`{name}`, class `{kind.__name__}`" in title for title in titles) == 1, name


def commands_of(page: str) -> list[str]:
    """The commands that a page shows: in indented or shell blocks, and in backticks."""
    page = re.sub(r"```(?:python|toml)\n.*?```", "", page, flags=re.DOTALL).replace("\\\n", " ")
    shown = re.findall(r"^ {4}(\S.*)", page, flags=re.MULTILINE)
    for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", page, flags=re.DOTALL):
        shown += [line.removeprefix("$ ") for line in block.splitlines()]
    shown += re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", page)
    return [text for text in shown if re.match(rf"({'|'.join(PROGRAMS)})\s", text)]


def leaves(command: Any, path: str = "quickstudy") -> list[tuple[str, Any]]:
    """The commands of a group and of its groups, with the words that lead to each."""
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [
        leaf for name, sub in command.commands.items() for leaf in leaves(sub, f"{path} {name}")
    ]


def documented() -> dict[str, str]:
    """Where each command stands, without its comment: on a page, or in a command's own help."""
    shown = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]:
        shown += [(text, str(page.relative_to(ROOT))) for text in commands_of(page.read_text())]
    for path, command in leaves(QUICKSTUDY):
        examples = (command.epilog or "").removeprefix("Example: ").split("; ")
        shown += [(example, f"{path} --help") for example in examples if example]
    return {shlex.join(shlex.split(text, comments=True)): place for text, place in shown}


def check(program: str, *words: str) -> None:
    """Parse a command as its program would, and look up what it names."""
    if program == "quickstudy":
        check_quickstudy(*words)
    elif program == "torchrun":
        arguments = torchrun.get_args_parser().parse_args(words)
        _, started, its_words = torchrun.config_from_args(arguments)
        check(str(started), *its_words)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert set(words) <= set(re.findall(r"^([\w-]+):", makefile, flags=re.MULTILINE))
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"(?:quickstudy|\.)\[([\w,]+)\]", " ".join(words)):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    elif program == "python":
        assert (ROOT / words[0]).is_file()


def check_quickstudy(*words: str) -> None:
    command, rest = QUICKSTUDY, [*words]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        assert {*rest} <= {name for option in command.params for name in option.opts}
        return
    if not rest:
        return  # its name alone, as where the text mentions it
    context = command.make_context(command.name, rest)
    for option in command.params:
        value = context.params.get(option.name)
        offered = {item.value for item in option.shell_complete(context, "")}
        is_own = isinstance(value, str) and ("/" in value or ":" in value or ".toml" in value)
        if offered and isinstance(value, str) and not is_own:  # what completes has names
            assert set(value.split(",")) <= offered
    recipe = str(context.params.get("recipe"))
    if "overrides" in context.params and "recipe" in context.params and "." not in recipe:
        load_recipe(context.params["recipe"], context.params["overrides"] or [])
    if isinstance(context.params.get("budget"), str):
        seconds_in(context.params["budget"])


@pytest.mark.parametrize(("command", "place"), documented().items())
def test_a_documented_command_is_one_that_its_program_takes(command, place, capsys):
    try:
        check(*shlex.split(command.replace("NAME", "maml_omniglot")))
    except SystemExit:  # as of argparse, which has printed why
        pytest.fail(f"{command} of {place}: {capsys.readouterr().err.splitlines()[-1]}")


def recipes_of(page: Path) -> list[str]:
    """The recipes that a page shows, as TOML."""
    blocks = re.findall(r"```toml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [text for text in blocks if re.search(r"^(about|base) =", text, flags=re.MULTILINE)]


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """The modules that a page says to save lie in a folder that Python finds."""
    monkeypatch.syspath_prepend(tmp_path)
    for page in DOCS.rglob("*.md"):
        saved = r"as `(\w+)\.py`:\n\n```python\n(.*?)```"
        for name, code in re.findall(saved, page.read_text(), flags=re.DOTALL):
            (tmp_path / f"{name}.py").write_text(code)
            monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_documented_recipe_loads(own_modules):
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    recipes = [text for page in pages for text in recipes_of(page)]
    assert recipes
    for text in recipes:
        (own_modules / "own.toml").write_text(text)
        load_recipe(str(own_modules / "own.toml"))


def test_parts_of_a_users_own_train_from_the_command_line(own_modules, capsys):
    recipes = zip(("blobs", "lines", "guessing"), recipes_of(DOCS / "extending.md"), strict=True)
    for (name, text), steps in zip(recipes, (200, 2, 2), strict=True):
        (own_modules / f"{name}.toml").write_text(text)
        words = [f"{name}.toml", "--set", f"train.steps={steps}", "--no-experience"]
        code, _, err = run(capsys, "train", *words)
        assert code == 0, err
    code, out, err = run(capsys, "test", "runs/blobs", "--no-experience", "--json")
    assert code == 0, err
    (result,) = json.loads(out)["test"]["results"]["score"]
    assert result["mean"] > 0.5  # of five classes


CHEAP = [
    "quickstudy recipes",
    "quickstudy recipes prototypical_glyphs",
    "quickstudy data list",
    "quickstudy data path omniglot",
    "quickstudy reproduce --list",
    "quickstudy adapt --support letters/ --query unknown/ --out answers.csv",
    "quickstudy adapt ridge --support flowers.csv --label species --query measured.csv",
    "quickstudy experience list",
    "quickstudy experience list tasks",
    "quickstudy experience export my-experience",
    "quickstudy experience import my-experience",
    "quickstudy experience export trials.parquet",
    "quickstudy automl suggest titanic.csv --target survived",
]


def test_the_documented_commands_that_are_cheap_run_one_after_the_other(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    draw_boxes(tmp_path / "letters", {"a": (2, 2, 10, 20), "b": (10, 10, 24, 16)})
    draw_boxes(tmp_path / "unknown", {"any": (3, 2, 10, 20)})
    Path("flowers.csv").write_text("length,width,species\n5,3,iris\n5,4,iris\n1,2,rose\n1,1,rose\n")
    Path("measured.csv").write_text("length,width\n5,3\n1,1\n")
    rows = [f"{age},{age % 7},{'yes' if age < 30 else 'no'}\n" for age in range(60)]
    Path("titanic.csv").write_text("age,deck,survived\n" + "".join(rows))
    assert set(CHEAP) <= documented().keys()
    for command in CHEAP:
        code, _, err = run(capsys, *shlex.split(command)[1:])
        assert code == 0, f"{command}: {err}"
    assert Path("answers.csv").read_text().startswith("image,label,p(a),p(b)\n")
    assert Path("my-experience").is_dir()
    assert Path("trials.parquet").is_file()
