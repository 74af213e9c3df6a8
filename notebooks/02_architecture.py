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
# # The architecture
#
# How large are the networks, how much do they compute, and does what is built here match what the thesis
# {cite}`kapoor2021thesis` prints? Nothing is trained on this page and no picture is read: every number is counted from the
# networks themselves, at the moment this notebook runs. {doc}`/book/stargan_v2` and {doc}`/book/method` explain the blocks.
#
# Expect the thesis's tables to come out to the last digit, but for a few slips of the pen. Every cell is marked, and every one that
# does not match is explained.

# %% tags=["parameters"]
preset = "quick"  # a name in kdlib/presets, or a .toml file
image_size = 256  # of the figures; the thesis's tables are of 256
data_root = None  # folder data sets: where the pictures lie

# %%
from IPython.display import Markdown

from kdlib.analysis import thesis
from kdlib.config import load_preset
from kdlib.views import plotting
from kdlib.views import architecture_figures as figures
from kdlib.views import architecture_views as views

plotting.setup()
settings = load_preset(preset, data_root=data_root)

# %% [markdown]
# ## Layer by layer: Tables 4.1 to 4.6
# Names come from the layers themselves, shapes from a pass through each network, parameters from its weights. A tick stands by
# every printed cell that says what the network has, a cross by one that does not, followed by what should stand there.

# %%
Markdown(views.layer_summary())

# %% [markdown]
# The generator, teacher and student. The encoder half turns into depthwise separable convolutions
# {cite}`howard2017mobilenets`, the decoder half keeps ordinary ones and gets narrower.

# %%
views.layer_view("4.1")
views.layer_view("4.2")

# %% [markdown]
# The style encoder. Two numbers of the student's table are not right in print.

# %%
views.layer_view("4.3")
views.layer_view("4.4")

# %% [markdown]
# The mapping network. These totals hold one domain's branch only.

# %%
views.layer_view("4.5")
views.layer_view("4.6")

# %% [markdown]
# ## Table 5.3: what compression gains
# Generator, style encoder and mapping network together, all domains, for one picture. MACs are multiply-accumulates, counted as the
# thesis counts them, which the next section explains.

# %%
Markdown(views.cost_summary())

# %%
views.cost_view()

# %% [markdown]
# ## Three ways to count MACs
# Every count has the convolutions and linear layers. They differ in what else they take for an operation. The author's published
# script calls [torchprofile](https://github.com/zhijian-liu/torchprofile), which in the version of that time (0.0.2, November 2020)
# adds one operation for every element that leaves a norm, a scaling, a LeakyReLU or an average pool. The package
# [thop](https://github.com/Lyken17/pytorch-OpCounter) adds some for norms only. PyTorch's own counter, which watches tensor
# operations and knows nothing of layers, adds none. Expect the first to give all ten printed numbers, the second most of them, and
# the third none.

# %%
views.three_counts_view()

# %% [markdown]
# The differences, to the last operation. First torchprofile's, then thop's, stage by stage: it charges more where a norm is affine,
# less inside AdaIN. From here on, MACs are thop's, as in the results of this study; from torchprofile's they differ by less than a
# thousandth.

# %%
teacher = thesis.architecture("AFHQ", "original", image_size)
student = thesis.architecture("AFHQ", thesis.STUDENT_ALPHA, image_size)
Markdown(views.torchprofile_summary(teacher) + "\n\n" + views.convention_summary(teacher))

# %%
views.convention_view(teacher)

# %% [markdown]
# ## A change that the thesis does not mention
# A decoder block of the teacher upsamples first and convolves then. A student's convolves first, at a quarter of the pixels.
# No weight and no shape tells the two orders apart; Table 5.3's MACs do. Expect the printed values in the first column of
# counts, and about half as much again in the second. (Both are counted as Table 5.3 is; the last column has convolutions and linear
# layers only, in the one order and the other.)

# %%
views.order_view()

# %% [markdown]
# What each of the changes contributes, one after the other, on the way from the teacher to the student that the thesis
# recommends. A factor compares a row with the one above it.

# %%
views.savings_view()

# %% [markdown]
# ## Where size and work sit
# Size is weights, work is MACs, and they sit in different places: weights where layers are wide, at low resolution, and MACs
# where pictures are large. Expect the student's work to have moved into the decoder half, whose last block is as wide as the
# teacher's: the cap does not reach it.

# %%
figures.share_figure({"teacher": teacher, f"student {student.alpha}": student})

# %% [markdown]
# The same, stage by stage; point at a marker for the numbers. G is the generator, E the style encoder, F the mapping network.

# %%
figures.stage_figure(teacher, student)

# %% [markdown]
# ## Every width
# Size falls with about the square of the cap. Work does so only below the width of the first layer, where every layer is capped;
# above it the layers at full resolution, which cost most, are left as they are. So the caps that the thesis tries buy size more
# than work. Rings are what Table 5.3 prints; they should lie on the students' lines, and not on the dotted one.

# %%
figures.alpha_figure(image_size)

# %% [markdown]
# ## What the faces models need besides
# With CelebA-HQ, a frozen face-landmark network {cite}`wang2019wing` makes masks from every source. No translation works
# without it, and the student's is the teacher's. Table 5.3 leaves it out; with it the ratios are much smaller.

# %%
views.landmark_view()

# %% [markdown]
# ## The networks of this preset
# Those that the other notebooks train or learn from. D and Dˢ, the discriminators of pictures and of styles, exist in training only.

# %%
architectures = views.preset_architectures(settings)
views.preset_view(architectures)

# %%
figures.share_figure(architectures)
