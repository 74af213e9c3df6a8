"""The benchmark of blur: what it does to pictures, by closed forms, and the page's table from its result."""

import json
import math
from types import SimpleNamespace

import blurred_pictures as benchmark
import pytest
import torch
from made_up_translation import TRANSLATE, data, networks, run

from kdlib.book import gap_report


def noise(size=64):
    return 0.1 * torch.randn(20, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("deviation", [1.0, 1.5])
def test_a_gaussian_takes_so_much_of_the_power_of_noise(deviation):
    left = benchmark.blurred(noise(), deviation)[..., 6:-6, 6:-6].var() / noise().var()  # away from the edges, which are reflected
    assert left.item() == pytest.approx(1 / (4 * math.pi * deviation**2), rel=0.05)  # the integral of the kernel's square


def test_no_blur_and_a_weave():
    assert torch.equal(benchmark.blurred(noise(8), 0.0), noise(8))
    difference = benchmark.woven(noise(8), 0.05) - noise(8)
    assert difference[..., 0::2].flatten().tolist() == pytest.approx([0.05] * (20 * 3 * 32), abs=1e-6)
    assert difference[..., 1::2].flatten().tolist() == pytest.approx([-0.05] * (20 * 3 * 32), abs=1e-6)


def test_every_amount_is_scored_and_shown(monkeypatch, tmp_path):
    seen = []

    def scored(preset, nets, dataset, judges, progress):
        assert preset.evaluation.outputs_per_source == 3
        content = nets.generator.content(dataset.val.pictures)
        seen.append(nets.generator.render(content, nets.mapping_network(torch.zeros(1, 16), torch.zeros(1, dtype=torch.int64))))
        result = run(networks(TRANSLATE), data())
        for guide in ("latent", "reference"):
            result[guide]["mean"] |= {"frechet_factor_network": float(len(seen)), "kernel_factor_network": 0.0}
        return result

    pictures = noise(8)[:1]
    dataset = SimpleNamespace(train=SimpleNamespace(counts=(1,), image_size=8, images=lambda domain: torch.zeros(1, 3, 8, 8, dtype=torch.uint8).numpy()))
    dataset.val = SimpleNamespace(pictures=pictures)
    monkeypatch.setattr(benchmark, "session", SimpleNamespace(open_data=lambda p: dataset, judges_of=lambda p: None, score=scored))
    monkeypatch.setattr("kdlib.model_free.to_float", lambda images: pictures)
    out = tmp_path / gap_report.BLURRED
    assert benchmark.main(["--outputs", "3", "--blur", "0", "1", "--weave", "0.25", "--json", str(out)]) == 0
    assert torch.equal(seen[0], pictures) and torch.equal(seen[1], benchmark.blurred(pictures, 1.0)) and torch.equal(seen[2], benchmark.woven(pictures, 0.25))
    assert [(row["kind"], row["amount"]) for row in json.loads(out.read_text())["rows"]] == [("blur", 0.0), ("blur", 1.0), ("weave", 0.25)]
    text = gap_report.blurred(out)
    assert "| as they are | 1.0 / 1.0 |" in text and "| blurred by 1 px | 2.0 / 2.0 |" in text and "| woven by 0.25 | 3.0 / 3.0 |" in text
    assert "3 of each of 36 sources" in text


@pytest.mark.parametrize(("arguments", "said"), [(["--blur", "-1"], "must not be below 0"), (["--preset", "afhq"], "afhq: its pictures have no known factors")])
def test_bad_input_is_named(arguments, said, capsys):
    assert benchmark.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_not_measured_says_the_command(tmp_path):
    assert gap_report.blurred(tmp_path / "none.json").startswith("Not measured yet: `python benchmarks/blurred_pictures.py")
