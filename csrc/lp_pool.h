// Lp pooling: y = (the sum of x^p over a window)^(1/p), and its gradient dx = the sum of dy (x / y)^(p - 1) over the
// windows that hold the pixel. A window that ceil mode lets hang over counts as its mean times KH KW.
#pragma once
#include "pool_grad.h"

static inline vf raised(vf x, float p) { return p == 2.0f ? x * x : vpow(x, p); }
static inline vf root_of(vf x, float p) { return p == 2.0f ? vsqrt(x) : vpow(x, 1.0f / p); }

static inline PoolShape unpadded(const Tensor& map, const Tensor& out, const int64_t* i) {
  const int64_t window[6] = {i[0], i[1], i[2], i[3], 0, 0};
  return pool_shape(map, out, window, false);
}

static void lp_pool(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const PoolShape p = unpadded(x, y, a.i);
  const float power = (float)a.f[0];
  float* values = y.f32();
  const int64_t ld = y.ld;
  each_window(team, p, x, is_flat(y), [=](const PoolWindow& at) {
    const float share = at.full ? 1.0f : (float)(p.KH * p.KW) / divisor_of(p, at.oh, at.ow, false);
    over_channels(p.C, at.wide, [&](int64_t c, auto m) {
      vf sum = {};
      for (int64_t i = at.h.begin; i < at.h.end; i++)
        for (int64_t j = at.w.begin; j < at.w.end; j++)
          sum += raised(m.get(at.x + i * p.down + j * p.right + c), power);
      m.put(values + at.pixel * ld + c, root_of(sum * set1(share), power));
    });
  });
}

struct LpSent {
  const float *x, *y, *dy;
  float power, share;
  template <class M>
  vf operator()(int64_t c, M m) const {
    const vf whole = m.get(y + c), part = select(whole == vf{}, vf{}, m.get(x + c) / whole);
    return m.get(dy + c) * set1(share) * (power == 2.0f ? part : vpow(part, power - 1.0f));
  }
};

static void lp_pool_dx(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1], &dy = a.t[2], &dx = a.t[3];
  const PoolShape p = unpadded(dx, dy, a.i);
  const float power = (float)a.f[0], *from = x.f32(), *whole = y.f32(), *sent = dy.f32();
  const int64_t ld = x.ld, y_ld = y.ld, dy_ld = dy.ld;
  gather_windows<LpSent>(team, p, dx, [=](int64_t pixel, int64_t oh, int64_t ow, int32_t position) {
    const int64_t h = oh * p.SH + position / p.KW, w = ow * p.SW + position % p.KW;
    const float* at = from + ((pixel / (p.OH * p.OW) * p.H + h) * p.W + w) * ld;
    const float share = (float)(p.KH * p.KW) / divisor_of(p, oh, ow, false);
    return LpSent{at, whole + pixel * y_ld, sent + pixel * dy_ld, power, share};
  });
}
