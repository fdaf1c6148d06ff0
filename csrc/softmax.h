// softmax and log-softmax over the classes: the columns of a rank 2 tensor, the channels of each pixel of a rank 4 one.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "math.h"

template <class F>
static inline void each_row(Team& team, const Tensor& x, F f) {
  const Grid g = make_grid(rows_of(x), cols_of(x), cols_of(x), false);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) f(row);
  });
}
static inline float* row_of(const Tensor& t, int64_t row) { return t.f32() + row * pitch_of(t); }

static inline float row_max(const float* x, int64_t n) {
  vf m = set1(-__builtin_inff());
  over_columns(n, [&](int64_t c, auto mem) {
    m = max_or_nan(first_lanes(mem.get(x + c), mem.count(), set1(-__builtin_inff())), m);
  });
  return max_lanes(m);
}

// sum exp(x - shift); each exponential goes to y, if there is one.
static inline float row_exp(const float* x, float* y, int64_t n, float shift) {
  vf s = {};
  over_columns(n, [&](int64_t c, auto m) {
    const vf e = vexp(m.get(x + c) - set1(shift));
    if (y) m.put(y + c, e);
    s += first_lanes(e, m.count(), vf{});
  });
  return sum_lanes(s);
}

static inline void row_scale(float* y, int64_t n, float factor) {
  over_columns(n, [&](int64_t c, auto m) { m.put(y + c, m.get(y + c) * set1(factor)); });
}

static void softmax(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const int64_t C = cols_of(x);
  each_row(team, x, [&](int64_t row) {
    const float* from = row_of(x, row);
    const float sum = row_exp(from, row_of(y, row), C, row_max(from, C));
    row_scale(row_of(y, row), C, 1.0f / sum);
  });
}

static void log_softmax(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const int64_t C = cols_of(x);
  each_row(team, x, [&](int64_t row) {
    const float* from = row_of(x, row);
    float* to = row_of(y, row);
    const float most = row_max(from, C), log_sum = log1(row_exp(from, nullptr, C, most));
    // Two subtractions: most + log_sum would round away what the second carries.
    over_columns(C, [&](int64_t c, auto m) { m.put(to + c, m.get(from + c) - set1(most) - set1(log_sum)); });
  });
}

// y = softmax(x): dx = y (dy - sum y dy)
static void softmax_grad(const Args& a, Team& team) {
  const Tensor &y = a.t[0], &dy = a.t[1], &dx = a.t[2];
  const int64_t C = cols_of(y);
  each_row(team, y, [&](int64_t row) {
    const float *p = row_of(y, row), *d = row_of(dy, row);
    float* to = row_of(dx, row);
    vf s = {};
    over_columns(C, [&](int64_t c, auto m) { s += m.get(p + c) * m.get(d + c); });
    const vf sum = set1(sum_lanes(s));
    over_columns(C, [&](int64_t c, auto m) { m.put(to + c, m.get(p + c) * (m.get(d + c) - sum)); });
  });
}

// y = log_softmax(x): dx = dy - exp(y) sum dy
static void log_softmax_grad(const Args& a, Team& team) {
  const Tensor &y = a.t[0], &dy = a.t[1], &dx = a.t[2];
  const int64_t C = cols_of(y);
  each_row(team, y, [&](int64_t row) {
    const float *p = row_of(y, row), *d = row_of(dy, row);
    float* to = row_of(dx, row);
    vf s = {};
    over_columns(C, [&](int64_t c, auto m) { s += m.get(d + c); });
    const vf sum = set1(sum_lanes(s));
    over_columns(C, [&](int64_t c, auto m) { m.put(to + c, m.get(d + c) - vexp(m.get(p + c)) * sum); });
  });
}
