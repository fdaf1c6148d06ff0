// One loop for whole vectors and the tail: over_columns calls its body with the column and a memory access that is
// either Whole or Part, so that each kernel writes its formula once. Included inside an instruction set's namespace.
#pragma once
#include "math.h"

struct Whole {
  vf get(const float* p) const { return load(p); }
  void put(float* p, vf v) const { store(p, v); }
  int64_t count() const { return WIDTH; }
};
struct Part {
  int64_t n;
  vf get(const float* p) const { return load_part(p, n); }
  void put(float* p, vf v) const { store_part(p, v, n); }
  int64_t count() const { return n; }
};

template <class F>
static inline void over_columns(int64_t n, F&& f) {
  int64_t c = 0;
  for (; c + WIDTH <= n; c += WIDTH) f(c, Whole{});
  if (c < n) f(c, Part{n - c});
}

static inline vi lane_index() {
  const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  vi v;
  __builtin_memcpy(&v, lanes, sizeof v);
  return v;
}
static inline vf first_lanes(vf v, int64_t n, vf others) { return select(lane_index() < set1i((int32_t)n), v, others); }

static inline float sum_lanes(vf v) {
  float t[WIDTH];
  store(t, v);
  for (int64_t n = WIDTH / 2; n; n /= 2)
    for (int64_t i = 0; i < n; i++) t[i] += t[i + n];
  return t[0];
}
static inline float max_lanes(vf v) {  // NaN if a lane is
  float t[WIDTH];
  store(t, v);
  float m = t[0];
  for (int64_t i = 1; i < WIDTH; i++) m = t[i] > m || t[i] != t[i] ? t[i] : m;
  return m;
}
static inline vf max_or_nan(vf a, vf b) { return select((a > b) | (a != a), a, b); }
