// Mean and variance of what a convolution writes, taken while a block of it is still in cache.
//
//   y: a chunk's blocks of rows        per block and panel of columns      per chunk             all chunks, in order
//      [ block 0: rows x columns ] --> sums of d and d * d, float32,  -->  mean, squares    -->  mean, var, unbiased
//      [ block 1                 ]     d = y - centre                      in float64, joined
//
// The centre is the mean of the block's first rows. That it is not the mean of all is corrected, and costs digits only
// where the block's mean lies many deviations from that of its first rows. So a block is read once, from L1 or L2:
// beside the `depth` multiply-adds that made it some 3 operations a float, where a pass of its own would read the whole
// map from memory again.
#pragma once
#include "moments.h"

// Rows of a block: float32 sums of more lose digits. Rows whose mean is its centre.
static const int64_t MOMENT_ROWS = 256, CENTRE_ROWS = 16;

// Sums over a block, a float a column, as a vector's lanes lie.
template <int VECTORS>
struct BlockSums {
  float centre[VECTORS * STRIATE_WIDTH], d[VECTORS * STRIATE_WIDTH], square[VECTORS * STRIATE_WIDTH];
};

template <int VECTORS>
static inline BlockSums<VECTORS> sum_rows(const float* y, int64_t ld, int64_t rows, int64_t cols) {
  const auto at = [&](int64_t r, int64_t j) {
    return cols == VECTORS * WIDTH ? load(y + r * ld + j * WIDTH)
                                   : load_part(y + r * ld + j * WIDTH, clamp(cols - j * WIDTH, 0, WIDTH));
  };
  vf centre[VECTORS] = {}, d[2][VECTORS] = {}, square[2][VECTORS] = {};
  const int64_t first = least(rows, CENTRE_ROWS);
  for (int64_t r = 0; r < first; r++)
    for (int64_t j = 0; j < VECTORS; j++) centre[j] += at(r, j);
  for (int64_t j = 0; j < VECTORS; j++) centre[j] = centre[j] / set1(float(first));
  const auto add = [&](int64_t r, int64_t half) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < VECTORS; j++) {
      const vf v = at(r, j) - centre[j];
      d[half][j] += v;
      square[half][j] += v * v;
    }
  };
  for (int64_t r = 0; r + 2 <= rows; r += 2) add(r, 0), add(r + 1, 1);
  if (rows % 2) add(rows - 1, 0);
  BlockSums<VECTORS> sums;
  for (int64_t j = 0; j < VECTORS; j++) {
    store(sums.centre + j * WIDTH, centre[j]);
    store(sums.d + j * WIDTH, d[0][j] + d[1][j]);
    store(sums.square + j * WIDTH, square[0][j] + square[1][j]);
  }
  return sums;
}

// Joins n values of mean `other_mean` to those of a column's `before` (Chan, Golub and LeVeque 1983); share is
// n / (before + n).
static inline void join_column(double& mean, double& squares, double before, double share, double other_mean,
                               double other_squares) {
  const double delta = other_mean - mean;
  mean += delta * share;
  squares += other_squares + delta * delta * before * share;
}

// The moments a convolution collects, a chunk's as in moments.h: C means, then C sums of squared deviations. C is 0
// where nobody asks.
struct ConvMoments {
  double* chunks;
  int64_t C;
  explicit operator bool() const { return C > 0; }
  double* mean(int64_t chunk) const { return chunks + chunk * 2 * C; }

  template <int VECTORS>
  void add_panel(double* mean, double before, const float* y, int64_t ld, int64_t rows, int64_t cols) const {
    const BlockSums<VECTORS> sums = sum_rows<VECTORS>(y, ld, rows, cols);
    const double n = double(rows), share = n / (before + n), per_row = 1.0 / n;
    for (int64_t c = 0; c < cols; c++) {
      const double off = sums.d[c] * per_row, squares = sums.square[c] - n * off * off;
      if (before == 0.0) mean[c] = mean[C + c] = 0.0;
      join_column(mean[c], mean[C + c], before, share, sums.centre[c] + off, squares < 0.0 ? 0.0 : squares);
    }
  }

  // Joins what `chunk` has just written behind its `before` rows: `rows` rows of `cols` columns from column c on.
  void add(int64_t chunk, int64_t before, const float* y, int64_t ld, int64_t rows, int64_t c, int64_t cols) const {
    for (int64_t n; rows > 0; rows -= n, before += n, y += n * ld) {
      n = least(rows, MOMENT_ROWS);
      int64_t j = 0;
      for (; cols - j > WIDTH; j += NR)
        add_panel<NV>(mean(chunk) + c + j, double(before), y + j, ld, n, least(cols - j, NR));
      if (j < cols) add_panel<1>(mean(chunk) + c + j, double(before), y + j, ld, n, cols - j);
    }
  }
};

static inline int64_t conv_moments_bytes(bool wanted, int64_t chunks, int64_t C) {
  return wanted ? chunks * moments_bytes(C) : 0;
}

// Joins all chunks, of which chunk i has rows(i), into out: mean, var, and unbiased if it is there.
template <class F>
static void finish_moments(const ConvMoments& m, int64_t chunks, F rows, const Tensor* out, Team& team) {
  join_moments(team, reinterpret_cast<char*>(m.chunks), m.C, 1, chunks, out[0], out[1], out[2],
               [&](int64_t chunk, int64_t) { return rows(chunk); });
}
