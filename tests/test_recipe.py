from pathlib import Path

import pytest

from slimprune.errors import UsageError
from slimprune.recipe import DEFAULT_RULES, PANELS, Recipe, default_text, make_recipe, read_recipe, without_effect


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0}, "ratio: expected a share in (0, 1), got 0"),
        ({"ratio": 1}, "ratio: expected a share in (0, 1), got 1"),
        ({"ratio": "1.3"}, "ratio: expected a share in (0, 1), got '1.3'"),
        ({"ratio": "nan"}, "ratio: expected a finite number, got 'nan'"),
        ({"ratio": "abc"}, "ratio: expected a valid number, got 'abc'"),
        ({"ratio": None}, "ratio: expected a valid number, got None"),
        ({"lr": "inf"}, "lr: expected a finite number, got 'inf'"),
        ({"lr": 0}, "lr: expected greater than 0, got 0"),
        ({"weight_decay": "nan"}, "weight_decay: expected a finite number, got 'nan'"),
        ({"floor": 1}, "floor: expected less than 1, got 1"),
        ({"epochs": 1.5}, "epochs: expected a valid integer, got 1.5"),
        ({"epochs": 0}, "epochs: expected greater than or equal to 1, got 0"),
        ({"seed": -1}, "seed: expected greater than or equal to 0, got -1"),
        ({"seed": 2**63}, f"seed: expected less than {2**63}, got {2**63}"),
        ({"of": "flops"}, "of: expected 'params', 'macs', 'channels' or 'latency', got 'flops'"),
        ({"gate": "x"}, "gate: expected 'consumer', 'norm' or 'producer', got 'x'"),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64', got 'float16'"),
        ({"device": "tpu"}, "device: expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N, got 'tpu'"),
        ({"device": "cuda:x"}, "device: expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N, got 'cuda:x'"),
        ({"train_dense": "perhaps"}, "train_dense: expected a valid boolean, got 'perhaps'"),
        ({"protect": 3}, "protect: expected a valid tuple, got 3"),
        ({"protect": [3]}, "protect.0: expected a valid string, got 3"),
        ({"arch": ["vgg19"]}, "arch: expected a valid string, got ['vgg19']"),
        ({"ration": 0.5}, "unknown field 'ration' (did you mean 'ratio'?)"),
        ({"xyz": 0.5}, "unknown field 'xyz' (known: arch, data, "),
        ({"xyz": 0.5}, "weights, pretrained, reset_head, init, reconstruct, twin, "),
        ({"an": "macs=0.5"}, "unknown field 'an' (did you mean 'and'?)"),
        ({"and": "macs"}, "and.macs: expected a valid number, got ''"),
        ({"and": "macs=2"}, "and.macs: expected a share in (0, 1), got '2'"),
        ({"and": "macs=0"}, "and.macs: expected a share in (0, 1), got '0'"),
        ({"also": {"macs": 1}}, "and.macs: expected a share in (0, 1), got 1"),
        ({"and": {"macs": "nan"}}, "and.macs: expected a finite number, got 'nan'"),
        ({"and": "flops=0.5"}, "and.flops: expected 'params', 'macs', 'channels' or 'latency', got 'flops'"),
        ({"and": "macs=0.5,macs=0.6"}, "and: expected each quantity once, got 'macs=0.5,macs=0.6'"),
        ({"and": ""}, "expected 'params', 'macs', 'channels' or 'latency', got ''"),
        ({"and": None}, "and: expected a valid dictionary, got None"),
        ({"and": ["macs"]}, "and: expected a valid dictionary, got ['macs']"),
        ({"and": {"macs": 0.5}, "also": {"macs": 0.5}}, "expected and once, got also as well"),
        (
            {"when": "later"},
            "'during-training', 'trained', 'after-training', 'rewind', 'gradual' or 'early-bird', got 'later'",
        ),
        ({"rewind_step": -1}, "rewind_step: expected greater than or equal to 0, got -1"),
        ({"dense_epochs": -1}, "dense_epochs: expected greater than or equal to 0, got -1"),
        ({"init": "random"}, "init: expected 'keep', 'reinit' or 'rescale', got 'random'"),
        ({"twin": "reinit"}, "twin: expected 'shuffle' or 'invert', got 'reinit'"),
        ({"rounds": 0}, "rounds: expected greater than or equal to 1, got 0"),
        ({"weights": 3}, "weights: expected a path, got 3"),
        ({"epochs": 0, "ratio": 2}, "in (0, 1), got 2; epochs: expected"),
    ],
)
def test_refuses_and_says_what_was_found(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_recipe(settings)
    assert message in str(caught.value)


def test_text_as_it_comes_from_flags_gives_the_same_recipe_as_plain_values() -> None:
    plain = {"ratio": 0.5, "epochs": 3, "protect": ["a", "b.*"], "amp": True, "out": Path("x.onnx"), "lr": 1e-3}
    texts = {"ratio": "0.5", "epochs": "3", "protect": "a, b.*", "amp": "true", "out": "x.onnx", "lr": "1e-3"}
    assert make_recipe(texts) == make_recipe(plain)
    assert make_recipe(plain).protect == ("a", "b.*")


@pytest.mark.parametrize("of", ["params", "macs", "channels"])
def test_defaults_of_data_and_budget_fill_what_was_left_open(of: str) -> None:
    recipe = make_recipe({"of": of, "lr": 0.3}).with_defaults()
    assert (recipe.epochs, recipe.batch_size, recipe.schedule, recipe.draws) == (12, 64, "cosine", 8)
    assert (recipe.lr, recipe.rule) == (0.3, DEFAULT_RULES[of])
    assert make_recipe({"data": "cifar10"}).with_defaults().epochs == 200
    for arch in ("unet", "unet:depth=3", "fcn_resnet50", "lraspp_mobilenet_v3_large"):
        masks = make_recipe({"arch": arch, "data": "hf:nuclei"}).with_defaults()
        assert (masks.epochs, masks.batch_size, masks.score_batch, masks.schedule) == (100, 16, 16, "cosine")


def test_code_of_the_users_own_has_no_name_that_tells_its_task() -> None:
    for arch in ("unet.py:build", "unet_features.py:net", "fcn_net:build"):
        assert make_recipe({"arch": arch, "data": "cifar10"}).with_defaults().epochs == 200
    assert make_recipe({"arch": "net.py:build"}).with_defaults(segmentation=True).schedule == "cosine"


def said_of(name: str, what: str) -> str:
    """The default of a field for what stands behind "for" in the help, or else the first that it gives."""
    first, *others = default_text(name).partition("; ")[0].split(", ")
    exceptions = [(value, where.split(" and ")) for value, _, where in (other.partition(" for ") for other in others)]
    return next((value for value, where in exceptions if what in where), first)


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"data": "cifar10"}, "photographs"), ({"data": "hf:x", "arch": "unet"}, "segmentation"), ({}, "digits")],
)
def test_defaults_by_task_and_data_are_what_the_help_says(settings: dict[str, str], what: str) -> None:
    recipe = make_recipe(settings).with_defaults()
    for name in ("epochs", "batch_size", "lr", "schedule", "draws", "score_batch"):
        assert said_of(name, what) == str(getattr(recipe, name))


def test_defaults_are_what_the_help_says() -> None:
    assert (
        default_text("epochs")
        == "200, 100 for segmentation, coco and yolo, 12 for digits; a fifth of that for trained networks"
    )
    assert (
        default_text("lr")
        == "0.1, 0.05 for digits, 0.01 for coco and yolo, 0.001 with adamw; a tenth of that for trained networks"
    )
    schedules = "step, cosine for segmentation and digits; cosine for trained networks"
    assert default_text("schedule") == schedules
    assert default_text("ratio") == str(make_recipe({}).ratio)
    assert default_text("seed") == "0"
    assert default_text("arch") == default_text("protect") == default_text("amp") == default_text("also") == ""
    assert (default_text("init"), default_text("twin")) == ("keep", "")
    assert default_text("when") == "before-training, with --weights or --pretrained trained"
    trained = "taylor for trained networks, magnitude for their weights"
    assert default_text("criterion") == f"prospr where the rule needs scores, {trained}"
    assert default_text("draws") == "16, 8 for digits; 16 for trained networks; 1 for --unit weights"
    assert (
        default_text("rounds")
        == "1 for trained networks and for rewinding, 20 for gradual, the criterion's own for others"
    )
    assert default_text("steps") == "the criterion's own"


def test_the_hash_names_what_decides_the_result() -> None:
    hashes = {
        make_recipe(settings).hash
        for settings in (
            {}, {"ratio": 0.5}, {"seed": 1}, {"arch": "vgg19"}, {"protect": "a"}, {"amp": True}, {"and": "macs=0.5"},
            {"when": "rewind"}, {"rewind_step": 3}, {"dense_epochs": 3}, {"weights": "w.safetensors"},
            {"init": "reinit"}, {"twin": "shuffle"}, {"rounds": 3}, {"loss": "dice"}, {"optimizer": "adamw"},
            {"warm_up": 2}, {"label_smoothing": 0.1}, {"class_weights": 3}, {"class_weights": "balanced"},
            {"ema": 0.9}, {"mixup": 1}, {"cutmix": 1}, {"resized_crop": 0.5}, {"patience": 3}, {"distill": 0.5},
            {"temperature": 2}, {"regularizer": "bn-l1"}, {"regularizer_strength": 0.1}, {"milestones": "3"},
            {"score_balanced": True},
        )
    }  # fmt: skip
    assert len(hashes) == 31
    elsewhere = make_recipe({"out": "b.onnx", "device": "cpu", "fast": False, "log": "events"})
    assert elsewhere.hash == make_recipe({"out": "a.onnx"}).hash == make_recipe({}).hash
    assert len(elsewhere.hash) == 64


@pytest.mark.parametrize("weights", ["1, 2.5", [1, 2.5], (1.0, "2.5")], ids=str)
def test_class_weights_come_as_text_or_numbers(weights: object) -> None:
    assert make_recipe({"class_weights": weights}).class_weights == (1.0, 2.5)


def test_one_class_weight_may_be_a_plain_number() -> None:
    assert (
        make_recipe({"class_weights": 3}).class_weights == make_recipe({"class_weights": "3"}).class_weights == (3.0,)
    )


@pytest.mark.parametrize("name", ["and", "also"])
@pytest.mark.parametrize(
    "shares", [{"macs": 0.8, "channels": 0.5}, " channels=0.5, macs = 0.8 ", {"channels": "0.5", "macs": "8e-1"}]
)
def test_further_limits_go_by_two_names_and_come_as_text_or_mapping(name: str, shares: object) -> None:
    recipe, same = make_recipe({name: shares}), make_recipe({"and": {"macs": 0.8, "channels": 0.5}})
    assert recipe == same
    assert recipe.hash == same.hash
    assert recipe.also == {"macs": 0.8, "channels": 0.5}


def test_further_limits_are_written_under_the_name_that_files_and_flags_have(tmp_path: Path) -> None:
    written = make_recipe({"also": "macs=0.8"}).model_dump(mode="json")
    assert written["and"] == {"macs": 0.8}
    assert "also" not in written
    assert make_recipe(written) == make_recipe({"also": "macs=0.8"})
    for text in ("and: {macs: 0.8}", "and: macs=0.8", "also: {macs: 0.8}"):
        (tmp_path / "recipe.yaml").write_text(text)
        assert make_recipe(read_recipe(tmp_path / "recipe.yaml")).hash == make_recipe({"also": "macs=0.8"}).hash
    (tmp_path / "recipe.yaml").write_text("and: {macs: 0.8}\nalso: {macs: 0.7}")
    with pytest.raises(UsageError, match="expected and once, got also as well"):
        read_recipe(tmp_path / "recipe.yaml")


def test_the_limits_of_one_recipe_are_not_those_of_the_next() -> None:
    make_recipe({}).also["macs"] = 0.5
    assert make_recipe({}).also == {}


def test_options_of_the_criterion_are_those_that_were_set() -> None:
    assert make_recipe({}).criterion_options() == {}
    assert make_recipe({"steps": 0, "inner_lr": 0.2}).criterion_options() == {"steps": 0, "lr": 0.2}
    assert make_recipe({"rounds": 5}).criterion_options() == {"rounds": 5}
    assert make_recipe({"rounds": 5, "when": "after-training"}).criterion_options() == {}


def test_a_recipe_survives_yaml(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("arch: resnet20\nratio: 0.5\nprotect: [conv1, 'layer1.*']\ntrain_dense: yes\nlr: 1e-3\n")
    recipe = make_recipe(read_recipe(file))
    assert (recipe.arch, recipe.protect, recipe.train_dense, recipe.lr) == (
        "resnet20", ("conv1", "layer1.*"), True, 1e-3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"\xff\xfe\x00a", "is not YAML"),
        (b"arch: 2020-13-45", "is not YAML: month must be in 1..12"),
        (b"- arch", "expected a mapping of fields, got list"),
        (b"", "expected a mapping of fields, got NoneType"),
        (b"!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_refuses_files_that_are_no_mapping(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"recipe .*recipe\.yaml") as caught:
        read_recipe(file)
    assert message in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe .*none\.yaml cannot be read: No such file or directory$"):
        read_recipe(tmp_path / "none.yaml")


def test_every_field_is_described() -> None:
    assert all(field.description for field in Recipe.model_fields.values())


def test_every_field_is_in_one_panel() -> None:
    assert sorted(name for names in PANELS.values() for name in names) == sorted(Recipe.model_fields)


def test_a_resolved_recipe_has_a_value_wherever_its_type_says_so() -> None:
    resolved = make_recipe({"arch": "vgg19", "data": "cifar10"}).with_defaults()
    values = (resolved.rule, resolved.round_to, resolved.draws, resolved.epochs, resolved.lr, resolved.schedule)
    assert values == ("global", 1, 16, 200, 0.1, "step")
    assert resolved.with_defaults() == resolved
    own = resolved.model_copy(update={"arch": None, "batch_size": None, "score_batch": None})
    with pytest.raises(UsageError, match="expected an architecture"):
        own.named()
    named = resolved.named()
    assert (named.arch, named.batch_size, named.score_batch) == ("vgg19", 256, 128)


def test_the_type_of_a_recipe_does_not_change_its_hash() -> None:
    resolved = make_recipe({"arch": "vgg19", "and": {"macs": 0.5}}).with_defaults()
    assert make_recipe(resolved.model_dump()).hash == resolved.hash == resolved.named().hash
    assert (
        resolved.hash_without("seed") == resolved.model_copy(update={"seed": 5}).hash_without("seed") != resolved.hash
    )


@pytest.mark.parametrize(
    ("settings", "when"),
    [
        ({}, "before-training"),
        ({"weights": "w.pth"}, "trained"),
        ({"weights": "w.pth", "when": "after-training"}, "trained"),
        ({"weights": "w.pth", "dense_epochs": 0}, "trained"),
        ({"weights": "w.pth", "reset_head": True}, "after-training"),
        ({"weights": "w.pth", "reset_head": True, "when": "after-training"}, "after-training"),
        ({"pretrained": True}, "trained"),
        ({"weights": "w.pth", "when": "before-training"}, "before-training"),
        ({"weights": "w.pth", "when": "rewind"}, "rewind"),
        ({"when": "after-training"}, "after-training"),
        ({"pretrained": True, "reset_head": True}, "after-training"),
    ],
)
def test_a_network_with_given_weights_is_trained_already(settings: dict[str, object], when: str) -> None:
    assert make_recipe(settings).with_defaults().when == when


def test_no_epochs_for_a_dense_network_without_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="expected dense_epochs of at least 1 for a network without given weights"):
        make_recipe({"dense_epochs": 0}).with_defaults()


def test_fine_tuning_takes_a_fifth_of_the_epochs_at_a_tenth_of_the_rate() -> None:
    whole = make_recipe({"data": "digits"}).with_defaults()
    gentle = make_recipe({"data": "digits", "weights": "w.pth"}).with_defaults()
    assert (whole.epochs, whole.lr) == (12, 0.05)
    assert (gentle.epochs, gentle.lr, gentle.schedule) == (3, 0.005, "cosine")
    assert make_recipe({"weights": "w.pth", "epochs": 7, "lr": 0.5}).with_defaults().epochs == 7


GIVEN = "the given network is trained already"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"rewind_step": 3}, ["--rewind-step has no effect: nothing is rewound without --when rewind"]),
        ({"rewind_step": 3, "when": "rewind"}, []),
        (
            {"dense_epochs": 3, "weights": "w.pth"},
            [f"--dense-epochs has no effect: {GIVEN}"],
        ),
        ({"dense_epochs": 3}, ["--dense-epochs has no effect: the dense network is not trained without --train-dense"]),
        ({"dense_epochs": 3, "train_dense": True}, []),
        ({"draws": 3}, ["--draws has no effect: no channels are scored"]),
        ({"draws": 3, "criterion": "prospr"}, []),
        ({"weights": "w.pth", "train_dense": False}, []),
        ({"reconstruct": True}, ["--reconstruct has no effect: the slim network inherits no trained weights"]),
        ({"reconstruct": True, "weights": "w.pth"}, []),
    ],
)
def test_options_without_effect_are_named(settings: dict[str, object], found: list[str]) -> None:
    assert without_effect(settings.keys(), make_recipe(settings).with_defaults()) == found


def test_options_of_criteria() -> None:
    recipe = make_recipe(
        {"criterion": "grasp", "score_temperature": 1, "by_magnitude": True, "on_host": False}
    ).with_defaults()
    assert recipe.criterion_options() == {"temperature": 1, "by_magnitude": True, "on_host": False}
    assert make_recipe({"inner_weight_decay": 0}).with_defaults().criterion_options() == {"weight_decay": 0}
    for field, value in {"score_temperature": 0, "inner_weight_decay": -1}.items():
        with pytest.raises(UsageError, match=field):
            make_recipe({field: value})
