"""What the compiler made of the inner loops: a multiply-add a vector of the tile and step, and nothing on the stack.

The microkernels are compiled to assembly with the flags of CMakeLists.txt, alone, which takes seconds where a whole
instruction set takes a minute.
"""

from __future__ import annotations

import functools
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.assembly

ROOT = Path(__file__).parent.parent
CMAKE = (ROOT / "CMakeLists.txt").read_text()
FAST = ["-std=gnu++17", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden"]


@dataclass(frozen=True)
class Machine:
    """How an instruction set's assembly reads: its compiler, multiply-adds, jumps to a label, and the stack."""

    isa: str
    compiler: str
    fma: str
    jump: str
    stack: str
    steps: int  # of a turn: UNROLLED of csrc/steps.h


X86_JUMP, ARM_JUMP = r"\tj\w+\s(\.L\w+|\d+)b?$", r"\t(?:b\.?|cbn?z|tbn?z)\w*\t(?:.*, ?)?(\.L\w+)$"
MACHINES = {
    "avx2": Machine("avx2", "c++", r"\tvfn?madd\d+ps\s.*%ymm", X86_JUMP, r"\(%rsp", 4),
    "avx512": Machine("avx512", "c++", r"\tvfn?madd\d+ps\t.*%zmm", X86_JUMP, r"\(%rsp", 4),
    "neon": Machine("baseline", "aarch64-linux-gnu-g++", r"\tfmla\tv", ARM_JUMP, r"\[sp", 1),
}
# Function and template arguments -> multiply-adds in a turn of its main loop, of a tile of mr rows by nv vectors.
LOOPS = {
    "multiply_tile<MR, NV, ROW_MAJOR>": lambda mr, nv, steps: steps * mr * nv,
    "multiply_tile<MR, NV, DEPTH_MAJOR>": lambda mr, nv, steps: mr * nv,
    "multiply_tile<MR, NV, PANELS>": lambda mr, nv, steps: steps * mr * nv,
    "multiply_tile<NARROW_MR, 1, ROW_MAJOR>": lambda mr, nv, steps: steps * (2 * mr if mr < 12 else 4 * mr // 3),
    "multiply_group<MR, NV, true>": lambda mr, nv, steps: steps * mr * nv,
    "sum_tiles<MR, NV>": lambda mr, nv, steps: steps * mr * nv,
    "dot_tile<DOT_ROWS, DOT_IMAGES>": lambda mr, nv, steps: 2 * 3 * 4,  # two steps a turn
}


def flags(isa):
    common = re.search(r"striate_flags INTERFACE\s+([^)]*)\)", CMAKE)[1]
    own = re.search(rf"add_isa\(isa_{isa} isa_{isa}\.cpp\s([^)]*)\)", CMAKE)[1]
    return [*FAST, *common.split(), *re.findall(r"-[mf][\w=-]+", own)]


# Of isa.h's headers those that the microkernels need: reading the others takes half of the time.
HEADERS = {"table.h", "vec.h", "gemm.h", "conv.h", "winograd_dw.h", "winograd.h", "linear.h"}


def source(isa):
    """An instruction set's headers as isa.h includes them, and the addresses of the microkernels alone."""
    settings = (ROOT / "csrc" / f"isa_{isa}.cpp").read_text().replace('#include "isa.h"', "")
    headers = (ROOT / "csrc" / "isa.h").read_text().partition("int64_t no_scratch")[0]
    headers = re.sub(r'#include "(.*)"', lambda line: line[0] if line[1] in HEADERS else "", headers)
    kept = "\n".join(f"extern const void* const kept_{i};\nconst void* const kept_{i} = (const void*)&{name};"
                     for i, name in enumerate(LOOPS))
    return f"{settings}{headers}}}\n{kept}\n}}\n"


@functools.cache
def assembly(machine):
    """The lines of each microkernel's code, by name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "loops.cpp").write_text(source(machine.isa))
        command = [machine.compiler, *flags(machine.isa), f"-I{ROOT / 'csrc'}", "-w", "-S", "loops.cpp"]
        subprocess.run(command, cwd=folder, check=True)
        return functions((Path(folder) / "loops.s").read_text())


def tile(isa):
    """Rows and vectors of the register tile, as isa_*.cpp says; aarch64's stands first in the baseline."""
    text = (ROOT / "csrc" / f"isa_{isa}.cpp").read_text()
    width, mr, nr = (int(re.search(pattern, text)[1]) for pattern in
                     (r"STRIATE_WIDTH (\d+)", r"STRIATE_TILE (\d+), \d+", r"STRIATE_TILE \d+, (\d+)"))
    return mr, nr // width


def functions(text):
    bodies = dict(re.findall(r"^(_Z\w+):\n(.*?)^\t\.size\t\1,", text, re.DOTALL | re.MULTILINE))
    kept = re.findall(r"kept_(\d+)E?:\n\t\.(?:quad|xword)\t(_Z\w+)", text)
    return {list(LOOPS)[int(i)]: bodies[symbol].splitlines() for i, symbol in kept}


def innermost(lines, jump):
    """The loops that hold no other: the lines from a label to the jump back to it."""
    labels, loops = {}, []
    for i, line in enumerate(lines):
        if label := re.match(r"(\.L\w+|\d+):", line):
            labels[label[1]] = i
        elif (back := re.match(jump, line)) and back[1] in labels:
            loops.append((labels[back[1]], i))
    return [lines[a:b] for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_main_loop(machine, name):
    if not shutil.which(machine.compiler) or (machine.compiler == "c++" and platform.machine() != "x86_64"):
        pytest.skip(f"needs {machine.compiler} for another processor than {platform.machine()}")

    def multiply_adds(loop):
        return sum(re.match(machine.fma, line) is not None for line in loop)

    lines = assembly(machine)[name]
    loop = max(innermost(lines, machine.jump), key=multiply_adds)
    stack = machine.stack + (r"|\(%rbp" if any("%rsp, %rbp" in line for line in lines) else "")
    assert multiply_adds(loop) == LOOPS[name](*tile(machine.isa), machine.steps), "\n".join(loop)
    assert not [line for line in loop if re.search(stack, line)], "\n".join(loop)
