// Batch norm with what stands around it in one pass: y = act(z) with z = (x - mean) / sqrt(var + eps) * gamma + beta +
// r where r is a residual, act nothing, ReLU or ReLU6; and the two passes of its gradient.
//
//   norm_act         reads x (r)          writes y        dz = dy where ReLU (or ReLU6) let z through
//   norm_act_sums    reads x dy (y)       writes (dz)     sum dz, sum dz xhat with xhat = (x - mean) / sqrt(var + eps)
//   norm_act_dx      reads x dz           writes dx       dx = gamma / std (dz - (sum dz + xhat sum dz xhat) / n)
//
// Without a residual the mask needs no y: z is computed again, by the same instructions, so no bit of it differs.
//
// Roofline: the memory's. Reached beside a copy of the same bytes (2 threads, AMD EPYC Zen 3): norm_act 27 GB/s of 28
// from memory, 63 of 62 in L3; norm_act_dx 26 of 28, in L3 43 of 65; norm_act_sums 25 where reading reaches 28.
#pragma once
#include "norm_sums.h"

// ---- forward

template <bool BENDS, bool ADDS>
static inline void norm_act_of(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &r = ADDS ? a.t[5] : x, &y = a.t[6];
  const Channels g = channels_over(WIDTH, x, r, y);
  const float* n = repeat_numbers<3>(
      team, a.scratch, g, [&](int64_t c) { return norm_numbers(a.t[1], a.t[2], a.t[3], a.t[4], c, a.f[0]); });
  const float *from = x.f32(), *added = r.f32();
  float* to = y.f32();
  const int64_t cols = g.cols, x_pitch = g.pitch(x), r_pitch = g.pitch(r), y_pitch = g.pitch(y);
  const vf top = set1(top_of(a.i[0]));
  over_pixels(team, g, [=](int64_t c, auto m) {
    const vf centre = m.get(n + c), factor = m.get(n + cols + c), offset = m.get(n + 2 * cols + c);
    return [=](int64_t row) {
      vf z = (m.get(from + row * x_pitch + c) - centre) * factor + offset;
      if (ADDS) z += m.get(added + row * r_pitch + c);
      m.put(to + row * y_pitch + c, BENDS ? ramp(z, top) : z);
    };
  });
}

static void norm_act(const Args& a, Team& team) {
  const bool bends = a.i[0] != NONE, adds = (bool)a.t[5];
  if (bends && adds) norm_act_of<true, true>(a, team);
  else if (bends) norm_act_of<true, false>(a, team);
  else if (adds) norm_act_of<false, true>(a, team);
  else norm_act_of<false, false>(a, team);
}

// ---- the sums of the gradient

struct NormSums {
  const Tensor &x, &dy, &mean, &var, &gamma, &beta, &y, &sum_dz, &sum_dz_xhat, &dz;
  double eps;
  int64_t activation;
};

template <Mask MASK, bool WRITES>
static inline void norm_sums_of(const Args& a, Team& team, const NormSums& s) {
  const Tensor &by = MASK == BY_Y ? s.y : s.x, &to = WRITES ? s.dz : s.x;
  const Channels g = channels_over(WIDTH, s.x, s.dy, by, to);
  const float* n = repeat_numbers<3>(team, a.scratch, g,
                                     [&](int64_t c) { return norm_numbers(s.mean, s.var, s.gamma, s.beta, c, s.eps); });
  const float *x = s.x.f32(), *dy = s.dy.f32(), *y = by.f32();
  float* dz = to.f32();
  const int64_t cols = g.cols, x_pitch = g.pitch(s.x), dy_pitch = g.pitch(s.dy), y_pitch = g.pitch(by),
                dz_pitch = g.pitch(to);
  const vf top = set1(top_of(s.activation));
  const auto terms = [=](int64_t r, int64_t c, auto m) {
    const vf deviation = m.get(x + r * x_pitch + c) - m.get(n + c);
    const vf d = masked<MASK>(m.get(dy + r * dy_pitch + c), deviation, m.get(n + cols + c), m.get(n + 2 * cols + c),
                              y + r * y_pitch + c, top, m);
    if (WRITES) m.put(dz + r * dz_pitch + c, d);
    return Terms<2>{{d, d * deviation}};
  };
  sum_channels<2>(team, a.scratch + numbers_bytes(g.cols, 3), g, terms, [&](int64_t c, const double* sums) {
    s.sum_dz.f32()[c] = (float)sums[0];
    s.sum_dz_xhat.f32()[c] = (float)(sums[1] * inverse_std(s.var, c, s.eps));
  });
}

template <Mask MASK>
static inline void norm_sums(const Args& a, Team& team, const NormSums& s) {
  if (s.dz) norm_sums_of<MASK, true>(a, team, s);
  else norm_sums_of<MASK, false>(a, team, s);
}

static void norm_act_sums(const Args& a, Team& team) {
  const NormSums s{a.t[0], a.t[1], a.t[2], a.t[3], a.t[4], a.t[5], a.t[6], a.t[7], a.t[8], a.t[9], a.f[0], a.i[0]};
  if (a.i[0] == NONE) norm_sums<ALL>(a, team, s);
  else if (s.y) norm_sums<BY_Y>(a, team, s);
  else norm_sums<BY_Z>(a, team, s);
}

static void scale_shift_sums(const Args& a, Team& team) {
  const Tensor none{};
  norm_sums_of<ALL, false>(a, team,
                           {a.t[0], a.t[1], a.t[2], a.t[3], none, none, none, a.t[4], a.t[5], none, a.f[0], NONE});
}

// ---- the gradient of x

template <bool MASKED, bool OWN>
static inline void norm_act_dx_of(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dz = a.t[1], &mean = a.t[2], &var = a.t[3], &gamma = a.t[4], &beta = a.t[5], &dx = a.t[8];
  const Channels g = channels_over(WIDTH, x, dz, dx);
  const double pixels = (double)g.pixels;
  const float* n = repeat_numbers<5>(team, a.scratch, g, [&](int64_t c) {
    const double r = inverse_std(var, c, a.f[0]), factor = number_or(gamma, c, 1.0) * r;
    return Numbers<5>{{mean.f32()[c], factor, number_or(beta, c, 0.0), -factor * r * a.t[7].f32()[c] / pixels,
                       -factor * a.t[6].f32()[c] / pixels}};
  });
  const float *from = x.f32(), *sent = dz.f32();
  float* to = dx.f32();
  const int64_t cols = g.cols, x_pitch = g.pitch(x), dz_pitch = g.pitch(dz), dx_pitch = g.pitch(dx);
  const vf top = set1(top_of(a.i[0]));
  over_pixels(team, g, [=](int64_t c, auto m) {
    const vf centre = m.get(n + c), factor = m.get(n + cols + c), offset = m.get(n + 2 * cols + c),
             slope = m.get(n + 3 * cols + c), shift = m.get(n + 4 * cols + c);
    return [=](int64_t row) {
      const vf deviation = m.get(from + row * x_pitch + c) - centre;
      vf d = m.get(sent + row * dz_pitch + c);
      if (MASKED) d = where_open(deviation * factor + offset, top, d);
      m.put(to + row * dx_pitch + c, OWN ? d * factor + (deviation * slope + shift) : d * factor);
    };
  });
}

static void norm_act_dx(const Args& a, Team& team) {
  const bool masked = a.i[0] != NONE, own = a.i[1] != 0;
  if (masked && own) norm_act_dx_of<true, true>(a, team);
  else if (masked) norm_act_dx_of<true, false>(a, team);
  else if (own) norm_act_dx_of<false, true>(a, team);
  else norm_act_dx_of<false, false>(a, team);
}
