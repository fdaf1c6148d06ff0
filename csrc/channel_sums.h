// Sums over all pixels of a channel: the reduction behind channel_sum, batch norm's statistics and its gradients.
//
// A chunk is a run of rows (narrow channels repeated: grid.h). It goes through them in blocks of 128: float32 sums of a
// block stay in L1 and are then added to the run's float64 sums. The runs are joined in order, channels shared out
// among the threads.
//
// Memory is read once and in its own order: strips of 512 of 1024 columns reach two thirds of its bandwidth. Bound by
// that: 130 GB/s from L3 and 35 from memory for two threads of a Zen 3 EPYC.
#pragma once
#include "grid.h"
#include "lanes.h"

static const int64_t BLOCK_ROWS = 128;  // a float64 addition for each column ends a block: 3 % of its time
static const int64_t STRIP = 2048;      // columns of a block: two sums of each take half of L1
static const int64_t JOINED = 64;       // channels joined in one chunk

// What one element adds to each of K sums.
template <int K>
struct Terms {
  vf of[K];
};

// sums[k][c] += at(row, c).of[k] over `rows` rows; `at` reads through the memory access it is given. Lanes behind the
// last column hold anything.
template <int K, class F>
static inline void sum_columns(float (*sums)[STRIP], int64_t n, int64_t rows, F at) {
  int64_t r = 0;
  for (; r + 4 <= rows && walks_four_rows(n); r += 4)
    over_columns(n, [&](int64_t c, auto m) {
      const Terms<K> a = at(r, c, m), b = at(r + 1, c, m), d = at(r + 2, c, m), e = at(r + 3, c, m);
      for (int k = 0; k < K; k++) store(sums[k] + c, load(sums[k] + c) + ((a.of[k] + b.of[k]) + (d.of[k] + e.of[k])));
    });
  for (; r < rows; r++)
    over_columns(n, [&](int64_t c, auto m) {
      const Terms<K> a = at(r, c, m);
      for (int k = 0; k < K; k++) store(sums[k] + c, load(sums[k] + c) + a.of[k]);
    });
}

template <int K>
static inline void clear_sums(float (*sums)[STRIP], int64_t n) {
  for (int k = 0; k < K; k++)
    for (int64_t c = 0; c < n; c++) sums[k][c] = 0.0f;
}

struct Run {
  int64_t begin, end;  // rows
};
static inline Run run_of(const Channels& g, int64_t run) {
  return {share_begin(g.rows, run, g.runs), share_begin(g.rows, run + 1, g.runs)};
}
// Rows of a run that reach column c: only the last row of a tensor may be shorter.
static inline int64_t rows_at(const Channels& g, const Run& run, int64_t c) {
  return run.end - run.begin - (run.end == g.rows && run.end > run.begin && c >= g.last ? 1 : 0);
}

// f(first row, number of rows, first column, end of columns) over pieces of a run without gaps, at most BLOCK_ROWS high
// and STRIP wide.
template <class F>
static inline void over_pieces(const Channels& g, const Run& run, F f) {
  const int64_t whole = run.begin + rows_at(g, run, g.cols - 1);
  for (int64_t row = run.begin; row < run.end;) {
    const int64_t rows = row < whole ? lesser(BLOCK_ROWS, whole - row) : 1, cols = row < whole ? g.cols : g.last;
    for (int64_t c = 0; c < cols; c += STRIP) f(row, rows, c, lesser(cols, c + STRIP));
    row += rows;
  }
}

// ---- K sums a channel

template <int K>
static inline double* run_sums(char* scratch, const Channels& g, int64_t run) {
  return reinterpret_cast<double*>(scratch) + run * K * g.cols;
}

// finish(c, sums[K]) for each channel with the sums over all pixels of at(row, c, m).
template <int K, class F, class G>
static inline void sum_channels(Team& team, char* scratch, const Channels& g, F at, G finish) {
  for_chunks(team, g.runs, [&](int64_t run) {
    double* own = run_sums<K>(scratch, g, run);
    for (int64_t i = 0; i < K * g.cols; i++) own[i] = 0.0;
    over_pieces(g, run_of(g, run), [&](int64_t row, int64_t rows, int64_t c0, int64_t c1) {
      alignas(64) float sums[K][STRIP];
      clear_sums<K>(sums, c1 - c0);
      sum_columns<K>(sums, c1 - c0, rows, [&](int64_t r, int64_t c, auto m) { return at(row + r, c0 + c, m); });
      for (int k = 0; k < K; k++)
        for (int64_t c = c0; c < c1; c++) own[k * g.cols + c] += sums[k][c - c0];
    });
  });
  for_chunks(team, ceil_div(g.C, JOINED), [&](int64_t chunk) {
    const int64_t c0 = chunk * JOINED, n = lesser(JOINED, g.C - c0);
    double sums[K][JOINED] = {};
    for (int64_t run = 0; run < g.runs; run++)
      for (int k = 0; k < K; k++)
        for (int64_t column = c0; column < g.cols; column += g.C) {
          const double* own = run_sums<K>(scratch, g, run) + k * g.cols + column;
          for (int64_t c = 0; c < n; c++) sums[k][c] += own[c];
        }
    for (int64_t c = 0; c < n; c++) {
      double total[K];
      for (int k = 0; k < K; k++) total[k] = sums[k][c];
      finish(c0 + c, total);
    }
  });
}

static void channel_sum(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const Channels g = channels_over(WIDTH, x);
  const int64_t pitch = g.pitch(x);
  sum_channels<1>(
      team, a.scratch, g, [&](int64_t r, int64_t c, auto m) { return Terms<1>{{m.get(x.f32() + r * pitch + c)}}; },
      [&](int64_t c, const double* sums) { y.f32()[c] = (float)sums[0]; });
}
