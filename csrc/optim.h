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
struct Sgd {
  const float *w, *v;
  float *w2, *v2;
  vf lr, momentum, weight_decay;
  bool nesterov;

  // Parameters momentum, weight_decay; nesterov.
  Sgd(const Args& a, const Tensor& w, const Tensor& v, const Tensor& lr, const Tensor& w2, const Tensor& v2)
      : w(w.f32()), v(v.f32()), w2(w2.f32()), v2(v2.f32()), lr(set1(*lr.f32())), momentum(set1((float)a.f[0])),
        weight_decay(set1((float)a.f[1])), nesterov(a.i[0] != 0) {}

  // Elements first .. first + n - 1, whose gradient begins at g.
  void update(int64_t first, int64_t n, const float* g) const {
    over_columns(n, [&](int64_t i, auto m) {
      const int64_t at = first + i;
      const vf weight = m.get(w + at), gradient = m.get(g + i) + weight_decay * weight;
      vf step = gradient;
      if (v) {
        const vf velocity = momentum * m.get(v + at) + gradient;
        m.put(v2 + at, velocity);
        step = nesterov ? gradient + momentum * velocity : velocity;
      }
      m.put(w2 + at, weight - lr * step);
    });
  }
  void fetch(int64_t at) const {
    __builtin_prefetch(w + at, 0, 2);
    if (v) __builtin_prefetch(v + at, 0, 2);
  }
};

static void sgd(const Args& a, Team& team) {
  each_parameter(a, team, 6, [&](const Tensor* t, int64_t first, int64_t n) {
    Sgd(a, t[0], t[2], t[3], t[4], t[5]).update(first, n, t[1].f32() + first);
  });
}

static inline double power(double base, int64_t exponent) {
  double y = 1.0;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if (exponent & 1) y *= base;
  return y;
}

// w g m v lr step -> w2 m2 v2 (Kingma and Ba 2014); decoupled: weight decay as in AdamW (Loshchilov and Hutter 2017)
struct Adam {
  const float *w, *m1, *v;
  float *w2, *m2, *v2;
  vf one_less_beta1, keep2, add2, eps, decay, rate, unbias, shrink;

  // Tensors w m v lr step, results w2 m2 v2. Parameters beta1, beta2, eps, weight_decay; decoupled.
  Adam(const Args& a, const Tensor* in, const Tensor* out)
      : w(in[0].f32()), m1(in[1].f32()), v(in[2].f32()), w2(out[0].f32()), m2(out[1].f32()), v2(out[2].f32()),
        one_less_beta1(set1((float)(1.0 - a.f[0]))), keep2(set1((float)a.f[1])), add2(set1((float)(1.0 - a.f[1]))),
        eps(set1((float)a.f[2])), decay(set1(a.i[0] ? 0.0f : (float)a.f[3])) {
    const double lr = *in[3].f32();
    const int64_t step = *in[4].i64();
    rate = set1((float)(lr / (1.0 - power(a.f[0], step))));
    unbias = set1((float)(1.0 / __builtin_sqrt(1.0 - power(a.f[1], step))));
    shrink = set1(a.i[0] ? (float)(1.0 - lr * a.f[3]) : 1.0f);
  }

  void update(int64_t first, int64_t n, const float* g) const {
    over_columns(n, [&](int64_t i, auto m) {
      const int64_t at = first + i;
      const vf weight = m.get(w + at), gradient = m.get(g + i) + decay * weight;
      const vf mean = m.get(m1 + at) + one_less_beta1 * (gradient - m.get(m1 + at));
      const vf square = keep2 * m.get(v + at) + add2 * (gradient * gradient);
      m.put(m2 + at, mean);
      m.put(v2 + at, square);
      m.put(w2 + at, shrink * weight - rate * (mean / (vsqrt(square) * unbias + eps)));
    });
  }
  void fetch(int64_t at) const {
    __builtin_prefetch(w + at, 0, 2);
    __builtin_prefetch(m1 + at, 0, 2);
    __builtin_prefetch(v + at, 0, 2);
  }
};

static void adam(const Args& a, Team& team) {
  each_parameter(a, team, 9, [&](const Tensor* t, int64_t first, int64_t n) {
    const Tensor in[] = {t[0], t[2], t[3], t[4], t[5]};
    Adam(a, in, t + 6).update(first, n, t[1].f32() + first);
  });
}
