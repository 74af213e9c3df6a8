"""The draws of an evaluation, what is made of them, and the step from floats to pictures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.utils import save_image

from kdlib.images import load_image, to_float
from kdlib.networks import build_networks
from kdlib.scoring.protocol import Draws, Translations, choose_kept, choose_sources, draw_latents, draw_references, to_8_bits


def test_draws_are_pure_functions_and_stay_what_they_are():
    assert (draw_latents(777, 1, 5, 10, 16) == draw_latents(777, 1, 5, 10, 16)).all()
    for other in ((778, 1, 5), (777, 2, 5), (777, 1, 6)):
        assert not (draw_latents(777, 1, 5, 10, 16) == draw_latents(*other, 10, 16)).any()
    # Golden: the scores kept in the repository depend on these draws.
    np.testing.assert_allclose(draw_latents(777, 1, 0, 10, 16)[0, :3], [0.1854502, 1.301714, 0.6534416], rtol=1e-6)
    assert draw_references(777, 1, 0, 10, 50).tolist() == [30, 12, 27, 36, 24, 10, 35, 45, 46, 14]
    assert len(set(draw_references(0, 0, 0, 10, 10).tolist())) == 10
    assert set(draw_references(0, 0, 0, 10, 3).tolist()) <= {0, 1, 2}
    many = np.concatenate([draw_latents(0, 0, i, 10, 16).ravel() for i in range(200)])
    # 32,000 normal numbers: mean within 4 / sqrt(n), variance within 4 sqrt(2 / n).
    assert abs(many.mean()) < 0.023 and abs(many.var() - 1) < 0.032
    assert choose_sources(0, 0, 5, None).tolist() == [0, 1, 2, 3, 4]
    assert len(set(choose_sources(0, 0, 50, 9).tolist())) == 9


def test_kept_outputs_are_spread_over_the_sources():
    kept = choose_kept(20, 10, 50).reshape(20, 10)
    assert kept.sum() == 50
    assert set(kept.sum(axis=1)) == {2, 3}
    assert choose_kept(20, 10, 1000).all()
    assert set(choose_kept(20, 10, 8).reshape(20, 10).sum(axis=1)) == {0, 1}


def test_8_bits_are_those_of_a_png(tmp_path):
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 3 - 1.5  # beyond [-1, 1] too
    save_image((images / 2 + 0.5).clamp(0, 1), tmp_path / "output.png")
    assert (to_8_bits(images)[0] == load_image(tmp_path / "output.png", 16)).all()
    every = torch.arange(256, dtype=torch.uint8)
    assert (to_8_bits(to_float(every)) == every).all()


@pytest.mark.parametrize("w_hpf", [0, 1])
def test_a_recurring_source_is_encoded_once_and_translated_as_if_alone(w_hpf):
    size = 256 if w_hpf else 32  # masks exist at 256 px only
    nets = build_networks(8, 2, w_hpf=w_hpf, image_size=size, base_width=8, seed=0)
    fade = torch.linspace(0, 1, size).expand(1, 1, size, size)
    masks = {"masks": lambda x: (fade * x[:, :1].abs(), fade * x[:, 1:2].abs()) if w_hpf else None}
    g, encoded = nets.generator.double().eval(), []
    content = g.content
    g.content = lambda x, masks=None: encoded.append(len(x)) or content(x, masks)
    pictures = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    split = SimpleNamespace(domains=("a", "b"), counts=(4, 4), images=lambda domain: pictures)
    made = Translations(SimpleNamespace(generator=g, **masks), split, Draws(0, 2, 0, 16), 8, "cpu")
    made.images = lambda domain, indices: to_float(pictures[indices]).double()
    indices = np.array([2, 0, 2, 2, 3])
    styles = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = made.translate(0, indices, styles)
        assert encoded == [3]
        for i, index in enumerate(indices):
            x = to_float(pictures[index : index + 1]).double()
            # float64, another batch: far above rounding, far below any mistake
            torch.testing.assert_close(outputs[i : i + 1], g(x, styles[i : i + 1], masks["masks"](x)), rtol=1e-9, atol=1e-9)
