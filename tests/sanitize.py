"""Builds the native module with AddressSanitizer and UndefinedBehaviorSanitizer and runs the case table under it.

    python tests/sanitize.py [--short]

Every buffer is placed apart with poisoned guards (STRIATE_CHECK=1). --short runs one row in several.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-sanitize"
PYTHON = VENV / "bin" / "python"
TESTS = ["tests/test_cases.py", "tests/test_engine.py", "tests/test_bad_inputs.py"]
SHORT = ["tests/test_cases.py", "tests/test_engine.py", "-k", "not leak and not 100_steps", "--every=12"]


def run(*command: str, **environment: str) -> None:
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def runtime(name: str) -> str:
    """The path of a sanitizer's runtime library, which must be loaded before Python."""
    done = subprocess.run(["c++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", str(VENV))
    run(str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", "install", ".[test]",
        "-Ccmake.define.STRIATE_SANITIZE=ON", "-Cinstall.strip=false")
    preload = " ".join(runtime(f"lib{name}.so") for name in ("asan", "ubsan", "stdc++"))
    run(str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider",
        *(SHORT if "--short" in sys.argv else TESTS),
        LD_PRELOAD=preload, STRIATE_CHECK="1", UBSAN_OPTIONS="print_stacktrace=1",
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:strict_init_order=1")


if __name__ == "__main__":
    main()
