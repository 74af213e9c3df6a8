"""Operations counted against closed forms and another counter; memory against the system's own numbers."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from kdlib.architecture import Architecture
from kdlib.config import load_preset
from kdlib.networks import Generator
from kdlib.profiling import network_costs
from kdlib.runs import STUDENT, TEACHER, RunSettings
from kdlib.step_cost import count_flops, iteration_flops, peak_memory


def test_operations_of_a_convolution_and_its_gradients():
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1)
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    forward = 2 * 2 * 5 * 8 * 8 * 3 * 9
    assert count_flops(lambda: convolution(x)) == forward
    assert count_flops(lambda: convolution(x).sum().backward()) == 3 * forward  # as much for weights, as much for the picture
    assert count_flops(lambda: convolution(x).sum().backward(inputs=[convolution.weight])) == 2 * forward
    assert count_flops(lambda: torch.rand(4, 6) @ torch.rand(6, 7)) == 2 * 4 * 6 * 7


def test_a_gradient_of_a_gradient_is_counted():
    """R1's: the gradient towards the picture, then that gradient's towards the weights."""
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1)
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    forward = 2 * 2 * 5 * 8 * 8 * 3 * 9

    def penalty():
        (gradient,) = torch.autograd.grad((convolution(x) ** 2).sum(), x, create_graph=True)
        (gradient**2).sum().backward(inputs=[convolution.weight])

    # Forward, towards the picture; then back: through that (towards the weights and towards the output's gradient), through the first.
    assert count_flops(penalty) == 5 * forward


def test_a_translation_s_operations_are_twice_its_multiply_accumulates():
    arch = Architecture(32, 2, 8, True, base_width=8)
    generator = Generator(arch).eval()
    with torch.no_grad():
        flops = count_flops(lambda: generator(torch.rand(3, 3, 32, 32), torch.rand(3, 64)))
    assert flops == 3 * 2 * network_costs(arch, ["G"]).loc["G", "macs"]


@pytest.mark.parametrize("distill", [True, False])
def test_operations_of_an_iteration(distill):
    preset = load_preset("smoke")
    found = {alpha: iteration_flops(RunSettings(preset, STUDENT, alpha, distill, ("a", "b"), "")) for alpha in (8, 16)}
    assert 0 < found[8] < found[16]
    if distill:  # eight updates more
        assert found[8] > 1.5 * iteration_flops(RunSettings(preset, STUDENT, 8, False, ("a", "b"), ""))
    else:
        assert iteration_flops(RunSettings(preset, TEACHER, 24, False, ("a", "b"), "")) > found[16]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_lies_between_what_is_used_now_and_what_the_system_ever_saw():
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert 0.95 * now <= peak_memory() <= 1.05 * 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the kernel counts pages in batches
