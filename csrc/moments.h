// Sums over all pixels of a channel: channel_sum, scale_shift_sums, and the mean and variance of batch_moments.
//
// A chunk is a run of rows. It goes through them in blocks that stay in cache, sums a block in float32 and adds it to
// float64 sums of its own; the chunks are joined in order. So x is read from memory once, bound by its bandwidth.
#pragma once
#include "grid.h"
#include "lanes.h"

// Rows of a block: at least 32, as every block ends with a float64 addition for each channel.
static inline int64_t block_rows(int64_t cols) { return lesser(256, greater(32, GRAIN / cols)); }

// sums[c] += at(row, c) over `rows` rows, four at a time; `at` reads through the memory access it is given.
template <class F>
static inline void sum_columns(float* sums, int64_t n, int64_t rows, F at) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    over_columns(n, [&](int64_t c, auto m) {
      m.put(sums + c, m.get(sums + c) + ((at(r, c, m) + at(r + 1, c, m)) + (at(r + 2, c, m) + at(r + 3, c, m))));
    });
  for (; r < rows; r++) over_columns(n, [&](int64_t c, auto m) { m.put(sums + c, m.get(sums + c) + at(r, c, m)); });
}

// The same over rows [first, end) of a tensor, whose last row may be shorter.
template <class F>
static inline void sum_block(float* sums, const Channels& g, int64_t first, int64_t end, F at) {
  for (int64_t c = 0; c < g.cols; c++) sums[c] = 0.0f;
  const int64_t whole = end == g.rows && g.last != g.cols ? end - 1 : end;
  sum_columns(sums, g.cols, whole - first, [&](int64_t r, int64_t c, auto m) { return at(first + r, c, m); });
  if (whole < end) sum_columns(sums, g.last, 1, [&](int64_t, int64_t c, auto m) { return at(whole, c, m); });
}

static inline void fold_add(double* to, const float* sums, const Channels& g) {
  for (int64_t r = 0; r < g.repeat; r++)
    for (int64_t c = 0; c < g.C; c++) to[c] += sums[r * g.C + c];
}
static inline void repeat_columns(float* to, const float* from, const Channels& g) {
  for (int64_t c = 0; c < g.cols; c++) to[c] = from[c % g.C];
}

// What a chunk owns in scratch (grid.h says how much).
struct ChunkSums {
  double* sums;
  float* block;
};
static inline ChunkSums chunk_sums(const Args& a, const Channels& g, int64_t K, int64_t chunk) {
  char* own = a.scratch + chunk * chunk_sums_bytes(g.C, WIDTH, K);
  double* sums = reinterpret_cast<double*>(own);
  return {sums, reinterpret_cast<float*>(sums + K * g.C)};
}
static inline double joined(const Args& a, const Channels& g, int64_t K, int64_t k, int64_t c) {
  double sum = 0.0;
  for (int64_t chunk = 0; chunk < g.chunks; chunk++) sum += chunk_sums(a, g, K, chunk).sums[k * g.C + c];
  return sum;
}

static void channel_sum(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const Channels g = channels_over(WIDTH, x);
  const int64_t pitch = g.pitch(x), step = block_rows(g.cols);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    const ChunkSums own = chunk_sums(a, g, 1, chunk);
    const int64_t end = share_begin(g.rows, chunk + 1, g.chunks);
    for (int64_t c = 0; c < g.C; c++) own.sums[c] = 0.0;
    for (int64_t row = share_begin(g.rows, chunk, g.chunks); row < end; row += step) {
      sum_block(own.block, g, row, lesser(end, row + step),
                [&](int64_t r, int64_t c, auto m) { return m.get(x.f32() + r * pitch + c); });
      fold_add(own.sums, own.block, g);
    }
  });
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < g.C; c++) y.f32()[c] = (float)joined(a, g, 1, 0, c);
  });
}

// sum dy and sum dy * (x - mean) / sqrt(var + eps)
static void scale_shift_sums(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dy = a.t[1], &mean = a.t[2], &var = a.t[3];
  const Channels g = channels_over(WIDTH, x, dy);
  const int64_t pitch = g.pitch(x), dy_pitch = g.pitch(dy), step = block_rows(2 * g.cols);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    const ChunkSums own = chunk_sums(a, g, 3, chunk);  // the third holds the means, one a column
    float* means = own.block + g.cols;
    const int64_t end = share_begin(g.rows, chunk + 1, g.chunks);
    for (int64_t c = 0; c < 2 * g.C; c++) own.sums[c] = 0.0;
    repeat_columns(means, mean.f32(), g);
    for (int64_t row = share_begin(g.rows, chunk, g.chunks); row < end; row += step) {
      const int64_t stop = lesser(end, row + step);
      sum_block(own.block, g, row, stop,
                [&](int64_t r, int64_t c, auto m) { return m.get(dy.f32() + r * dy_pitch + c); });
      fold_add(own.sums, own.block, g);
      sum_block(own.block, g, row, stop, [&](int64_t r, int64_t c, auto m) {
        return m.get(dy.f32() + r * dy_pitch + c) * (m.get(x.f32() + r * pitch + c) - m.get(means + c));
      });
      fold_add(own.sums + g.C, own.block, g);
    }
  });
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < g.C; c++) {
      a.t[4].f32()[c] = (float)joined(a, g, 3, 0, c);
      a.t[5].f32()[c] = (float)(joined(a, g, 3, 1, c) / __builtin_sqrt((double)var.f32()[c] + a.f[0]));
    }
  });
}

// Mean and sum of squared deviations of na values joined with those of nb others (Chan, Golub and LeVeque 1983).
static inline void join_moments(double* mean, double* squares, double na, double other_mean, double other_squares,
                                double nb) {
  if (nb == 0.0) return;
  const double share = nb / (na + nb), delta = other_mean - *mean;
  *mean += delta * share;
  *squares += other_squares + delta * delta * na * share;
}

// One block in two passes over the cache: its float32 mean, then deviations from that. What the rounded mean is off by
// is the mean deviation, which corrects both results, so a mean far from 0 costs no digits.
template <class F>
static inline void block_moments(const ChunkSums& own, const Channels& g, int64_t row, int64_t stop, double before,
                                 F at) {
  double *mean = own.sums, *squares = mean + g.C, *sum = squares + g.C, *square = sum + g.C;
  float* centre = own.block + g.cols;
  const double n = (double)(lesser(g.pixels, stop * g.repeat) - row * g.repeat);
  for (int64_t c = 0; c < 2 * g.C; c++) sum[c] = 0.0;
  sum_block(own.block, g, row, stop, at);
  fold_add(sum, own.block, g);
  for (int64_t c = 0; c < g.cols; c++) centre[c] = (float)(sum[c % g.C] / n);
  for (int64_t c = 0; c < g.C; c++) sum[c] = 0.0;
  sum_block(own.block, g, row, stop, [&](int64_t r, int64_t c, auto m) { return at(r, c, m) - m.get(centre + c); });
  fold_add(sum, own.block, g);
  sum_block(own.block, g, row, stop, [&](int64_t r, int64_t c, auto m) {
    const vf d = at(r, c, m) - m.get(centre + c);
    return d * d;
  });
  fold_add(square, own.block, g);
  for (int64_t c = 0; c < g.C; c++) {
    const double off = sum[c] / n;
    join_moments(mean + c, squares + c, before, centre[c] + off, square[c] - n * off * off, n);
  }
}

static void batch_moments(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &unbiased = a.t[3];
  const Channels g = channels_over(WIDTH, x);
  const int64_t pitch = g.pitch(x), step = block_rows(g.cols);
  const auto at = [&](int64_t r, int64_t c, auto m) { return m.get(x.f32() + r * pitch + c); };
  const auto pixels = [&](int64_t rows) { return (double)lesser(g.pixels, rows * g.repeat); };
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    const ChunkSums own = chunk_sums(a, g, 4, chunk);
    const int64_t begin = share_begin(g.rows, chunk, g.chunks), end = share_begin(g.rows, chunk + 1, g.chunks);
    for (int64_t c = 0; c < 2 * g.C; c++) own.sums[c] = 0.0;
    for (int64_t row = begin; row < end; row += step)
      block_moments(own, g, row, lesser(end, row + step), pixels(row) - pixels(begin), at);
  });
  for_chunks(team, 1, [&](int64_t) {
    for (int64_t c = 0; c < g.C; c++) {
      double mean = 0.0, squares = 0.0;
      for (int64_t chunk = 0; chunk < g.chunks; chunk++) {
        const double* own = chunk_sums(a, g, 4, chunk).sums;
        const double before = pixels(share_begin(g.rows, chunk, g.chunks));
        const double n = pixels(share_begin(g.rows, chunk + 1, g.chunks)) - before;
        join_moments(&mean, &squares, before, own[c], own[g.C + c], n);
      }
      a.t[1].f32()[c] = (float)mean;
      a.t[2].f32()[c] = g.pixels ? (float)(squares / (double)g.pixels) : 0.0f;
      if (unbiased) unbiased.f32()[c] = g.pixels > 1 ? (float)(squares / (double)(g.pixels - 1)) : 0.0f;
    }
  });
}
