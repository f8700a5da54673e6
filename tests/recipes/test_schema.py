import json

import pytest
import torch

from drawings import draw_boxes
from quickstudy.encoders import ENCODERS, Encoder, Pretrained
from quickstudy.errors import MissingError, UsageError
from quickstudy.experiments import data
from quickstudy.experiments.build import (
    device_of_training,
    make_learner,
    tasks_of_test,
    tasks_of_training,
    training_options,
)
from quickstudy.experiments.evaluate import check_tests, held_out_classes, meta_test_all, run_test
from quickstudy.experiments.families import make_tasks
from quickstudy.experiments.report import keep_results
from quickstudy.recipes import about, recipe_names
from quickstudy.recipes.loading import load_recipe, override, parse_recipe

pytestmark = pytest.mark.usefixtures("few_glyphs")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_fits_the_schema_and_makes_its_learner(name):
    recipe = load_recipe(name)
    assert recipe.about == about()[name]
    n_parameters = sum(p.numel() for p in make_learner(recipe).parameters())
    assert (n_parameters > 0) is (recipe.learner.name != "nearest_centroid")


def test_the_channels_of_a_data_set_are_its_own_and_the_same_in_every_test():
    recipe = load_recipe("maml_caltech")
    assert make_learner(recipe).model.backbone[0].weight.shape == (32, 3, 3, 3)
    mixed = load_recipe("maml_caltech", ['test.0.data={name="digits"}'])
    with pytest.raises(UsageError, match="3 channels as in training, got 1 of digits"):
        tasks_of_test(mixed, mixed.test[0])


@pytest.fixture
def brightness_encoder(monkeypatch, tmp_path):
    """A named encoder of images that needs no extra, and no user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def brightness(images):
        return torch.stack(images).float().mean((2, 3)).repeat(1, 3)[:, :3]

    def load():
        return Encoder(brightness, "brightness", "1", seen="light and dark")

    monkeypatch.setitem(ENCODERS, "efficientnet_lite0", Pretrained(load, 3, "images", side=16))
    monkeypatch.setattr(data, "_LOADED", {})
    monkeypatch.setattr(data, "_encoder", lambda name: ENCODERS[name].load())


ENCODED = [
    "data.encoder=efficientnet_lite0",
    "data.rotations=false",
    "backbone={name='linear'}",
    "test=[{title='unseen', n_way=2, n_tasks=2}]",
]


def test_an_encoder_embeds_the_data_before_tasks_are_drawn(brightness_encoder):
    recipe = load_recipe("prototypical_glyphs", [*ENCODED, "test.0.n_tasks=100"])
    assert tasks_of_training(recipe)[0].support.x.shape[1:] == (3,)
    learner = make_learner(recipe)
    torch.testing.assert_close(learner.backbone.weight, torch.eye(3))
    assert run_test(recipe, learner, recipe.test[0]).mean > 0.5


def test_what_the_encoder_has_seen_is_in_the_report_and_the_card(brightness_encoder, tmp_path):
    recipe = load_recipe("prototypical_glyphs", ENCODED)
    results, _ = meta_test_all(recipe, {"score": make_learner(recipe).eval()})
    report = keep_results(tmp_path, recipe, results)
    assert report["test"]["encoder"] == {"name": "efficientnet_lite0", "seen": "light and dark"}
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "embeddings by efficientnet_lite0 of glyphs" in card
    assert "The encoder efficientnet_lite0 is light and dark." in card


def test_an_encoder_takes_images_of_a_folder_as_it_was_trained(brightness_encoder, tmp_path):
    draw_boxes(tmp_path / "boxes", {"a": (2, 2, 20, 8), "b": (2, 2, 8, 20)})
    table = f"{{name='folder', folder={str(tmp_path / 'boxes')!r}, encoder='efficientnet_lite0'}}"
    recipe = load_recipe(
        "prototypical_glyphs",
        [f"data={table}", *ENCODED[2:], "test.0.split=all", "test.0.n_query=1"],
    )
    assert tasks_of_test(recipe, recipe.test[0])[0].support.x.shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("data={name='clinc150'}", "an encoder of the texts of clinc150"),
        ("data={name='clinc150', encoder='efficientnet_lite0'}", "an encoder of texts"),
        ("data={name='glyphs', encoder='minilm'}", "an encoder of images"),
        ("data={name='glyphs', encoder='minilmm'}", "did you mean 'minilm'"),
        ("data={name='tables', encoder='minilm'}", "no further keys"),
        (
            "data={name='folder', folder='x', encoder='efficientnet_lite0', channels=1}",
            "no image_size, channels and ink",
        ),
    ],
)
def test_an_encoder_that_does_not_suit_the_data_is_refused(change, match):
    with pytest.raises(UsageError, match=match):
        load_recipe("prototypical_glyphs", [change])


def test_nothing_is_distorted_or_tested_apart_from_the_encoder(brightness_encoder):
    recipe = load_recipe("prototypical_glyphs", [*ENCODED, "tasks.augment=affine"])
    with pytest.raises(UsageError, match="no augment with an encoder"):
        tasks_of_training(recipe)
    recipe = load_recipe("prototypical_glyphs", [*ENCODED, "test.0.data={name='digits'}"])
    with pytest.raises(UsageError, match="with encoder efficientnet_lite0 as in training"):
        tasks_of_test(recipe, recipe.test[0])


def test_initial_weights_depend_on_the_seed_alone():
    states = []
    for seed in (0, 0, 1):
        recipe = load_recipe("maml_sinusoid", [f"seed={seed}"])
        torch.rand(1)
        states.append(make_learner(recipe).state_dict()["model.head.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_training_validation_and_test_tasks_differ():
    recipe = load_recipe("maml_sinusoid")
    first = [make_tasks(recipe, recipe.tasks, recipe.data, s)[0].query.y for s in range(3)]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])


def test_overrides_change_keys_and_leave_the_original():
    plain = json.loads(load_recipe("maml_sinusoid").as_json())
    changed = override(plain, ["train.steps=7", "test.1.title=ten", "backbone.widths=[8]"])
    assert (changed["train"]["steps"], changed["test"][1]["title"]) == (7, "ten")
    assert make_learner(parse_recipe(changed)).model.head.in_features == 8
    assert plain["train"]["steps"] != 7


def test_a_test_may_change_the_learner_but_not_its_weights():
    recipe = load_recipe("maml_sinusoid", ["test.0.n_tasks=4", "test.1.n_tasks=4"])
    learner = make_learner(recipe)
    one, ten = (run_test(recipe, learner, test).scores for test in recipe.test)
    assert one != ten
    assert learner.inner_steps_test is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trian.steps=1", "'trian'; did you mean 'train'"),
        ("train.stepz=1", "'train.stepz'; did you mean 'train.steps'"),
        ("test.0.n_wya=1", "did you mean 'test.0.n_way'"),
        ("validation.shots=1", "'validation.shots'"),
        ("train.steps=-1", "train.steps: Input should be greater than or equal to 0, got -1"),
        ("train.keep_checkpoints=0", "Input should be greater than or equal to 1, got 0"),
        ("train.steps", "expected key=value"),
        (f"seed={'9' * 41}", "recipe key seed: Input should be less than or equal to"),
        ("seed=-1", "recipe key seed: Input should be greater than or equal to 0"),
        (f"seed={'9' * 5000}", "seed cannot be read"),
        (f"about={'[' * 100_000}", "about cannot be read"),
        ("learner={nam='maml'}", "key 'learner.nam'; did you mean 'learner.name'"),
        ("test=[{titel='x'}]", "key 'test.0.titel'; did you mean 'test.0.title'"),
        ("data={name='glyphs', image_size=10_000_000}", "less than or equal to 2048"),
        ("backbone.widths=[100_000, 1_000_000]", "GB of weights at most, got 400 GB"),
        ("test.9.n_way=1", "does not name a recipe key"),
        ("about.x=1", "does not name a recipe key"),
        ("tasks.n_shot=[1, 2]", "expected one n_shot"),
        ("learner.name=mamll", "did you mean 'maml'"),
        ("backbone.name=mpl", "did you mean 'mlp'"),
        ("backbone.widths=3", "option widths of backbone mlp"),
        ("learner.inner_step=3", "did you mean 'inner_steps'"),
        ("learner.inner_lr=fast", "option inner_lr of learner maml"),
        ("learner.batch_norm=frozen", "'batch' or 'running'"),
        ("learner.adapted=['nothing']", "learner maml: expected `adapted`"),
        ("train.optimizer.name=Adm", "did you mean 'Adam'"),
        ("train.optimizer.name=adam", "did you mean 'Adam'"),
        ("train.optimizer=SGD", 'a table, as in train.optimizer = { name = "SGD" }'),
        ("tasks=5-way", "recipe key tasks: expected a table of keys, got '5-way'"),
        ("train.schedule.name=X", "SequentialLR, StepLR"),
        ("train.optimizer.lr=-1", "optimizer Adam: Invalid learning rate"),
        ("train.optimizer.rate=1", "option of optimizer Adam"),
        ("train.schedule.gamma=x", "option gamma of schedule StepLR"),
        ("train.precision=half", "train.precision"),
        ("train.device=gpu", "device 'gpu' cannot be used here: expected auto, cpu, cuda or mps"),
        ("train.device=meta", "device 'meta' cannot be used here: expected auto, cpu, cuda or mps"),
        ("curriculum=[{steps=1, n_shots=2}]", "'curriculum.0.n_shots'"),
        ("curriculum=[{steps=1, n_way=2}]", "expected no n_way for sinusoid"),
        ("curriculum=[{steps=1, options={active=5}}]", "option of sinusoid 'active'"),
        ("train.executor=thread", "did you mean 'threads'"),
        ("data.name=sinusoids", "unknown data set or family of tasks 'sinusoids'; did you mean"),
        ("data.folder=x", 'name = "folder"'),
        ("data.ink=bright", "channels and ink only"),
        ("data.rotations=true", "no further keys with sinusoid"),
        ("tasks.n_way=5", "expected no n_way for sinusoid"),
        ("tasks.augment=affine", "expected no augment for sinusoid"),
        ("test.1.instance=2", "expected no instance for sinusoid"),
        ("test.1.n_way=5", "test '10-shot, 10 gradient steps': expected no n_way"),
        ("test.1.learner={inner_step=3}", "did you mean 'inner_steps'"),
        ("validation.n_way=5", "validation"),
        ("train.optimizer={name='LBFGS'}", "LBFGS"),
        ("train.schedule={name='ReduceLROnPlateau', mode='max'}", "mode='min'"),
        (
            "train.schedule={name='OneCycleLR', max_lr=1.0, total_steps=5}",
            "expected total_steps of the schedule OneCycleLR of 40000 or more",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(change, message, tmp_path):
    from quickstudy.experiments.run import train_run

    def attempt():
        train_run(load_recipe("maml_sinusoid", [change]), tmp_path / "run")

    with pytest.raises(UsageError) as caught:
        attempt()
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_absent_apple_gpu_is_named_in_a_line(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"device 'mps' cannot be used here: .* no Apple GPU$"):
        device_of_training(load_recipe("maml_sinusoid", ["train.device=mps"]))


@pytest.mark.parametrize("key", ["augment='affine'", "n_query=5", "within_group=true"])
def test_what_an_instance_test_has_no_use_for_is_refused(key):
    test = f"[{{title='2nd', n_way=2, n_shot=5, instance=2, {key}}}]"
    recipe = load_recipe("prototypical_glyphs", ["data={name='digits'}", f"test={test}"])
    with pytest.raises(UsageError, match=rf"no {key.partition('=')[0]} with instance"):
        tasks_of_test(recipe, recipe.test[0])


def test_a_test_cannot_ask_for_other_weights():
    recipe = load_recipe("fine_tuning_caltech", ["test.0.learner={classifier='cosine'}"])
    with pytest.raises(UsageError, match="changes of the learner that keep its weights"):
        check_tests(recipe, make_learner(recipe))


def test_one_class_is_nothing_to_tell_apart():
    recipe = load_recipe("prototypical_glyphs", ["tasks.n_way=1"])
    with pytest.raises(UsageError, match="n_way of 2 or more, got 1"):
        tasks_of_training(recipe)


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(MissingError, match="expected a recipe at"):
        load_recipe(tmp_path / "mine.toml")
    with pytest.raises(UsageError, match="'maml_sinusoid'"):
        load_recipe("maml_sinusiod")
    (tmp_path / "mine.toml").write_text("about = ")
    with pytest.raises(UsageError, match="is not TOML"):
        load_recipe(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_bytes("about = 'é'".encode("latin-1"))
    with pytest.raises(UsageError, match="in UTF-8"):
        load_recipe(tmp_path / "mine.toml")


def test_a_recipe_may_be_based_on_another(tmp_path):
    (tmp_path / "long.toml").write_text(
        'base = "maml_sinusoid"\nabout = "longer"\n[train]\nsteps = 9\n'
    )
    (tmp_path / "mine.toml").write_text(
        'base = "long.toml"\n[learner]\ninner_lr = 0.5\n[train.schedule]\nname = "ConstantLR"\n'
    )
    recipe, start = load_recipe(tmp_path / "mine.toml"), load_recipe("maml_sinusoid")
    assert (recipe.about, recipe.train.steps) == ("longer", 9)
    assert recipe.learner.options == {**start.learner.options, "inner_lr": 0.5}
    assert recipe.train.schedule.options == {}  # another schedule takes none of the options
    (tmp_path / "long.toml").write_text('base = "mine.toml"')
    with pytest.raises(UsageError, match="based on itself"):
        load_recipe(tmp_path / "mine.toml")


def test_a_recipe_kept_as_json_is_the_same():
    for name in recipe_names():
        recipe = load_recipe(name)
        again = parse_recipe(json.loads(recipe.as_json()))
        assert again == recipe
        assert again.as_json() == recipe.as_json()


def test_tests_read_images_at_the_size_the_learner_is_made_for():
    recipe = load_recipe("prototypical_glyphs", ["data.image_size=20"])
    digits = next(test for test in recipe.test if test.data)
    assert tasks_of_test(recipe, digits)[0].query.x.shape[-2:] == (20, 20)


def test_patience_needs_validation(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'about = ""\ndata = { name = "glyphs" }\nbackbone = { name = "conv4" }\n'
        'learner = { name = "prototypical_networks" }\ntasks = { n_way = 5 }\n'
        "train = { steps = 1, patience = 2 }\n"
    )
    with pytest.raises(UsageError, match="validation table"):
        load_recipe(tmp_path / "mine.toml")


def test_n_labels_reaches_the_learner_and_the_tasks():
    change = ["tasks.n_labels=7", "test.0.n_labels=9", "test.0.n_tasks=2"]
    recipe = load_recipe("maml_omniglot", [*change, 'data.name="glyphs"'])
    assert make_learner(recipe).n_outputs == 7
    assert make_tasks(recipe, recipe.tasks, recipe.data, 0)[0].n_way == 7
    assert tasks_of_test(recipe, recipe.test[0])[0].n_way == 9
    sinusoid = load_recipe("maml_sinusoid", ["tasks.n_labels=7"])
    with pytest.raises(UsageError, match="no n_labels"):
        make_tasks(sinusoid, sinusoid.tasks, sinusoid.data, 0)


def test_a_curriculum_changes_the_shape_of_tasks_for_so_many_steps():
    recipe = load_recipe(
        "maml_sinusoid", ["curriculum=[{steps=2, n_shot=3}, {steps=1, n_query=4}]"]
    )
    batch, plain = recipe.train.meta_batch_size, recipe.tasks
    tasks = tasks_of_training(recipe)
    assert tasks.starts == [0, 2 * batch, 3 * batch]
    shapes = [(len(tasks[i].support), len(tasks[i].query)) for i in (0, 2 * batch, 3 * batch)]
    assert shapes == [(3, plain.n_query), (plain.n_shot, 4), (plain.n_shot, plain.n_query)]


def test_a_stage_of_a_curriculum_changes_options_of_the_family():
    recipe = load_recipe(
        "in_context_noisy_linear", ["curriculum=[{steps=1, n_shot=9, options={active=5}}]"]
    )
    tasks = tasks_of_training(recipe)
    early, late = tasks[0].support, tasks[recipe.train.meta_batch_size].support
    assert [int((s.x != 0).any(0).sum()) for s in (early, late)] == [5, 20]
    assert [len(early), len(late)] == [9, 40]
    assert [family.noise for family in tasks.families] == [1.0, 1.0]


def test_a_stage_of_a_curriculum_changes_options_of_environments():
    stage = "{steps=1, n_query=2, options={horizon=5}}"
    tasks = tasks_of_training(load_recipe("rl2_mdp", [f"curriculum=[{stage}]"]))
    early, late = (trials.family for trials in tasks.families)
    assert (early.horizon, late.horizon, early.n_states) == (5, 10, 10)
    assert tasks[0].n_query == 2
    for options in ("n_actions=2", "n_states=3"):
        stages = f"curriculum=[{{steps=1, options={{{options}}}}}]"
        with pytest.raises(UsageError, match=r"with observations of 10 numbers and actions Disc"):
            tasks_of_training(load_recipe("rl2_mdp", [stages]))


@pytest.mark.parametrize(
    "schedule",
    [
        "{name='MultiStepLR', milestones=[3]}",
        "{name='CosineAnnealingLR', T_max=5}",
        "{name='ExponentialLR', gamma=0.9}",
    ],
)
def test_schedules_of_torch_can_be_used_by_name(schedule):
    options = training_options(load_recipe("maml_sinusoid", [f"train.schedule={schedule}"]))
    optimizer = options["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    assert options["schedule"](optimizer).get_last_lr() == [optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    "schedule", ["{name='CosineAnnealingLR'}", "{name='OneCycleLR', max_lr=0.1}"]
)
def test_a_schedule_that_says_no_end_ends_with_the_training(schedule):
    recipe = load_recipe("maml_sinusoid", [f"train.schedule={schedule}", "train.steps=7"])
    options = training_options(recipe)
    optimizer = options["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    steps = options["schedule"](optimizer)
    highest = optimizer.param_groups[0]["lr"]
    for _ in range(7 - ("One" in schedule)):  # whose last step is the last but one of the others
        optimizer.step()
        steps.step()
        highest = max(highest, optimizer.param_groups[0]["lr"])
    assert optimizer.param_groups[0]["lr"] < 1e-3 * highest


def test_a_recipe_of_another_suffix_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('base = "maml_sinusoid"')
    for name in ("mine.tml", "mine", "mine.txt", "min.toml"):
        with pytest.raises((UsageError, MissingError), match=r"did you mean '?mine\.toml"):
            load_recipe(name)
    with pytest.raises(UsageError, match=r"did you mean '.*/mine\.toml'"):
        load_recipe(tmp_path / "mine.tml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v = " + "[" * 60_000, "is not TOML"),
        (f"seed = {'9' * 5000}", "is not TOML"),
        ("#" * 70_000, "expected a recipe of 65536 bytes at most"),
    ],
)
def test_hostile_toml_is_refused_in_a_line(tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(tmp_path / "bad.toml")


def test_recipes_that_train_otherwise_say_by_which_keys():
    plain = load_recipe("maml_sinusoid")
    assert plain.changes_training(load_recipe("maml_sinusoid", ["train.steps=3", "gap=x"])) == []
    other = load_recipe("maml_sinusoid", ["learner.inner_lr=0.5", "train.clip_norm=2", "test=[]"])
    inner_lr = plain.learner.options["inner_lr"]
    assert plain.changes_training(other) == [
        f"learner.inner_lr: 0.5 there, {inner_lr} here",
        "train.clip_norm: 2.0 there, not given here",
    ]


def test_held_out_classes_are_those_of_tests_that_training_does_not_see():
    recipe = load_recipe(
        "prototypical_glyphs",
        ["test=[{title='a', n_way=5}, {title='b', n_way=2}, {title='c', split='train', n_way=5}]"],
    )
    (part,) = held_out_classes(recipe)
    assert (part["data"], part["split"]) == ("glyphs", "test")
    assert 0 < len(part["classes"]) <= min(part["n_classes"], 100)
    assert held_out_classes(load_recipe("maml_sinusoid")) == []


def test_options_with_a_name_that_is_none_suggest_a_family():
    with pytest.raises(UsageError, match="did you mean 'bernoulli_bandit'"):
        load_recipe("rl2_bandits", ["data.name=bernoulli"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("prototypical_glyphs", "tasks.permute_labels=true", "labelled anew for each task"),
        ("maml_sinusoid", "tasks.permute_labels=true", "only with a family of classification"),
        (
            "rl2_bandits",
            "tasks.balance_groups=true",
            "expected no balance_groups for bernoulli_bandit",
        ),
        ("maml_sinusoid", "tasks.balance_groups=true", "expected no balance_groups for sinusoid"),
    ],
)
def test_a_guard_that_would_do_nothing_is_refused(name, change, message):
    with pytest.raises(UsageError, match=message):
        tasks_of_training(load_recipe(name, [change]))


def test_guards_are_of_training_tasks_alone():
    plain = load_recipe("tabular_transformer", ["seed=3"])
    permuted = load_recipe("tabular_transformer", ["seed=3", "tasks.permute_labels=true"])
    before, after = (tasks_of_training(each)[0] for each in (plain, permuted))
    assert torch.equal(before.support.x, after.support.x)
    assert not torch.equal(before.support.y, after.support.y)
    one, other = (tasks_of_test(each, each.test[0])[0] for each in (plain, permuted))
    assert torch.equal(one.support.y, other.support.y)
    with pytest.raises(UsageError, match="balance_groups"):
        load_recipe("prototypical_glyphs", ["test.0.balance_groups=true"])
    with pytest.raises(UsageError, match="which balances them"):
        load_recipe("omniglot_challenge_30", ["tasks.balance_groups=true"])
