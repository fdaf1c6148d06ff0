// Filters on their way to the Winograd convolution: u = G w G^T for every pair of channels, in panels
// (ceil(columns / NR), T * T, depth, NR), zeros behind the last column. G is applied in float64 and the result rounded
// once. Columns are outputs and the depth inputs; for dX the other way round, and the taps from the last to the first.
//
//   w: NR columns of one step of the depth  -- transposed -->  g[tap][NR]  -- G g G^T in float64 -->  u[k][depth][NR]
//
// Bound by writing u: T * T floats for K * K read.
#pragma once
#include "winograd_points.h"

typedef double vd __attribute__((vector_size(STRIATE_WIDTH * 4)));  // half as many lanes as vf
static const int DOUBLES = STRIATE_WIDTH / 2;

static inline vd load_doubles(const double* p) {
  vd v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// sum over k of row[k] * x[k * step]
template <int K>
static inline __attribute__((always_inline)) vd dot(const double (&row)[K], const double* x, int64_t step) {
  vd sum = row[0] * load_doubles(x);
#pragma GCC unroll 8
  for (int k = 1; k < K; k++) sum += row[k] * load_doubles(x + k * step);
  return sum;
}

// One step of the depth: g[tap][NR] -> u[k * plane], NR floats of each of T * T planes.
template <int T, int K>
static void transform_filters(const double* g, float* u, int64_t plane) {
  static constexpr Coefficients<T, K> G = filter_matrix<T, K>();
  alignas(64) double half[K * T * NR];  // G g: [s][i][NR]
  for (int i = 0; i < T; i++)
    for (int s = 0; s < K; s++)
      for (int j = 0; j < NR; j += DOUBLES) {
        const vd v = dot<K>(G.at[i], g + s * NR + j, K * NR);
        __builtin_memcpy(half + (s * T + i) * NR + j, &v, sizeof v);
      }
  for (int i = 0; i < T; i++)
    for (int k = 0; k < T; k++, u += plane)
      for (int j = 0; j < NR; j += DOUBLES) {
        const vd v = dot<K>(G.at[k], half + i * NR + j, T * NR);
        for (int lane = 0; lane < DOUBLES; lane++) u[j + lane] = float(v[lane]);
      }
}

struct WinogradFilters {
  const float* w;
  int64_t O, C, K, T;
  bool for_dx;
  float* u;
  int64_t columns() const { return for_dx ? C : O; }
  int64_t depth() const { return for_dx ? O : C; }

  // The filters of step d of the depth and columns c .., as doubles; a filter's taps from the last for dX.
  void gather(int64_t d, int64_t c, double* g) const {
    const int64_t taps = K * K, count = least(NR, columns() - c);
    const float* from = w + (for_dx ? d * C + c : c * C + d) * taps;
    const int64_t step = for_dx ? taps : C * taps;
    for (int64_t j = 0; j < count; j++)
      for (int64_t t = 0; t < taps; t++) g[(for_dx ? taps - 1 - t : t) * NR + j] = from[j * step + t];
    for (int64_t j = count; j < NR; j++)
      for (int64_t t = 0; t < taps; t++) g[t * NR + j] = 0.0;
  }

  template <int FT, int FK>
  void steps(int64_t panel, int64_t begin, int64_t end) const {
    alignas(64) double g[FK * FK * NR];
    const int64_t plane = depth() * NR;
    float* to = u + panel * FT * FT * plane;
    for (int64_t d = begin; d < end; d++) {
      gather(d, panel * NR, g);
      transform_filters<FT, FK>(g, to + d * NR, plane);
    }
  }
};

// Steps of the depth in a chunk.
static const int64_t FILTER_STEPS = 32;

static void winograd_filters(const Args& a, Team& team) {
  const Tensor& w = a.t[0];
  const int64_t K = w.shape[2];
  const WinogradFilters f = {w.f32(), w.shape[0], w.shape[1], K, a.i[0] + K - 1, a.i[1] != 0, a.t[1].f32()};
  const int64_t pieces = ceil_div(f.depth(), FILTER_STEPS);
  for_chunks(team, ceil_div(f.columns(), NR) * pieces, [&](int64_t chunk) {
    const int64_t panel = chunk / pieces, begin = chunk % pieces * FILTER_STEPS;
    const int64_t end = least(begin + FILTER_STEPS, f.depth());
    if (K == 5) return f.T == 6 ? f.steps<6, 5>(panel, begin, end) : f.steps<8, 5>(panel, begin, end);
    if (f.T == 4) f.steps<4, 3>(panel, begin, end);
    else if (f.T == 5) f.steps<5, 3>(panel, begin, end);
    else if (f.T == 6) f.steps<6, 3>(panel, begin, end);
    else f.steps<8, 3>(panel, begin, end);
  });
}
