// add, sub, mul, div where an axis of size 1 stands for all of the other tensor's axis.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "walk.h"

// `step` is 1 along a row, 0 for one number for all, or the stride of a tensor laid out in another order.
template <class M>
static inline vf fetch(const float* p, int64_t step, int64_t c, M m) {
  if (step == 1) return m.get(p + c);
  if (step == 0) return set1(p[0]);
  float t[WIDTH] = {};
  for (int64_t i = 0; i < m.count(); i++) t[i] = p[(c + i) * step];
  return load(t);
}

template <class F>
static inline void broadcast_rows(Team& team, const Args& a, const Walk<3>& w, F f) {
  const int64_t cols = w.size[3], pieces = cols >= 2 * GRAIN ? ceil_div(cols, GRAIN) : 1;
  const int64_t length = ceil_div(cols, pieces), per = greater(1, GRAIN / greater(1, cols));
  const int64_t row_chunks = ceil_div(w.rows(), per);
  for_chunks(team, cols ? row_chunks * pieces : 0, [&](int64_t chunk) {
    const int64_t first = chunk / pieces * per, c0 = chunk % pieces * length;
    Odometer<3> row(w, 7, first);
    for (int64_t r = first; r < lesser(w.rows(), first + per); r++, row.next()) {
      const float* left = a.t[0].f32() + row.offset[1] + c0 * w.step[1][3];
      const float* right = a.t[1].f32() + row.offset[2] + c0 * w.step[2][3];
      float* y = a.t[2].f32() + row.offset[0] + c0;
      over_columns(lesser(length, cols - c0), [&](int64_t c, auto m) {
        m.put(y + c, f(fetch(left, w.step[1][3], c, m), fetch(right, w.step[2][3], c, m)));
      });
    }
  });
}

// One operand per channel, C below a few vectors: its numbers are repeated in scratch, the rest is flat (grid.h).
template <class F>
static inline void broadcast_channels(Team& team, const Args& a, int64_t pixels, int64_t C, bool left_repeats, F f) {
  const int64_t repeat = repeat_of(C, WIDTH), cols = C * repeat, rows = ceil_div(pixels, repeat);
  const Grid g = make_grid(rows, cols, (pixels - (rows - 1) * repeat) * C, true);
  float* pattern = reinterpret_cast<float*>(a.scratch);
  const float* numbers = a.t[left_repeats ? 0 : 1].f32();
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < cols; c++) pattern[c] = numbers[c % C];
  });
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) {
      const float* left = left_repeats ? pattern : a.t[0].f32() + row * cols;
      const float* right = left_repeats ? a.t[1].f32() + row * cols : pattern;
      float* y = a.t[2].f32() + row * cols;
      over_columns(g.length(row), [&](int64_t c, auto m) { m.put(y + c, f(m.get(left + c), m.get(right + c))); });
    }
  });
}

template <class F>
static inline void broadcast(const Args& a, Team& team, F f) {
  int64_t stride[3][4];
  const Tensor& y = a.t[2];
  strides_of(y, stride[0]);
  for (int k = 0; k < 2; k++) {
    strides_of(a.t[k], stride[k + 1]);
    for (int axis = 0; axis < 4; axis++)
      if (a.t[k].shape[axis] == 1) stride[k + 1][axis] = 0;
  }
  const Walk<3> w = make_walk<3>(y, y.shape, stride);
  const int64_t C = w.size[3];
  const bool two_axes = w.size[0] == 1 && w.size[1] == 1 && w.size[2] > 1 && w.step[0][2] == C;
  for (int k = 1; k <= 2; k++) {
    const int64_t *repeats = w.step[k], *flat = w.step[3 - k];
    if (two_axes && C < 16 * WIDTH && repeats[2] == 0 && repeats[3] == 1 && flat[2] == C && flat[3] == 1)
      return broadcast_channels(team, a, w.size[2], C, k == 1, f);
  }
  broadcast_rows(team, a, w, f);
}

static void add(const Args& a, Team& team) {
  broadcast(a, team, [](vf x, vf y) { return x + y; });
}
static void sub(const Args& a, Team& team) {
  broadcast(a, team, [](vf x, vf y) { return x - y; });
}
static void mul(const Args& a, Team& team) {
  broadcast(a, team, [](vf x, vf y) { return x * y; });
}
static void div(const Args& a, Team& team) {
  broadcast(a, team, [](vf x, vf y) { return x / y; });
}
