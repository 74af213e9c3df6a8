"""Exported networks in the place of PyTorch's: modules around a runtime's call, with the interface of `kdlib.networks`.

What evaluates and shows a model (`kdlib.scoring.evaluation`, `kdlib.grids`) takes them as it takes the networks themselves, so the scores of
an exported model come from the one protocol. Tensors in, tensors out, all on the CPU.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlib.architecture import Architecture
from kdlib.deploy.runtimes import Runner
from kdlib.errors import InputError
from kdlib.networks import Networks, check_images, check_labels


class _Exported(nn.Module):
    """A runner in the place of a network: tensors in, a tensor out, on the CPU."""

    def __init__(self, arch: Architecture, run: Runner):
        super().__init__()
        self.arch, self._run = arch, run

    def _call(self, *inputs: Tensor) -> Tensor:
        return torch.from_numpy(self._run(*(t.detach().contiguous().numpy() for t in inputs)))


class ExportedContent(NamedTuple):
    """Stands for `kdlib.networks.Content`: an exported generator is one piece, so its content is the pictures themselves."""

    inputs: tuple[Tensor, ...]  # pictures and, with a high-pass skip, both masks

    def of(self, where: Tensor) -> "ExportedContent":
        """As `Content.of`."""
        return ExportedContent(tuple(t[where] for t in self.inputs))


class ExportedGenerator(_Exported):
    """As `kdlib.networks.Generator`; masks that are not given let nothing through, which is the same as none."""

    def forward(self, x: Tensor, s: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return self.render(self.content(x, masks), s)

    def content(self, x: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> ExportedContent:
        check_images(x, self.arch.image_size)
        if self.arch.w_hpf == 0:
            if masks is not None:
                raise InputError("masks were given to a generator without a high-pass skip")
            return ExportedContent((x,))
        return ExportedContent((x, *(masks or [torch.zeros_like(x[:, :1])] * 2)))

    def render(self, content: ExportedContent, s: Tensor) -> Tensor:
        x, *masks = content.inputs
        return self._call(x, s, *masks)


class ExportedStyleEncoder(_Exported):
    """As `kdlib.networks.StyleEncoder`."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, self.arch.image_size)
        check_labels(y, self.arch.domains)
        return self._call(x, y)


class ExportedMappingNetwork(_Exported):
    """As `kdlib.networks.MappingNetwork`."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        check_labels(y, self.arch.domains)
        return self._call(z, y)


WRAPPERS = {"generator": ExportedGenerator, "style_encoder": ExportedStyleEncoder, "mapping_network": ExportedMappingNetwork}


def exported_networks(nets: Networks, runners: dict[str, Runner]) -> Networks:
    """``nets`` with those networks that ``runners`` names run by these. Everything is on the CPU; masks stay PyTorch's."""
    wrapped = {name: WRAPPERS[name](nets.arch, run) for name, run in runners.items()}
    kept = {name: getattr(nets, name) for name in Networks.TRANSLATING if name not in wrapped}
    return Networks(nets.arch, **wrapped, **kept, landmarks=nets.landmarks)
