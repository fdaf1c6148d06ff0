"""Rows of optimisers: one call a parameter; neighbours with equal parameters are merged into one native call."""

from __future__ import annotations

from striate.kernels.contract.row import row

row("sgd", "w g v? lr -> w2 v2?", "momentum:f nesterov:1 weight_decay:f",
    lambda w, g, v, lr, **_: (w, w), overwrites=((0, 0), (1, 2)), mergeable=True)
row("adam", "w g m v lr step -> w2 m2 v2", "beta1:f beta2:f eps:f weight_decay:f decoupled:1",
    lambda w, g, m, v, lr, step, **_: (w, w, w), overwrites=((0, 0), (1, 2), (2, 3)), mergeable=True)
