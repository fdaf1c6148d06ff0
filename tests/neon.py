"""Compiles the kernels for aarch64 (NEON) and runs the case table on them, emulated where this machine is no aarch64.

    python tests/neon.py [--short]

The kernels, their pool of threads and tests/driver.cpp become one program without Python. Each kernel call goes there
and back through a pipe, and is made by one thread and by three, which must give the same bits; every tensor ends at a
page that must not be touched. --short runs one row in several.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from elsewhere import Elsewhere, span
from striate.kernels import native

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "neon"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
THREADS = 3
SIZES = ("width", "mr", "nr", "mc", "kc")


def run(*command: str) -> None:
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def need(command: str, package: str) -> None:
    if not shutil.which(command):
        sys.exit(f"neon: needs {command} (Debian: apt-get install g++-aarch64-linux-gnu qemu-user cmake: {package})")


def build() -> Path:
    """The driver, linked statically so that the emulator needs no libraries of the other machine."""
    run("cmake", "-S", str(ROOT), "-B", str(BUILD), "-DSTRIATE_DRIVER=ON", "-DCMAKE_BUILD_TYPE=Release",
        "-DSKBUILD_PROJECT_VERSION=0", "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={COMPILER}", "-DCMAKE_EXE_LINKER_FLAGS=-static")
    run("cmake", "--build", str(BUILD), "--parallel", "2")
    return BUILD / "driver"


class Driver(Elsewhere):
    """The compiled module with the calls, instruction sets and block sizes of tests/driver.cpp."""

    def __init__(self, module, *command):
        super().__init__(module)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.sizes = {self.take(self.number()).decode(): dict(zip(SIZES, self.numbers(len(SIZES)), strict=True))
                      for _ in range(self.number())}

    def isas(self):
        return list(self.sizes)

    def default_isa(self):
        return self.isas()[-1]

    def blocking(self, isa):
        return self.sizes[isa]

    def compute(self, isa, kernel, tensors, given, integers, floats, threads):
        parts = [text(isa), text(kernel), numbers(THREADS, len(tensors))]
        for tensor, held in zip(tensors, given, strict=True):
            shape, ld, dtype, _ = tensor or ((), 0, 0, 0)
            sizes = (*shape, 1, 1, 1, 1)[:4]
            parts += [numbers(tensor is not None, len(shape), dtype, ld, *sizes, len(held)), held]
        parts += [numbers(len(integers), *integers, len(floats)), struct.pack(f"={len(floats)}d", *floats)]
        self.process.stdin.write(b"".join(parts))
        self.process.stdin.flush()
        finished, same = self.numbers(2)
        results = [self.take(span(t) if t else 0) for t in tensors]
        assert same, f"{kernel} on {isa}: {THREADS} threads gave other bits than one"
        return bool(finished), results

    def take(self, count):
        held = self.process.stdout.read(count)
        if len(held) < count:
            raise EOFError(f"driver: it ended with {self.process.wait()} (a negative number is a signal)")
        return held

    def numbers(self, count):
        return struct.unpack(f"={count}q", self.take(8 * count))

    def number(self):
        return self.numbers(1)[0]


def numbers(*values):
    return struct.pack(f"={len(values)}q", *values)


def text(words):
    return numbers(len(words)) + words.encode()


def main() -> None:
    need(COMPILER, "the compiler")
    need(EMULATOR, "the emulator")
    need("cmake", "the build")
    driver = Driver(native._native, EMULATOR, str(build()))
    native._native = driver
    print(f"on {', '.join(f'{name} {sizes}' for name, sizes in driver.sizes.items())}", flush=True)
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_cases.py", "-k", "test_kernels",
                          *(["--every=6"] if "--short" in sys.argv else [])]))


if __name__ == "__main__":
    main()
