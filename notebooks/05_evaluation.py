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
# # Evaluation
#
# Every validation picture is translated into every other domain, ten times by latents and ten times by references, and
# the results are scored ({doc}`/book/experiments`). A score's name carries its feature network: distances in different
# networks are different metrics and never share a column.

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
run = "teacher"  # a finished run of that preset: teacher, alpha24, alpha24-kd, ...
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out
sources_per_domain = None  # None: as the preset says; 0: every validation picture
outputs_per_source = None
evaluation_seed = None
evaluation_seeds = None  # so many, from evaluation_seed on: scores with a deviation
feature_networks = None  # e.g. "squeezenet,inception_torchvision,inception_pytorch_fid"
lpips = None
selection = None  # "last" or "best_candidate"
device = None
threads = None
landmarks = None  # face-landmark network, for a high-pass skip

# %%
from IPython.display import Markdown

from kdlib import grids, session
from kdlib.config import load_preset
from kdlib.views import plotting, run_views

plotting.setup()
settings = load_preset(
    preset, data_root=data_root, skip_bad=skip_bad, sources_per_domain=sources_per_domain,
    outputs_per_source=outputs_per_source, evaluation_seed=evaluation_seed,
    evaluation_seeds=evaluation_seeds, feature_networks=feature_networks,
    lpips=lpips, device=device, threads=threads,
    landmarks=landmarks, selection=selection,
)  # fmt: skip
metrics = session.evaluate_run(settings, run)
Markdown(run_views.protocol_summary(run, metrics))

# %%
run_views.selection_view(metrics)

# %% [markdown]
# ## Scores, averaged over the ordered pairs of domains
# *real* is what validation pictures themselves score against the training pictures. For the kernel distance, which is
# unbiased, that is what a perfect model would reach; a Fréchet distance from fewer pictures than outputs is biased upwards
# by its count, so a good model can come out below it. The leak, a mean of absolute correlations, has a floor by chance, about $0.8 / \sqrt{n}$
# with $n$ outputs a pair.

# %%
run_views.score_table(metrics)

# %% [markdown]
# ## Pair by pair
# An average can hide a pair that fails.

# %%
run_views.pair_views(metrics)

# %% [markdown]
# ## Content and style
# On Critters every factor is known, so three questions can be asked that a distance between sets of pictures does not
# answer: did the pose survive, did the style come from the reference, and did the reference's pose leak in?

# %%
run_views.factor_views(metrics)

# %% [markdown]
# ## To look at
# The scores above come from these kinds of pictures.

# %%
dataset = session.open_data(settings, progress=False)
nets = session.evaluated_networks(settings, run)
shown = grids.demonstration(nets, dataset)
plotting.image_grid(shown.latent, shown.latent_columns, caption="Latent-guided")

# %%
plotting.image_grid(shown.reference, shown.reference_columns, caption="Reference-guided")
