"""Runtimes against PyTorch and against each other; exported networks in the evaluation."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up_translation import FakeFeatures, split
from tiny_export import tiny, tiny_model, tiny_networks

from kdlib.deploy import runtimes
from kdlib.deploy.export import example_inputs
from kdlib.deploy.exported import exported_networks
from kdlib.deploy.onnx_files import save_onnx
from kdlib.deploy.quantisation import in_memory
from kdlib.deploy.runtimes import deploy_module, eager, onnxruntime, openvino
from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.judges import Judges


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "generator.onnx"
    save_onnx(path, tiny_model())
    return path


def inputs(count):
    return tuple(t.numpy() for t in example_inputs("generator", tiny("generator")[2], count, seed=7))


def test_all_runtimes_compute_the_same(file):
    given = inputs(3)
    want = tiny("generator")[0](*map(torch.from_numpy, given)).numpy()
    for run in (eager(tiny("generator")[0]), onnxruntime(file, 1), openvino(file, 1)):
        np.testing.assert_allclose(run(*given), want, rtol=1e-4, atol=2e-5)  # float32 in another order
        np.testing.assert_allclose(run(*(a[1:2] for a in given)), want[1:2], rtol=1e-4, atol=2e-5)


def test_a_result_is_not_overwritten_by_the_next_call(file):
    for run in (onnxruntime(file, 1), openvino(file, 1, batch=1)):
        first = run(*inputs(1))
        kept = first.copy()
        run(*(2 * a for a in inputs(1)))
        assert np.array_equal(first, kept)


def test_bfloat16_has_eight_bits():
    given = inputs(2)
    want = eager(tiny("generator")[0])(*given)
    error = np.abs(eager(tiny("generator")[0], "bf16")(*given) - want)
    # 8 bits of mantissa: 2**-9 of each number is lost at every rounding; some 60 of them follow each other here
    assert 2**-12 < error.mean() / want.std() < 2**-4


def test_what_cannot_be_opened_is_named(file, monkeypatch):
    with pytest.raises(InputError, match="precision = 'int4': PyTorch runs fp32, bf16, fp16"):
        eager(tiny("generator")[0], "int4")
    with pytest.raises(InputError, match="OpenVINO computes in fp32, bf16, fp16"):
        openvino(file, precision="int4")
    (file.parent / "text.onnx").write_text("none")
    with pytest.raises(InputError, match="text.onnx: OpenVINO cannot read it"):
        openvino(file.parent / "text.onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"openvino is not installed: .*\.\[deploy\]"):
        openvino(file)
    assert deploy_module("numpy") is np


def test_runtimes_and_their_clock_do_not_load_pytorch():
    code = "import kdlib.deploy.runtimes, kdlib.deploy.latency, kdlib.book.deployment_report, kdlib.deploy.export_cli, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "False"


def test_an_exported_model_scores_what_pytorch_s_does():
    """The evaluation cannot tell them apart: content and styles, latent- and reference-guided, all pass through the files."""
    nets = tiny_networks()
    exported = exported_networks(nets, {name: in_memory(tiny_model(name), 1) for name in Networks.TRANSLATING})
    train, val = split(8, 1, image_size=32), split(4, 2, image_size=32)
    data = SimpleNamespace(domains=train.domains, image_size=32, train=train, val=val)
    judges = Judges([FakeFeatures()])
    options = {"outputs_per_source": 2, "batch_size": 5, "progress": False}
    want, found = (evaluate(n, data, judges, **options) for n in (nets, exported))
    for part in ("latent", "reference", "reconstruction"):
        # Outputs are rounded to 8 bits: rounding errors of 1e-6 move one level of a few thousand.
        assert found[part]["mean"] == pytest.approx(want[part]["mean"], rel=1e-3), part
    assert want["latent"]["mean"]["frechet_fake"] > 0


def test_a_part_of_a_model_can_be_exported():
    nets = tiny_networks()
    half = exported_networks(nets, {"mapping_network": in_memory(tiny_model("mapping_network"), 1)})
    assert half.generator is nets.generator and half.mapping_network is not nets.mapping_network
    z, y = example_inputs("mapping_network", nets.arch, 3)
    assert torch.allclose(half.mapping_network(z, y), nets.mapping_network(z, y), atol=1e-5)


def test_masks_become_inputs_and_none_lets_nothing_through():
    seen = []
    nets = tiny_networks(domains=2, w_hpf=1.0, image_size=256, alpha=4, base_width=2)
    generator = exported_networks(nets, {"generator": lambda *given: seen.append(given) or given[0]}).generator
    x, s, *masks = example_inputs("generator", nets.arch, 2)
    generator(x, s, tuple(masks))
    generator.render(generator.content(x).of(torch.tensor([1])), s[1:])
    assert [np.array_equal(a, b) for a, b in zip(seen[0], (x, s, *masks), strict=True)] == [True] * 4
    assert np.array_equal(seen[1][0], x[1:]) and all(m.shape == (1, 1, 256, 256) and not m.any() for m in seen[1][2:])


def test_exported_networks_check_their_inputs():
    nets = tiny_networks()
    exported = exported_networks(nets, {name: lambda *_: np.zeros(1) for name in Networks.TRANSLATING})
    x, y = torch.zeros(1, 3, 64, 64), torch.zeros(1, dtype=torch.long)
    with pytest.raises(InputError, match="these networks take"):
        exported.style_encoder(x, y)
    with pytest.raises(InputError, match="without a high-pass skip"):
        exported.generator.content(torch.zeros(1, 3, 32, 32), (x, x))
    assert runtimes.runtime_versions().keys() == {"onnx", "onnxruntime", "openvino"}
