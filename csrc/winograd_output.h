// What follows the products of a Winograd convolution: the output transform of a tile, y = A^T m A, and all that rides
// on it while the outputs are in registers: bias, residual, activation, then a store, the moments, or a 2x2 maximum.
#pragma once
#include "norm_sums.h"
#include "pool.h"

// Where a convolution's results go. The map is y, or what y is the 2x2 maximum of.
struct Epilogue {
  const float *bias, *r;  // or nullptr
  int64_t r_ld;
  float* y;
  uint8_t* index;  // or nullptr
  int64_t ld, index_ld, YH, YW, activation;
  bool pool;
};

// Who sees output j of each row of a tile while it is in a register, and may change it.
struct Nobody {
  template <class Access>
  vf meet(vf y, int64_t, Access) {
    return y;
  }
  void next_row(int64_t) {}
};

// Sums over the outputs of one vector of channels, around a centre that is near their mean.
struct ChannelSums {
  vf centre, d, square;
  template <class Access>
  vf meet(vf y, int64_t, Access) {
    const vf v = y - centre;
    d += v;
    square += v * v;
    return y;
  }
  void next_row(int64_t) {}
};

// One vector of channels of one tile.
struct OutputTile {
  const float* from;  // of plane 0
  int64_t plane;
  int64_t image, h, w, rows, cols;  // its first output; how many exist
  int64_t channel;
};

template <int M, int T>
static inline __attribute__((always_inline)) void output_columns(const OutputTile& t, float (&tmp)[M * T * WIDTH]) {
  const float* from = t.from;
  const int64_t plane = t.plane;
  for (int j = 0; j < T; j++, from += plane) {
    vf x[T], y[M];
#pragma GCC unroll 8
    for (int i = 0; i < T; i++) x[i] = load(from + i * T * plane);
    apply<OutputPass<M, T>>(x, y);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) store(tmp + (i * T + j) * WIDTH, y[i]);
  }
}

template <int M, int T>
static inline __attribute__((always_inline)) void output_row(const float* tmp, int64_t i, vf bias, vf (&y)[M]) {
  vf x[T];
#pragma GCC unroll 8
  for (int j = 0; j < T; j++) x[j] = load(tmp + (i * T + j) * WIDTH);
  apply<OutputPass<M, T>>(x, y);
#pragma GCC unroll 8
  for (int j = 0; j < M; j++) y[j] += bias;
}

// The least value that a vector's activation leaves as it is: none or ReLU become one maximum.
static inline vf floor_of(int64_t activation) { return activation == RELU ? vf{} : set1(-__builtin_inff()); }

// The activation, if it is not ReLU, of a tile that has been stored.
template <class Access>
static __attribute__((noinline)) void bend_tile(const Epilogue& e, const OutputTile& t, float* y, Access m) {
  for (int64_t i = 0; i < t.rows; i++, y += e.YW * e.ld)
    for (int64_t j = 0; j < t.cols; j++) m.put(y + j * e.ld, activated(m.get(y + j * e.ld), e.activation));
}

// Stores a tile, or what exists of it.
template <int M, int T, class Seer, class Access>
static inline void put_tile(const Epilogue& e, const OutputTile& t, Seer& seer, Access m) {
  alignas(64) float tmp[M * T * WIDTH];
  output_columns<M, T>(t, tmp);
  const vf bias = e.bias ? m.get(e.bias + t.channel) : vf{}, least_y = floor_of(e.activation);
  const int64_t pixel = (t.image * e.YH + t.h) * e.YW + t.w, ld = e.ld, r_ld = e.r_ld, rows = t.rows, cols = t.cols;
  float* const first = e.y + pixel * ld + t.channel;
  const float* r = e.r ? e.r + pixel * r_ld + t.channel : nullptr;
  const int64_t down = e.YW * ld, r_down = e.YW * r_ld;
  Seer s = seer;
  float* to = first;
  for (int64_t i = 0; i < rows; i++, to += down) {
    vf y[M];
    output_row<M, T>(tmp, i, bias, y);
    if (r) {
#pragma GCC unroll 8
      for (int64_t j = 0; j < M; j++)
        if (j < cols) y[j] += m.get(r + j * r_ld);
      r += r_down;
    }
#pragma GCC unroll 8
    for (int64_t j = 0; j < M; j++) {
      if (j >= cols) break;
      m.put(to + j * ld, s.meet(max(least_y, y[j]), j, m));
    }
    s.next_row(e.YW);
  }
  seer = s;
  if (e.activation > RELU) bend_tile(e, t, first, m);
}

// Stores the maxima of a tile's 2x2 windows and which output each was, the first of equals.
template <int M, int T, class Access>
static void put_maxima(const Epilogue& e, const OutputTile& t, Access m) {
  alignas(64) float tmp[M * T * WIDTH];
  output_columns<M, T>(t, tmp);
  const vf bias = e.bias ? m.get(e.bias + t.channel) : vf{}, least_y = floor_of(e.activation);
  for (int64_t i = 0; i + 1 < t.rows; i += 2) {
    vf y[2][M];
    output_row<M, T>(tmp, i, bias, y[0]);
    output_row<M, T>(tmp, i + 1, bias, y[1]);
    const int64_t pixel = (t.image * e.YH + (t.h + i) / 2) * e.YW + t.w / 2;
#pragma GCC unroll 8
    for (int64_t j = 0; j + 1 < M; j += 2) {
      if (j + 1 >= t.cols) break;
      Maximum best{max(least_y, y[0][j]), vi{}};
      best.meet(max(least_y, y[0][j + 1]), 1);
      best.meet(max(least_y, y[1][j]), 2);
      best.meet(max(least_y, y[1][j + 1]), 3);
      m.put(e.y + (pixel + j / 2) * e.ld + t.channel, best.value);
      if (e.index) put_index(e.index + (pixel + j / 2) * e.index_ld + t.channel, best.at, m);
    }
  }
}

// The mean of what a tile has stored: the centre its unit's sums are taken around.
template <class Access>
static inline vf mean_of_tile(const Epilogue& e, const OutputTile& t, Access m) {
  vf sum = {};
  for (int64_t i = 0; i < t.rows; i++)
    for (int64_t j = 0; j < t.cols; j++)
      sum += m.get(e.y + ((t.image * e.YH + t.h + i) * e.YW + t.w + j) * e.ld + t.channel);
  return sum / set1(float(t.rows * t.cols));
}

// Joins the sums over n outputs to the moments of a chunk that held `before`.
static inline void join_sums(const ChannelSums& sums, double n, double before, double* mean, double* squares,
                             int64_t count) {
  float centre[WIDTH], d[WIDTH], square[WIDTH];
  store(centre, sums.centre), store(d, sums.d), store(square, sums.square);
  for (int64_t c = 0; c < count; c++) {
    const double off = d[c] / n, own = square[c] - n * off * off;
    if (before == 0.0) mean[c] = squares[c] = 0.0;
    join_column(mean[c], squares[c], before, n / (before + n), centre[c] + off, own < 0.0 ? 0.0 : own);
  }
}
