// Bytes of scratch of the kernels that are not convolution: upper bounds that hold whatever the pitch of a tensor, for
// the planner asks before it has placed any. Pure arithmetic on shapes and on the vector width it is given.
#pragma once
#include "grid.h"

static inline int64_t channel_sum_scratch(const Args& a, int, const Blocking& blocking) {
  return run_sums_bytes(a.t[0], blocking.width, 1);
}
static inline int64_t batch_moments_scratch(const Args& a, int, const Blocking& blocking) {
  return run_sums_bytes(a.t[0], blocking.width, 2);
}

// Three numbers a column: scale_shift, scale_shift_dx, batch_moments_dx, norm_act; norm_act_dx has five.
static inline int64_t affine_scratch(const Args& a, int, const Blocking& blocking) {
  return numbers_bytes(columns_of(cols_of(a.t[0]), blocking.width), 3);
}
static inline int64_t norm_act_dx_scratch(const Args& a, int, const Blocking& blocking) {
  return numbers_bytes(columns_of(cols_of(a.t[0]), blocking.width), 5);
}
static inline int64_t norm_act_sums_scratch(const Args& a, int threads, const Blocking& blocking) {
  return affine_scratch(a, threads, blocking) + run_sums_bytes(a.t[0], blocking.width, 2);
}

// add, sub, mul, div: the pattern of repeated channels, below 16 vectors of them times the most repeats.
static inline int64_t broadcast_scratch(const Args&, int, const Blocking& blocking) {
  return 4 * (16 * blocking.width * blocking.width + 4 * blocking.width);
}

static inline int64_t sum_to_scratch(const Args& a, int threads, const Blocking& blocking) {
  const int64_t sums = size_of(a.t[1]);
  return greater(channel_sum_scratch(a, threads, blocking), 8 * sums * sum_blocks(size_of(a.t[0]), sums));
}

static inline int64_t row_chunks_of(const Tensor& x) {
  return make_grid(rows_of(x), cols_of(x), cols_of(x), false).chunks;
}

static inline int64_t cross_entropy_scratch(const Args& a, int, const Blocking&) {
  return 2 * 8 * row_chunks_of(a.t[0]);
}
static inline int64_t cross_entropy_dx_scratch(const Args&, int, const Blocking&) { return 2 * 8; }
static inline int64_t count_correct_scratch(const Args& a, int, const Blocking&) { return 8 * row_chunks_of(a.t[0]); }
static inline int64_t mse_scratch(const Args& a, int, const Blocking&) {
  return 8 * greater(row_chunks_of(a.t[0]), ceil_div(size_of(a.t[0]), GRAIN));
}
