"""What distillation adds to an iteration: the thesis's eight terms (4.3, Eqs 31 to 38), and methods that it does not have.

Whose styles. In all of the thesis's terms both generators are given the TEACHER's style codes, F_T(z) or E_T(x_ref): the student's F
and E learn beside that to give such codes themselves. The methods below keep to that. Two pictures that are compared have the same
source and the same code.

Methods that are no part of the thesis, each left out unless its setting asks for it:

* output distillation, ``lambda_output_l1`` and ``lambda_output_perceptual``: the student's picture is drawn to the teacher's, pixel by
  pixel and in features of a network (Chen et al. 2020, "Distilling portable GANs"; `kdlib.perceptual`);
* feature distillation, ``lambda_feature`` (GAN Compression, Li et al. 2020; `kdlib.feature_distillation`);
* the teacher's style space, ``style_space`` (`kdlib.style_space`); ``lambda_style_match``: the student's E reads off a picture the code
  that the teacher's reads, an L1 between codes in an update of its own. The teacher's E has learned already to see past a move of the picture
  (``style_warp``); with ``style_match_warp`` off the student's is not taught it again, and has its few weights for pictures as they are.
  With ``style_match_of`` "both" it reads the teacher's translations besides those of the data set, which are few;
* knowledge filtering, ``filter_keep`` and ``filter_score`` (the thesis's section 6.2; `kdlib.knowledge_filter`): the teacher's pictures, and
  the codes they were drawn with, are examples only where the picture is among the best. Weighted are the real side of Eqs 31 to 33,
  Eqs 35 and 36, output and feature distillation. Not weighted are Eqs 34, 37 and 38, in which no picture of the teacher's has a part;
* ``distillation_real``: what D takes for real in Eqs 31 and 32, pictures of the teacher's (the thesis), of the data set, or both.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from kdlib.feature_distillation import stage_features
from kdlib.iteration import Drawn, Iteration, discriminator_update
from kdlib.knowledge_filter import kept_share
from kdlib.losses import adversarial_loss, cycle_loss, output_loss, style_reconstruction_loss, weighted_mean
from kdlib.networks import Content
from kdlib.perceptual import perceptual_distance


@dataclass
class _Guide:
    """The teacher's style codes for one kind of guidance, what the teacher makes of the sources with them, and what hangs on it.

    The teacher's picture is drawn when it is first asked for.
    """

    it: Iteration
    teacher: "_Teacher"
    style: Tensor  # [N S]
    w_adv: float
    w_use: float
    w_source: float

    @property
    def used(self) -> bool:
        """Whether the student's generator and style encoder learn anything by this guide."""
        w = self.it.learner.losses
        return max(self.w_adv, self.w_use, self.w_source, w.lambda_output_l1, w.lambda_output_perceptual, w.lambda_feature) > 0

    @cached_property
    def example(self) -> Drawn:
        """The teacher's picture in this style, with its features where these are taught."""
        with torch.no_grad(), self.it.autocast():
            with_features = self.it.learner.losses.lambda_feature > 0
            return Drawn.of(self.it.learner.teacher.generator, self.teacher.content, self.style, with_features)

    @cached_property
    def sample_weights(self) -> Tensor | None:
        """Which of the examples are taught, [N] of mean 1 over the whole batch; None where all are."""
        training, workers = self.it.learner.training, self.it.learner.workers
        if training.filter_keep == 1:
            return None
        with torch.no_grad(), self.it.autocast():
            scores = self.teacher.scores(self.example.picture, training.filter_score)
        whole = kept_share(workers.gather(scores.float()), workers.gather(self.it.batch.y_ref), training.filter_keep)
        return whole[workers.part(len(whole))]


@dataclass
class _Teacher:
    """What the teacher knows of the iteration's sources, drawn when first asked for."""

    it: Iteration
    style_of_source: Tensor  # [N S]

    @cached_property
    def content(self) -> Content:
        with torch.no_grad(), self.it.autocast():
            return self.it.learner.teacher.generator.content(self.it.batch.x, self.it.masks)

    def scores(self, picture: Tensor, by: str) -> Tensor:
        """How good the teacher's translations [N 3 H W] are, [N], high is good; see `kdlib.knowledge_filter`."""
        b, teacher = self.it.batch, self.it.learner.teacher
        if by == "discriminator":
            return teacher.discriminator(picture, b.y_ref)
        back = teacher.generator(picture, self.style_of_source, self.it.learner.nets.masks(picture))
        return -(back.float() - b.x).abs().flatten(1).mean(1)


def distillation_step(it: Iteration) -> None:
    """The updates of Eqs 31 to 38, in the order of the thesis's code. Pictures of both generators are drawn with the TEACHER's codes.

    The updates of D, D^s and F in the middle leave G as it is: the reference-guided pictures that D is shown are the ones
    that G learns from next.
    """
    nets, teacher, b, w = it.learner.nets, it.learner.teacher, it.batch, it.learner.losses

    with torch.no_grad(), it.autocast():
        s_latent = teacher.mapping_network(b.z, b.y_ref)  # s_z1: target domain
        s_latent2 = teacher.mapping_network(b.z2, b.y)  # s_z2: source domain
        s_reference = teacher.style_encoder(b.x_ref, b.y_ref)
        s_source = teacher.style_encoder(b.x, b.y)
    knows = _Teacher(it, s_source)
    latent = _Guide(it, knows, s_latent, w.lambda_image_adv_latent, w.lambda_style_use_latent, w.lambda_source_latent)
    reference = _Guide(it, knows, s_reference, w.lambda_image_adv_reference, w.lambda_style_use_reference, w.lambda_source_reference)

    drawn = None
    if reference.used or latent.w_adv > 0:
        with it.autocast():
            content = nets.generator.content(b.x, it.masks)
            drawn = Drawn.of(nets.generator, content, s_reference, w.lambda_feature > 0)

    # Image adversarial, D's side: the teacher's picture is real, the student's fake (Eq 31, then Eq 32).
    if latent.w_adv > 0:
        with torch.no_grad(), it.autocast():
            fake = nets.generator.render(content, s_latent)
        discriminator_update(it, "KD/D/latent", latent.w_adv, *_sides(it, latent, b.x_ref2, fake))
    if reference.w_adv > 0:
        discriminator_update(it, "KD/D/reference", reference.w_adv, *_sides(it, reference, b.x_ref, drawn.picture))

    if "mapping_network" in it.learner.optimizers:  # else it is the teacher's, fitted to it, or another student's
        _style_updates(it, latent, s_latent2)

    # G_S and E_S: image adversarial, style utilisation, source attributes (Eqs 32, 36, 38, then Eqs 31, 35, 37).
    if reference.used:
        _imitation_update(it, "KD/G/reference", drawn, reference)
    del drawn
    if latent.used:
        with it.autocast():
            drawn = Drawn.of(nets.generator, nets.generator.content(b.x, it.masks), s_latent, w.lambda_feature > 0)
        _imitation_update(it, "KD/G/latent", drawn, latent)

    if w.lambda_style_match > 0:
        pairs = ((b.x, b.y, s_source), (b.x_ref, b.y_ref, s_reference))
        with it.autocast():
            read = partial(it.encode, nets.style_encoder) if it.learner.training.style_match_warp else nets.style_encoder
            codes = [(read(x, y), s) for x, y, s in (*pairs, *_translated(it, latent, reference))]
        match = sum(style_reconstruction_loss(mine, its) for mine, its in codes) / len(codes)
        it.update("KD/E/reference", {"match": (w.lambda_style_match, match)}, ["style_encoder"])


@torch.no_grad()
def _translated(it: Iteration, *guides: _Guide) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The teacher's translations (x, y) and the codes that it reads off them, where ``style_match_of`` asks for them."""
    if it.learner.training.style_match_of == "data":
        return []
    y = it.batch.y_ref
    with it.autocast():
        return [(x, y, it.learner.teacher.style_encoder(x, y)) for x in (guide.example.picture.float().clamp(-1, 1) for guide in guides)]


def _sides(it: Iteration, guide: _Guide, of_data: Tensor, fake: Tensor) -> tuple[tuple, tuple, Tensor | None]:
    """What D is shown as real and as fake, with its labels, and the weights of the real ones."""
    y, kind = it.batch.y_ref, it.learner.training.distillation_real
    if kind == "data":
        return (of_data, y), (fake, y), None
    of_teacher, weights = guide.example.picture.float(), guide.sample_weights
    if kind == "teacher":
        return (of_teacher, y), (fake, y), weights
    weights = None if weights is None else torch.cat([weights, torch.ones_like(weights)])
    return (torch.cat([of_teacher, of_data]), torch.cat([y, y])), (fake, y), weights


def _style_updates(it: Iteration, latent: _Guide, s_latent2: Tensor) -> None:
    """Style adversarial, D^s's side, then F_S's (Eq 33 on z1 and the target domain, Eq 34 on z2 and the source domain)."""
    nets, b, w = it.learner.nets, it.batch, it.learner.losses
    codes = {
        "target": (b.z, b.y_ref, latent.style, w.lambda_style_adv_target, w.lambda_style_l1_target),
        "source": (b.z2, b.y, s_latent2, w.lambda_style_adv_source, w.lambda_style_l1_source),
    }
    examples = {"target": lambda: latent.sample_weights, "source": lambda: None}  # of z2 the teacher draws no picture that could be judged
    for name, (z, y, s, w_adv, _) in codes.items():
        if w_adv == 0:
            continue
        with it.autocast():
            with torch.no_grad():
                s_student = nets.mapping_network(z, y)
            real, fake = nets.style_discriminator(s, y), nets.style_discriminator(s_student, y)
        terms = {"real": (w_adv, adversarial_loss(real, True, examples[name]())), "fake": (w_adv, adversarial_loss(fake, False))}
        it.update(f"KD/Ds/{name}", terms, ["style_discriminator"])
    for name, (z, y, s, w_adv, w_l1) in codes.items():
        terms = {}
        with it.autocast():
            s_student = nets.mapping_network(z, y) if max(w_adv, w_l1) > 0 else None
            if w_adv > 0:
                terms["adv"] = (w_adv, adversarial_loss(nets.style_discriminator(s_student, y), True))
            if w_l1 > 0:
                terms["l1"] = (w_l1, style_reconstruction_loss(s_student, s, examples[name]()))
        if terms:
            it.update(f"KD/F/{name}", terms, ["mapping_network"])


def _imitation_update(it: Iteration, name: str, drawn: Drawn, guide: _Guide) -> None:
    """G_S and E_S learn from the picture ``drawn`` in the teacher's style."""
    nets, b, w = it.learner.nets, it.batch, it.learner.losses
    fake, terms = drawn.picture, {}
    with it.autocast():
        if guide.w_adv > 0:
            terms["adv"] = (guide.w_adv, adversarial_loss(nets.discriminator(fake, b.y_ref), True))
        if guide.w_use > 0:
            code = it.encode(nets.style_encoder, fake, b.y_ref)
            terms["use"] = (guide.w_use, style_reconstruction_loss(code, guide.style, guide.sample_weights))
        if guide.w_source > 0:
            back = nets.generator(it.hindered(fake), guide.teacher.style_of_source, nets.masks(fake))
            terms["source"] = (guide.w_source, cycle_loss(back, b.x))
        if w.lambda_output_l1 > 0:
            terms["output_l1"] = (w.lambda_output_l1, output_loss(fake, guide.example.picture, guide.sample_weights))
        if w.lambda_output_perceptual > 0:
            with torch.no_grad():
                its = it.learner.perceptual(guide.example.picture.float())
            distance = perceptual_distance(it.learner.perceptual(fake.float()), its)
            terms["output_perceptual"] = (w.lambda_output_perceptual, weighted_mean(distance, guide.sample_weights))
        if w.lambda_feature > 0:
            adapters = it.learner.adapters
            mine, its = (stage_features(d.content.features, d.features, adapters.stages) for d in (drawn, guide.example))
            terms["feature"] = (w.lambda_feature, weighted_mean(adapters(mine, its), guide.sample_weights))
    it.update(name, terms, ["generator", "style_encoder"])
