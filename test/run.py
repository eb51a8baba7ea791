"""The whole test suite, in order of cost; `--fix` rewrites what formatters and linters can.

    ./vernier test [--only STEP ...] [--fix]

The last line counts steps' tests in the form `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
VENV = Path(sys.executable).parent
Outcome = tuple[int, int]


def files(*patterns: str) -> list[str]:
    """Files of the checkout, tracked or new, without those that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [f for f in listed.stdout.split() if (ROOT / f).exists()]


def run(*command: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Runs and shows a command; its status and output."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | (environment or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        output.append(line)
    return process.wait(), "".join(output)


def check(*command: str) -> Outcome:
    return (1, 0) if run(*command)[0] == 0 else (0, 1)


def total(*outcomes: Outcome) -> Outcome:
    return sum(o[0] for o in outcomes), sum(o[1] for o in outcomes)


def counted(command: tuple[str, ...], passed: str, failed: str) -> Outcome:
    """Runs a test runner and reads its counts; a runner that fails without counting failed once."""
    status, output = run(*command)
    good = re.findall(passed, output)
    bad = re.findall(failed, output)
    counts = (int(good[-1]) if good else 0, int(bad[-1]) if bad else 0)
    return (counts[0], max(counts[1], 1)) if status or not counts[0] else counts


def formatting(fix: bool) -> Outcome:
    sources = files("*.cpp", "*.h")
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    return total(
        check("clang-format-22", *mode, *sources),
        check(str(VENV / "ruff"), "format", *([] if fix else ["--check"]), "python", "recipes", "test"),
    )


def lints(fix: bool) -> Outcome:
    return total(
        check(str(VENV / "ruff"), "check", *(["--fix"] if fix else []), "python", "recipes", "test"),
        check(str(VENV / "typos"), "--config", "pyproject.toml"),
        check("clang-tidy-22", "-p", str(BUILD), "--quiet", "--warnings-as-errors=*", *files("runtime/*.cpp")),
    )


def types(_: bool) -> Outcome:
    return check(str(VENV / "mypy"))


def lit(_: bool) -> Outcome:
    command = ("python3", "/usr/lib/llvm-22/bin/lit", "-sv", "test", "--param", f"build={BUILD}")
    return counted(command, r"Passed *: *(\d+)", r"Failed *: *(\d+)")


def unit(_: bool) -> Outcome:
    programs = [(str(BUILD / "bin" / name), "--gtest_brief=1") for name in ("runtime_test", "device_test")]
    return total(*(counted(program, r"\[  PASSED  \] (\d+) test", r"(\d+) FAILED TEST") for program in programs))


def pytest(_: bool) -> Outcome:
    return counted((sys.executable, "-m", "pytest", "-q"), r"(\d+) passed", r"(\d+) failed")


BITS = ("conversions", "rows", "fusion", "products", "epilogues", "prologues", "out")


def emulated(_: bool) -> Outcome:
    """Tests of bits again, on the sm_90a target's PTX."""
    paths = [f"test/python/test_{name}.py" for name in BITS]
    return counted((sys.executable, "-m", "pytest", "-q", "--device", "emulated", *paths), r"(\d+) passed", r"(\d+) failed")


STEPS: dict[str, Callable[[bool], Outcome]] = {
    "format": formatting, "lint": lints, "types": types, "lit": lit, "unit": unit, "python": pytest, "emulated": emulated,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="vernier test", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--fix", action="store_true", help="let formatters and linters rewrite; run nothing else")
    options = parser.parse_args()
    steps = ["lint", "format"] if options.fix else options.only
    results: dict[str, tuple[int, int, float]] = {}
    for step in steps:
        print(f"\n== {step}", flush=True)
        start = time.perf_counter()
        results[step] = (*STEPS[step](options.fix), time.perf_counter() - start)
    print()
    for step, (good, bad, seconds) in results.items():
        print(f"{step:8} {good:5} passed {bad:4} failed {seconds:8.1f} s")
    passed, failed = (sum(r[i] for r in results.values()) for i in (0, 1))
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
