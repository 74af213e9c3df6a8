"""Presets: strict reading, overrides, ranges."""

import pytest

from kdlib.config import SECTION_OF, load_preset, preset_from_dict, preset_names
from kdlib.errors import InputError


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


def test_override_by_name_and_none_keeps_the_preset():
    preset = load_preset("quick", lambda_ds=0, seed=None, alphas=[8])
    assert preset.losses.lambda_ds == 0.0
    assert preset.training.seed == load_preset("quick").training.seed
    assert preset.study.alphas == (8,)


def test_setting_names_are_unique_over_sections():
    from kdlib.config import SECTIONS
    import dataclasses

    names = [f.name for kind in SECTIONS.values() for f in dataclasses.fields(kind)]
    assert sorted(names) == sorted(SECTION_OF)


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
        ({"source": "folder", "feature_network": "squeezenet"}, "data_root"),
        ({"source": "folder", "data_root": "x"}, "factor_network"),
        ({"outputs_per_source": 1}, "outputs_per_source"),
    ],
)
def test_bad_overrides_are_named(override, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
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
        ("[training]\nbatch_size = '8'", "batch_size = '8'"),
    ],
)
def test_bad_preset_files_are_named(tmp_path, text, said):
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_preset(tmp_path / "odd.toml")


def test_unknown_preset_lists_the_shipped_ones():
    with pytest.raises(InputError, match="shipped: .*quick"):
        load_preset("quik")
