"""`striate calibrate`: measures once what this machine's kernels take, so that times can be predicted."""

from __future__ import annotations

import os

from striate.account.calibrate import calibrate as measure
from striate.account.calibrate.nets import SAMPLES
from striate.account.latency.store import Calibration, path_of, save
from striate.cache import ready
from striate.cli.output import Json, Threads, say, show_json
from striate.kernels import native

BUSY = 0.5  # programs that want to run, a core: striate doctor remarks on as many
NOISY = 0.1  # of a run's time: what calm machines' runs do not differ by


def calibrate(
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Runs small networks for half a minute; from then on `striate latency` says what a network will take.

    Example: striate calibrate
    """
    native.set_threads(threads)
    isa, used = native.default_isa(), native.get_threads()
    path = ready(path_of(isa, used))
    load = os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        say(f"other programs are busy (load {load:.2f}): what is measured now will be slower than this machine is")
    say(f"measuring {len(SAMPLES)} small networks with {used} threads, about half a minute ...")
    found = measure()
    save(found)
    if json:
        show_json(dict(path=str(path), isa=isa, threads=used, networks=found.networks, calls=found.calls,
                       kernels=len(found.prices.families), seconds=found.seconds, noise=found.noise))
        return
    print(f"{found.calls} calls of {len(found.prices.families)} kernels in {found.networks} of {len(SAMPLES)} "
          f"networks, {found.seconds:.0f} s: {path}")
    print(_noise(found))


def _noise(found: Calibration) -> str:
    text = f"half of the runs of a network lay within {found.noise:.1%} of each other"
    return f"{text}: other programs are busy, calibrate again when they are not" if found.noise > NOISY else text
