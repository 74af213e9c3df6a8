"""What is written inside every exported file: which model, made how, trained on what, under which licence. Text by name."""

import dataclasses
import json

import torch

from kdlib.runs import Run, describe_environment
from kdlib.scoring.selection import evaluated_weights
from kdlib.use.models import Model


def describe(model: Model, run: Run | None) -> dict[str, str]:
    """The metadata of a model's export. ``run``: where it was trained; None for a released checkpoint, which says nothing of it."""
    about = {
        "made_by": "kdlib",
        "model": model.name,
        "what": model.label,
        "architecture": json.dumps(dataclasses.asdict(model.nets.arch)),
        "image_size": str(model.nets.arch.image_size),
        "domains": ",".join(model.domains or map(str, range(model.nets.arch.domains))),
        "pictures": "RGB, values from -1 to 1, [N 3 H W]",
        "torch": torch.__version__,
        "commit": describe_environment(torch.device("cpu"))["commit"],
        **_provenance(model, run),
    }
    if run is not None:
        settings = run.settings().as_dict()
        settings["preset"].pop("machine")  # paths of the machine that trained
        settings["preset"]["data"].pop("data_root")
        about |= {"settings": json.dumps(settings), "weights_sha256": run.weights_hash(evaluated_weights(run))}
        if (run.path / "environment.json").is_file():
            about["commit_of_training"] = run.json("environment.json")[-1]["commit"]
    return about


def _provenance(model: Model, run: Run | None) -> dict[str, str]:
    """``training_data`` and ``licence``: what is trained on other people's pictures inherits their terms."""
    terms = "code MIT; these weights under the terms of their training data, which for AFHQ and CelebA-HQ are non-commercial"
    if run is None or run.imported:
        return {"training_data": "not in the released file", "licence": "code MIT; these weights as their authors released them"}
    data, digest = model.preset.data, run.settings().data_hash
    if data.source != "critters":
        return {"training_data": f"a folder of pictures of {', '.join(model.domains)}, content hash {digest}", "licence": terms}
    drawn = f"{data.train_per_domain} pictures a domain at {data.image_size} px, seed {data.data_seed}, content hash {digest}"
    return {"training_data": f"Critters, drawn by code: {drawn}", "licence": "MIT"}
