"""Every example in the documentation of the operations parses, verifies and round-trips."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.host  # and about the build folder
ROOT = Path(__file__).resolve().parents[2]
OPT = Path(os.environ.get("VERNIER_BUILD", ROOT / "build")) / "bin" / "vernier-opt"


def examples():
    for file in sorted((ROOT / "dialects" / "mx" / "IR").glob("*Ops.td")):
        text = file.read_text()
        for name, body in re.findall(r"def Mx_(\w+)Op : .*?\{(.*?)\n\}\n", text, re.S):
            found = re.search(r"Example:\s+```mlir\n(.*?)```", body, re.S)
            yield name, found.group(1) if found else None


def split_types(text):
    depth, parts, current = 0, [], ""
    for c in text:
        depth += (c in "<[(") - (c in ">])")
        if c == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += c
    return [p.strip() for p in [*parts, current]]


def wrapped(example):
    """The example in a function whose arguments are its operands, in the order of their types."""
    body = " ".join(example.split())
    if body.startswith("mx.yield"):
        return None
    if "mx.kernel" in body:
        arguments = ", ".join(f"{v}: {t}" for v, t in re.findall(r"= (%\w+) : ([^)]+)\)", body))
    else:
        right = body.split(" = ", 1)[1]
        operands, types = right.split(" : ", 1)
        types = re.split(r" (?:->|to) ", types)[0]
        arguments = ", ".join(f"{v}: {t}" for v, t in zip(re.findall(r"%\w+", operands), split_types(types), strict=True))
    return f"func.func @example({arguments}) {{\n{body}\nreturn\n}}\n"


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_example(name, example):
    assert example, f"{name} has no example"
    module = wrapped(example)
    if module is None:
        return
    once = subprocess.run([OPT], input=module, capture_output=True, text=True)
    assert once.returncode == 0, f"{module}\n{once.stderr}"
    twice = subprocess.run([OPT], input=once.stdout, capture_output=True, text=True)
    assert twice.stdout == once.stdout and "mx." in twice.stdout


def test_generated_pages_name_every_operation():
    build = OPT.parents[1]
    page = (build / "dialects" / "mx" / "IR" / "Mx.md").read_text()
    for mnemonic in ("quantize", "requantize", "transpose", "grouped_wgrad", "kernel"):
        assert f"`mx.{mnemonic}`" in page
