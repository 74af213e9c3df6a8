"""From one style to the next: straight lines between style codes, great circles between latents.

StarGAN-v2's videos move in straight lines between style codes s [S], and so does this by default. Codes of both guides lie in
one space, so references can be connected as well as latents. Latents z [Z] are standard normal and lie near a sphere, of which
a straight line would cut the inside; between them the way goes along the sphere (Shoemake 1985; White 2016), and the mapping
network makes a style of every point. The thesis shows neither.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.errors import InputError

PARALLEL = 1e-4  # radians; nearer than that to one line, the great circle's formula divides nothing by nothing


def path_between(keys: Tensor, frames: int, loop: bool = False, spherical: bool = False) -> Tensor:
    """``keys`` [K D] and the points between them -> [T D], ``frames`` steps of equal length from each key to the next.

    T = (K - 1) * frames + 1; with ``loop``, which goes back to the first key without repeating it, T = K * frames.
    Raises `InputError` for fewer than two keys or less than one frame.
    """
    if keys.ndim != 2 or len(keys) < 2:
        raise InputError(f"{len(keys)} style{'' if len(keys) == 1 else 's'} to interpolate between: give at least two")
    if frames < 1:
        raise InputError(f"frames = {frames}: at least 1 from one style to the next")
    ends = keys.roll(-1, dims=0) if loop else keys[1:]
    t = torch.arange(frames, dtype=keys.dtype, device=keys.device)[:, None] / frames
    between = great_circle if spherical else torch.lerp
    parts = [between(a.expand(frames, -1), b.expand(frames, -1), t) for a, b in zip(keys, ends)]
    return torch.cat(parts if loop else [*parts, keys[-1:]])


def great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation from a [N D] to b [N D] at t [N 1] in [0, 1] -> [N D].

    Parallel vectors are connected by a straight line, and so are opposite ones, which many great circles join.
    """
    start, end = a.double(), b.double()  # in float32 the angle of nearly parallel vectors is mostly rounding
    cosine = (F.normalize(start, dim=1) * F.normalize(end, dim=1)).sum(1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    straight = (angle < PARALLEL) | (angle > torch.pi - PARALLEL)
    angle = torch.where(straight, 1.0, angle)
    curved = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
    return torch.where(straight, torch.lerp(a, b, t), curved.to(a.dtype))
