// Functions of one element: y[i] = f(x[i]) or f(a[i], b[i]). Bound by memory; tensors without gaps are one flat array.
#pragma once
#include "grid.h"
#include "lanes.h"
#include "math.h"

template <class F>
static inline void map(Team& team, const Tensor& x, const Tensor& y, F f) {
  const Grid g = grid_over(x, y);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) {
      const float* from = x.f32() + row * g.pitch(x);
      float* to = y.f32() + row * g.pitch(y);
      over_columns(g.length(row), [&](int64_t c, auto m) { m.put(to + c, f(m.get(from + c))); });
    }
  });
}

template <class F>
static inline void map(Team& team, const Tensor& a, const Tensor& b, const Tensor& y, F f) {
  const Grid g = grid_over(a, b, y);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) {
      const float *left = a.f32() + row * g.pitch(a), *right = b.f32() + row * g.pitch(b);
      float* to = y.f32() + row * g.pitch(y);
      over_columns(g.length(row), [&](int64_t c, auto m) { m.put(to + c, f(m.get(left + c), m.get(right + c))); });
    }
  });
}

// ---- activations, and their gradients from y

static void relu(const Args& a, Team& team) {
  map(team, a.t[0], a.t[1], [](vf x) { return max(set1(0.0f), x); });
}
static void relu_grad(const Args& a, Team& team) {  // a NaN y lets dy through
  map(team, a.t[0], a.t[1], a.t[2], [](vf y, vf dy) { return select(y <= set1(0.0f), set1(0.0f), dy); });
}
static void tanh(const Args& a, Team& team) { map(team, a.t[0], a.t[1], vtanh); }
static void tanh_grad(const Args& a, Team& team) {
  map(team, a.t[0], a.t[1], a.t[2], [](vf y, vf dy) { return dy * (set1(1.0f) - y * y); });
}
static void sigmoid(const Args& a, Team& team) { map(team, a.t[0], a.t[1], vsigmoid); }
static void sigmoid_grad(const Args& a, Team& team) {
  map(team, a.t[0], a.t[1], a.t[2], [](vf y, vf dy) { return dy * (y * (set1(1.0f) - y)); });
}
static void relu6(const Args& a, Team& team) { map(team, a.t[0], a.t[1], relu6_of); }
static void relu6_grad(const Args& a, Team& team) {  // a NaN y lets dy through
  map(team, a.t[0], a.t[1], a.t[2],
      [](vf y, vf dy) { return select((y <= set1(0.0f)) | (y >= set1(6.0f)), set1(0.0f), dy); });
}

// ---- clip(x, low, high); a NaN passes, and gets no gradient

static void clip(const Args& a, Team& team) {
  const vf low = set1((float)a.f[0]), high = set1((float)a.f[1]);
  map(team, a.t[0], a.t[1], [=](vf x) {
    const vf raised = select(x < low, low, x);
    return select(raised > high, high, raised);
  });
}
static void clip_grad(const Args& a, Team& team) {
  const vf low = set1((float)a.f[0]), high = set1((float)a.f[1]);
  map(team, a.t[0], a.t[1], a.t[2], [=](vf x, vf dy) { return select((x >= low) & (x <= high), dy, set1(0.0f)); });
}

// ---- factor * x; old + weight * (new - old); a copy of any dtype

static void scale(const Args& a, Team& team) {
  const vf factor = set1((float)a.f[0]);
  map(team, a.t[0], a.t[1], [=](vf x) { return factor * x; });
}
static void lerp(const Args& a, Team& team) {
  const vf weight = set1((float)a.f[0]);
  map(team, a.t[0], a.t[1], a.t[2], [=](vf before, vf now) { return before + weight * (now - before); });
}
static inline void copy_rows(Team& team, const Grid& g, const Tensor& x, int64_t x_pitch, const Tensor& y,
                             int64_t y_pitch) {
  const int64_t bytes = bytes_of(x.dtype);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++)
      __builtin_memcpy(y.data + row * y_pitch * bytes, x.data + row * x_pitch * bytes, (size_t)(g.length(row) * bytes));
  });
}
static void copy(const Args& a, Team& team) {
  const Grid g = grid_over(a.t[0], a.t[1]);
  copy_rows(team, g, a.t[0], g.pitch(a.t[0]), a.t[1], g.pitch(a.t[1]));
}
// Every byte 0xFF: a NaN as float32, and out of every range as an integer.
static void fill_nan(const Args& a, Team& team) {
  const Tensor& x = a.t[0];
  const Grid g = grid_over(x);
  const int64_t bytes = bytes_of(x.dtype);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++)
      __builtin_memset(x.data + row * g.pitch(x) * bytes, 0xFF, g.length(row) * bytes);
  });
}
