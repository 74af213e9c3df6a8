"""Sharpness: the power of pictures at every spatial frequency, beside that of real ones.

Frechet distance and factor scores see pictures through networks that were trained to name what is drawn, and such a network may well
pass over a blur or a weave. The power spectrum does not: Durall et al. 2020, "Watch your up-convolution", tell generated pictures
from real ones by it alone. What is blurred lacks power at high frequencies; the weave that upsampling leaves has too much of it at a few.

Differences from that paper: frequencies are not averaged over directions, since a weave lies along the axes; pictures are faded out
towards their borders (Hann window), whose jump would otherwise fill every frequency; and the mean over a set is one of decibels, so that
every picture counts alike.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from kdlib.data import Split
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.scoring.feature_network import check_images

DISTANCE, FINE = "spectral_distance", "fine_detail"
REAL_PICTURES = 2000  # of a domain at most: a mean over so many is known to 0.12 dB at every frequency
DEFINITION = (
    "mean decibels of the windowed (Hann) power spectrum of whole 8-bit levels, mean over red, green, blue; distance: root mean square over "
    f"all frequencies of outputs minus at most {REAL_PICTURES} training pictures of the target; fine detail: mean above half the highest"
)
# Rounding to 8 bits adds noise of this power to every frequency: what lies below cannot be told from it, and even a plain picture has it.
_ROUNDING = (2 / 255) ** 2 / 12


@functools.cache
def _window(size: int) -> Tensor:
    """A Hann window [size size] with a mean square of 1."""
    line = torch.hann_window(size, periodic=True, dtype=torch.float64)
    window = line[:, None] * line
    return window / window.square().mean().sqrt()


def decibels(images: Tensor) -> Tensor:
    """The power of square pictures [N 3 S S] in [-1, 1] at every frequency: 10 log10, [N S S] float64, frequencies as `torch.fft.fft2` has them.

    White noise of variance v has 10 log10(v) everywhere, whatever the size of the picture.
    Raises `InputError` for pictures that are not square.
    """
    check_images(images)
    size = images.shape[-1]
    if images.shape[-2] != size:
        raise InputError(f"a spectrum needs square pictures, got {list(images.shape)}")
    pixels = images.to("cpu", torch.float64)
    spectrum = torch.fft.fft2((pixels - pixels.mean(dim=(2, 3), keepdim=True)) * _window(size))
    power = spectrum.abs().square().mean(dim=1) / size**2
    return 10 * (power + _ROUNDING).log10()


class MeanSpectrum:
    """The mean of `decibels` over pictures that arrive in batches and are not kept."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: np.ndarray | float = 0.0

    @classmethod
    def of_split(cls, split: Split, domain: int, batch_size: int = 32) -> "MeanSpectrum":
        """That of a domain's real pictures: a fixed random choice of `REAL_PICTURES` where there are more."""
        count = split.counts[domain]
        chosen = np.sort(np.random.default_rng(0).permutation(count)[:REAL_PICTURES])
        spectrum = cls()
        for start in range(0, len(chosen), batch_size):
            spectrum.add(to_float(split.images(domain)[chosen[start : start + batch_size]]))
        return spectrum

    def add(self, images: Tensor) -> None:
        """The next pictures [N 3 S S] in [-1, 1], holding whole 8-bit levels."""
        self._sum = self._sum + decibels(images).sum(dim=0).numpy()
        self.count += len(images)

    @property
    def mean(self) -> np.ndarray:
        """[S S] in decibels. Raises `InputError` where there were no pictures."""
        if not self.count:
            raise InputError("a mean spectrum needs at least one picture")
        return self._sum / self.count


def spectral_scores(outputs: MeanSpectrum, real: MeanSpectrum) -> dict[str, float]:
    """``spectral_distance``: root mean square over all frequencies of what lies between two mean spectra, in decibels.

    ``fine_detail``: the mean of outputs minus real over frequencies above half the highest, where a period is shorter than four
    pixels; below 0 pictures are blurred, -3 dB being half the power, above 0 they are grainy or woven.
    Raises `InputError` for spectra of different sizes.
    """
    if outputs.mean.shape != real.mean.shape:
        raise InputError(f"pictures of {len(outputs.mean)} px and of {len(real.mean)} px have no frequencies in common")
    difference = outputs.mean - real.mean
    line = np.fft.fftfreq(len(difference))  # in periods a pixel, up to 1/2
    fine = np.hypot(line[:, None], line) > 0.25
    return {DISTANCE: float(np.sqrt(np.mean(difference**2))), FINE: float(difference[fine].mean())}
