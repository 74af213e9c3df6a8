"""Narrowed generators against the whole one with the cut channels' readers at zero, the benchmark around them, and the page's fragments."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import pytest
import stage_sensitivity as benchmark
import torch
from made_up_study import made_frechet, plain, tables_of, write_run
from test_generator_design import hand_count
from test_networks import CLOSE, noise, randomised
from torch import nn

from kdlib.analysis.kept_study import load_study
from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.blocks import SeparableConv
from kdlib.book import width_report
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.narrowing import Group, block_groups, importances, narrowed
from kdlib.networks import Generator, build_networks
from kdlib.paths import REPOSITORY

ARCHITECTURES = [
    Architecture(64, 3, 12, False, 0, 5),
    Architecture(64, 3, 12, True, 0, 5),
    Architecture(64, 2, 9, True, design=GeneratorDesign((6, 9), separable_up=True, separable_bottleneck=True, pixel_shuffle=2)),
    Architecture(256, 2, 64, True, 2.0, 2),
]


def silence(convolution: nn.Module, channels: torch.Tensor) -> None:
    """Set the weights to zero that read ``channels``."""
    with torch.no_grad():
        (convolution.pointwise if isinstance(convolution, SeparableConv) else convolution).weight[:, channels] = 0


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=str)
def test_what_is_cut_is_what_nobody_reads(arch):
    whole = randomised(Generator(arch))
    x, s = noise(1, 3, arch.image_size, arch.image_size), noise(1, 64, seed=2)
    masks = tuple(noise(1, 1, 256, 256, seed=i).sigmoid() for i in (3, 4)) if arch.w_hpf else None
    widths = arch.generator_widths
    assert len(set(widths)) == len(widths)  # between equal ones a channel goes on by itself, see the next test
    for stage, width in enumerate(widths):
        silent = copy.deepcopy(whole)
        cut = {group: values.argmin()[None] for group, values in importances(whole).items() if group.stage == stage}
        for name, groups in block_groups(arch).items():
            block = silent.get_submodule(name)
            for group, reader in ((groups.entering, block.conv1), (groups.inner, block.conv2), (groups.entering, block.shortcut)):
                if group in cut and not isinstance(reader, nn.Identity):
                    silence(reader, cut[group])
            if name == f"decode.{arch.generator_down_blocks + 1}" and groups.leaving in cut:
                silence(silent.to_rgb, cut[groups.leaving])
        with torch.no_grad():
            got = narrowed(whole, stage, width - 1)(x, s, masks)
            torch.testing.assert_close(got, silent(x, s, masks), **CLOSE)
            assert not torch.allclose(got, whole(x, s, masks), **CLOSE)
            torch.testing.assert_close(narrowed(whole, stage, width)(x, s, masks), whole(x, s, masks), **CLOSE)


def test_a_shortcut_without_weights_forgets_the_cut_channels():
    """Between stages of equal width a channel goes to itself: once cut, its place in the sum holds the residual alone."""
    arch = Architecture(64, 2, 4, True, base_width=4)
    block = narrowed(randomised(Generator(arch)), 0, 3).encode[0]
    assert block.shortcut.weight.shape == (4, 3, 1, 1)
    assert block.shortcut.weight.sum() == 3 and set(block.shortcut.weight.flatten().tolist()) == {0.0, 1.0}


def test_counts_and_groups():
    whole = Generator(Architecture(64, 2, 12, True, base_width=5))
    made = narrowed(whole, 1, 7)
    assert made.arch.generator_widths == [5, 7, 12] and made.arch.alpha == 12
    counted = benchmark.counts(made)
    assert (counted["parameters"], counted["macs"]) == hand_count(64, [5, 7, 12])
    groups = {group for three in block_groups(whole.arch).values() for group in three}
    assert {g.place for g in groups if g.stage == 2} == {"flow", "encode.2", "encode.3", "decode.0", "decode.1"}
    assert {g.place for g in groups if g.stage == 0} == {"encoder flow", "decoder flow", "encode.0", "decode.3"}
    assert all(len(values) == (5, 10, 12)[group.stage] for group, values in importances(whole).items())


def test_the_least_read_go_first():
    whole = randomised(Generator(Architecture(64, 2, 12, True, base_width=5)))
    silence(whole.encode[0].conv2, torch.tensor([1, 4]))  # of what is between the convolutions of the first block
    assert importances(whole)[Group(0, "encode.0")].argsort()[:2].sort().values.tolist() == [1, 4]


def test_impossible_cuts_are_named():
    whole = Generator(Architecture(64, 2, 12, True, base_width=5))
    for stage, width, message in ((3, 4, "stage = 3: this generator has 3, 0 to 2"), (1, 0, "width = 0"), (1, 11, "stage 1 has 10 channels")):
        with pytest.raises(InputError, match=message):
            narrowed(whole, stage, width)


# ---- the benchmark and the page ----


def test_cases():
    assert benchmark.cases([24, 48], [0.125, 0.5]) == [(0, 0.125, 21), (0, 0.5, 12), (1, 0.125, 42), (1, 0.5, 24)]
    assert benchmark.cases([1, 2], [0.1]) == [(1, 0.1, 1)]


def test_stages_hold_all_macs():
    whole = Generator(Architecture(64, 2, 12, True, base_width=5))
    found = benchmark.stages(whole)
    assert [(s["side"], s["width"]) for s in found] == [(64, 5), (32, 10), (16, 12)]
    assert sum(s["macs"] for s in found) == hand_count(64, [5, 10, 12])[1]


@pytest.fixture
def result(monkeypatch, tmp_path):
    """The folder of a result, and the result, of a network that is scored by its widths."""
    nets = build_networks(12, 2, True, 0, 64, base_width=5, seed=0).averaged_copy()
    model = SimpleNamespace(preset=load_preset("quick"), nets=nets, name="mini/alpha12")
    pictures = SimpleNamespace(open_data=lambda p: SimpleNamespace(val=None), judges_of=lambda p: None, score=lambda p, these, *_, **__: these.arch)
    monkeypatch.setattr(benchmark, "session", pictures)
    monkeypatch.setattr(benchmark, "headline_scores", lambda arch: {"reference": {"frechet_factor_network": 100.0 / sum(arch.generator_widths)}})
    monkeypatch.setattr(benchmark, "draw_inputs", lambda *_: noise(2, 3, 64, 64).float())
    monkeypatch.setattr(benchmark, "translations", lambda these, x: these.generator(x, torch.ones(2, 64)).detach().numpy())
    monkeypatch.setattr(benchmark, "load_model", lambda path: model)
    assert benchmark.main(["--shares", "0.5", "--json", str(tmp_path / "sensitivity.json")]) == 0
    return tmp_path, json.loads((tmp_path / "sensitivity.json").read_text())


def test_the_benchmark_and_its_fragments(result):
    folder, found = result
    assert [(r["side"], r["width"], r["left"]) for r in found["rows"]] == [(64, 5, 3), (32, 10, 5), (16, 12, 6)]
    assert all(r["macs"] < found["whole"]["macs"] and r["error"]["mean"] > 0 for r in found["rows"]) and found["whole"]["error"]["max"] == 0
    parts = width_report.fragments(folder)
    assert "64×64" in parts["stages"] and "Fréchet distance" in parts["sensitivity"] and "kdplot" in parts["sensitivity"]
    for size in (64, 256):
        assert parts[f"candidates_{size}"].startswith(f"Not measured yet: `python benchmarks/latency.py --size {size} --candidates")


def test_trained_widths_stand_beside_the_one_cap_taught_in_the_same_way(repository):
    said = "Not trained yet, or not kept: the commands are below."
    assert width_report.fragments()["trained"] == f"{said}\n"
    assert all(line in width_report.fragments()["commands"] for line in (width_report.SENSITIVITY, *width_report.STUDY))
    preset = load_preset(width_report.PRESET)
    one_cap, main = load_preset(width_report.METHODS, variant=width_report.RECIPE), preset.study.main
    for name in preset.study.variants:  # else a difference would not be the widths'
        varied = load_preset(width_report.PRESET, variant=name)
        assert (varied.training, varied.losses, varied.networks) == (one_cap.training, one_cap.losses, one_cap.networks)
        assert varied.student_generator != one_cap.student_generator
    write_run(repository, width_report.PRESET, main, True, variant="fast", pictures=False)
    assert width_report.fragments()["trained"] == f"{said}\n"  # nothing to compare it with
    write_run(repository, width_report.METHODS, main, True, variant=width_report.RECIPE, pictures=False)
    text = plain(width_report.fragments()["trained"])
    (lines,) = tables_of(text)
    assert lines["seeds"] == {"": "seeds", f"one cap, α = {main}": "1 seed", "fast": "1 seed"}
    expected = [f"{made_frechet(main, True, 777, 'latent', v):.2f}" for v in ("teacher_critic", "fast")]
    assert list(lines["Fréchet distance (factor network), latent"].values())[1:] == expected
    assert "Not trained yet: `alpha48-kd-thin_outside`, `alpha48-kd-wide_outside`" in text and "kd-fast" not in text


def test_trained_widths_stand_with_the_time_of_their_own_generator(repository):
    """A third of one cap's time, by the model of the same widths in the plain form; none of another width is taken for it."""
    main = load_preset(width_report.PRESET).study.main
    write_run(repository, width_report.METHODS, main, True, variant=width_report.RECIPE, pictures=False)
    for variant in ("fast", "thin_outside"):
        write_run(repository, width_report.PRESET, main, True, variant=variant, pictures=False)
    archs = {name: load_preset(width_report.PRESET, variant=name or None).architecture(3, alpha=main, student=True) for name in ("", "fast")}
    told = [(archs[""], "plain", 0.012), (archs["fast"], "joined", 0.001), (archs["fast"], "plain", 0.004)]
    models = {f"m{i}": {**dataclasses.asdict(arch), "form": form} for i, (arch, form, _) in enumerate(told)}
    rows = [{"model": f"m{i}", "runtime": "openvino", "precision": "fp32", "median_seconds": seconds} for i, (_, _, seconds) in enumerate(told)]
    (repository / width_report.PRESET / "here").mkdir()
    path = repository / width_report.PRESET / "here" / "latency_64.json"
    path.write_text(json.dumps({"models": models, "rows": rows, "threads": 2, "environment": {"processor": "Abacus 2000"}}))
    (lines,) = tables_of(width_report.trained(*map(load_study, (width_report.PRESET, width_report.METHODS)), path.parents[1]))
    (line,) = [cells for name, cells in lines.items() if name == "time of G, OpenVINO, `here`"]
    assert list(line.values())[1:] == ["12 ms", "–", "4.0 ms (0.33×)"]


def test_candidates_are_compared_with_the_teacher_of_their_own_form(tmp_path):
    archs = {
        "teacher": Architecture(64, 3, 192, False, base_width=24), "teacher, joined": Architecture(64, 3, 192, False, base_width=24),
        "plain": Architecture(64, 3, 24, True, base_width=24),
        "half": Architecture(64, 3, 24, True, base_width=24, design=GeneratorDesign((40, 32), pixel_shuffle=2)),
    }  # fmt: skip
    forms = {"teacher, joined": "joined", "half": "joined"}
    models = {n: {**dataclasses.asdict(a), "parameters": 1, "macs": m, "form": forms.get(n, "plain")} for (n, a), m in zip(archs.items(), (90, 90, 30, 15))}
    seconds = {"teacher": 0.12, "teacher, joined": 0.06, "plain": 0.015, "half": 0.005}
    rows = [
        {"model": name, "runtime": "openvino", "precision": precision, "median_seconds": value / faster}
        for name, value in seconds.items() for precision, faster in (("fp32", 1), ("int8", 4))
    ]  # fmt: skip
    (tmp_path / "here").mkdir()
    about = {"threads": 2, "environment": {"processor": "Abacus 2000"}}
    (tmp_path / "here" / "latency_64.json").write_text(json.dumps({"models": models, "rows": rows, **about}))
    text = width_report.fragments(tmp_path)["candidates_64"].replace("\N{NO-BREAK SPACE}", " ")
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")}
    assert cells["teacher, joined"][2:] == ["", "", "60 ms", "15 ms"]
    assert cells["plain"][2:] == ["28.0×", "3.0×", "15 ms, 8.0×", "3.8 ms, 8.0×"]
    assert cells["half"][1:] == ["40·32 from 32 px, joined", "21.7×", "6.0×", "5.0 ms, 12.0×", "1.2 ms, 12.0×"]
    assert "Here so fast and so small:\n\n- OpenVINO, fp32: half (12.0 times, 200 pictures a second)\n" in text  # 8 bits, which no picture was judged in, do not count
    large = {name: {**m, "image_size": 256, "base_width": None, "alpha": 512 if "teacher" in name else 128} for name, m in models.items()}
    large["half"] |= {"design": dataclasses.asdict(GeneratorDesign((64, 96, 128, 160), pixel_shuffle=2))}
    for faster, verdict in ((1, "**Some untrained generators reach the aim** in floats"), (0.1, "**No generator reaches the aim** in floats.")):
        slower = [{**row, "median_seconds": row["median_seconds"] / faster} for row in rows]
        (tmp_path / "here" / "latency_256.json").write_text(json.dumps({"models": large, "rows": slower, **about}))
        assert verdict in width_report.fragments(tmp_path)["candidates_256"]


def test_the_page_includes_every_fragment(tmp_path):
    page = (REPOSITORY / "book" / "where_width_goes.md").read_text(encoding="utf-8")
    parts = width_report.fragments(tmp_path)
    assert {f"_generated/width_{name}.md" for name in parts} == {line.split()[-1] for line in page.splitlines() if line.startswith("```{include}")}
    assert parts["stages"].startswith("Not measured yet: `python benchmarks/stage_sensitivity.py")
