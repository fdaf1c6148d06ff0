// Mean and variance of each channel: batch_moments, and the pieces with which a convolution takes them of the rows it
// has just written.
//
// A chunk keeps (mean, sum of squared deviations) of its rows in float64, one pair a column, and meets its rows in
// blocks. A block's deviations are taken from the mean of all rows before it (at first of the block's own first rows),
// rounded to float32: what is lost that way is eps times a sum of squares that is part of the result. So memory is read
// once, and a mean far from 0 costs no digits. Blocks and chunks are joined as in Chan, Golub and LeVeque 1983.
//
// In an epilogue: `add_moments` for each block of rows of a chunk, while they are in cache; behind the last chunk
// `join_moments`. Both are bound by what they read.
#pragma once
#include "channel_sums.h"

// Of one chunk, one number a column.
struct Moments {
  double *mean, *squares;
};
static inline int64_t moments_bytes(int64_t cols) { return 2 * 8 * cols; }
static inline Moments moments_of(char* scratch, int64_t cols, int64_t chunk) {
  double* own = reinterpret_cast<double*>(scratch) + chunk * 2 * cols;
  return {own, own + cols};
}

// The mean of a few rows, near enough to all others that squares of differences keep their digits.
template <class F>
static inline void first_mean(double* mean, int64_t n, int64_t rows, F at) {
  alignas(64) float sums[1][STRIP];
  const int64_t few = lesser(rows, 16);
  clear_sums<1>(sums, n);
  sum_columns<1>(sums, n, few, [&](int64_t r, int64_t c, auto m) { return Terms<1>{{m.get(at(r) + c)}}; });
  for (int64_t c = 0; c < n; c++) mean[c] = sums[0][c] * (1.0 / (double)few);
}

// `rows` rows of n columns join those the moments already hold; at most STRIP columns and, for the digits of float32
// sums, some hundred rows.
template <class F>
static inline void add_strip_moments(const Moments& own, int64_t before, int64_t n, int64_t rows, F at) {
  alignas(64) float sums[2][STRIP], centre[STRIP];
  if (before == 0) {
    first_mean(own.mean, n, rows, at);
    for (int64_t c = 0; c < n; c++) own.squares[c] = 0.0;
  }
  for (int64_t c = 0; c < n; c++) centre[c] = (float)own.mean[c];
  clear_sums<2>(sums, n);
  sum_columns<2>(sums, n, rows, [&](int64_t r, int64_t c, auto m) {
    const vf d = m.get(at(r) + c) - load(centre + c);
    return Terms<2>{{d, d * d}};
  });
  const double each = 1.0 / (double)rows, share = (double)rows / (double)(before + rows), weight = before * share;
  for (int64_t c = 0; c < n; c++) {
    const double sum = sums[0][c], mean = before ? own.mean[c] : (double)centre[c];
    const double delta = centre[c] - mean + sum * each;
    own.squares[c] += sums[1][c] - sum * sum * each + delta * delta * weight;
    own.mean[c] = mean + delta * share;
  }
}

// Columns [c0, c1) of `rows` rows join the moments of a chunk that holds `before` rows of them; at(r) is where row r
// of the block begins (its column 0), r from 0. The first block of a chunk has before = 0 and needs no preparation.
template <class F>
static inline void add_moments(const Moments& own, int64_t before, int64_t c0, int64_t c1, int64_t rows, F at) {
  for (int64_t r = 0; r < rows; r += BLOCK_ROWS)
    for (int64_t c = c0; c < c1; c += STRIP)
      add_strip_moments(Moments{own.mean + c, own.squares + c}, before + r, lesser(STRIP, c1 - c),
                        lesser(BLOCK_ROWS, rows - r), [&](int64_t row) { return at(r + row) + c; });
}

static inline double at_least_one(double n) { return n > 1.0 ? n : 1.0; }

// The chunks' moments become those of all pixels: column repeat * C + c of a chunk holds count(chunk, repeat) values of
// channel c. Means first, then deviations from the joined mean: no division but one a channel. `unbiased` may be
// absent.
template <class F>
static inline void join_moments(Team& team, char* scratch, int64_t C, int64_t repeats, int64_t chunks,
                                const Tensor& mean, const Tensor& var, const Tensor& unbiased, F count) {
  for_chunks(team, ceil_div(C, JOINED), [&](int64_t part) {
    const int64_t c0 = part * JOINED, n = lesser(JOINED, C - c0);
    double sum[JOINED] = {}, squares[JOINED] = {}, pixels = 0.0;
    const auto each = [&](auto f) {
      for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t r = 0; r < repeats; r++) {
          const Moments from = moments_of(scratch, C * repeats, chunk);
          const double values = (double)count(chunk, r);
          if (values > 0.0) f(values, from.mean + r * C + c0, from.squares + r * C + c0);
        }
    };
    each([&](double values, const double* means, const double*) {
      pixels += values;
      for (int64_t c = 0; c < n; c++) sum[c] += values * means[c];
    });
    for (int64_t c = 0; c < n; c++) sum[c] /= at_least_one(pixels);
    each([&](double values, const double* means, const double* own) {
      for (int64_t c = 0; c < n; c++) squares[c] += own[c] + values * (means[c] - sum[c]) * (means[c] - sum[c]);
    });
    for (int64_t c = 0; c < n; c++) {
      mean.f32()[c0 + c] = (float)sum[c];
      var.f32()[c0 + c] = (float)(squares[c] / at_least_one(pixels));
      if (unbiased) unbiased.f32()[c0 + c] = (float)(squares[c] / at_least_one(pixels - 1.0));
    }
  });
}

static void batch_moments(const Args& a, Team& team) {
  const Tensor& x = a.t[0];
  const Channels g = channels_over(WIDTH, x);
  const int64_t pitch = g.pitch(x);
  for_chunks(team, g.runs, [&](int64_t chunk) {
    const Run run = run_of(g, chunk);
    const Moments own = moments_of(a.scratch, g.cols, chunk);
    over_pieces(g, run, [&](int64_t row, int64_t rows, int64_t c0, int64_t c1) {
      add_moments(own, row - run.begin, c0, c1, rows, [&](int64_t r) { return x.f32() + (row + r) * pitch; });
    });
  });
  join_moments(team, a.scratch, g.C, g.repeat, g.runs, a.t[1], a.t[2], a.t[3],
               [&](int64_t run, int64_t r) { return rows_at(g, run_of(g, run), r * g.C); });
}
