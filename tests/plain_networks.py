"""The networks a second time: plain functions of a state dict, written from the description of the method and not from kdlib's code.

Slow and without options, for `test_networks` to compare with. ``w`` is a state dict with the library's names, ``name`` a layer in it.
"""

import math

import torch
import torch.nn.functional as F


def conv(w, name, x, padding=0, groups=1):
    return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding, groups=groups)


def conv3(w, name, x):
    if f"{name}.depthwise.weight" in w:
        return conv(w, f"{name}.pointwise", conv(w, f"{name}.depthwise", x, padding=1, groups=x.shape[1]))
    return conv(w, name, x, padding=1)


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def lrelu(x, slope=0.2):
    return torch.where(x > 0, x, slope * x)


def halve(x):
    n, c, height, width = x.shape
    return x.reshape(n, c, height // 2, 2, width // 2, 2).mean(dim=(3, 5))


def double(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def standardise(x):
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(dim=(2, 3), keepdim=True) + 1e-5)


def affine_norm(w, name, x):
    return standardise(x) * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def style_norm(w, name, x, s):
    h = linear(w, f"{name}.affine", s)[:, :, None, None]
    gamma, beta = h[:, : x.shape[1]], h[:, x.shape[1] :]
    return (1 + gamma) * standardise(x) + beta


def encoder_block(w, name, x, down, norm):
    r = affine_norm(w, f"{name}.norm1", x) if norm else x
    r = conv3(w, f"{name}.conv1", lrelu(r))
    if down:
        r = halve(r)
    if norm:
        r = affine_norm(w, f"{name}.norm2", r)
    r = conv3(w, f"{name}.conv2", lrelu(r))
    shortcut = conv(w, f"{name}.shortcut", x) if f"{name}.shortcut.weight" in w else x
    return (r + (halve(shortcut) if down else shortcut)) / math.sqrt(2)


def decoder_block(w, name, x, s, up, student, skip):
    r = lrelu(style_norm(w, f"{name}.norm1", x, s))
    if up and not student:
        r = double(r)
    r = conv3(w, f"{name}.conv1", r)
    if up and student:
        r = double(r)
    r = conv3(w, f"{name}.conv2", lrelu(style_norm(w, f"{name}.norm2", r, s)))
    if skip:
        return r
    shortcut = double(x) if up else x
    if f"{name}.shortcut.weight" in w:
        shortcut = conv(w, f"{name}.shortcut", shortcut)
    return (r + shortcut) / math.sqrt(2)


def high_pass(x, w_hpf):
    """9 times the centre less the sum of the 3x3 neighbourhood: 8 in the middle, -1 around."""
    return (9 * x - 9 * F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=True)) / w_hpf


def generator(w, arch, x, s, masks=None):
    downs = arch.down_blocks or int(math.log2(arch.image_size)) - 4 + (1 if arch.w_hpf > 0 else 0)
    h, seen = conv(w, "from_rgb", x, padding=1), {}
    for i in range(downs + 2):
        seen[h.shape[2]] = h if i < downs else None
        h = encoder_block(w, f"encode.{i}", h, down=i < downs, norm=True)
    for i in range(2 + downs):
        h = decoder_block(w, f"decode.{i}", h, s, up=i >= 2, student=arch.student, skip=arch.w_hpf > 0)
        size = h.shape[2]
        if masks is not None and size in (32, 64, 128):
            mask = F.interpolate(masks[0 if size == 32 else 1], size=(size, size), mode="bilinear", align_corners=False)
            h = h + high_pass(mask * seen[size], arch.w_hpf)
    return conv(w, "to_rgb", lrelu(affine_norm(w, "to_rgb_norm", h)))


def trunk(w, arch, x):
    downs = int(math.log2(arch.image_size)) - 2
    h = conv(w, "shared.0", x, padding=1)
    for i in range(1, downs + 1):
        h = encoder_block(w, f"shared.{i}", h, down=True, norm=False)
    return lrelu(conv(w, f"shared.{downs + 2}", lrelu(h)))


def style_encoder(w, arch, x, y):
    h = trunk(w, arch, x)[:, :, 0, 0]
    return torch.stack([linear(w, f"heads.{int(d)}", h[i]) for i, d in enumerate(y)])


def discriminator(w, arch, x, y):
    logits = conv(w, "heads", trunk(w, arch, x))[:, :, 0, 0]
    return torch.stack([logits[i, int(d)] for i, d in enumerate(y)])


def perceptron(w, code, y, slope):
    for layer in (0, 2, 4, 6):
        code = lrelu(linear(w, f"shared.{layer}", code), slope)
    rows = []
    for i, d in enumerate(y):
        h = code[i]
        for layer in (0, 2, 4):
            h = lrelu(linear(w, f"branches.{int(d)}.{layer}", h), slope)
        rows.append(linear(w, f"branches.{int(d)}.6", h))
    return torch.stack(rows)
