# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A student
#
# The compressed networks: depthwise-separable encoders, every width capped at alpha. Trained either with StarGAN-v2's
# objective alone (`distill = False`) or with the teacher's eight distillation terms besides ({doc}`/book/method`). Any
# weight set to 0 leaves its term's computation out.

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
alpha = 24  # cap on every width
distill = True
variant = None  # one of the preset's named changes of settings, e.g. for an ablation
run = None  # run folder under runs/<preset>/; None: alpha24-kd, alpha24 and the like
teacher = None  # a released checkpoint or a run folder; None: as the preset says, else its run `teacher`
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out
student_iterations = None  # None, here and below: as the preset says
batch_size = None
seed = None
device = None  # "auto", "cpu", "cuda", "cuda:1", "mps"
threads = None
landmarks = None  # face-landmark network, for a high-pass skip
precision = None  # "float32" or "bfloat16"
checkpoint_every = None
sample_every = None
candidate_every = None
generator_down_blocks = None  # 0: the thesis's rule, as the teacher's
stage_widths = None  # of the generator, "24,48,48" from the finest resolution on
separable_up = None  # True: its up blocks depthwise separable, too
separable_bottleneck = None  # True: and the blocks before these
pixel_shuffle = None  # 2: no layer of it at full resolution
lambda_adv = None
lambda_r1 = None
lambda_sty = None
lambda_ds = None
lambda_cyc = None
lambda_image_adv_latent = None  # Eq 31
lambda_image_adv_reference = None  # Eq 32
lambda_style_adv_target = None  # Eq 33
lambda_style_adv_source = None  # Eq 34
lambda_style_use_latent = None  # Eq 35
lambda_style_use_reference = None  # Eq 36
lambda_source_latent = None  # Eq 37
lambda_source_reference = None  # Eq 38
distillation_real = None  # "teacher" (Eqs 31, 32), "data" or "both"
lambda_output_l1 = None  # here and below: no part of the thesis
lambda_output_perceptual = None
perceptual_network = None  # "discriminator" or "squeezenet"
lambda_feature = None
feature_stages = None  # "bottleneck", "decoder" or "bottleneck,decoder"
style_space = None  # "own", "init", "fitted" or "teacher"
style_fit_iterations = None  # of "init" and "fitted", before training
lambda_style_energy = None  # of that fit
style_match_warp = None  # False: lambda_style_match has E read pictures as they are
style_match_of = None  # "data", or "both": the teacher's translations, too
lambda_style_match = None
filter_keep = None  # share of the teacher's pictures that is taught
filter_score = None  # "discriminator" or "cycle"
student_discriminator_alpha = None  # 0: alpha
student_mapping_width = None  # hidden units of its mapping network; 0: alpha
discriminator_start = None  # "teacher": as the teacher's, which needs its width
start_variant = None  # the variant whose finished student this one begins as
frozen = None  # "generator", "style_encoder", "mapping_network", or some with commas: those that stay so

# %%
from IPython.display import Markdown

from kdlib import grids, session
from kdlib.config import load_preset
from kdlib.views import plotting, run_views

plotting.setup()
overrides = dict(
    data_root=data_root, skip_bad=skip_bad, student_iterations=student_iterations,
    batch_size=batch_size, seed=seed, device=device, threads=threads,
    landmarks=landmarks, precision=precision, checkpoint_every=checkpoint_every,
    sample_every=sample_every, lambda_adv=lambda_adv, lambda_r1=lambda_r1,
    lambda_sty=lambda_sty, lambda_ds=lambda_ds, lambda_cyc=lambda_cyc,
    lambda_image_adv_latent=lambda_image_adv_latent,
    lambda_image_adv_reference=lambda_image_adv_reference,
    lambda_style_adv_target=lambda_style_adv_target,
    lambda_style_adv_source=lambda_style_adv_source,
    lambda_style_use_latent=lambda_style_use_latent,
    lambda_style_use_reference=lambda_style_use_reference,
    lambda_source_latent=lambda_source_latent,
    lambda_source_reference=lambda_source_reference,
    teacher=teacher, candidate_every=candidate_every, generator_down_blocks=generator_down_blocks,
    stage_widths=stage_widths, separable_up=separable_up, separable_bottleneck=separable_bottleneck,
    pixel_shuffle=pixel_shuffle,
    distillation_real=distillation_real, lambda_output_l1=lambda_output_l1,
    lambda_output_perceptual=lambda_output_perceptual, perceptual_network=perceptual_network,
    lambda_feature=lambda_feature, feature_stages=feature_stages, style_space=style_space,
    style_fit_iterations=style_fit_iterations, style_match_warp=style_match_warp, style_match_of=style_match_of,
    lambda_style_energy=lambda_style_energy, lambda_style_match=lambda_style_match, filter_keep=filter_keep, filter_score=filter_score,
    student_discriminator_alpha=student_discriminator_alpha, discriminator_start=discriminator_start,
    student_mapping_width=student_mapping_width, start_variant=start_variant, frozen=frozen,
)  # fmt: skip
settings = load_preset(preset, variant=variant, **overrides)

# %% [markdown]
# ## Training

# %%
trained = session.train_student(settings, alpha, distill, run)
Markdown(run_views.summary(trained))

# %% [markdown]
# ## Losses
# Names that begin with `KD/` are distillation terms; a student trained alone has none.

# %%
run_views.losses(trained)

# %% [markdown]
# ## What it paints, beside its teacher
# The same sources, latents and references for both; the latents mean the same to both only after distillation, which
# is what the style adversarial terms are for.

# %%
dataset = session.open_data(settings, progress=False)
student = grids.demonstration(trained.load_networks(), dataset)
caption = "Student, latent-guided"
plotting.image_grid(student.latent, student.latent_columns, caption=caption)

# %%
caption = "Student, reference-guided"
columns = student.reference_columns
plotting.image_grid(student.reference, columns, caption=caption)

# %%
run_views.teacher_grid(settings, dataset, "latent")

# %%
run_views.teacher_grid(settings, dataset, "reference")
