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
# # The teacher
#
# StarGAN-v2 trained with its own objective: adversarial, style reconstruction, style diversity and cycle losses
# ({doc}`/book/stargan_v2`). Everything a student later learns comes from this model. A finished run is not redone, an
# interrupted one goes on from its last checkpoint: run the same command again. Where the preset names a teacher, as `quick` does, that one
# is shown and nothing is trained, unless `run` names a folder.

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
run = None  # name of the run folder under runs/<preset>/; None: teacher
teacher = None  # a released checkpoint or a run folder, instead of training
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out
teacher_iterations = None  # None, here and below: as the preset says
batch_size = None
seed = None
device = None  # "auto", "cpu", "cuda", "cuda:1", "mps"
threads = None
landmarks = None  # face-landmark network, for a high-pass skip
precision = None  # "float32" or "bfloat16"
checkpoint_every = None
sample_every = None
candidate_every = None
generator_down_blocks = None  # 0: the thesis's rule; one more than it gives halves the bottleneck
lambda_adv = None
lambda_r1 = None
lambda_sty = None
lambda_ds = None
lambda_cyc = None

# %%
from IPython.display import Markdown

from kdlib import grids, session
from kdlib.config import load_preset
from kdlib.views import plotting, run_views

plotting.setup()
overrides = dict(
    data_root=data_root, skip_bad=skip_bad, teacher_iterations=teacher_iterations,
    batch_size=batch_size, seed=seed, device=device, threads=threads,
    landmarks=landmarks, precision=precision, checkpoint_every=checkpoint_every,
    sample_every=sample_every, lambda_adv=lambda_adv, lambda_r1=lambda_r1,
    lambda_sty=lambda_sty, lambda_ds=lambda_ds, lambda_cyc=lambda_cyc,
    teacher=teacher, candidate_every=candidate_every, generator_down_blocks=generator_down_blocks,
)  # fmt: skip
settings = load_preset(preset, **overrides)

# %% [markdown]
# ## Training

# %%
trained = session.train_teacher(settings, run)
Markdown(run_views.summary(trained))

# %% [markdown]
# ## Losses
# What to look for: the discriminator's two losses stay apart from 0 (neither side has won), style reconstruction and cycle
# losses fall, and diversity does not collapse while its weight decays.

# %%
run_views.losses(trained)

# %% [markdown]
# ## What it paints
# Rows: validation pictures. A good teacher keeps the pose of the row and takes species and colours from the column.

# %%
nets = trained.load_networks()
dataset = session.open_data(settings, progress=False)
shown = grids.demonstration(nets, dataset)
caption = "Latent-guided: two latents a domain"
plotting.image_grid(shown.latent, shown.latent_columns, caption=caption)

# %%
caption = "Reference-guided: references on top"
plotting.image_grid(shown.reference, shown.reference_columns, caption=caption)
