// Adaptive average pooling where the sizes do not divide: pixel i of y is the mean of x from floor(i H / OH) to
// ceil((i + 1) H / OH), so windows differ in size and overlap by a pixel. The pixels of y whose windows hold a pixel of
// x are found by the same formula with the sizes exchanged: the gradient is the same loop.
#pragma once
#include "pool.h"

static inline Span adaptive_span(int64_t i, int64_t from, int64_t to) {
  return {i * from / to, ceil_div((i + 1) * from, to)};
}

// What a pixel of a window weighs in the mean, at (oh, ow) of the map `small` over the map `large`.
static inline float adaptive_share(const Tensor& large, const Tensor& small, int64_t oh, int64_t ow) {
  const Span h = adaptive_span(oh, large.shape[2], small.shape[2]),
             w = adaptive_span(ow, large.shape[3], small.shape[3]);
  return 1.0f / (float)((h.end - h.begin) * (w.end - w.begin));
}

// Each pixel of `to` is the sum of share(its row and column, row and column in `from`) * from over its window, tap by
// tap in the order of memory.
template <class F>
static inline void adaptive_sums(Team& team, const Tensor& from, const Tensor& to, F share) {
  const int64_t C = to.shape[1], H = from.shape[2], W = from.shape[3], OH = to.shape[2], OW = to.shape[3];
  const int64_t rows = to.shape[0] * OH, per = greater(1, GRAIN / (OW * C));
  for_chunks(team, ceil_div(rows, per), [&](int64_t chunk) {
    for (int64_t pixel = chunk * per * OW; pixel < lesser(rows, (chunk + 1) * per) * OW; pixel++) {
      const int64_t n = pixel / (OH * OW), oh = pixel / OW % OH, ow = pixel % OW;
      const Span h = adaptive_span(oh, H, OH), w = adaptive_span(ow, W, OW);
      float* sum = to.f32() + pixel * to.ld;
      for (int64_t i = h.begin; i < h.end; i++)
        for (int64_t j = w.begin; j < w.end; j++) {
          const float* tap = from.f32() + ((n * H + i) * W + j) * from.ld;
          const vf each = set1(share(oh, ow, i, j));
          const bool first = i == h.begin && j == w.begin;
          over_columns(C, [&](int64_t c, auto m) {
            const vf v = m.get(tap + c) * each;
            m.put(sum + c, first ? v : m.get(sum + c) + v);
          });
        }
    }
  });
}

static void adaptive_avg_pool(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  adaptive_sums(team, x, y, [&](int64_t oh, int64_t ow, int64_t, int64_t) { return adaptive_share(x, y, oh, ow); });
}
static void adaptive_avg_pool_dx(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &dx = a.t[1];
  adaptive_sums(team, dy, dx, [&](int64_t, int64_t, int64_t oh, int64_t ow) { return adaptive_share(dx, dy, oh, ow); });
}
