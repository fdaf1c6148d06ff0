// How work is cut into chunks: pure arithmetic on shapes, the same for every thread count. Text, not a namespace of its
// own: each instruction set includes it inside its namespace, and scratch_other.h once more for the planner.
#pragma once
#include "sizes.h"

static const int64_t GRAIN = 16384;      // floats in a chunk: 64 KiB take about 5 us to stream, a phase about 0.2 us
static const int64_t MAX_PARTIALS = 64;  // chunks of a reduction, each with partial sums of its own

static inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t size_of(const Tensor& t) { return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3]; }
static inline int64_t pitch_of(const Tensor& t) { return t.ld && (t.rank == 4 || t.rank == 2) ? t.ld : cols_of(t); }
static inline bool is_flat(const Tensor& t) { return t.ld == 0 || pitch_of(t) == cols_of(t); }  // no gap between rows
static inline int64_t bytes_of(int32_t dtype) { return dtype == F32 ? 4 : dtype == U8 ? 1 : dtype == U16 ? 2 : 8; }
// The first of the items that share `share` of `shares` holds.
static inline int64_t share_begin(int64_t items, int64_t share, int64_t shares) {
  return items / shares * share + lesser(items % shares, share);
}

// Rows of equal length, the last one possibly shorter. Tensors without gaps are cut into rows of GRAIN floats whatever
// their shape, so that 6 channels stream as well as 64.
struct Grid {
  int64_t rows, cols, last, rows_per_chunk, chunks;
  bool flat;
  int64_t length(int64_t row) const { return row + 1 == rows ? last : cols; }
  int64_t pitch(const Tensor& t) const { return flat ? cols : pitch_of(t); }
  int64_t begin(int64_t chunk) const { return chunk * rows_per_chunk; }
  int64_t end(int64_t chunk) const { return lesser(rows, (chunk + 1) * rows_per_chunk); }
};

static inline Grid make_grid(int64_t rows, int64_t cols, int64_t last, bool flat) {
  const int64_t per = greater(1, GRAIN / greater(1, cols));
  return {rows, cols, last, per, ceil_div(rows, per), flat};
}

template <class... T>
static inline Grid grid_over(const Tensor& first, const T&... others) {
  const int64_t n = size_of(first);
  if (!(is_flat(first) && ... && is_flat(others)))
    return make_grid(rows_of(first), cols_of(first), cols_of(first), false);
  const int64_t rows = ceil_div(n, GRAIN);
  return make_grid(rows, GRAIN, n - (rows - 1) * GRAIN, true);
}

// The columns of a per-channel kernel: C channels, or, in a tensor without gaps whose C does not fill vectors, `repeat`
// pixels side by side: 6 channels in vectors of 8 become rows of 48 floats, each vector full.
static inline int64_t repeat_of(int64_t C, int64_t width) {
  if (C == 0) return 1;  // a rank 1 tensor without images
  int64_t common = width;
  while (C % common) common /= 2;
  const int64_t fill = width / common;  // pixels until a vector starts on channel 0 again
  return C >= 16 * width ? 1 : fill * ceil_div(4 * width, C * fill);
}
static inline int64_t columns_of(int64_t C, int64_t width) { return C * repeat_of(C, width); }

// Whether four rows are walked side by side, for what they share: short ones, which lie in half a page together, and
// long ones, which have pages of their own. Several streams in one page lose the hardware's prefetching: a copy of rows
// of 1 KiB took 1.7 times as long (EPYC Zen 3, from memory).
static inline bool walks_four_rows(int64_t cols) { return cols <= 128 || cols >= 1024; }

struct Channels {
  int64_t C, pixels, repeat, cols;  // cols = C * repeat
  int64_t rows, last;               // rows of cols floats, the last one of `last`
  int64_t runs;                     // a reduction's chunks
  bool flat;
  int64_t length(int64_t row) const { return row + 1 == rows ? last : cols; }
  int64_t pitch(const Tensor& t) const { return flat ? cols : pitch_of(t); }
};

// A run has at least 64 rows: each ends with float64 work for every channel.
static inline int64_t channel_runs(const Tensor& x) {
  return lesser(MAX_PARTIALS, greater(1, lesser(size_of(x) / (2 * GRAIN), rows_of(x) / 64)));
}

template <class... T>
static inline Channels channels_over(int64_t width, const Tensor& x, const T&... others) {
  const bool flat = (is_flat(x) && ... && is_flat(others));
  const int64_t C = cols_of(x), pixels = rows_of(x), repeat = flat ? repeat_of(C, width) : 1;
  const int64_t rows = ceil_div(pixels, repeat);
  return {C, pixels, repeat, C * repeat, rows, (pixels - (rows - 1) * repeat) * C, channel_runs(x), flat};
}

// K float64 sums a column for each run of a per-channel reduction.
static inline int64_t run_sums_bytes(const Tensor& x, int64_t width, int64_t K) {
  return channel_runs(x) * K * 8 * columns_of(cols_of(x), width);
}

// K numbers a column in float32, for kernels that scale and shift channels.
static inline int64_t numbers_bytes(int64_t cols, int64_t K) { return ceil_div(K * 4 * cols, 64) * 64; }

// Into how many blocks sum_to cuts what it sums, when it has `sums` results: few if they are many, to bound the
// scratch.
static inline int64_t sum_blocks(int64_t total, int64_t sums) {
  const int64_t most = lesser(MAX_PARTIALS, greater(1, (1 << 18) / greater(1, sums)));
  return lesser(most, greater(1, total / (2 * GRAIN)));
}
