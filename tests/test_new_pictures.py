"""The benchmark on newly drawn pictures: what is scored on what, and the page's table from its result."""

import json
from types import SimpleNamespace

import new_pictures as benchmark
import pytest
from made_up_study import plain

from kdlib.book import new_pictures_report
from kdlib.config import load_preset


def test_both_data_sets_are_scored_by_one_protocol_and_shown(monkeypatch, tmp_path):
    seen = []

    def scored(preset, nets, dataset, judges, progress):
        seen.append((nets, preset.data.data_seed, preset.data.val_per_domain, preset.evaluation.outputs_per_source))
        assert dataset == preset.data.data_seed  # its own pictures, and no others
        value = 10.0 if preset.data.data_seed == 777 else 12.5
        return {"latent": {"frechet_factor_network": value}, "reference": {"frechet_factor_network": 2 * value, "style_correlation": 0.5}}

    model = lambda name: SimpleNamespace(name=name, nets=f"nets of {name}", preset=load_preset("mini"))  # noqa: E731
    monkeypatch.setattr(benchmark, "session", SimpleNamespace(open_data=lambda p, progress: p.data.data_seed, judges_of=lambda p: None, score=scored))
    monkeypatch.setattr(benchmark, "headline_scores", lambda result: result)
    monkeypatch.setattr(benchmark, "load_model", model)
    out = tmp_path / "new.json"
    assert benchmark.main(["--model", "a/b", "--model", "c/d", "--seed", "5", "--outputs", "4", "--json", str(out)]) == 0
    assert seen == [(f"nets of {name}", seed, 50, 4) for name in ("a/b", "c/d") for seed in (777, 5)]
    assert [row["model"] for row in json.loads(out.read_text())["rows"]] == ["a/b", "c/d"]
    text = plain(new_pictures_report.fragment(out))
    assert "| `a/b` | latent | 10.0 → 12.5 |" in text and "| `a/b` | reference | 20.0 → 25.0 |" in text and "0.50 → 0.50" in text and "seed 5, 4 outputs" in text


@pytest.mark.parametrize(
    ("preset", "arguments", "said"),
    [("mini", ["--seed", "777"], "--seed 777: the pictures of x/y are of that seed"), ("afhq", [], "x/y: its pictures are files; only Critters")],
)
def test_bad_input_is_named(monkeypatch, capsys, preset, arguments, said):
    monkeypatch.setattr(benchmark, "load_model", lambda name: SimpleNamespace(name="x/y", preset=load_preset(preset)))
    assert benchmark.main(["--model", "x/y", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_nothing_measured_says_so(repository):
    assert new_pictures_report.fragment().startswith("Not measured yet: `python benchmarks/new_pictures.py")
