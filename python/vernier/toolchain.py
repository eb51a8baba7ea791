"""Where NVIDIA's assembler is."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from pathlib import Path


@functools.cache
def _packaged() -> str:
    """ptxas of PyPI's nvidia-cuda-nvcc, or nothing."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(folder).glob("**/bin/ptxas")):
            if os.access(path, os.X_OK):
                return str(path)
    return ""


def ptxas(target: str) -> str:
    """The assembler for a target: $VERNIER_PTXAS or a CUDA toolkit's, else the package's; "" lets the compiler look, and where
    there is none the driver assembles."""
    if target == "host" or os.environ.get("VERNIER_PTXAS"):
        return ""
    homes = [os.environ["CUDA_HOME"] + "/bin"] if "CUDA_HOME" in os.environ else []
    for folder in [*homes, *os.environ.get("PATH", "").split(os.pathsep), "/usr/local/cuda/bin"]:
        if shutil.which("ptxas", path=folder):
            return ""
    return _packaged()
