// Batch norm's elementwise half: y = (x - mean) / sqrt(var + eps) * gamma + beta, and its gradients. Each is
// (x - centre) * factor + offset with three numbers a channel, computed once in float64 and repeated in scratch.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "moments.h"

// ---- numbers of channels

template <int K>
struct Numbers {
  double of[K];
};

// K rows of columns in scratch: numbers(c) of the channel of each column.
template <int K, class F>
static inline const float* repeat_numbers(Team& team, char* scratch, const Channels& g, F numbers) {
  float* to = reinterpret_cast<float*>(scratch);
  for_chunks(team, ceil_div(g.C, JOINED), [&](int64_t chunk) {
    for (int64_t c = chunk * JOINED; c < lesser(g.C, (chunk + 1) * JOINED); c++) {
      const Numbers<K> n = numbers(c);
      for (int k = 0; k < K; k++)
        for (int64_t at = c; at < g.cols; at += g.C) to[k * g.cols + at] = (float)n.of[k];
    }
  });
  return to;
}

// at(c, m)(row) for each row and column. Four rows share what at(c, m) loads of the channels: loads would bind
// otherwise (48 GB/s instead of 110 in L3, EPYC Zen 3, 2 threads).
template <class F>
static inline void over_pixels(Team& team, const Channels& g, F at) {
  const int64_t per = greater(4, GRAIN / g.cols / 4 * 4), whole = g.last == g.cols ? g.rows : g.rows - 1;
  for_chunks(team, ceil_div(g.rows, per), [&](int64_t chunk) {
    const F f = at;
    const int64_t end = lesser(g.rows, (chunk + 1) * per);
    int64_t row = chunk * per;
    for (; row + 4 <= lesser(end, whole) && walks_four_rows(g.cols); row += 4)
      over_columns(g.cols, [&](int64_t c, auto m) {
        const auto put = f(c, m);
        for (int i = 0; i < 4; i++) put(row + i);
      });
    for (; row < end; row++) over_columns(g.length(row), [&](int64_t c, auto m) { f(c, m)(row); });
  });
}

static inline double number_or(const Tensor& vector, int64_t c, double absent) {
  return vector ? (double)vector.f32()[c] : absent;
}
static inline double inverse_std(const Tensor& var, int64_t c, double eps) {
  return 1.0 / __builtin_sqrt((double)var.f32()[c] + eps);
}

// ---- (x - centre) * factor + offset

template <class F>
static inline void affine(const Args& a, Team& team, const Tensor& x, const Tensor& y, F numbers) {
  const Channels g = channels_over(WIDTH, x, y);
  const float *n = repeat_numbers<3>(team, a.scratch, g, numbers), *from = x.f32();
  float* to = y.f32();
  const int64_t cols = g.cols, x_pitch = g.pitch(x), y_pitch = g.pitch(y);
  over_pixels(team, g, [=](int64_t c, auto m) {
    const vf centre = m.get(n + c), factor = m.get(n + cols + c), offset = m.get(n + 2 * cols + c);
    return [=](int64_t row) {
      m.put(to + row * y_pitch + c, (m.get(from + row * x_pitch + c) - centre) * factor + offset);
    };
  });
}

static inline Numbers<3> norm_numbers(const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                                      int64_t c, double eps) {
  return {{mean.f32()[c], number_or(gamma, c, 1.0) * inverse_std(var, c, eps), number_or(beta, c, 0.0)}};
}

static void scale_shift(const Args& a, Team& team) {
  affine(a, team, a.t[0], a.t[5], [&](int64_t c) { return norm_numbers(a.t[1], a.t[2], a.t[3], a.t[4], c, a.f[0]); });
}

static void scale_shift_dx(const Args& a, Team& team) {
  const Tensor &var = a.t[1], &gamma = a.t[2];
  affine(a, team, a.t[0], a.t[3],
         [&](int64_t c) { return Numbers<3>{{0.0, number_or(gamma, c, 1.0) * inverse_std(var, c, a.f[0]), 0.0}}; });
}

// mean = sum x / n, var = sum (x - mean)^2 / n and unbiased = sum (x - mean)^2 / (n - 1):
// dx = dmean / n + 2 (x - mean) (dvar / n + dunbiased / (n - 1))
static void batch_moments_dx(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &mean = a.t[1], &dmean = a.t[2], &dvar = a.t[3], &dunbiased = a.t[4];
  const double n = (double)rows_of(x);
  affine(a, team, x, a.t[5], [&](int64_t c) {
    const double spread = number_or(dvar, c, 0.0) / n + (dunbiased ? dunbiased.f32()[c] / (n - 1.0) : 0.0);
    return Numbers<3>{{mean.f32()[c], 2.0 * spread, number_or(dmean, c, 0.0) / n}};
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
