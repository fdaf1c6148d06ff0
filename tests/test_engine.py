"""Whole networks: a program equals its tape played by the reference, in the bits it should, in the bytes it said."""

from __future__ import annotations

import gc
import os
import resource
from collections import Counter

import numpy as np
import pytest

import striate as st
from nets import Bottlenecks, Branches, Classics, Shared, Tiny
from striate import nn, ops
from striate.engine.choose import choose
from striate.engine.fuse import fuse
from striate.engine.profile import PRODUCTS
from striate.engine.program import Program
from striate.engine.programs import Request
from striate.engine.record import Recorder, record
from striate.engine.step import TrainingStep
from striate.engine.tape import Tape, TapeInput
from striate.engine.trace import trace
from striate.kernels import native, reference
from striate.kernels.contract import Spec
from striate.train import SGD, Adam


def aux_loss(y, targets):
    return ops.cross_entropy(y["logits"], targets) + 0.5 * y["aux"][0]


NETS = {
    "lenet5": (lambda: st.create("lenet5"), (1, 28, 28), 10, ops.cross_entropy),
    "tiny": (lambda: Tiny().initialize(1), (3, 8, 8), 5, ops.cross_entropy),
    "branches": (lambda: Branches().initialize(2), (4, 8, 8), 3, aux_loss),
    "classics": (lambda: Classics().initialize(4), (3, 9, 11), 5, ops.cross_entropy),
    "bottlenecks": (lambda: Bottlenecks().initialize(5), (3, 18, 17), 5, ops.cross_entropy),
    "shared": (lambda: Shared().initialize(3), (2, 5, 5), 2, ops.cross_entropy),
}


def batch(image, classes, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *image)).astype(np.float32), rng.integers(0, classes, n)


def close(got, wanted):
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-5 * scale)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("check", [False, True])
def test_program_equals_its_tape_played_by_the_reference(name, check, isa, monkeypatch):
    build, image, classes, loss = NETS[name]
    monkeypatch.setenv("STRIATE_CHECK", "1" if check else "0")
    net = build()
    x, targets = batch(image, classes)
    graph = trace(net, Spec(x.shape), training=True, loss=loss, targets=Spec(targets.shape, "int64"))
    target = native.target(isa, training=True)
    fused = fuse(graph)
    tape = record(fused, target, loss=fused.outputs["loss"], gradients=True, optimizer=SGD(0.1, momentum=0.9))
    feeds = {"x": x, "targets": targets, "lr": np.float32(0.1), "step": np.int64(3), "seed": np.int64(7)}
    wanted = tape.play(reference.kernels(), feeds)
    got = Program(choose(tape, target), isa=isa, threads=2).run(feeds)
    for key, value in got.items():
        close(value, wanted[key])
    for path, state in net.states().items():
        close(state.array, wanted.get(path, state.array))


@pytest.mark.parametrize("name", NETS)
def test_inference_program_equals_the_unfused_reference(name):
    build, image, classes, loss = NETS[name]
    net = build()
    x, targets = batch(image, classes)
    step = TrainingStep(net.programs, loss, SGD(0.05))
    for i in range(3):  # statistics and weights away from their first values
        step(x, targets, lr=0.05, step=i + 1)
    tape = record(trace(net, Spec(x.shape)), reference.TARGET)
    wanted = tape.play(reference.kernels(), {"x": x}, dtype="float64")
    got = nn.module.evaluate(net.programs, x)
    flat = [got] if isinstance(got, np.ndarray) else [got["logits"], *got["aux"]]
    for y, w in zip(flat, wanted.values(), strict=True):
        close(y, w)


@pytest.mark.parametrize(("training", "wanted"), [(False, ["conv2d_norm", "conv2d"]),
                                                  (True, ["conv2d_moments", "lerp", "lerp", "norm_act", "conv2d"])])
def test_relu6_is_fused_as_relu_is(training, wanted):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 4, 3), nn.ReLU6())
    nodes = fuse(net.graph((3, 8, 8), training=training, batch=2)).nodes
    assert [node.op.name for node in nodes] == wanted
    assert [node.params["activation"] for node in nodes if "activation" in node.params] == [4, 4]


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-3), Adam(0.01)])
def test_gradients_and_updates_are_those_of_float64(optimizer):
    net = Tiny().initialize(1)
    x, targets = batch((3, 8, 8), 5)
    graph = trace(net, Spec(x.shape), training=True, loss=ops.cross_entropy, targets=Spec(targets.shape, "int64"))
    tape = record(graph, reference.TARGET, loss=graph.outputs["loss"], gradients=True, optimizer=optimizer)
    feeds = {"x": x.astype(np.float64), "targets": targets, "lr": np.float64(0.1), "step": np.int64(1)}
    wanted = tape.play(reference.kernels(), feeds, dtype="float64")
    value, grads = nn.value_and_grad(Tiny().initialize(1), ops.cross_entropy)(x, targets)
    assert value == pytest.approx(float(wanted["loss"]), rel=1e-6)
    for path, gradient in grads.items():
        close(gradient, wanted[f"grad.{path}"])
    step = TrainingStep(net.programs, ops.cross_entropy, optimizer)
    step(x, targets, lr=0.1, step=1)
    for path, state in (net.states() | optimizer.states()).items():
        close(state.array, wanted.get(path, state.array))


def test_gradient_of_a_whole_network_by_central_difference():
    net = Branches().initialize(2)
    x, targets = batch((4, 8, 8), 3)
    graph = trace(net, Spec(x.shape), training=True, loss=aux_loss, targets=Spec(targets.shape, "int64"))
    tape = record(graph, reference.TARGET, loss=graph.outputs["loss"], gradients=True)
    rng = np.random.default_rng(5)
    direction = {p: rng.standard_normal(s.shape) for p, s in net.states().items()}
    at = {p: s.array.astype(np.float64) for p, s in net.states().items()}

    def loss(t):
        sources = {b.storage: s for s, b in tape.states.items()}
        for storage, state in sources.items():
            storage.source = at[state.path] + t * direction[state.path]
        feeds = {"x": x.astype(np.float64), "targets": targets, "step": np.int64(0), "seed": np.int64(0)}
        return tape.play(reference.kernels(), feeds, dtype="float64")

    slope = sum(float((loss(0.0)[f"grad.{p}"] * d).sum()) for p, d in direction.items())
    measured = (loss(1e-6)["loss"] - loss(-1e-6)["loss"]) / 2e-6
    assert slope == pytest.approx(float(measured), rel=1e-6, abs=1e-9), (slope, measured)


def trained(threads, steps=100, name="tiny"):
    build, image, classes, loss = NETS[name]
    native.set_threads(threads)
    try:
        net, optimizer = build(), Adam(0.01)
        step = TrainingStep(net.programs, loss, optimizer)
        losses = [step(*batch(image, classes, 16, i), lr=0.01, step=i + 1, seed=3)["loss"] for i in range(steps)]
        return losses, {p: s.array.tobytes() for p, s in (net.states() | optimizer.states()).items()}
    finally:
        native.set_threads(None)


@pytest.mark.parametrize("name", ["tiny", "lenet5", "branches"])
def test_same_bits_at_any_thread_count_after_100_steps(name):
    alone = trained(1, name=name)
    for threads in (2, 3, 5):
        assert trained(threads, name=name) == alone


def test_same_bits_at_any_thread_count_where_sums_are_cut_in_chunks():
    alone = trained(1, steps=3, name="bottlenecks")
    for threads in (2, 3, 5):
        assert trained(threads, steps=3, name="bottlenecks") == alone


@pytest.mark.parametrize("name", ["tiny", "lenet5", "branches", "bottlenecks"])
def test_same_bits_whichever_way_maps_are_gone_through(name, monkeypatch):
    wanted = trained(2, steps=10, name=name)
    for backwards in (False, True):
        monkeypatch.setattr("striate.engine.program.turned", lambda calls, b=backwards: [b] * len(calls))
        assert trained(2, steps=10, name=name) == wanted


def test_planned_bytes_are_mapped_bytes():
    net = st.create("lenet5")
    for n in (1, 7, 64):
        x, targets = batch((1, 28, 28), 10, n)
        step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.1, momentum=0.9))
        net.release()
        program = step.program(x, targets)
        step(x, targets, lr=0.1, step=1)
        assert program.mapped_bytes == program.plan.peak_bytes
        inference = net.programs.get(Request(Spec((1, 28, 28))), n)
        net.programs.arena.release()
        net(x)
        assert inference.mapped_bytes == inference.plan.peak_bytes


def test_an_empty_batch_gives_empty_results_and_zero_gradients():
    net = st.create("lenet5")
    assert net(np.zeros((0, 1, 28, 28), np.float32)).shape == (0, 10)
    _, grads = st.value_and_grad(net, ops.cross_entropy)(np.zeros((0, 1, 28, 28), np.float32), np.zeros(0, np.int64))
    assert all(not g.any() for g in grads.values())


def test_a_loss_that_is_not_finite_changes_no_state():
    net, optimizer = Tiny().initialize(1), SGD(0.1, momentum=0.9)
    step = TrainingStep(net.programs, ops.cross_entropy, optimizer)
    x, targets = batch((3, 8, 8), 5)
    step(x, targets, lr=0.1, step=1)
    before = {p: s.array.copy() for p, s in (net.states() | optimizer.states()).items()}
    with pytest.raises(st.NonFiniteError, match="loss"):
        step(np.full_like(x, np.nan), targets, lr=0.1, step=2)
    for path, state in (net.states() | optimizer.states()).items():
        np.testing.assert_array_equal(state.array, before[path])


def test_edits_are_noticed_and_only_a_real_difference_plans_again():
    net = Tiny().initialize(1)
    x, _ = batch((3, 8, 8), 5)
    first, program = net(x), net.programs.get(Request(Spec((3, 8, 8))), 6)
    net.head.bias = np.ones(5, np.float32)  # a state is assigned, not replaced
    assert net.programs.get(Request(Spec((3, 8, 8))), 6) is program
    assert not np.array_equal(net(x), first)
    with net.edit() as arrays:
        arrays["head.bias"][:] = 0
    net.pool = nn.AvgPool2d(2)
    assert net.programs.get(Request(Spec((3, 8, 8))), 6) is not program
    with pytest.raises(ValueError, match="read-only"):
        net.head.bias.array[0] = 1


def test_watched_values_are_not_fused_away():
    net = Tiny().initialize(1)
    x, targets = batch((3, 8, 8), 5)
    y, watched = net(x, watch=["stem", "norm"])
    close(y, net(x))
    close(watched["stem"], ops.conv2d(x, net.stem.weight, padding=1))
    _, _, seen = st.value_and_grad(net, ops.cross_entropy, watch=["inner"])(x, targets)
    assert seen["inner"].shape == (6, 6, 8, 8)
    with pytest.raises(st.UnknownName, match="did you mean 'inner'"):
        net(x, watch=["iner"])


def test_frozen_parameters_have_no_gradient_and_cost_no_call():
    net = st.create("lenet5")
    net.conv1.freeze()
    net.conv2.freeze()
    x, targets = batch((1, 28, 28), 10)
    grad = st.value_and_grad(net, ops.cross_entropy)
    assert sorted(grad(x, targets)[1]) == ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight", "fc3.bias", "fc3.weight"]
    called = {(c.path, c.row.name) for c in grad.program(x, targets).plan.tape.calls if c.section == "backward"}
    assert not [c for c in called if c[0].startswith("conv")]


def test_the_first_layer_has_no_dx_and_inference_no_pool_index():
    net = st.create("lenet5")
    x, targets = batch((1, 28, 28), 10)
    calls = st.value_and_grad(net, ops.cross_entropy).program(x, targets).plan.tape.calls
    assert {c.path for c in calls if c.row.name == "conv2d_pool_dx"} == {"conv2"}
    inference = net.programs.get(Request(Spec((1, 28, 28))), 6).plan.tape.calls
    assert all(c.outputs[1] is None for c in inference if c.row.name == "max_pool")


def test_gradients_of_two_branches_meet_in_a_convolution():
    net = st.create("resnet20")
    x, targets = batch((3, 32, 32), 10, 2)
    calls = st.value_and_grad(net, ops.cross_entropy).program(x, targets).plan.tape.calls
    backward = [c for c in calls if c.section == "backward"]
    residual_at = {"conv2d_dx_gemm": 2, "conv2d_winograd": 3, "conv2d_winograd_sums": 2}
    residual = [c for c in backward if c.row.name in residual_at and c.inputs[residual_at[c.row.name]] is not None]
    assert len(residual) == 9 and not [c for c in backward if c.row.name == "add"]


def test_sums_of_a_norm_are_taken_by_the_convolution_that_sends_its_gradient():
    """Of the last norm none does; of resnet20's others two behind stride 2, here the first block's skip has no norm."""
    for net, image, kernels in (
            (st.create("resnet20"), (3, 32, 32), {"conv2d_winograd_sums": 16, "norm_act_sums": 3}),
            (Bottlenecks().initialize(0), (3, 8, 8),
             {"conv2d_winograd_sums": 2, "conv2d_dx_gemm_sums": 3, "norm_act_sums": 1})):
        x, targets = batch(image, 5, 2)
        calls = st.value_and_grad(net, ops.cross_entropy).program(x, targets).plan.tape.calls
        assert Counter(c.row.name for c in calls if "_sums" in c.row.name) == kernels


def test_a_norm_between_linear_layers_takes_its_own_sums():
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm2d(5), nn.ReLU(), nn.Linear(5, 3)).initialize(0)
    x, targets = batch((6,), 3, 20)
    call = st.value_and_grad(net, ops.cross_entropy)
    names = Counter(c.row.name for c in call.program(x, targets).plan.tape.calls)
    assert names["conv2d_dx_gemm"] == names["norm_act_sums"] == 1
    call(x, targets)


class TwoNorms(nn.Module):
    """The gradient that a convolution sends back is that of two norms, each with a ReLU of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        y = ops.relu(self.norm_a(self.a(x))) + ops.relu(self.norm_b(self.b(x)))
        return ops.flatten(ops.global_avg_pool2d(self.c(y)))


class Joined(nn.Module):
    """A block whose result is half of a concat, so that the norm's y and the residual lie among other channels."""

    def __init__(self):
        super().__init__()
        self.first, self.other, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 5, 1), nn.Conv2d(8, 5, 1)
        self.inner, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head, self.beside = nn.Linear(13, 5), nn.Linear(5, 5)

    def forward(self, x):
        y = ops.relu(self.first(x))
        y = ops.relu(self.norm(self.inner(y)) + y)
        last, both = self.last(y), ops.concat([y, self.other(x)])
        means = [ops.flatten(ops.global_avg_pool2d(z)) for z in (ops.tanh(both), last)]
        return self.head(means[0]) + self.beside(means[1])


def gradients(net, loss, x, targets):
    """Loss and gradients, and how often each kernel was called."""
    call = st.value_and_grad(net, loss)
    calls = call.program(x, targets).plan.tape.calls
    return *call(x, targets), Counter(c.row.name for c in calls), calls


@pytest.mark.parametrize("net, sums", [(Bottlenecks, 5), (TwoNorms, 0), (Joined, 1)])
def test_gradients_are_those_of_a_pass_of_its_own_for_the_sums(net, sums, monkeypatch):
    x, targets = batch((3, 18, 17), 5)
    loss, grads, names, _ = gradients(net().initialize(0), ops.cross_entropy, x, targets)
    monkeypatch.setattr("striate.engine.choose.absorb_norms", lambda tape: tape)
    other, wanted, apart, _ = gradients(net().initialize(0), ops.cross_entropy, x, targets)
    assert loss == other and apart["norm_act_sums"] - names["norm_act_sums"] == sums
    for path, gradient in grads.items():
        close(gradient, wanted[path])


def test_maps_among_other_channels_are_met_as_copies_are(monkeypatch):
    x, targets = batch((3, 18, 17), 5)
    loss, grads, _, calls = gradients(Joined().initialize(2), ops.cross_entropy, x, targets)
    (met,) = (c for c in calls if c.row.name == "conv2d_dx_gemm_sums")
    assert {b.channels for b in met.inputs if b is not None} == {None, 13}
    monkeypatch.setattr("striate.engine.place.joined", lambda tape: tape)
    other, wanted, *_ = gradients(Joined().initialize(2), ops.cross_entropy, x, targets)
    assert loss == other
    for path, gradient in grads.items():
        np.testing.assert_array_equal(gradient, wanted[path])


@pytest.mark.parametrize(("activation", "wanted", "kept"), [
    (1, ("dz",), 0), (1, ("dx", "dz"), 1), (1, ("dx",), 1), (0, ("dx",), 0), (0, ("dx", "dz"), 1)])
def test_a_gradient_that_is_a_result_too_is_neither_masked_nor_lost(activation, wanted, kept):
    k = Recorder(native.target("baseline", training=True))
    x, dy, c = (k.buffer(name, Spec(shape)) for name, shape in
                (("x", (2, 4, 6, 6)), ("dy", (2, 5, 6, 6)), ("c", (4,))))
    w = k.buffer("w", Spec((5, 4, 3, 3)), dense=True)
    dx = k.conv2d_dx(dy, w, size=(6, 6), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1)
    sums = k.norm_act_sums(x, dx, c, c, None, None, None, eps=1e-3, activation=activation)
    results = {"dx": dx, "dz": sums[2]}
    given = [TapeInput(b.name, b, 0) for b in (x, dy, c, w)]
    tape = choose(Tape(k.calls, given, {name: results[name] for name in wanted} | {"sum": sums[0]}), k.target)
    assert sum(call.row.name == "norm_act_sums" for call in tape.calls) == kept


def test_the_gradient_of_a_map_before_a_pool_is_written_once():
    net = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 40, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(160, 5)).initialize(0)
    x, targets = batch((3, 8, 8), 5)
    calls = st.value_and_grad(net, ops.cross_entropy).program(x, targets).plan.tape.calls
    names = [c.row.name for c in calls if c.section == "backward"]
    assert names.count("max_pool_dx") == 1 and "conv2d_pool_dw" not in names


def test_profile_names_every_call():
    net = st.create("lenet5")
    x, targets = batch((1, 28, 28), 10, 32)
    step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.1))
    profile = step.profile(x, targets, lr=0.1)
    assert len(profile.calls) == len(step.program(x, targets).plan.tape.calls)
    assert profile.ns > 0 and "conv2d_pool_dw" in str(profile)
    forward = sum(c.flops for c in profile.calls if c.section == "forward" and c.kernel in PRODUCTS)
    assert forward == 2 * 32 * 416_520


def test_a_callback_runs_inside_the_program_and_its_error_comes_out():
    def pnorm(w):
        return np.sqrt((w * w).mean(-1))

    def slope(w, y):
        return w / (w.shape[-1] * np.maximum(y, 1e-12)[..., None])

    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Pool2d(2, pnorm, slope), nn.Flatten(), nn.Linear(4 * 9, 3)).initialize(4)
    x, targets = batch((1, 8, 8), 3)
    value, grads = st.value_and_grad(net, ops.cross_entropy)(x, targets)
    graph = trace(net, Spec(x.shape), training=True, loss=ops.cross_entropy, targets=Spec((6,), "int64"))
    tape = record(graph, reference.TARGET)
    wanted = tape.play(reference.kernels(), {"x": x, "targets": targets})
    assert value == pytest.approx(float(wanted["loss"]), rel=1e-5) and grads["0.weight"].any()
    failing = nn.Sequential(nn.Pool2d(2, lambda w: 1 / 0 if w.any() else w.max(-1)))
    with pytest.raises(ZeroDivisionError):
        failing(x)
    with pytest.raises(st.ShapeError, match="must return shape"):
        nn.Sequential(nn.Pool2d(2, lambda w: w))(x)
    assert np.isfinite(net(x)).all()


def test_errors_while_tracing_carry_the_path_of_the_layer():
    net = nn.Sequential({"features": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3))})
    with pytest.raises(st.ShapeError, match=r"w must have C/groups = 4.*in features.1, Conv2d"):
        net(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(st.ConfigError, match="has no truth value while a network is traced"):
        type("Branching", (nn.Module,), {"forward": lambda self, x: x if x else -x})()(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("steps", [500, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_leak_over_many_steps(steps):
    net, optimizer = st.create("lenet5"), SGD(0.01, momentum=0.9)
    step = TrainingStep(net.programs, ops.cross_entropy, optimizer)
    x, targets = batch((1, 28, 28), 10, 2)

    def run(steps):
        for i in range(steps):
            step(x, targets, lr=0.01, step=i + 1)
            net(x)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(os.listdir("/proc/self/fd"))

    warm = run(300)
    after = run(steps)
    assert after[1] == warm[1] and (after[0] - warm[0]) < 1024, (warm, after)  # KiB of peak resident memory


class Holder(nn.Module):
    """Layers in a dict and in a list of lists, and a bare state in a list."""

    def __init__(self):
        super().__init__()
        self.named = {"a": nn.Linear(4, 3), "b": nn.Linear(3, 2)}
        self.nested = [[nn.Linear(2, 2)]]

    def forward(self, x):
        return self.nested[0][0](self.named["b"](ops.relu(self.named["a"](x))))


def test_layers_in_dicts_and_lists_are_found():
    net = Holder().initialize(1)
    assert sorted(p for p in net.states() if p.endswith("weight")) == [
        "named.a.weight", "named.b.weight", "nested.0.0.weight"]
    assert net(np.ones((2, 4), np.float32)).any()


def test_a_state_that_no_attribute_leads_to_is_refused():
    hidden = nn.Linear(4, 3)
    net = type("Hiding", (nn.Module,), {"forward": lambda self, x: hidden(x)})()
    with pytest.raises(st.ConfigError, match="no attribute of the network leads to"):
        net(np.ones((2, 4), np.float32))


def test_the_batch_size_cannot_be_baked_into_a_trace():
    net = Shared().initialize(3)
    x, targets = batch((2, 5, 5), 2)
    with pytest.raises(st.ConfigError, match="the batch size cannot be computed with"):
        st.value_and_grad(net, lambda y, t: ops.sum(y) / y.shape[0])(x, targets)
    mean = st.value_and_grad(net, lambda y, t: ops.mean(y))
    assert mean(x[:3], targets[:3])[0] == pytest.approx(float(net(x[:3]).mean()), abs=1e-6)


def test_a_batch_norm_used_twice_moves_its_statistics_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1, momentum=0.5)

        def forward(self, x):
            return self.norm(x) + self.norm(x + 2.0)

    net, x = Twice(), np.array([[0.0], [4.0]], np.float32)
    net(x, training=True)  # means 2, then 4
    np.testing.assert_allclose(net.norm.running_mean.array, [0.5 * (0.5 * 2.0) + 0.5 * 4.0])


def test_updates_read_the_old_values_and_so_do_results():
    from striate.graph import Graph, State

    a, b = (State(np.full(3, v, np.float32), trainable=False, path=p) for v, p in ((1, "a"), (2, "b")))
    graph = Graph()
    graph.update(a, graph.value_of(b))
    graph.update(b, graph.value_of(a))
    graph.outputs = {"old": graph.value_of(a)}
    got = Program(record(graph, reference.TARGET), isa=native.default_isa(), threads=1).run({})
    assert (got["old"][0], a.array[0], b.array[0]) == (1, 2, 1)


@pytest.mark.parametrize("check", ["0", "1"])
def test_a_net_serves_several_threads_while_it_trains(check, monkeypatch):
    monkeypatch.setenv("STRIATE_CHECK", check)
    import threading

    net, failures = st.create("lenet5"), []
    step = TrainingStep(net.programs, ops.cross_entropy, SGD(0.01))

    def ask(n):
        try:
            for i in range(30):
                assert net(np.zeros((n + i % 3, 1, 28, 28), np.float32)).shape == (n + i % 3, 10)
                net.release()
        except Exception as error:
            failures.append(error)

    askers = [threading.Thread(target=ask, args=(n,)) for n in (1, 40)]
    for asker in askers:
        asker.start()
    x, targets = batch((1, 28, 28), 10, 64)
    for i in range(30):
        step(x, targets, lr=0.01, step=i + 1)
    for asker in askers:
        asker.join()
    assert not failures


def test_a_callback_may_run_its_own_net_on_another_batch():
    inner = nn.Linear(4, 2).initialize(1)

    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = inner

        def forward(self, x):
            return self.linear(ops.callback(self.ask, x, shape=(4,)))

        def ask(self, x):
            if len(x) == 3:
                close(self(x[:2] * 2), inner(x[:2] * 2))
            return x

    net, x = Asking(), batch((4,), 2, 3)[0]
    close(net(x), inner(x))


def test_copies_are_nets_of_their_own():
    import copy
    import pickle

    net, x = Tiny().initialize(1), batch((3, 8, 8), 5)[0]
    y = net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x), y)
        twin.head.bias = np.ones(5)
        assert not np.array_equal(twin(x), y)
        assert all(s.storage.ctypes.data % 64 == 0 for s in twin.states().values())
    np.testing.assert_array_equal(net(x), y)


def test_runs_inside_an_edit_see_it():
    net, x = st.create("lenet5"), batch((1, 28, 28), 10)[0]
    net(x)
    with net.edit() as arrays:
        for array in arrays.values():
            array[...] = 0
        assert not net(x).any()


def test_looking_at_a_weight_does_not_change_it():
    layer = nn.Linear(4, 3)
    with pytest.raises(st.ConfigError, match="has no numbers yet"):
        np.asarray(layer.weight)
    net = nn.Sequential(layer, nn.Linear(3, 3))
    net(np.ones((1, 4), np.float32))
    assert layer.weight.path == "0.weight" and layer.weight.array.any()


@pytest.mark.parametrize("lr", [np.nan, np.inf, -1.0, "1"])
def test_a_learning_rate_that_is_none_changes_nothing(lr):
    net = Tiny().initialize(1)
    x, targets = batch((3, 8, 8), 5)
    before = net.head.weight.array.copy()
    with pytest.raises(st.StriateError, match="lr must be a number"):
        TrainingStep(net.programs, ops.cross_entropy, SGD(0.1))(x, targets, lr=lr, step=1)
    np.testing.assert_array_equal(net.head.weight.array, before)


def test_weights_are_drawn_when_they_are_needed():
    x = batch((3, 8, 8), 5, n=2)[0]
    net, drawn = Tiny(), Tiny().initialize(0)
    net.graph((3, 8, 8))
    program = net.programs.get(Request(Spec((3, 8, 8))), 2)
    assert all(s.pending and not s.storage.any() for s in net.states().values()) and program.plan.peak_bytes
    for state in net.states().values():
        state.path = "renamed"  # as another network around it would; the key is the path it was planned under
    np.testing.assert_array_equal(net(x), drawn(x))
    with Tiny().edit() as arrays:
        assert all(np.array_equal(array, drawn.states()[path].array) for path, array in arrays.items())


def test_a_saved_body_inside_another_network(tmp_path):
    st.save(nn.Sequential(nn.Linear(4, 3)).initialize(1), tmp_path / "body.safetensors", (4,))
    net = nn.Sequential(st.load(tmp_path / "body.safetensors"), nn.Linear(3, 2)).initialize(2)
    assert list(net.states()) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    st.save(net, tmp_path / "net.safetensors", (4,))
    x = batch((4,), 2)[0]
    np.testing.assert_array_equal(st.load(tmp_path / "net.safetensors")(x), net(x))


@pytest.mark.parametrize("watch", ["conv1", None, [1], [["a"]]])
def test_watch_needs_names(watch):
    with pytest.raises(st.DtypeError, match="watch: needs a list of names"):
        st.create("lenet5")(np.zeros((1, 1, 28, 28), np.float32), watch=watch)
