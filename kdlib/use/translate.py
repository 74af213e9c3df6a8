"""What one calls to use a model: load it by name, give it pictures, get pictures.

    translator = kdlib.load("mini/teacher")
    translator.translate("photo.png", "dog", seed=7)               # -> PIL picture, in the style of a latent
    translator.translate("photo.png", "dog", reference="ref.png")  # in the style of another picture
    translator.interpolate("photo.png", "dog", seed=[1, 2, 3])     # -> list of PIL pictures

Pictures are whatever `kdlib.use.user_pictures` reads. A model needs no label of the source: ``domain`` is the one to translate into,
for references too, which are read as members of it. So a picture is rebuilt (as in a cycle) by its own domain and itself as the
reference. Nothing global is kept or changed; the same call gives the same picture, whatever else is in its batch.
"""

import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data import step_rng
from kdlib.devices import resolve_device
from kdlib.errors import InputError
from kdlib.grids import BATCH_SIZE, to_uint8
from kdlib.images import MAX_PIXELS
from kdlib.networks import Networks
from kdlib.runs import Run
from kdlib.scoring.selection import evaluated_weights
from kdlib.use.interpolation import path_between
from kdlib.use.model_names import find_model
from kdlib.use.models import Model, load_model
from kdlib.use.user_pictures import read_squares

DEFAULT_SEED = 0
THROUGH = ("styles", "latents")

Domain = str | int
Size = int | tuple[int, int] | None


def load(
    path_or_name: str | Path, *, device: str = "auto", landmarks: str | Path | None = None, domains: Sequence[str] | None = None
) -> "Translator":
    """A model ready to translate: of a run folder, of a run's name, or of a released `*_nets_ema.ckpt`.

    Names are those of `kdlib.use.model_names`, such as mini/teacher.
    ``device``: auto, cpu, cuda, ... ``landmarks``: wing.ckpt, for a model with a high-pass skip that does not come with it.
    ``domains``: names in the order of training, alphabetical as a rule, for a released checkpoint, which holds none; without
    them its domains are called "0", "1", ...
    Raises `InputError` for a model that does not exist, naming those that do, and for whatever `kdlib.use.models.load_model` refuses.
    """
    place = find_model(path_or_name)
    model = load_model(place, landmarks, resolve_device(device))
    return Translator(model, evaluated_weights(Run(place)) if place.is_dir() else place, domains)


class Translator:
    """G, E and F of one model, ready to use.

    ``model``: the networks and what is known about them; ``weights_file``: where they come from; ``domains``: see `load`.
    """

    def __init__(self, model: Model, weights_file: Path | None = None, domains: Sequence[str] | None = None):
        count = model.nets.arch.domains
        if domains is not None and model.domains is not None and tuple(domains) != model.domains:
            raise InputError(f"domains = {', '.join(domains)}: {model.name} names its own, {', '.join(model.domains)}")
        if domains is not None and (len(domains) != count or len(set(domains)) < count):
            raise InputError(f"domains = {', '.join(domains)}: {model.name} has {count} domains; name each once")
        self.model = model
        self.weights_file = weights_file
        self._named = bool(domains or model.domains)
        self.domains: tuple[str, ...] = tuple(domains or model.domains or map(str, range(count)))

    @property
    def name(self) -> str:
        """How the model is called: "mini/teacher", or the name of a released file."""
        return self.model.name

    @property
    def nets(self) -> Networks:
        """The networks, frozen and in eval mode; see `kdlib.networks` for their shapes."""
        return self.model.nets

    @property
    def image_size(self) -> int:
        """Pixels a side that the model works at."""
        return self.nets.arch.image_size

    @property
    def latent_dim(self) -> int:
        return self.nets.arch.latent_dim

    @property
    def device(self) -> torch.device:
        return next(self.nets.generator.parameters()).device

    @property
    def parameters(self) -> int:
        """Weights of G, E and F; the landmark network of a faces model is not counted."""
        return sum(p.numel() for _, network in self.nets.modules() for p in network.parameters())

    @property
    def file_size(self) -> int | None:
        """Bytes of the weights' file; a released faces model's may hold the landmark network too. None if there is no file."""
        return self.weights_file.stat().st_size if self.weights_file else None

    def __repr__(self) -> str:
        what = f"{self.model.label}, {self.image_size} px, {', '.join(self.domains)}, {self.parameters:,} weights"
        return f"<Translator {self.name}: {what}, on {self.device}>"

    def domain_index(self, domain: Domain) -> int:
        """The label y of a domain given by name or by label. Raises `InputError`, naming the known ones."""
        if isinstance(domain, str) and domain in self.domains:
            return self.domains.index(domain)
        if not isinstance(domain, (str, bool)) and hasattr(domain, "__index__") and 0 <= operator.index(domain) < len(self.domains):
            return operator.index(domain)
        unnamed = "" if self._named else "; its file has no names for them, give them as `domains` when it is loaded"
        raise InputError(f"domain {domain!r}: {self.name} knows {', '.join(self.domains)}{unnamed}")

    def latent(self, seed: int) -> Tensor:
        """The latent z [Z] of a seed, standard normal: a function of the seed alone, the same for every model of that Z."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or operator.index(seed) < 0:
            raise InputError(f"seed = {seed!r}: give a whole number of at least 0")
        drawn = step_rng(operator.index(seed), 0, "translate").standard_normal(self.latent_dim, dtype=np.float32)
        return torch.from_numpy(drawn)

    @torch.no_grad()
    def styles(self, domain: Domain | Sequence[Domain], *, seed: Any = None, latent: Any = None, reference: Any = None, fit: str = "crop") -> Tensor:
        """Style codes [K S] of one or several domains, by a seed (0 if nothing is given), a latent [Z] or a reference picture.

        Each may be several: seeds in a list, latents [K Z], pictures in a list or a folder. One domain serves all of them, one of
        them serves all domains, and equally many go in pairs. Raises `InputError` where two kinds of guide are given.
        """
        return self._styles(domain, seed, latent, reference, fit)[0]

    def translate(
        self, pictures: Any, domain: Domain | Sequence[Domain], *, seed: Any = None, latent: Any = None, reference: Any = None,
        fit: str = "crop", size: Size = None, batch_size: int = BATCH_SIZE,
    ) -> Image.Image | list[Image.Image]:  # fmt: skip
        """``pictures`` in the styles that the rest describes (see `styles`) -> one RGB picture, or a list of them.

        One picture in several styles, several pictures in one style, or equally many, paired; a list comes back where anything
        given was one. ``fit`` makes pictures and references square: "crop", "pad" or "stretch" (`kdlib.use.user_pictures.read_squares`).
        ``size``: pixels a side, or (width, height), of the result, resized from the model's own, which is the default.
        Raises `InputError` for whatever of this cannot be used, in one line that says why.
        """
        _check_size(size)
        x, batch = read_squares(pictures, self.image_size, fit)
        styles, several = self._styles(domain, seed, latent, reference, fit)
        outputs = self.render(x, styles, _pairs(len(x), len(styles), "pictures", "styles"), batch_size)
        results = [_resized(Image.fromarray(output), size) for output in to_uint8(outputs)]
        return results if batch or several else results[0]

    def interpolate(
        self, picture: Any, domain: Domain | Sequence[Domain], *, seed: Any = None, latent: Any = None, reference: Any = None,
        frames: int = 12, loop: bool = False, through: str = "styles", fit: str = "crop", size: Size = None, batch_size: int = BATCH_SIZE,
    ) -> list[Image.Image]:  # fmt: skip
        """One picture on its way from style to style (two or more, given as for `styles`) -> RGB frames.

        ``frames`` from one style to the next; K styles make (K - 1) * frames + 1, or K * frames with ``loop``, which comes back to
        the first. ``through``: "styles", in straight lines as StarGAN-v2's videos; or "latents", on the sphere, within one domain
        and for seeds and latents only (`kdlib.use.interpolation`). Write them by `kdlib.use.animation.write_animation`.
        """
        _check_size(size)
        if through not in THROUGH:
            raise InputError(f"through = {through!r}: choose one of {', '.join(THROUGH)}")
        x, _ = read_squares(picture, self.image_size, fit)
        if len(x) != 1:
            raise InputError(f"{len(x)} pictures to interpolate: give one at a time")
        if through == "latents":
            styles = self._styles_through_latents(domain, seed, latent, reference, frames, loop)
        else:
            styles = path_between(self._styles(domain, seed, latent, reference, fit)[0], frames, loop)
        outputs = self.render(x, styles, ([0] * len(styles), range(len(styles))), batch_size)
        return [_resized(Image.fromarray(output), size) for output in to_uint8(outputs)]

    @torch.no_grad()
    def render(self, x: Tensor, styles: Tensor, pairs: tuple[Iterable[int], Iterable[int]] | None = None, batch_size: int = BATCH_SIZE) -> Tensor:
        """Pictures x [P 3 H W] in [-1, 1] of the model's size, in styles [K S] -> [N 3 H W], the generator's floats, on the CPU.

        ``pairs``: N indices of pictures and N of styles; None: as they stand, P = K = N. Face masks are made where the model has
        the high-pass skip. Raises `InputError` for shapes that do not fit, and if the outputs are not finite.
        """
        which, how = (torch.as_tensor(list(index)) for index in pairs or (range(len(x)), range(len(styles))))
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}: must be at least 1")
        if len(which) != len(how) or len(which) == 0:
            raise InputError(f"{len(which)} pictures and {len(how)} styles: they go in pairs, one at least")
        outputs = []
        for p, k in zip(which.split(batch_size), how.split(batch_size), strict=True):
            distinct, where = torch.unique(p, return_inverse=True)  # a picture in many styles is encoded once
            sources = x[distinct].to(self.device)
            content = self.nets.generator.content(sources, self.nets.masks(sources))
            outputs.append(self.nets.generator.render(content.of(where.to(self.device)), styles[k.to(styles.device)].to(self.device)).cpu())
        result = torch.cat(outputs)
        if not torch.isfinite(result).all():
            raise InputError(f"{self.name}: its output holds NaN or infinite values; these weights have diverged")
        return result

    def _labels(self, domain: Domain | Sequence[Domain]) -> tuple[Tensor, bool]:
        several = isinstance(domain, Iterable) and not isinstance(domain, str)
        labels = [self.domain_index(d) for d in (domain if several else [domain])]
        if not labels:
            raise InputError(f"no domain given: {self.name} knows {', '.join(self.domains)}")
        return torch.tensor(labels), several

    @torch.no_grad()
    def _styles(self, domain: Any, seed: Any, latent: Any, reference: Any, fit: str) -> tuple[Tensor, bool]:
        """Style codes [K S], and whether several were asked for."""
        labels, several = self._labels(domain)
        network, guides, many = self._guides(seed, latent, reference, fit)
        which, how = _pairs(len(labels), len(guides), "domains", "styles")
        parts = zip(guides[how].split(BATCH_SIZE), labels[which].split(BATCH_SIZE))
        return torch.cat([network(g.to(self.device), y.to(self.device)) for g, y in parts]), several or many

    def _guides(self, seed: Any, latent: Any, reference: Any, fit: str) -> tuple[Any, Tensor, bool]:
        """The network that makes styles of what is given, what it is given ([K Z] or [K 3 H W]), and whether that was several."""
        given = [name for name, value in (("seed", seed), ("latent", latent), ("reference", reference)) if value is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} given: a style comes from one of seed, latent and reference")
        if reference is not None:
            return self.nets.style_encoder, *read_squares(reference, self.image_size, fit)
        if latent is not None:
            return self.nets.mapping_network, *self._latents(latent)
        seed = DEFAULT_SEED if seed is None else seed
        many = isinstance(seed, Iterable) and not isinstance(seed, str)
        seeds = list(seed) if many else [seed]
        if not seeds:
            raise InputError("no seed given: the list is empty")
        return self.nets.mapping_network, torch.stack([self.latent(s) for s in seeds]), many

    def _latents(self, latent: Any) -> tuple[Tensor, bool]:
        try:
            z = torch.as_tensor(latent if isinstance(latent, Tensor) else np.asarray(latent, np.float32)).detach().cpu().float()
        except (TypeError, ValueError) as error:
            raise InputError(f"latent: not numbers of the form [{self.latent_dim}] or [N {self.latent_dim}]") from error
        if z.ndim not in (1, 2) or z.shape[-1] != self.latent_dim or z.numel() == 0 or not torch.isfinite(z).all():
            raise InputError(f"latent of shape {list(z.shape)}: {self.name} takes finite numbers [{self.latent_dim}] or [N {self.latent_dim}]")
        return z.reshape(-1, self.latent_dim), z.ndim == 2

    @torch.no_grad()
    def _styles_through_latents(self, domain: Any, seed: Any, latent: Any, reference: Any, frames: int, loop: bool) -> Tensor:
        if reference is not None:
            raise InputError("through = 'latents': references have no latents; interpolate through styles")
        labels, _ = self._labels(domain)
        if len(labels) > 1:
            raise InputError("through = 'latents': latents are mapped into one domain; give one, or interpolate through styles")
        network, guides, _ = self._guides(seed, latent, None, "crop")
        path = path_between(guides, frames, loop, spherical=True)
        return network(path.to(self.device), labels.expand(len(path)).to(self.device))


def _pairs(a: int, b: int, what_a: str, what_b: str) -> tuple[Tensor, Tensor]:
    """Indices that pair a things with b: one with all, or each with its own."""
    if a != b and 1 not in (a, b):
        raise InputError(f"{a} {what_a} and {b} {what_b}: give one of either, or equally many")
    n = max(a, b)
    return (torch.arange(n) if a > 1 else torch.zeros(n, dtype=torch.long)), (torch.arange(n) if b > 1 else torch.zeros(n, dtype=torch.long))


def _check_size(size: Size) -> None:
    sides = () if size is None else size if isinstance(size, (tuple, list)) else (size, size)
    whole = all(hasattr(side, "__index__") and not isinstance(side, bool) and side > 0 for side in sides)
    if len(sides) not in (0, 2) or not whole or (sides and sides[0] * sides[1] > MAX_PIXELS):
        raise InputError(f"size = {size!r}: give pixels a side, or (width, height), no more than {MAX_PIXELS // 10**6} million pixels in all")


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    wanted = picture.size if size is None else tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return picture if wanted == picture.size else picture.resize(wanted, Image.Resampling.BICUBIC)
