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
# # The data
#
# Before anything is trained, the pictures are looked at: by a validator that reads every file, and by you.
# With the embedded Critters every factor of every picture is known, so this page also shows what the factors do.
# Your own pictures go into `{train,val}/{domain}/*`; run this notebook on them with
# `-p preset faces64 -p data_root path/to/pictures` (see {doc}`/book/reproduce`).

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out

# %%
from IPython.display import Markdown, display

from kdlib import session
from kdlib.config import load_preset
from kdlib.views import data_views, plotting

plotting.setup()
settings = load_preset(preset, data_root=data_root, skip_bad=skip_bad)

# %% [markdown]
# ## What the validator found
# A missing split, one domain only, domains that differ between the splits, too few pictures, unreadable files: each
# problem is listed here by name, and stops the next cell as it would stop a training. Where the preset says how many pictures
# there should be, as those of the thesis's data sets do (its Table 5.1), the expected numbers stand beside those found, and a
# difference is a warning.

# %%
report = session.inspect_data(settings)
display(report.table().style.hide(axis="index"))
Markdown(data_views.report_summary(report))

# %% [markdown]
# ## The pictures
# The first pictures of every domain's training split, as the networks see them.

# %%
dataset = session.open_data(settings)
data_views.contact_sheet(dataset)

# %% [markdown]
# ## What augmentation does
# Left: a picture. Then the thesis's augmentation (a random crop half of the time, a flip half of the time), which both
# sources and references undergo, and the random warp that pictures undergo before the style encoder where the preset asks for it
# (see {doc}`/book/method` for why).

# %%
data_views.augmentation_sheet(dataset, settings)

# %% [markdown]
# ## The factors
# Content is shared by all species and must survive a translation; style must come from the latent or the reference.
# Each row moves one factor over its range and holds the others.

# %%
data_views.factor_sheet(settings)

# %% [markdown]
# ## The factor network, and how far to trust it
# A small network reads the factors off a picture. It gives the factor scores and the features of the Fréchet distance on
# Critters, so its own errors bound what those scores can tell. Its report on pictures it never saw:

# %%
data_views.factor_network_report(settings)
