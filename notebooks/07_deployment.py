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
# # Deployment
#
# A trained model leaves PyTorch: its three networks become files that ONNX Runtime and OpenVINO run, in float32, with weights
# in half precision, and on 8-bit integers ({doc}`/book/deployment`). Expect the float files to agree with PyTorch to rounding,
# the 8-bit ones to differ visibly in numbers and hardly in scores, and times to differ by more than counts of operations say.

# %% tags=["parameters"]
preset = "mini"  # a name in kdlib/presets, or a .toml file
run = "teacher"  # a finished run of that preset: teacher, alpha24, alpha24-kd, ...
data_root = None  # folder data sets: where the pictures lie
skip_bad = None  # True: leave unreadable pictures out
sources_per_domain = 20  # None: as the preset says; 0: every validation picture
outputs_per_source = 5
evaluation_seed = None
feature_networks = None
precisions = "fp32,fp16,int8"
rounds = 10  # turns of each way to run the model
threads = None
landmarks = None  # face-landmark network, for a high-pass skip

# %%
from IPython.display import Markdown

from kdlib.analysis import deployment_tables
from kdlib.config import load_preset
from kdlib.deploy import deployment
from kdlib.views import deployment_views, plotting

plotting.setup()
settings = load_preset(
    preset, data_root=data_root, skip_bad=skip_bad, sources_per_domain=sources_per_domain,
    outputs_per_source=outputs_per_source, evaluation_seed=evaluation_seed,
    feature_networks=feature_networks, threads=threads, landmarks=landmarks,
)  # fmt: skip
asked = deployment.ExportSettings(tuple(precisions.split(",")), threads=threads or 0)
model = f"{settings.name}/{run}"
report = deployment.export(model, settings=asked, preset=settings, landmarks=landmarks)
Markdown(deployment_views.about(report))

# %% [markdown]
# ## Files
# A file stands for itself: no class, no library of this study is needed to run it, and what it is and where it comes from is
# written inside.

# %%
Markdown(deployment_tables.sizes([report]))

# %% [markdown]
# ## Do they compute the same?
# Errors of each network's outputs on validation pictures, against PyTorch in float32.

# %%
Markdown(deployment_tables.errors([report]))

# %% [markdown]
# ## Do they score the same?
# The evaluation that scores PyTorch's networks scores the exported ones, on the same draws. PSNR takes the exported model's
# pictures as noisy versions of PyTorch's.

# %%
Markdown(deployment_tables.scores([report]))

# %%
deployment_views.pictures(report, settings)

# %% [markdown]
# ## Which layers bear 8 bits
# Each convolution and linear layer was quantised alone; the error that this does to the output is its sensitivity. Layers are
# left in float from the most sensitive on, until scores and pictures are within the tolerance.

# %%
Markdown(deployment_tables.quantisation([report]))

# %%
deployment_views.sensitivity_figure(report)

# %% [markdown]
# ## How long a picture takes
# One picture at a time, all variants in turns, on this machine as it was when the page was made. The study's own measurements,
# on a machine that did nothing else, are on {doc}`a page of their own </book/deployment>`.

# %%
times = deployment_views.measure(report, rounds, threads or 0)
Markdown(deployment_tables.latency_table(times))

# %% [markdown]
# ## Where the time goes
# Norms, upsampling and sums have no multiply-accumulates, and take time.

# %%
deployment_views.layers(report, threads or 0)

# %% [markdown]
# ## Without PyTorch
# The whole program, `examples/translate_without_torch.py`, run here by a Python that cannot import PyTorch:

# %%
Markdown(deployment_views.example())

# %%
deployment_views.run_example(report, settings)
