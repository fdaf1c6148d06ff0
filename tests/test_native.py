"""The native core: its tables, its pool of threads, its programs and their memory."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from striate.errors import DtypeError, ShapeError, UnknownName
from striate.kernels import _native, native
from striate.kernels.contract import ROWS
from striate.kernels.lower import LOWERINGS

F32 = native.DTYPES["float32"]
PARAMS = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, "activation": 0}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def python(code, **env):
    """Runs `code` in a fresh interpreter; its output."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def program(calls, floats, *, shape=None, threads=2, update_from=1 << 30, prelude=0, out=None):
    """A program over one arena of `floats` floats whose input lies at its start and whose output is `out`."""
    shape = (floats // 2,) if shape is None else shape
    inputs = [(0, 0, shape, 0, F32)]
    outputs = [] if out is None else [out]
    block = _native.Block(4 * floats)
    isa = native.default_isa()
    return _native.Program(isa, threads, calls, inputs, outputs, [4 * floats], update_from, prelude), block


def at(offset, *shape, ld=0):
    return (0, 4 * offset, shape, ld, F32)


def call(kernel, *tensors, ints=(), floats=()):
    return (kernel, tensors, list(ints), list(floats), 0, 0, 0, False, False)


# ---- tables

def test_signatures_equal_the_contract():
    wanted = {name: (row.signature, row.parameters) for name, row in ROWS.items() if name not in LOWERINGS}
    assert _native.signatures() == wanted


def test_isa_choice():
    assert _native.isas()[0] == "baseline"
    ask = "from striate.kernels import native; print(native.default_isa())"
    assert python(ask, STRIATE_ISA="baseline") == "baseline"
    refusal = "from striate.kernels import native\ntry: native.default_isa()\nexcept ValueError as e: print(e)"
    assert "no instruction set named 'z80'" in python(refusal, STRIATE_ISA="z80")
    with pytest.raises(UnknownName, match="no instruction set this machine can run named 'z80'"):
        native.kernels("z80")


def test_quota_of_both_cgroup_versions(tmp_path):
    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("proc/self/cgroup", "0::/a/b\n")
    assert _native.cgroup_quota(str(tmp_path)) == 0
    write("sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    assert _native.cgroup_quota(str(tmp_path)) == 1.5
    write("proc/self/cgroup", "3:cpuset:/x\n2:cpu,cpuacct:/host/path\n0::/a/b\n")
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert _native.cgroup_quota(str(tmp_path)) == 0.5


# ---- eager calls

def test_arrays_of_any_layout_give_the_same():
    x, k = normal(2, 5, 6, 7), native.kernels()
    wanted = k.relu(x)
    np.testing.assert_array_equal(wanted, np.maximum(x, 0))
    odd = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)  # misaligned
    wide = np.zeros((2, 6, 7, 9), np.float32)
    wide[..., 2:7] = x.transpose(0, 2, 3, 1)
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (odd, wide[..., 2:7].transpose(0, 3, 1, 2), np.asfortranarray(x), x[::-1][::-1], read_only):
        np.testing.assert_array_equal(k.relu(same), wanted)
    np.testing.assert_array_equal(k.relu(x[:, :, ::-2, ::-1]), wanted[:, :, ::-2, ::-1])
    np.testing.assert_array_equal(k.relu(np.broadcast_to(x[:1], x.shape)), np.broadcast_to(wanted[:1], x.shape))


def test_dtypes_are_refused():
    k = native.kernels()
    with pytest.raises(DtypeError, match='float64 arrays need kernels="reference"; got float64'):
        k.relu(np.zeros(3))
    with pytest.raises(DtypeError, match="x must be float32; got >f4"):
        k.relu(np.zeros(3, ">f4"))
    with pytest.raises(DtypeError, match="tensors must be arrays, got list"):
        k.relu([1.0])
    with pytest.raises(ShapeError, match=r"C/groups = 3.*got 4"):
        rest = {name: value for name, value in PARAMS.items() if name != "kernel"}
        k.conv2d(normal(1, 3, 8, 8), normal(2, 4, 3, 3), None, None, **rest)


def test_threads_give_the_same_bits(isa):
    x, dy = normal(3, 19, 21, 17), normal(3, 33, 21, 17, seed=1)
    rest = {name: value for name, value in PARAMS.items() if name != "activation"}
    same_bits(isa, lambda k: k.conv2d_dw(x, dy, **rest))


def same_bits(isa, call):
    results = [call(native.kernels(isa, t)) for t in (1, 2, 3, 5, 2, 1)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


MANY_CHUNKS = (3, 19, 40, 41)
CALLS = {
    "local_response_norm": (1, dict(size=5, alpha=0.1, beta=0.75, offset=1.0)),
    "local_response_norm_dx": (2, dict(size=4, alpha=0.1, beta=0.75, offset=1.0)),
    "adaptive_avg_pool": (1, dict(out=(27, 31))),
    "adaptive_avg_pool_dx": (1, dict(size=(57, 43))),
    "lp_pool": (1, dict(power=2.0, kernel=(3, 3), stride=(1, 1), ceil=0)),
    "channel_shuffle": (1, dict(groups=19)),
    "gelu": (1, dict(tanh=0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_threads_give_the_same_bits_of_maps(name, isa):
    tensors, params = CALLS[name]
    arrays = [normal(*MANY_CHUNKS, seed=i) for i in range(tensors)]
    same_bits(isa, lambda k: getattr(k, name)(*arrays, **params))


@pytest.mark.parametrize("n, c, o, size", [(9, 16, 19, 21), (7, 33, 65, 24), (1, 250, 260, 5)])
def test_threads_give_the_same_bits_by_winograd(isa, n, c, o, size):
    x, dy = normal(n, c, size, size), normal(n, o, size, size, seed=1)
    same_bits(isa, lambda k: k.conv2d_dw_winograd(x, dy, kernel=3, tile=4, padding=(1, 1, 1, 1)))


# ---- the pool

def test_import_starts_no_thread():
    code = "import threading, striate.kernels.native, os; print(len(os.listdir('/proc/self/task')))"
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    assert python(code, OPENBLAS_NUM_THREADS="1") == "1"


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fork_after_run():
    k = native.kernels(threads=3)
    x = normal(4, 8, 32, 32)
    wanted = k.relu(x)
    child = os.fork()
    if child == 0:
        ok = _native.pool_workers() == 0 and np.array_equal(k.relu(x), wanted) and _native.pool_workers() == 2
        os._exit(0 if ok else 1)
    end = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        assert time.monotonic() < end, "the child hangs"
        time.sleep(0.01)
    np.testing.assert_array_equal(k.relu(x), wanted)


def test_two_python_threads_at_once():
    k = native.kernels(threads=2)
    xs = [normal(4, 8, 32, 32, seed=i) for i in range(4)]
    wrong = []

    def work(x):
        wanted = np.maximum(x, 0)
        for _ in range(100):
            if not np.array_equal(k.relu(x), wanted):
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(x,)) for x in xs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong and not any(t.is_alive() for t in threads)


LONG = """
import os, signal, sys, threading, time
import numpy as np
from striate.kernels import _native
n = 1 << 20
tensors = [(0, 0, (n,), 0, 0), (0, 4 * n, (n,), 0, 0)]
calls = [("tanh", tensors, [], [], 0, 0, 0, False, False)] * 20_000
program = _native.Program("baseline", 2, calls, tensors[:1], [], [8 * n], {update_from})
block, x = _native.Block(8 * n), np.ones(n, np.float32)
start = time.monotonic()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    program.run([block.address], [x], [], True)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start)
program = _native.Program("baseline", 2, calls[:1], tensors[:1], tensors[1:], [8 * n], 1)
y = np.zeros(n, np.float32)
program.run([block.address], [x], [y], True)
assert abs(y - np.tanh(1)).max() < 1e-6
"""


def test_interrupt_ends_a_run_within_2_s():
    said, seconds = python(LONG.replace("{update_from}", "20_000")).split()
    assert said == "interrupted" and 0.25 < float(seconds) < 2.3


def test_denormals_are_flushed_inside_a_run_only():
    tiny = np.full(64, 1e-39, np.float32)
    assert not native.kernels(threads=2).scale(tiny, factor=1.0).any()
    assert (tiny * np.float32(0.5)).all()


# ---- programs

def test_program_runs_its_calls():
    n = 1000
    calls = [call("relu", at(0, n), at(n, n)), call("scale", at(n, n), at(0, n), floats=[2.0])]
    made, block = program(calls, 2 * n, out=at(0, n))
    x, y = normal(2 * n)[::-2], np.zeros((n, 3), np.float32)[:, 1]
    assert made.run([block.address], [x], [y], True, True) == -1
    np.testing.assert_array_equal(y, 2 * np.maximum(x, 0))
    assert len(made.last_profile()) == 2 and min(made.last_profile()) > 0


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 9, 4), (4, 17, 1, 1), (2, 40, 33, 3), (0, 3, 4, 4)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_copies_between_layouts(shape, dtype):
    n, c, h, w = shape
    ld, code, size = c + 3, native.DTYPES[dtype], np.dtype(dtype).itemsize
    tensor = (0, 64, shape, ld, code)
    nbytes = 64 + size * n * h * w * ld
    made = _native.Program("baseline", 2, [], [tensor], [tensor], [nbytes], 0)
    block = _native.Block(nbytes)
    x = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (x, np.asfortranarray(x), x[:, ::-1], nhwc):
        for y in (np.zeros(shape, dtype), np.zeros((n, h, w, c), dtype).transpose(0, 3, 1, 2)[::-1, ::-1]):
            made.run([block.address], [given], [y], True)
            np.testing.assert_array_equal(y, given)


def test_prelude_runs_when_asked():
    calls = [call("scale", at(0, 4), at(4, 4), floats=[2.0]), call("copy", at(4, 4), at(8, 4))]
    made, block = program(calls, 12, shape=(4,), prelude=1, out=at(8, 4))
    y = np.zeros(4, np.float32)
    made.run([block.address], [np.ones(4, np.float32)], [y], True)
    made.run([block.address], [np.zeros(4, np.float32)], [y], False)
    assert (y == 2).all()


def test_a_loss_that_is_not_finite_stops_before_the_updates():
    calls = [call("check_finite", at(0)), call("scale", at(0), at(1), floats=[1.0])]
    made, block = program(calls, 2, shape=(), update_from=1, out=at(0))
    y = np.zeros((), np.float32)
    for bad in (np.nan, np.inf):
        assert made.run([block.address], [np.float32(bad) + np.zeros((), np.float32)], [y], True) == 0
        np.testing.assert_equal(y, np.float32(bad))
    assert not block.array().view(np.float32)[1].any()
    assert made.run([block.address], [np.ones((), np.float32)], [y], True) == -1
    assert block.array().view(np.float32)[1] == 1


BAD_CALLS = {
    "leaves its block": (call("relu", at(0, 8), at(9, 8)), "within block 0 of 64 bytes, got 32 bytes at offset 36"),
    "negative offset": (call("relu", at(-1, 8), at(8, 8)), "within block 0"),
    "another block": (call("relu", (7, 0, (8,), 0, F32), at(8, 8)), "there are 1 blocks, got block 7"),
    "pixel stride": (call("relu", at(0, 1, 4, 2, 1, ld=3), at(8, 8)), "at least 4, got 3"),
    "overflow": (call("relu", at(0, 1 << 62, 1 << 62), at(8, 8)), "larger than memory can be"),
    "negative size": (call("relu", at(0, -1), at(8, 8)), "must not be negative"),
    "too few tensors": (call("relu", at(0, 8)), "needs the tensors 'x -> y', got 1"),
    "missing tensor": (call("relu", None, at(8, 8)), "tensor 0 of 'x -> y' is missing"),
    "parameters": (call("scale", at(0, 8), at(8, 8)), "'factor:f', got 0 integers and 0 floats"),
    "unknown": (call("frob", at(0, 8), at(8, 8)), "no kernel named 'frob'"),
    "scratch": (call("mse", at(0, 8), at(8, 8), at(0)), "bytes of scratch, got 0"),
    "misaligned": (call("relu", (0, 2, (4,), 0, F32), at(8, 4)), "multiple of 4, got 2"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bounds_are_refused(case):
    bad, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        program([bad], 16)


def test_arrays_that_do_not_fit_are_refused():
    made, block = program([call("relu", at(0, 4), at(4, 4))], 8, out=at(4, 4))
    x, y = np.zeros(4, np.float32), np.zeros(4, np.float32)
    for inputs, outputs, message in (
        ([x.astype(np.float64)], [y], r"input 0 must be float32 of shape \(4,\), got format 'd' of shape \(4,\)"),
        ([x.astype(">f4")], [y], "got format '>f'"),
        ([x[:3]], [y], r"of shape \(3,\)"),
        ([], [y], "needs 1 inputs, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            made.run([block.address], inputs, outputs, True)
    with pytest.raises(ValueError, match="addresses of 1 blocks, got 0"):
        made.run([], [x], [y], True)
    y.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        made.run([block.address], [x], [y], True)


# ---- callbacks

def callback_program(function, threads=2):
    shape = (2, 3, 4, 5)
    tensors = [at(0, *shape, ld=4), at(160, *shape, ld=3)]
    calls = [("callback", tensors, function, 1, 0, 0, 0)]
    made = _native.Program(native.default_isa(), threads, calls, tensors[:1], tensors[1:], [4 * 280], 1)
    return made, _native.Block(4 * 280), normal(*shape), np.zeros(shape, np.float32)


def test_callback_gets_copies_and_is_copied_back():
    seen = []

    def double(x):
        seen.append((x.flags.c_contiguous, x.dtype.name))
        return (2 * x)[::-1]

    made, block, x, y = callback_program(double)
    made.run([block.address], [x], [y], True)
    np.testing.assert_array_equal(y, 2 * x[::-1])
    assert seen == [(True, "float32")]


def test_errors_of_a_callback():
    made, block, x, y = callback_program(lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.run([block.address], [x], [y], True)
    made, block, x, y = callback_program(lambda x: x[:1])
    with pytest.raises(ValueError, match=r"callback result 0 must be float32 of shape \(2, 3, 4, 5\)"):
        made.run([block.address], [x], [y], True)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_callback_may_run_and_fork():
    made, block, x, y = callback_program(lambda x: native.kernels(threads=2).relu(x))
    made.run([block.address], [x], [y], True)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    with pytest.raises(ValueError, match="a callback inside it must not run it again"):
        made, block, x, y = callback_program(lambda x: made.run([block.address], [x], [y], True))
        made.run([block.address], [x], [y], True)
    children = []

    def fork(x):
        children.append(os.fork())
        return x

    made, block, x, y = callback_program(fork)
    made.run([block.address], [x], [y], True)
    if children[0] == 0:  # the child's run ended too, alone
        os._exit(0 if np.array_equal(x, y) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_callback_keeps_no_cycle_alive():
    class Holder:
        def __call__(self, x):
            return x

    holder = Holder()
    holder.program = callback_program(holder)[0]
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


# ---- memory

def test_blocks_are_zeroed_aligned_and_counted():
    before = _native.mapped_bytes()
    for nbytes in (0, 1, 5000, (2 << 20) + 1):
        block = _native.Block(nbytes)
        assert block.nbytes == nbytes and _native.mapped_bytes() == before + nbytes
        assert block.address % (2 << 20 if nbytes >= 2 << 20 else 64) == 0
        block.prefault()
        view = block.array()
        del block
        assert not view.any() and view.nbytes == nbytes
        view[:] = 1
        del view
        assert _native.mapped_bytes() == before
    with pytest.raises(MemoryError):
        _native.Block(1 << 60)
