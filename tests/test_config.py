"""Presets: strict reading, overrides, ranges."""

import dataclasses
import re

import pytest

from kdlib import config
from kdlib.config import load_preset, preset_from_dict, preset_names
from kdlib.errors import InputError
from kdlib.settings import SECTION_OF


def test_variants_of_two_presets_that_are_like_each_other_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PRESET_FOLDER", tmp_path)
    for own, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{own}.toml").write_text(f'[study.variants.x]\nlike = "{other}/x"\n[study.variants.y]\nlambda_cyc = 2.0\n')
    with pytest.raises(InputError, match=re.escape("b.toml: variant x: like = 'a/x': must be another variant, one of y; or PRESET/VARIANT")):
        load_preset("a")


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads_and_survives_json(name):
    preset = load_preset(name)
    assert preset.name == name
    assert preset_from_dict(preset.as_dict()) == preset


def test_defaults_are_the_thesis_settings(tmp_path):
    """Section 5.3 of the thesis, read off its text."""
    (tmp_path / "bare.toml").write_text("")
    training = load_preset(tmp_path / "bare.toml").training
    assert (training.batch_size, training.student_iterations, training.seed) == (8, 100_000, 777)
    assert (training.beta1, training.beta2, training.learning_rate) == (0.0, 0.99, 1e-4)
    assert (training.mapping_learning_rate_distilled, training.ema_decay) == (1e-4, 0.999)
    assert load_preset(tmp_path / "bare.toml").study.alphas == (64, 96, 128, 160)


@pytest.mark.parametrize("name, lambda_ds, w_hpf, train", [("afhq", 2.0, 0.0, (5153, 4739, 4738)), ("celeba_hq", 1.0, 1.0, (17943, 10057))])
def test_the_presets_at_256_px_are_the_thesis_settings(name, lambda_ds, w_hpf, train):
    """Sections 5.1 to 5.3 and Table 5.1, typed from its text; what the two data sets do not share is in the parameters."""
    preset = load_preset(name)
    t, n, e = preset.training, preset.networks, preset.evaluation
    assert (preset.data.source, preset.data.image_size, preset.data.data_root) == ("folder", 256, f"data/{name}")
    assert tuple(preset.data.expected_train.values()) == train
    assert (n.teacher_alpha, n.base_width, n.style_dim, n.latent_dim, n.w_hpf) == (512, 0, 64, 16, w_hpf)
    assert (t.batch_size, t.teacher_iterations, t.student_iterations, t.seed, t.precision) == (8, 100_000, 100_000, 777, "float32")
    assert (t.learning_rate, t.mapping_learning_rate, t.mapping_learning_rate_distilled) == (1e-4, 1e-6, 1e-4)
    assert (t.beta1, t.beta2, t.weight_decay, t.ema_decay, t.ema_ramp, t.student_learning_rate) == (0.0, 0.99, 1e-4, 0.999, False, 0.0)
    assert (t.crop_probability, t.flip_probability, t.style_warp, t.teacher_diversity_iterations) == (0.5, 0.5, 0.0, 0)
    weights = vars(preset.losses)
    beyond = ("style_l1_target", "style_l1_source", "style_energy", "style_match", "output_l1", "output_perceptual", "feature")  # no part of the thesis
    assert {weights.pop(f"lambda_{name}") for name in beyond} == {0.0}
    assert weights.pop("lambda_ds") == lambda_ds and set(weights.values()) == {1.0}
    assert (t.distillation_real, t.cycle_noise, t.r1_every) == ("teacher", 0.0, 1)
    assert (t.style_space, t.filter_keep, t.student_discriminator_alpha) == ("own", 1.0, 0)
    assert preset.study.alphas == (64, 96, 128, 160)
    assert t.student_iterations // preset.logging.candidate_every == 10 and e.selection == "best_candidate"
    assert (e.outputs_per_source, e.sources_per_domain, e.evaluation_seeds, e.lpips) == (10, 0, 10, True)
    assert e.feature_networks == ("inception_torchvision", "inception_pytorch_fid")


def test_override_by_name_and_none_keeps_the_preset():
    preset = load_preset("quick", lambda_ds=0, seed=None, alphas=[8])
    assert preset.losses.lambda_ds == 0.0
    assert preset.training.seed == load_preset("quick").training.seed
    assert preset.study.alphas == (8,)


@pytest.mark.parametrize("name, blocks", [("smoke", 1), ("mini", 2), ("afhq", 4), ("celeba_hq", 5)])
def test_generator_depth_is_the_rule_s_unless_asked_for(name, blocks):
    """log2(image_size) - 4, one more with the high-pass skip: the blocks of the thesis's Tables 4.1 and 4.2 at 256 px."""
    preset, deeper = load_preset(name), load_preset(name, generator_down_blocks=blocks + 1)
    for student in (False, True):
        assert preset.architecture(2, alpha=8, student=student).generator_down_blocks == blocks
        assert deeper.architecture(2, alpha=8, student=student).generator_down_blocks == blocks + 1


def test_the_bottleneck_preset_s_two_teachers_differ_in_one_setting():
    preset = load_preset("bottleneck")
    narrow = load_preset("bottleneck", generator_down_blocks=2)
    bottlenecks = [32 >> p.architecture(3, alpha=p.networks.teacher_alpha, student=False).generator_down_blocks for p in (preset, narrow)]
    assert (preset.data.image_size, bottlenecks) == (32, [16, 8])
    assert narrow == dataclasses.replace(preset, networks=dataclasses.replace(preset.networks, generator_down_blocks=2))
    assert preset.training.style_warp == 0.0  # a code that is kept free of pose cannot take the source's place


def test_setting_names_are_unique_over_sections():
    from kdlib.settings import SECTIONS

    names = [f.name for kind in SECTIONS.values() for f in dataclasses.fields(kind)]
    assert sorted(names) == sorted(SECTION_OF)


def test_names_come_as_a_list_or_as_one_string_of_a_command_line():
    for given in (["factor_network", "squeezenet"], "factor_network,squeezenet", " factor_network, squeezenet "):
        assert load_preset("smoke", feature_networks=given).evaluation.feature_networks == ("factor_network", "squeezenet")
    preset = load_preset("smoke", source="folder", data_root="x", feature_networks="inception_torchvision", lpips=True, evaluation_seeds=10)
    settings = preset.as_dict()["evaluation"]
    assert settings["feature_networks"] == ["inception_torchvision"] and settings["lpips"] is True and settings["evaluation_seeds"] == 10


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"lamda_ds": 1.0}, "unknown setting 'lamda_ds'"),
        ({"ema_ramp": "false"}, "True or False"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"batch_size": True}, "batch_size = True"),
        ({"batch_size": 2.5}, "batch_size = 2.5"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"flip_probability": 1.5}, "between 0 and 1"),
        ({"precision": "half"}, "precision = 'half'"),
        ({"alphas": []}, "alphas"),
        ({"alphas": [8, 16, 8]}, "alphas.*once"),
        ({"w_hpf": 1.0}, "w_hpf = 1.0 with image_size = 32"),
        ({"generator_down_blocks": 5}, "generator_down_blocks = 5 with image_size = 32: must be 1 to 4"),
        ({"generator_down_blocks": -1}, "generator_down_blocks = -1"),
        ({"generator_down_blocks": 1.5}, "generator_down_blocks = 1.5: must be int"),
        ({"generator_down_blocks": 3, "w_hpf": 1.0, "image_size": 256}, "since the high-pass skip needs one smaller than 32x32"),
        ({"selection": "best"}, "selection = 'best'"),
        ({"source": "folder", "feature_networks": "squeezenet"}, "data_root"),
        ({"source": "folder", "data_root": "x", "feature_networks": ["squeezenet", "factor_network"]}, "knows Critters only"),
        ({"feature_networks": "squeezenet, inception"}, "'inception': must be one of"),
        ({"feature_networks": ()}, "at least one"),
        ({"feature_networks": "squeezenet,squeezenet"}, "each once"),
        ({"evaluation_seeds": 0}, "evaluation_seeds"),
        ({"lpips": "yes"}, "lpips"),
        ({"source": "folder", "data_root": "x"}, "factor_network"),
        ({"outputs_per_source": 1}, "outputs_per_source"),
        ({"filter_keep": 0}, "filter_keep = 0.0: would keep none"),
        ({"filter_keep": 1.5}, "filter_keep = 1.5: must lie between 0 and 1"),
        ({"filter_score": "factors"}, "filter_score = 'factors': must be one of 'discriminator', 'cycle'"),
        ({"perceptual_network": "factor_network"}, "perceptual_network = 'factor_network': must be one of 'discriminator', 'squeezenet'"),
        ({"feature_stages": "decoder,decoder"}, "feature_stages = ['decoder', 'decoder']: name at least one, and each once"),
        ({"feature_stages": "encoder"}, "feature_stages = 'encoder'"),
        ({"style_space": "shared"}, "style_space = 'shared': must be one of 'own', 'init', 'fitted', 'teacher'"),
        ({"lambda_style_energy": 1.0}, "lambda_style_energy = 1.0: is of the fit before training; set style_space to 'init' or 'fitted'"),
        ({"style_fit_iterations": 0}, "style_fit_iterations = 0: must be at least 1"),
        ({"student_discriminator_alpha": -1}, "student_discriminator_alpha = -1"),
        ({"student_mapping_width": 48, "style_space": "teacher"}, "student_mapping_width = 48: style_space = 'teacher' takes"),
        ({"discriminator_start": "own"}, "discriminator_start = 'own': must be one of 'noise', 'teacher'"),
        ({"frozen": "generator"}, "frozen = ['generator']: would keep networks of noise; give start_variant"),
        ({"frozen": "discriminator", "start_variant": "a"}, "frozen = 'discriminator': must be one of 'generator', 'style_encoder', 'mapping_network'"),
        ({"frozen": "mapping_network", "start_variant": "a", "style_space": "init"}, "style_space = 'init': changes F, which frozen keeps"),
        ({"frozen": "generator", "start_variant": "a", "lambda_adv": 0.0}, "frozen = 'generator': lambda_sty, lambda_ds, lambda_cyc, lambda_image_adv_latent"),
        ({"lambda_output_l1": -1.0}, "lambda_output_l1 = -1.0"),
        ({"distillation_real": "all"}, "distillation_real = 'all'"),
        ({"variants_only": True}, "variants_only: trains variants of a base's main width"),
    ],
)
def test_bad_overrides_are_named(override, said):
    with pytest.raises(InputError, match=re.sub(r"([(\[\]])", r"\\\1", said)):
        load_preset("smoke", **override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nbatchsize = 8", r"odd.toml \[training\]: unknown setting batchsize"),
        ("name = 3", "preset name 3"),
        ("name = '../../x'", "it names a folder under runs/"),
        ("data = 3", r"\[data\]: must be a section"),
        ("[trainnig]\nbatch_size = 8", "unknown section or setting trainnig"),
        ("[training\n", "not valid TOML"),
        ("# \udcff", "not UTF-8"),
        ("[training]\nbeta1 = 1.0", "beta1 = 1.0: must be 0 or more, and less than 1"),
        ("[training]\nbatch_size = '8'", "batch_size = '8'"),
        ("[data]\nexpected_train = 5153", "expected_train = 5153: must be dict"),
        ("[data.expected_train]\ncat = 5153.0", "expected_train, cat = 5153.0: must be int"),
        ("[data]\nexpected_val = {cat = 0}", "expected_val, cat = 0: must be at least 1"),
        ("[data.expected_train.cat]\nphotos = 3", "expected_train, cat = .*must be int"),
    ],
)
def test_bad_preset_files_are_named(tmp_path, text, said):
    (tmp_path / "odd.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=said):
        load_preset(tmp_path / "odd.toml")


def test_unknown_preset_lists_the_shipped_ones():
    with pytest.raises(InputError, match="shipped: .*quick"):
        load_preset("quik")


VARIED = """
[data]
source = "critters"
[study]
alphas = [8]
[study.variants.plain]
lambda_style_use_latent = 0
lambda_style_use_reference = 0.5
"""


def test_a_variant_changes_its_settings_and_an_override_goes_further(tmp_path):
    file = tmp_path / "varied.toml"
    file.write_text(VARIED)
    plain, varied = load_preset(str(file)), load_preset(str(file), variant="plain", lambda_style_use_latent=None)
    assert (plain.variant, varied.variant) == ("", "plain")
    assert (varied.losses.lambda_style_use_latent, varied.losses.lambda_style_use_reference) == (0.0, 0.5)
    assert plain.losses.lambda_style_use_latent == 1.0
    assert load_preset(str(file), variant="plain", lambda_style_use_reference=2).losses.lambda_style_use_reference == 2.0
    assert preset_from_dict(varied.as_dict()) == varied


LIKE = VARIED + """
[study.variants.more]
like = "plain"
lambda_style_use_reference = 0.25
lambda_cyc = 2
[study.variants.most]
like = "more"
lambda_cyc = 3
"""


def test_a_variant_like_another_says_only_what_differs(tmp_path):
    file = tmp_path / "like.toml"
    file.write_text(LIKE)
    most = load_preset(str(file), variant="most")
    assert (most.losses.lambda_style_use_latent, most.losses.lambda_style_use_reference, most.losses.lambda_cyc) == (0.0, 0.25, 3.0)
    assert most.study.variants["more"] == {"lambda_style_use_latent": 0, "lambda_style_use_reference": 0.25, "lambda_cyc": 2}
    assert preset_from_dict(most.as_dict()) == most  # spelled out: what a run folder keeps needs no other variant


def test_a_variant_may_be_like_one_of_a_shipped_preset(tmp_path):
    file = tmp_path / "like.toml"
    file.write_text(LIKE.replace('like = "plain"', 'like = "beyond/teacher_critic"'))
    theirs = load_preset("beyond").study.variants["teacher_critic"]  # which is itself like one of another preset, which is like its neighbour
    assert load_preset(str(file)).study.variants["more"] == {**theirs, "lambda_style_use_reference": 0.25, "lambda_cyc": 2}
    alone = load_preset("methods").study.variants["teacher_alone"]
    assert theirs["student_decay_iterations"] == 1000 and theirs["lambda_output_l1"] == alone["lambda_output_l1"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('like = "plain"', 'like = "beyond/nothing"', "variant more: like = 'beyond/nothing': must be another variant, one of plain, most; or PRESET/VARIANT"),
        ('like = "more"', 'like = "mroe"', "like.toml: variant most: like = 'mroe': must be another variant, one of plain, more"),
        ('like = "more"', 'like = "most"', "variant most: like = 'most': must be another variant, one of plain, more"),
        ('like = "plain"', 'like = "most"', "must be another variant, one of plain"),  # in a circle
    ],
)
def test_a_variant_is_like_another_that_is_there(tmp_path, old, new, said):
    file = tmp_path / "like.toml"
    file.write_text(LIKE.replace(old, new))
    with pytest.raises(InputError, match=re.escape(said)):
        load_preset(str(file))


@pytest.mark.parametrize("name", preset_names())
def test_every_variant_of_a_shipped_preset_loads(name):
    preset = load_preset(name)
    for variant in preset.study.variants:
        varied = load_preset(name, variant=variant)
        assert any(getattr(varied, section) != getattr(preset, section) for section in ("training", "losses", "student_generator"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lambda_style_use_latent", "image_size", "variant plain: image_size is no setting of [training], [losses] or [student_generator]"),
        ("lambda_style_use_latent", "lambda_style", "variant plain: lambda_style is no setting"),
        ("variants.plain", 'variants."a b"', "variant 'a b': it becomes part of a folder's name"),
        ("lambda_style_use_latent = ", "filter_keep = 5.", "variant plain: filter_keep = 5.0: must lie between 0 and 1"),
        ("alphas = [8]", "alphas = [8]\nmain_alpha = 9", "main_alpha = 9: must be one of alphas, 8"),
        ("alphas = [8]", "alphas = [8]\nseeds = [1, 1]", "seeds = [1, 1]: each must be 0 or more and named once"),
    ],
)
def test_bad_studies_are_named(tmp_path, old, new, said):
    file = tmp_path / "varied.toml"
    file.write_text(VARIED.replace(old, new))
    with pytest.raises(InputError, match=re.escape(said)):
        load_preset(str(file))


def test_an_unknown_variant_lists_those_there_are(tmp_path):
    file = tmp_path / "varied.toml"
    file.write_text(VARIED)
    with pytest.raises(InputError, match="variant = 'other': no such variant; this preset has plain"):
        load_preset(str(file), variant="other")
    with pytest.raises(InputError, match="this preset has none"):
        load_preset("smoke", variant="other")


def test_a_preset_says_only_what_differs_from_its_base(tmp_path):
    (tmp_path / "near.toml").write_text('base = "mini"\n[training]\nbatch_size = 4\n[study]\nalphas = [24]\n')
    near, mini = load_preset(tmp_path / "near.toml"), load_preset("mini")
    assert near.training == dataclasses.replace(mini.training, batch_size=4)
    for section in ("data", "networks", "losses", "logging", "evaluation", "machine"):
        assert getattr(near, section) == getattr(mini, section)
    assert (near.name, near.base, near.description, near.study.alphas, near.study.variants) == ("near", "mini", "", (24,), {})
    assert preset_from_dict(near.as_dict()) == near
    assert load_preset(tmp_path / "near.toml", batch_size=2, lambda_cyc=3).losses.lambda_cyc == 3.0
    (tmp_path / "on_top.toml").write_text('base = "ablation"\n[training]\nbatch_size = 4\n[study]\nalphas = [24]\n')
    on_top = load_preset(tmp_path / "on_top.toml")  # of a base that has one itself
    assert on_top.training == dataclasses.replace(mini.training, batch_size=4, student_iterations=load_preset("ablation").training.student_iterations)
    assert on_top.base == "ablation" and on_top.networks == mini.networks


def test_variants_start_from_their_base_s_students():
    """Nothing but the machine's section and the study's own may differ: else they would start elsewhere."""
    beyond, mini = load_preset("beyond"), load_preset("mini")
    same = ("data", "networks", "student_generator", "training", "losses", "logging", "evaluation")
    assert all(getattr(beyond, section) == getattr(mini, section) for section in same)
    assert beyond.study.variants_only and beyond.study.main == mini.study.main and beyond.study.seeds == mini.study.seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "minni"', "base = 'minni': must be a shipped preset, one of ablation, afhq"),
        ("base = 3", "base = 3: must be a shipped preset"),
        ('name = "mini"\nbase = "ablation"', "ablation.toml: base = 'mini': must be a shipped preset, one of afhq, beyond"),
        ('name = "mini"\nbase = "mini"', "base = 'mini': must be a shipped preset"),
        ('base = "mini"\n[trainnig]\nseed = 1', "unknown section or setting trainnig"),
        ('base = "mini"\n[training]\nsed = 1', r"based.toml \[training\]: unknown setting sed"),
        ('base = "mini"\ntraining = 3', r"\[training\]: must be a section"),
        ('base = "mini"\n[training]\nseed = 1\n[study]\nvariants_only = true', r"variants_only with settings of its own in \[training\]"),
        ('base = "mini"\n[study]\nvariants_only = true', "the preset needs a base and variants"),
    ],
)
def test_bad_bases_are_named(tmp_path, text, said):
    (tmp_path / "based.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_preset(tmp_path / "based.toml")
