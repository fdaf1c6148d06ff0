// Losses and what a training step looks at: cross_entropy, mse, count_correct, check_finite.
//
// Means over nothing are 0 (PyTorch says NaN): an empty batch changes no state. A target outside [0, C) is never used
// as an index; it makes loss and gradient NaN.
#pragma once
#include "elementwise.h"
#include "softmax.h"

struct Targets {
  const int64_t* target;
  const float* weight;  // nullptr: all 1
  int64_t C;
  bool valid(int64_t row) const { return target[row] >= 0 && target[row] < C; }
  float of_class(int64_t c) const { return weight ? weight[c] : 1.0f; }
  double of_row(int64_t row) const { return valid(row) ? of_class(target[row]) : __builtin_nan(""); }
};

// Each chunk puts K float64 sums of its rows into scratch; `finish` gets their totals, added in chunk order.
template <int K, class F, class G>
static inline void reduce_rows(const Args& a, Team& team, const Grid& g, F row_sums, G finish) {
  double* partial = reinterpret_cast<double*>(a.scratch);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    double sums[K] = {};
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) row_sums(row, sums);
    for (int k = 0; k < K; k++) partial[chunk * K + k] = sums[k];
  });
  for_chunks(team, 1, [&](int64_t) {
    double total[K] = {};
    for (int64_t chunk = 0; chunk < g.chunks; chunk++)
      for (int k = 0; k < K; k++) total[k] += partial[chunk * K + k];
    finish(total);
  });
}

// loss = sum_n [(1 - s) w_t nll_t + s / C sum_c w_c nll_c] / sum_n w_t with nll = -log_softmax, s = smoothing, and t
// the target of row n: PyTorch's mean.
static void cross_entropy(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &weight = a.t[2], &probs = a.t[4];
  const int64_t C = cols_of(x);
  const Targets t{a.t[1].i64(), weight ? weight.f32() : nullptr, C};
  const double s = a.f[0];
  reduce_rows<2>(
      a, team, make_grid(rows_of(x), C, C, false),
      [&](int64_t row, double* sums) {
        const float* from = row_of(x, row);
        const float most = row_max(from, C), sum = row_exp(from, probs ? row_of(probs, row) : nullptr, C, most);
        if (probs) row_scale(row_of(probs, row), C, 1.0f / sum);
        const double log_sum = (double)most + log1(sum), w = t.of_row(row);
        sums[1] += w;
        sums[0] += t.valid(row) ? (1.0 - s) * w * (log_sum - from[t.target[row]]) : w;
        if (s != 0.0)
          for (int64_t c = 0; c < C; c++) sums[0] += s / (double)C * t.of_class(c) * (log_sum - from[c]);
      },
      [&](const double* total) { *a.t[3].f32() = rows_of(x) ? (float)(total[0] / total[1]) : 0.0f; });
}

// dx_c = dloss / sum w_t * [(1 - s) w_t (p_c - (c == t)) + s / C (p_c sum w - w_c)]
static inline void cross_entropy_row(const Targets& t, int64_t row, const float* p, float* dx, double s, double factor,
                                     double weights) {
  const double w = t.of_row(row), each = s / (double)t.C;
  const vf slope = set1((float)(factor * ((1.0 - s) * w + each * weights))), less = set1((float)(factor * each));
  over_columns(t.C, [&](int64_t c, auto m) {
    const vf of_class = t.weight ? m.get(t.weight + c) : set1(1.0f);
    m.put(dx + c, slope * m.get(p + c) - less * of_class);
  });
  if (t.valid(row)) dx[t.target[row]] -= (float)(factor * (1.0 - s) * w);
}

static void cross_entropy_dx(const Args& a, Team& team) {
  const Tensor &probs = a.t[0], &weight = a.t[2], &dx = a.t[4];
  const Targets t{a.t[1].i64(), weight ? weight.f32() : nullptr, cols_of(probs)};
  double* sums = reinterpret_cast<double*>(a.scratch);  // dloss / sum_n w_t, sum_c w_c
  for_chunks(team, 1, [&](int64_t) {
    double of_rows = 0.0, of_classes = 0.0;
    for (int64_t row = 0; row < rows_of(probs); row++) of_rows += t.of_row(row);
    for (int64_t c = 0; c < t.C; c++) of_classes += t.of_class(c);
    sums[0] = *a.t[3].f32() / of_rows;
    sums[1] = of_classes;
  });
  each_row(team, probs, [&](int64_t row) {
    cross_entropy_row(t, row, row_of(probs, row), row_of(dx, row), a.f[0], sums[0], sums[1]);
  });
}

// Mean of (x - target)^2 over all elements.
static void mse(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &target = a.t[1];
  const Grid g = grid_over(x, target);
  const int64_t n = size_of(x);
  reduce_rows<1>(
      a, team, g,
      [&](int64_t row, double* sums) {
        const float *p = x.f32() + row * g.pitch(x), *q = target.f32() + row * g.pitch(target);
        vf s = {};
        over_columns(g.length(row), [&](int64_t c, auto m) {
          const vf d = m.get(p + c) - m.get(q + c);
          s += d * d;
        });
        sums[0] += sum_lanes(s);
      },
      [&](const double* total) { *a.t[2].f32() = n ? (float)(total[0] / (double)n) : 0.0f; });
}

static void mse_dx(const Args& a, Team& team) {
  const int64_t n = size_of(a.t[0]);
  const vf factor = set1(n ? (float)(2.0 * *a.t[2].f32() / (double)n) : 0.0f);
  map(team, a.t[0], a.t[1], a.t[3], [=](vf x, vf target) { return factor * (x - target); });
}

// Rows whose largest logit (the first of equals; a NaN is larger than any number) stands at the target.
static inline bool is_correct(const float* x, const Targets& t, int64_t row) {
  if (!t.valid(row)) return false;
  const float most = row_max(x, t.C);
  int64_t c = 0;
  while (c < t.C && !(x[c] == most || x[c] != x[c])) c++;
  return c == t.target[row];
}

static void count_correct(const Args& a, Team& team) {
  const Tensor& x = a.t[0];
  const Targets t{a.t[1].i64(), nullptr, cols_of(x)};
  reduce_rows<1>(
      a, team, make_grid(rows_of(x), t.C, t.C, false),
      [&](int64_t row, double* sums) { sums[0] += is_correct(row_of(x, row), t, row); },
      [&](const double* total) { *a.t[2].f32() = (float)total[0]; });
}

static void check_finite(const Args& a, Team& team) {
  for_chunks(team, 1, [&](int64_t) {
    const float x = *a.t[0].f32();
    if (!(x - x == 0.0f)) team_not_finite(team);
  });
}
