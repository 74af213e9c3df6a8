"""kdlib: compression of StarGAN-v2 by knowledge distillation.

What is most often wanted is here under one name; everything else is imported from its module. Names are looked up on
first use, so that ``import kdlib`` and the command line do not wait for PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdlib.deploy.deployment import ExportSettings, export
    from kdlib.errors import InputError
    from kdlib.networks import build_networks
    from kdlib.released import load_released, save_released
    from kdlib.use.translate import Translator, load

__all__ = ["ExportSettings", "InputError", "Translator", "build_networks", "export", "load", "load_released", "save_released"]

_MODULES = {
    "ExportSettings": "kdlib.deploy.deployment",
    "InputError": "kdlib.errors",
    "Translator": "kdlib.use.translate",
    "build_networks": "kdlib.networks",
    "export": "kdlib.deploy.deployment",
    "load": "kdlib.use.translate",
    "load_released": "kdlib.released",
    "save_released": "kdlib.released",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kdlib' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
