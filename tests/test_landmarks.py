"""The landmark network, and the masks against a plain numpy implementation of their recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdlib.data import Batch
from kdlib.errors import InputError
from kdlib.landmark_network import CoordConv, LandmarkNetwork
from kdlib.landmarks import LandmarkMasks, masks_from_heatmaps
from kdlib.learner import make_learner
from kdlib.networks import Networks, build_networks
from kdlib.released import landmark_layout
from kdlib.settings import LossWeights, TrainingSettings
from kdlib.training_step import train_iteration

LAYOUTS = json.loads((Path(__file__).parent / "data" / "layouts.json").read_text(encoding="utf-8"))


def spots(seed: int, n: int = 1, faint: bool = False) -> torch.Tensor:
    """Heatmaps with one Gaussian spot a channel, of random place and height, over a little noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64]
    cy, cx = rng.uniform(0, 64, (2, n, 98, 1, 1))
    height = rng.uniform(0.05 if faint else 0.5, 1.2, (n, 98, 1, 1))
    maps = height * np.exp(-((rows - cy) ** 2 + (columns - cx) ** 2) / 8) + rng.normal(0, 0.02, (n, 98, 64, 64))
    return torch.tensor(maps, dtype=torch.float32)


def plain_masks(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The recipe step by step, on one set of heatmaps [98 64 64], in float64."""
    position = np.arange(256) * 63 / 255  # corners aligned
    below = np.minimum(position.astype(int), 62)
    upsample = np.zeros((256, 64))
    upsample[np.arange(256), below] = 1 - (position - below)
    upsample[np.arange(256), below + 1] += position - below
    x = np.array([upsample @ channel @ upsample.T for channel in heatmaps.astype(np.float64)])

    x[x < 0.1] = 0
    for c in range(98):
        x[c] = (x[c] - x[c].min()) / (x[c].max() - x[c].min() + 1e-6)

    def shifted(channel, n):
        """Row n goes to row 0."""
        return np.array([channel[(row + n) % 256] for row in range(256)])

    for first, end, shift, power in [
        (8, 25, 0, 3), (33, 51, -7, 2), (55, 60, 8, 4), (77, 82, -8, 4), (83, 88, 8, 4), (88, 96, -2, 3)
    ]:  # fmt: skip
        for c in range(first, end):
            x[c] = shifted(x[c], shift) ** power
    for c in [*range(0, 8), *range(25, 33), 33, 46, 76, 82]:
        x[c] = 0
    for c in range(52, 55):
        x[c] = shifted(x[c], 4)
    for c in range(60, 76):
        x[c] = shifted(x[c], -8) ** 3 + shifted(x[c], -24)
    second = x.copy()
    second[8:25] = second[76:96] = second[33:51] = 0
    return np.clip(x.sum(0), 0, 1), np.clip(second.sum(0), 0, 1)


@pytest.mark.parametrize("faint", [False, True])
def test_masks_equal_a_plain_implementation(faint):
    heatmaps = spots(0, faint=faint)
    for ours, plain in zip(masks_from_heatmaps(heatmaps), plain_masks(heatmaps[0].numpy())):
        assert ours.shape == (1, 1, 256, 256)
        assert 0.02 < plain.mean() < 0.9 and (plain == 1).any()  # the comparison says something
        # float32 against float64 over sums of up to 60 maps; a value at the threshold 0.1 may fall on either side of it
        # in single pixels, so nearly all pixels must agree, not all.
        assert (np.abs(ours[0, 0].numpy() - plain) < 1e-5).mean() > 0.9999


def test_masks_of_a_batch_are_those_of_its_pictures():
    heatmaps = spots(1, n=2)
    together = masks_from_heatmaps(heatmaps)
    for i in range(2):
        for ours, alone in zip(together, masks_from_heatmaps(heatmaps[i : i + 1])):
            assert torch.equal(ours[i : i + 1], alone)


# (landmark, rows up, in mask 1 too), the first and last of every part
MOVES = [
    (8, 0, False), (24, 0, False), (34, -7, False), (45, -7, False), (47, -7, False), (50, -7, False), (51, 0, True),
    (52, 4, True), (54, 4, True), (55, 8, True), (59, 8, True), (77, -8, False), (81, -8, False), (83, 8, False),
    (87, 8, False), (88, -2, False), (95, -2, False), (96, 0, True), (97, 0, True),
]  # fmt: skip


def one_pixel_each(channels: list[int], row: int) -> torch.Tensor:
    """Heatmaps of a single pixel a channel, in that row, three columns apart so that they do not touch when upsampled."""
    heatmaps = torch.zeros(1, 98, 64, 64)
    for i, channel in enumerate(channels):
        heatmaps[0, channel, row, 3 * i] = 1
    return heatmaps


def columns_of(mask: torch.Tensor, i: int) -> torch.Tensor:
    """What the i-th of those pixels became, [256 W]: one column of heatmap is 255 / 63 pixels wide."""
    centre = round(3 * i * 255 / 63)
    return mask[0, 0, :, max(0, centre - 3) : centre + 4]


@pytest.mark.parametrize("row", [0, 63])  # rows 0 and 255 of the picture, where shifts wrap around
def test_parts_move_and_wrap(row):
    whole, detail = masks_from_heatmaps(one_pixel_each([channel for channel, _, _ in MOVES], row))
    for i, (channel, up, both) in enumerate(MOVES):
        spot = columns_of(whole, i)
        peak = (row // 63 * 255 - up) % 256
        assert spot.max(dim=1).values.argmax().item() == peak, channel
        assert spot.max() == pytest.approx(1, abs=1e-5)  # 1 - eps of the normalisation, to the 4th power at most
        assert torch.equal(columns_of(detail, i), spot if both else torch.zeros_like(spot)), channel


def test_eyes_are_drawn_twice():
    for mask in masks_from_heatmaps(one_pixel_each([60, 75], 63)):  # row 255 moves down by 8 and by 24, round the edge
        for i in range(2):
            column = columns_of(mask, i).max(dim=1).values
            assert [r for r in range(1, 255) if column[r] > max(column[r - 1], column[r + 1])] == [7, 23]


def test_landmarks_that_do_not_count():
    for mask in masks_from_heatmaps(one_pixel_each([0, 7, 25, 32, 33, 46, 76, 82], 32)):
        assert not mask.any()


def test_faint_heatmaps_vanish_and_weak_ones_are_stretched():
    for mask in masks_from_heatmaps(one_pixel_each([51], 32) * 0.0999):
        assert not mask.any()  # and nothing is divided by zero
    for mask in masks_from_heatmaps(one_pixel_each([51], 32) * 0.2):
        assert mask.max() == pytest.approx(1, abs=1e-4)  # 1 - eps / 0.18
        assert mask[mask > 0].min() > 0.5  # what lay below 0.1, half of the spot's height, is gone


def test_masks_need_98_heatmaps():
    for shape in [(1, 99, 64, 64), (1, 98, 256, 256), (98, 64, 64)]:
        with pytest.raises(InputError, match=r"need \[N 98 64 64\]"):
            masks_from_heatmaps(torch.zeros(shape))


def test_landmark_network_is_the_published_one():
    with torch.device("meta"):
        network = LandmarkNetwork()
    assert sum(p.numel() for p in network.parameters()) == 6_333_603
    assert {name: "x".join(map(str, shape)) for name, shape in landmark_layout().items()} == LAYOUTS["fan"]["fan"]


def test_coordinates_of_a_coordconv():
    conv = CoordConv(1, 3, 1, bias=False)
    conv.weight.data = torch.eye(4)[1:, :, None, None]  # let the three maps through, not the picture
    row, column, distance = conv(torch.rand(1, 1, 5, 3))[0]
    np.testing.assert_allclose(row.detach(), np.repeat([[-1], [-0.5], [0], [0.5], [1]], 3, axis=1), atol=1e-6)
    np.testing.assert_allclose(column.detach(), np.repeat([[-1, 0, 1]], 5, axis=0), atol=1e-6)
    assert distance[0, 0].item() == pytest.approx(1) and distance[2, 1].item() == pytest.approx(0)
    assert distance[2, 2].item() == pytest.approx(2**-0.5)  # one unit of the diagonal's sqrt(2)


class QuickHeatmaps(nn.Module):
    """In the landmark network's place: differentiable heatmaps of a picture, at no cost, with weights and statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 99, 1)

    def forward(self, x):
        return self.conv(self.norm(nn.functional.avg_pool2d(x, 4)))


def quick_masks() -> LandmarkMasks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LandmarkMasks(QuickHeatmaps())


def pictures(seed: int, n: int = 1, size: int = 256) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_landmark_masks_are_frozen_constants():
    masks, x = quick_masks(), pictures(0).requires_grad_()
    before = {name: tensor.clone() for name, tensor in masks.state_dict().items()}
    masks.train()
    nn.ModuleList([masks]).train()
    assert not any(module.training for module in masks.modules())
    assert not any(p.requires_grad for p in masks.parameters())
    got = masks.masks(x)
    assert not any(mask.requires_grad for mask in got)
    assert all(torch.equal(tensor, before[name]) for name, tensor in masks.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(got, masks(x)))
    with torch.no_grad():  # the network sees [0, 1], the boundary channel is dropped
        expected = masks_from_heatmaps(masks.network((x + 1) / 2)[:, :98])
    for mask, other in zip(got, expected):
        torch.testing.assert_close(mask, other, rtol=0, atol=1e-5)  # x * 0.5 + 0.5 against (x + 1) / 2, to the 4th power


def test_landmark_masks_keep_float32_under_autocast():
    masks, x = quick_masks(), pictures(0)
    plain = masks.masks(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, masks.masks(x)))


def test_landmark_masks_need_256_pixels():
    for shape in [(1, 3, 128, 128), (1, 1, 256, 256), (3, 256, 256)]:
        with pytest.raises(InputError, match=r"need \[N 3 256 256\]"):
            quick_masks().masks(torch.zeros(shape))


def face_networks(alpha: int, student: bool, seed: int) -> Networks:
    nets = build_networks(alpha, 2, student, 1, 256, seed=seed)
    nets.landmarks = quick_masks()
    return nets


def test_landmarks_are_no_part_of_what_is_trained():
    nets = face_networks(8, True, 0)
    assert "landmarks" not in dict(nets.modules())
    average = nets.averaged_copy()
    assert average.landmarks is nets.landmarks and "landmarks" not in dict(average.modules())
    learner = make_learner(nets, TrainingSettings(), LossWeights(), 10)
    trained = {id(p) for o in learner.optimizers.values() for group in o.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in nets.landmarks.parameters()}
    assert not any("landmark" in key for _, network in nets.modules() for key in network.state_dict())


def test_a_model_with_the_skip_but_no_landmarks_refuses():
    with pytest.raises(InputError, match="face masks"):
        build_networks(8, 2, True, 1, 256, seed=0).masks(pictures(0))
    assert build_networks(8, 2, True, 0, 32, seed=0).masks(pictures(0)) is None


def test_masks_steer_the_generator_and_leave_the_cycle_its_gradient():
    nets = face_networks(8, True, 0)
    x, s = pictures(1), torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    first = nets.generator(x, s, nets.masks(x))
    assert (first - nets.generator(x, s)).abs().max() > 1e-3
    whole, detail = nets.masks(x)
    for other in [(torch.zeros_like(whole), detail), (whole, torch.zeros_like(detail))]:
        assert (first - nets.generator(x, s, other)).abs().max() > 1e-4

    def gradients(masks):
        fake = nets.generator(x, s, (whole, detail))
        fake.retain_grad()
        (nets.generator(fake, s, masks(fake)) - x).abs().mean().backward()
        found = [fake.grad, nets.generator.from_rgb.weight.grad.clone()]
        nets.generator.zero_grad()
        return found

    constants = tuple(m.clone() for m in nets.masks(first.detach()))
    through, around = gradients(nets.masks), gradients(lambda fake: constants)
    for a, b in zip(through, around):
        assert a.abs().max() > 0
        assert torch.equal(a, b)  # the masks of the generated picture are constants


class Recorder(LandmarkMasks):
    seen: list[torch.Tensor]

    def masks(self, x):
        self.seen.append(x.detach().float())
        return super().masks(x)


def test_masks_in_a_distillation_step():
    """Sources are looked at once; the four cycle passes look at the picture they start from, not at the source."""
    torch.manual_seed(0)
    recorder = Recorder(QuickHeatmaps())
    recorder.seen = []
    student, teacher = face_networks(4, True, 1), face_networks(6, False, 2)
    student.landmarks = teacher.landmarks = recorder
    before = {name: tensor.clone() for name, tensor in recorder.state_dict().items()}
    learner = make_learner(student, TrainingSettings(), LossWeights(), 10, teacher)
    x, y = pictures(3), torch.tensor([0])
    z, z2 = torch.randn(2, 1, 16)
    train_iteration(learner, Batch(x, y, pictures(4), pictures(5), 1 - y, z, z2))
    assert len(recorder.seen) == 5
    assert torch.equal(recorder.seen[0], x)
    assert not any(torch.equal(seen, x) for seen in recorder.seen[1:])
    assert all(torch.equal(tensor, before[name]) for name, tensor in recorder.state_dict().items())
