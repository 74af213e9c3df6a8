"""Errors and tolerances against closed forms."""

import math

import numpy as np
import pytest

from kdlib.deploy.parity import Tolerance, headline_scores, output_errors, psnr, run_in_batches


def test_errors_of_a_known_difference():
    want = np.array([[0.0, 2.0], [0.0, 2.0]])  # standard deviation 1
    found = output_errors(want + np.array([[0.3, 0.0], [0.0, -0.1]]), want)
    assert found == {"max": pytest.approx(0.3), "mean": pytest.approx(0.1), "relative": pytest.approx(math.sqrt((0.09 + 0.01) / 4))}


def test_psnr_of_pictures_between_minus_one_and_one():
    black, white = np.full((2, 3, 4, 4), -1.0), np.ones((2, 3, 4, 4))
    assert psnr(black, white) == pytest.approx(0.0)  # as far apart as can be
    assert psnr(white + 0.02, white) == pytest.approx(20 * math.log10(2 / 0.02))  # 40 dB
    assert psnr(white, white) == math.inf


def test_batches_are_put_together_in_order():
    sizes = []

    def run(a, b):
        sizes.append(len(a))
        return a + 10 * b

    a, b = np.arange(7), np.arange(7) + 1
    assert run_in_batches(run, (a, b), 3).tolist() == (a + 10 * b).tolist()
    assert sizes == [3, 3, 1]


def evaluation(frechet=20.0, accuracy=0.9, leak=0.05, diversity=0.5, lpips=None):
    mean = {"frechet_x": frechet, "kernel_x": 1.0, "diversity_x": 2.0, "domain_accuracy": accuracy, "style_diversity": diversity}
    mean |= {} if lpips is None else {"lpips": lpips}
    networks = [{"name": "x", "scores": {"frechet": "frechet_x", "kernel": "kernel_x", "diversity": "diversity_x"}}]
    return {"protocol": {"feature_networks": networks}, "latent": {"mean": mean}, "reference": {"mean": mean | {"leak_correlation": leak}}}


@pytest.mark.parametrize(
    ("changed", "noise", "said"),
    [
        ({}, 30.0, []),
        ({"frechet": 20.99}, 35.0, []),
        ({"frechet": 15.0, "accuracy": 0.95, "leak": 0.0}, 35.0, []),  # better is no violation
        ({"frechet": 21.01}, 35.0, ["latent frechet_x 21.01 > 21.00", "reference frechet_x 21.01 > 21.00"]),
        ({"accuracy": 0.87}, 35.0, ["latent domain_accuracy 0.870 instead of 0.900", "reference domain_accuracy 0.870 instead of 0.900"]),
        ({"leak": 0.08}, 35.0, ["reference leak_correlation 0.080 instead of 0.050"]),
        ({"diversity": 0.2}, 35.0, []),  # less variety than noise had
        ({}, 29.9, ["PSNR 29.9 < 30 dB"]),
    ],
)
def test_what_is_beyond_the_tolerance(changed, noise, said):
    assert Tolerance(frechet=0.05, factors=0.02, psnr=30.0).violations(evaluation(**changed), evaluation(), noise) == said


def test_headline_scores_leave_out_what_tables_do():
    found = headline_scores(evaluation(lpips=0.3))
    assert found["latent"] == {"frechet_x": 20.0, "kernel_x": 1.0, "lpips": 0.3, "domain_accuracy": 0.9, "style_diversity": 0.5, "diversity_x": 2.0}
    assert found["reference"]["leak_correlation"] == 0.05
