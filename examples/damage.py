"""Copy a model with noise added to one layer: a regression on purpose.

    python examples/damage.py MODEL FOLDER [--layer 15] [--noise 0.5]

The noise is Gaussian; its norm is ``--noise`` times the norm of each weight it is added to.
"""

import argparse
import os
import shutil
from pathlib import Path

from pytest_llm.loader import ModelLoader
from pytest_llm.options import settings_from


def damage(source: str, target: Path, *, layer: int, noise: float, seed: int = 0) -> None:
    """Write the weights of ``source`` to ``target``, with noise in the MLP of one layer."""
    import torch
    from safetensors.torch import load_file, save_file

    loader = ModelLoader(settings_from({}, os.environ, {}, root=Path.cwd()))
    folder = loader.prepare(loader(source))
    shutil.copytree(folder, target, dirs_exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    for file in sorted(target.glob("*.safetensors")):
        tensors = load_file(file)
        for name, weight in tensors.items():
            if f"layers.{layer}.mlp." in name:
                random = torch.randn(weight.shape, generator=generator)
                tensors[name] = weight + noise * weight.norm() / random.norm() * random
        file.unlink()
        save_file(tensors, file, metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target", type=Path)
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--noise", type=float, default=0.5)
    arguments = parser.parse_args()
    damage(arguments.source, arguments.target, layer=arguments.layer, noise=arguments.noise)
