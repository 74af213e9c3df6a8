"""What values settings may have: every one that is out of range is an error which names it."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from kdlib.architecture import check_down_blocks, check_masks_exist
from kdlib.errors import InputError

if TYPE_CHECKING:
    from kdlib.settings import Preset

VARIED = ("training", "losses", "student_generator")  # sections whose settings a variant may change
_AT_LEAST_ONE = {
    "image_size", "teacher_alpha", "style_dim", "latent_dim", "batch_size", "log_every", "sample_every",
    "checkpoint_every", "keep_checkpoints", "r1_every", "evaluation_batch_size", "teacher_iterations", "student_iterations",
    "evaluation_seeds", "style_fit_iterations",
}  # fmt: skip
_PROBABILITIES = {"crop_probability", "flip_probability", "style_warp", "ema_decay", "filter_keep"}
_BELOW_ONE = {"beta1", "beta2"}  # Adam's
_CHOICES = {
    "source": ("critters", "folder"),
    "precision": ("float32", "bfloat16"),
    "distillation_real": ("teacher", "data", "both"),
    "style_space": ("own", "init", "fitted", "teacher"),
    "style_match_of": ("data", "both"),
    "discriminator_start": ("noise", "teacher"),
    "frozen": ("generator", "style_encoder", "mapping_network"),
    "perceptual_network": ("discriminator", "squeezenet"),  # not the factor network: it is what scores
    "feature_stages": ("bottleneck", "decoder"),
    "filter_score": ("discriminator", "cycle"),
    "weights_precision": ("float32", "float16"),
    "selection": ("last", "best_candidate"),
    "feature_networks": ("factor_network", "squeezenet", "inception_torchvision", "inception_pytorch_fid"),
}


def check_ranges(preset: Preset) -> None:
    """Raise `InputError`, naming the setting, for a value out of range or at odds with another one."""
    for section in filter(dataclasses.is_dataclass, vars(preset).values()):
        for name, value in vars(section).items():
            if name in _CHOICES:
                for one in value if isinstance(value, tuple) else (value,):
                    if one not in _CHOICES[name]:
                        raise InputError(f"{name} = {one!r}: must be one of {', '.join(map(repr, _CHOICES[name]))}")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if name in _AT_LEAST_ONE and value < 1:
                    raise InputError(f"{name} = {value}: must be at least 1")
                if not 0 <= value < float("inf"):
                    raise InputError(f"{name} = {value}: must be 0 or more, and finite")
                if name in _PROBABILITIES and value > 1:
                    raise InputError(f"{name} = {value}: must lie between 0 and 1")
                if name in _BELOW_ONE and value >= 1:
                    raise InputError(f"{name} = {value}: must be 0 or more, and less than 1")
    for split, counts in preset.data.expected.items():
        for domain, count in counts.items():
            if count < 1:
                raise InputError(f"expected_{split}, {domain} = {count}: must be at least 1; leave the domain out if any number will do")
    check_masks_exist(preset.networks.w_hpf, preset.data.image_size)
    if preset.networks.generator_down_blocks:
        check_down_blocks(preset.networks.generator_down_blocks, preset.data.image_size, preset.networks.w_hpf)
    if preset.student_generator != type(preset.student_generator)():
        preset.architecture(2, alpha=1, student=True)  # names a width or a square of pixels that this picture size does not allow
    training = preset.training
    if training.filter_keep == 0:
        raise InputError("filter_keep = 0.0: would keep none of the teacher's pictures; give a share above 0, or 1 to keep all")
    if training.student_mapping_width and training.style_space == "teacher":
        raise InputError(f"student_mapping_width = {training.student_mapping_width}: style_space = 'teacher' takes the teacher's F, whose width is given")
    if (energy := preset.losses.lambda_style_energy) and training.style_space not in ("init", "fitted"):
        raise InputError(f"lambda_style_energy = {energy}: is of the fit before training; set style_space to 'init' or 'fitted'")
    if not training.feature_stages or len(set(training.feature_stages)) < len(training.feature_stages):
        raise InputError(f"feature_stages = {list(training.feature_stages)}: name at least one, and each once")
    _check_start(preset)
    if preset.evaluation.outputs_per_source < 2:
        raise InputError("outputs_per_source: diversity needs at least 2 outputs a source")
    _check_study(preset)
    if not isinstance(preset.name, str) or not re.fullmatch(r"[\w.-]+", preset.name) or preset.name == "reference":
        raise InputError(f"preset name {preset.name!r}: it names a folder under runs/; use letters, digits, '.', '_', '-', not 'reference'")
    networks = preset.evaluation.feature_networks
    if not networks or len(set(networks)) < len(networks):
        raise InputError(f"feature_networks = {list(networks)}: name at least one, and each once")
    if preset.data.source == "folder" and "factor_network" in networks:
        raise InputError(
            "feature_networks: 'factor_network' knows Critters only; for pictures of a folder name others, "
            "e.g. -p feature_networks squeezenet,inception_torchvision"
        )
    if preset.data.source == "folder" and not preset.data.data_root:
        raise InputError("data_root is empty: give the folder that holds train/ and val/, e.g. -p data_root /data/afhq")


# Losses that teach a network: where it is frozen they would be computed for nothing.
_TEACHING = {
    "generator": (
        "lambda_adv", "lambda_sty", "lambda_ds", "lambda_cyc", "lambda_image_adv_latent", "lambda_image_adv_reference", "lambda_style_use_latent",
        "lambda_style_use_reference", "lambda_source_latent", "lambda_source_reference", "lambda_output_l1", "lambda_output_perceptual", "lambda_feature",
    ),
    "style_encoder": ("lambda_style_match",),
    "mapping_network": ("lambda_style_adv_target", "lambda_style_adv_source", "lambda_style_l1_target", "lambda_style_l1_source"),
}  # fmt: skip


def _check_start(preset: Preset) -> None:
    training, losses = preset.training, preset.losses
    if training.frozen and not training.start_variant:
        raise InputError(f"frozen = {list(training.frozen)}: would keep networks of noise; give start_variant, whose networks are kept")
    if "mapping_network" in training.frozen and training.style_space != "own":
        raise InputError(f"style_space = {training.style_space!r}: changes F, which frozen keeps; set style_space to 'own' or take F from frozen")
    for network in training.frozen:
        if teaching := [name for name in _TEACHING[network] if getattr(losses, name) > 0]:
            raise InputError(f"frozen = {network!r}: {', '.join(teaching)} would teach it; set what teaches it to 0")


def _check_study(preset: Preset) -> None:
    study = preset.study
    alphas, seeds = study.alphas, study.seeds
    if not alphas or min(alphas) < 1 or len(set(alphas)) < len(alphas):
        raise InputError(f"alphas = {list(alphas)}: needs at least one width, each at least 1 and named once")
    if study.main not in alphas:
        raise InputError(f"main_alpha = {study.main}: must be one of alphas, {', '.join(map(str, alphas))}")
    if len(set(seeds)) < len(seeds) or any(seed < 0 for seed in seeds):
        raise InputError(f"seeds = {list(seeds)}: each must be 0 or more and named once")
    for name, values in study.variants.items():
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise InputError(f"variant {name!r}: it becomes part of a folder's name; use a to z, digits and '_'")
        strangers = [key for key in values if not any(key in vars(getattr(preset, section)) for section in VARIED)]
        earlier = list(study.variants)[: list(study.variants).index(name)]
        if (start := values.get("start_variant")) and start not in earlier:
            raise InputError(f"variant {name}: start_variant = {start!r}: must be a variant above it in the preset: {', '.join(earlier) or 'there is none'}")
        if strangers or not values:
            raise InputError(
                f"variant {name}: "
                + (f"{', '.join(strangers)} is no setting of [training], [losses] or [student_generator]" if strangers else "changes no setting")
            )
    if study.variants_only and not (preset.base and study.variants):
        raise InputError("variants_only: trains variants of a base's main width; the preset needs a base and variants")
    if preset.variant and preset.variant not in study.variants:
        known = f"this preset has {', '.join(study.variants)}" if study.variants else "this preset has none"
        raise InputError(f"variant = {preset.variant!r}: no such variant; {known}")
