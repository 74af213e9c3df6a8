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
# # Figures 5.3 to 5.10, here
#
# The thesis {cite}`kapoor2021thesis` shows its result in eight figures: test pictures of AFHQ and CelebA-HQ through the original
# networks and through the students of $\alpha = 128$, guided by references (Figures 5.3 to 5.6) and by latents (5.7 to 5.10). This
# page has the same form, for any two models and any pictures. A model is a run folder, a run's name such as `mini/teacher`, or a
# checkpoint released by others ({doc}`/book/data_and_weights`).
#
# Look down a column: the style should stay, whatever the source. Look along a row: the pose should stay, whatever the style.
# Then compare the two grids cell by cell: both models got the same sources, references and latents.

# %% tags=["parameters"]
teacher = "mini/teacher"  # run folder, "preset/name", or *_nets_ema.ckpt
student = "mini/alpha48-kd"  # likewise; None: the teacher alone
preset = None  # whose val pictures are shown; None: the teacher's
data_root = None  # folder data sets: where that preset's pictures lie
sources = None  # a folder of pictures, or of a folder a domain; None: val
references = None  # a folder a domain; None: the pictures after the sources
latents = 3  # a domain
seed = 777  # of the latents
limit = 3  # sources, and references, a domain
landmarks = None  # face-landmark network, for a high-pass skip
device = None  # auto, cpu, cuda, ...; None: the preset's, else auto

# %%
from IPython.display import Markdown

from kdlib.config import load_preset
from kdlib.views import comparison_grids as grids
from kdlib.views import plotting

plotting.setup()
settings = preset and load_preset(preset, data_root=data_root)
models = grids.load_models([teacher, student], landmarks, device, settings)
sources = sources or grids.val_pictures(models[0], settings)
reference, latent = grids.compare(
    models, sources, references, latents=latents, seed=seed, limit=limit
)
Markdown(grids.summary(models))

# %% [markdown]
# ## Reference-guided
# Along the top the references; in the first column the sources.

# %%
grids.show(reference)

# %% [markdown]
# ## Latent-guided
# The same latents in every domain and for either model. A latent is no picture of anything: what the two models make of one
# agrees only as far as distillation has taught the student's mapping network the teacher's styles.

# %%
grids.show(latent)

# %% [markdown]
# `python -m kdlib grids` writes the same grids, models side by side, as pictures of full size.
