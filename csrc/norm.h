// Batch norm's elementwise half: y = (x - mean) / sqrt(var + eps) * gamma + beta, and its gradients. Each is
// (x - centre) * factor + offset with three numbers a channel, computed once in float64 and repeated in scratch.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "moments.h"

struct Affine {
  double centre, factor, offset;
};

template <class F>
static inline void affine(const Args& a, Team& team, const Tensor& x, const Tensor& y, F numbers) {
  const Channels g = channels_over(WIDTH, x, y);
  float *centre = reinterpret_cast<float*>(a.scratch), *factor = centre + g.cols, *offset = factor + g.cols;
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < g.C; c++) {
      const Affine n = numbers(c);
      for (int64_t at = c; at < g.cols; at += g.C)
        centre[at] = (float)n.centre, factor[at] = (float)n.factor, offset[at] = (float)n.offset;
    }
  });
  const int64_t per = greater(1, GRAIN / g.cols), x_pitch = g.pitch(x), y_pitch = g.pitch(y);
  for_chunks(team, ceil_div(g.rows, per), [&](int64_t chunk) {
    for (int64_t row = chunk * per; row < lesser(g.rows, (chunk + 1) * per); row++) {
      const float* from = x.f32() + row * x_pitch;
      float* to = y.f32() + row * y_pitch;
      over_columns(g.length(row), [&](int64_t c, auto m) {
        m.put(to + c, (m.get(from + c) - m.get(centre + c)) * m.get(factor + c) + m.get(offset + c));
      });
    }
  });
}

static inline double number_or(const Tensor& vector, int64_t c, double absent) {
  return vector ? (double)vector.f32()[c] : absent;
}
static inline double inverse_std(const Tensor& var, int64_t c, double eps) {
  return 1.0 / __builtin_sqrt((double)var.f32()[c] + eps);
}

static void scale_shift(const Args& a, Team& team) {
  const Tensor &mean = a.t[1], &var = a.t[2], &gamma = a.t[3], &beta = a.t[4];
  affine(a, team, a.t[0], a.t[5], [&](int64_t c) {
    return Affine{mean.f32()[c], number_or(gamma, c, 1.0) * inverse_std(var, c, a.f[0]), number_or(beta, c, 0.0)};
  });
}

static void scale_shift_dx(const Args& a, Team& team) {
  const Tensor &var = a.t[1], &gamma = a.t[2];
  affine(a, team, a.t[0], a.t[3],
         [&](int64_t c) { return Affine{0.0, number_or(gamma, c, 1.0) * inverse_std(var, c, a.f[0]), 0.0}; });
}

// mean = sum x / n, var = sum (x - mean)^2 / n and unbiased = sum (x - mean)^2 / (n - 1):
// dx = dmean / n + 2 (x - mean) (dvar / n + dunbiased / (n - 1))
static void batch_moments_dx(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &mean = a.t[1], &dmean = a.t[2], &dvar = a.t[3], &dunbiased = a.t[4];
  const double n = (double)rows_of(x);
  affine(a, team, x, a.t[5], [&](int64_t c) {
    const double spread = number_or(dvar, c, 0.0) / n + (dunbiased ? dunbiased.f32()[c] / (n - 1.0) : 0.0);
    return Affine{mean.f32()[c], 2.0 * spread, number_or(dmean, c, 0.0) / n};
  });
}

// y = (x - mean) * r * gamma with r = (var + eps)^-1/2: dmean = -r gamma sum dy; dvar = -1/2 r^2 gamma sum dy xhat
static void scale_shift_dstats(const Args& a, Team& team) {
  const Tensor &sum_dy = a.t[0], &sum_dy_xhat = a.t[1], &var = a.t[2], &gamma = a.t[3];
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < cols_of(sum_dy); c++) {
      const double r = inverse_std(var, c, a.f[0]), g = number_or(gamma, c, 1.0);
      a.t[4].f32()[c] = (float)(-sum_dy.f32()[c] * g * r);
      a.t[5].f32()[c] = (float)(-0.5 * sum_dy_xhat.f32()[c] * g * r * r);
    }
  });
}
