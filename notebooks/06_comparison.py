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
# # Comparison
#
# Teacher and students side by side: what compression costs, and what distillation gives back. Every number below is read
# from run folders: this preset's, and its teacher's.

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out
landmarks = None  # face-landmark network, for a high-pass skip

# %%
from IPython.display import Markdown

from kdlib.config import load_preset
from kdlib.results import rows_of_study
from kdlib.views import plotting, run_views

plotting.setup()
settings = load_preset(preset, data_root=data_root, skip_bad=skip_bad, landmarks=landmarks)
rows = rows_of_study(settings)
results = run_views.study_of(settings, rows)
Markdown(run_views.comparison_summary(settings, rows))

# %% [markdown]
# ## The table
# Two numbers in a cell are latent-guided / reference-guided. Brackets give how many times smaller than the teacher. Runs that
# differ in their seed only share a line where there are many; ± is then their deviation.

# %%
run_views.comparison_table(rows)

# %% [markdown]
# ## Size against quality

# %%
run_views.tradeoff_views(results)

# %% [markdown]
# ## What distillation changes
# A distilled student against the same student trained alone, at the same number of iterations. Where there is one seed, a
# difference of the size that another seed would make is no finding.

# %%
run_views.distillation_table(results)

# %%
run_views.effect_view(results)

# %%
run_views.factor_comparison(results)

# %% [markdown]
# ## What single losses bring
# Variants of the distilled main width with one kind of loss left out or replaced ({doc}`/book/ablation`). They belong to
# preset `ablation`; `quick` has none.

# %%
run_views.ablation_views(results)

# %% [markdown]
# ## What may be said
# The study's claims, each with a test that these runs pass, fail or leave open, and whether the runs kept in git come out
# alike ({doc}`/book/reference_study`).

# %%
run_views.claims_view(settings, results)

# %% [markdown]
# ## Side by side
# The same sources and references through every model.

# %%
run_views.side_by_side(settings, results)
