// SGD and Adam as PyTorch computes them, one pass over each parameter. A merged call lists several parameters; chunks
// run over all of them, so many small biases cost one parallel region.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "math.h"

// f(tensors of the parameter, first element, count) for every chunk of every parameter of `each` tensors.
template <class F>
static inline void each_parameter(const Args& a, Team& team, int each, F f) {
  int64_t chunks = 0;
  for (int32_t k = 0; k < a.tensors; k += each) chunks += ceil_div(size_of(a.t[k]), GRAIN);
  for_chunks(team, chunks, [&](int64_t chunk) {
    const Tensor* t = a.t;
    for (int64_t own; chunk >= (own = ceil_div(size_of(*t), GRAIN)); t += each) chunk -= own;
    const int64_t first = chunk * GRAIN;
    f(t, first, lesser(GRAIN, size_of(*t) - first));
  });
}

// w g v? lr -> w2 v2?: g += weight_decay w; v = momentum v + g; w -= lr v, or with nesterov w -= lr (g + momentum v)
static void sgd(const Args& a, Team& team) {
  const vf momentum = set1((float)a.f[0]), weight_decay = set1((float)a.f[1]);
  const bool nesterov = a.i[0] != 0;
  each_parameter(a, team, 6, [&](const Tensor* t, int64_t first, int64_t n) {
    const float *w = t[0].f32() + first, *g = t[1].f32() + first;
    const float* v = t[2] ? t[2].f32() + first : nullptr;
    float *w2 = t[4].f32() + first, *v2 = t[5] ? t[5].f32() + first : nullptr;
    const vf lr = set1(*t[3].f32());
    over_columns(n, [&](int64_t i, auto m) {
      const vf gradient = m.get(g + i) + weight_decay * m.get(w + i);
      vf step = gradient;
      if (v) {
        const vf velocity = momentum * m.get(v + i) + gradient;
        m.put(v2 + i, velocity);
        step = nesterov ? gradient + momentum * velocity : velocity;
      }
      m.put(w2 + i, m.get(w + i) - lr * step);
    });
  });
}

static inline double power(double base, int64_t exponent) {
  double y = 1.0;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if (exponent & 1) y *= base;
  return y;
}

// w g m v lr step -> w2 m2 v2 (Kingma and Ba 2014); decoupled: weight decay as in AdamW (Loshchilov and Hutter 2017)
static void adam(const Args& a, Team& team) {
  const double beta1 = a.f[0], beta2 = a.f[1], weight_decay = a.f[3];
  const bool decoupled = a.i[0] != 0;
  const vf one_less_beta1 = set1((float)(1.0 - beta1)), keep2 = set1((float)beta2), add2 = set1((float)(1.0 - beta2));
  const vf eps = set1((float)a.f[2]), decay = set1(decoupled ? 0.0f : (float)weight_decay);
  each_parameter(a, team, 9, [&](const Tensor* t, int64_t first, int64_t n) {
    const float *w = t[0].f32() + first, *g = t[1].f32() + first, *m1 = t[2].f32() + first, *v = t[3].f32() + first;
    float *w2 = t[6].f32() + first, *m2 = t[7].f32() + first, *v2 = t[8].f32() + first;
    const double lr = *t[4].f32();
    const int64_t step = *t[5].i64();
    const vf rate = set1((float)(lr / (1.0 - power(beta1, step))));
    const vf unbias = set1((float)(1.0 / __builtin_sqrt(1.0 - power(beta2, step))));
    const vf shrink = set1(decoupled ? (float)(1.0 - lr * weight_decay) : 1.0f);
    over_columns(n, [&](int64_t i, auto m) {
      const vf weight = m.get(w + i), gradient = m.get(g + i) + decay * weight;
      const vf mean = m.get(m1 + i) + one_less_beta1 * (gradient - m.get(m1 + i));
      const vf square = keep2 * m.get(v + i) + add2 * (gradient * gradient);
      m.put(m2 + i, mean);
      m.put(v2 + i, square);
      m.put(w2 + i, shrink * weight - rate * (mean / (vsqrt(square) * unbias + eps)));
    });
  });
}
