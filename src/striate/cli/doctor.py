"""`striate doctor`: what this machine offers, what it reaches, and what is slow and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from striate.cli.output import Json, Threads, say, show_json
from striate.kernels import _native, native

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
SCALES = 0.75  # of n times one thread's peak: below it the threads are not getting a core each


@dataclass(frozen=True)
class Findings:
    """Units: peaks in GFLOP/s of multiply-adds from registers (2 each), copies in GB/s read plus written."""

    cpu: str
    isa: str
    isas: list[str]
    threads: int
    logical_cores: int  # of the machine
    affinity: int  # logical cores this process may run on
    physical_cores: int  # among those
    quota: float | None  # processors' worth of time its cgroups grant
    load: float  # programs that wanted to run, over the last minute
    huge_pages: str
    governor: str
    peak_gflops_one: float
    peak_gflops: float
    copy_gbs: float


def doctor(
    seconds: Annotated[float, typer.Option(metavar="S", min=0.01, max=60,
                                           help="How long to measure each figure.")] = 0.3,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """The processor, its instruction set, threads, measured speed, and what is slow and why.

    Example: striate doctor
    """
    native.set_threads(threads)
    say("measuring ...")
    found = examine(seconds)
    remarks = list(remarks_on(found))
    if json:
        show_json({**asdict(found), "remarks": remarks})
        return
    print("\n".join(f"{name:<17}{text}" for name, text in _lines(found)))
    print()
    print("\n".join(f"- {remark}" for remark in remarks) or "Nothing here slows striate down.")


def examine(seconds: float) -> Findings:
    """Looks and measures; takes about three times `seconds`."""
    cores, isa, threads = _native.cores(), native.default_isa(), native.get_threads()
    load = os.getloadavg()[0]
    return Findings(
        cpu=native.cpu_name(), isa=isa, isas=native.isas(), threads=threads, logical_cores=os.cpu_count() or 1,
        affinity=cores["affinity"], physical_cores=cores["physical"], quota=cores["quota"], load=round(load, 2),
        huge_pages=_chosen(_read(HUGE_PAGES)), governor=_read(GOVERNOR) or "unknown",
        peak_gflops_one=round(_native.peak_gflops(isa, 1, seconds), 1),
        peak_gflops=round(_native.peak_gflops(isa, threads, seconds), 1),
        copy_gbs=round(_native.copy_gbs(threads, seconds), 1),
    )


def _lines(f: Findings) -> Iterator[tuple[str, str]]:
    yield "processor", f.cpu
    yield "instruction set", f"{f.isa} (this machine runs {', '.join(f.isas)})"
    quota = "no quota" if f.quota is None else f"a quota of {f.quota:g} processors"
    yield "threads", (f"{f.threads} ({f.physical_cores} physical cores, {f.affinity} of {f.logical_cores} logical "
                      f"cores allowed, {quota})")
    yield "multiply-adds", f"{f.peak_gflops:.1f} GFLOP/s with {f.threads} threads, {f.peak_gflops_one:.1f} with one"
    yield "memory", f"{f.copy_gbs:.1f} GB/s copied, read plus written"
    yield "huge pages", f.huge_pages
    yield "clock governor", f.governor
    yield "load", f"{f.load:.2f} programs wanted to run over the last minute"


def remarks_on(f: Findings) -> Iterator[str]:
    """What keeps striate from being as fast as it could be, a sentence each."""
    if f.isa != f.isas[-1]:
        yield f"STRIATE_ISA asks for {f.isa}; without it the faster {f.isas[-1]} would be used."
    elif f.isa == "baseline":
        yield "This processor has neither AVX2 nor AVX-512: convolutions take 4 to 8 times as long as with them."
    if os.environ.get("STRIATE_CHECK") == "1":
        yield "STRIATE_CHECK=1 is set: every run checks its memory, which is much slower."
    if f.quota is not None and f.quota < f.physical_cores:
        yield (f"The container or service may use {f.quota:g} processors' worth of time although it sees "
               f"{f.physical_cores} cores; more threads than that would be held back.")
    if f.affinity < f.logical_cores:
        yield (f"This process may run on {f.affinity} of the machine's {f.logical_cores} logical cores "
               "(its affinity mask).")
    if f.threads > f.physical_cores:
        yield f"{f.threads} threads share {f.physical_cores} physical cores: they slow each other down."
    if f.peak_gflops < SCALES * f.threads * f.peak_gflops_one:
        yield (f"{f.threads} threads reach {f.peak_gflops / f.peak_gflops_one:.1f} times the speed of one: other "
               "programs take the cores, or the cores are two halves of one.")
    if f.load > 0.5 * f.logical_cores:
        yield f"Other programs are busy (load {f.load:.2f}); measured times will be longer than this machine needs."
    if f.huge_pages == "never":
        yield ("Huge pages are off: large networks run some percent slower; an administrator can write madvise to "
               f"{HUGE_PAGES}.")
    if f.governor == "powersave":
        yield "The clock governor is powersave: short runs may be over before the clock has risen."


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _chosen(text: str) -> str:
    """The word in brackets: "always [madvise] never" chose madvise."""
    return text.partition("[")[2].partition("]")[0] or "unknown"
