# lit configuration: FileCheck tests of IR, beside the path of what they test.
import os
import pathlib
import subprocess

import lit.formats

config.name = "vernier"  # noqa: F821
config.test_format = lit.formats.ShTest(execute_external=False)  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.test_source_root = os.path.dirname(__file__)  # noqa: F821
build = lit_config.params.get("build", os.path.join(config.test_source_root, "..", "build"))  # noqa: F821
config.test_exec_root = os.path.join(os.path.abspath(build), "test")  # noqa: F821
llvm = subprocess.run(["llvm-config-22", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
path = [os.path.join(os.path.abspath(build), "bin"), llvm, os.environ["PATH"]]
config.environment["PATH"] = os.pathsep.join(path)  # noqa: F821
# NVIDIA's assembler, from a toolkit or from the Python environment.
ptxas = os.environ.get("VERNIER_PTXAS") or next(
    (str(p) for p in pathlib.Path(config.test_source_root, "..", ".venv").glob("lib/*/site-packages/nvidia/*/bin/ptxas")),  # noqa: F821
    "",
)
if ptxas:
    config.environment["VERNIER_PTXAS"] = ptxas  # noqa: F821
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --allow-unused-prefixes=false"  # noqa: F821
