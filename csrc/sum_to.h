// y = x summed over some axes, which stay with size 1: the gradient of a broadcast.
//
// Axes are merged (walk.h) and parted into kept and summed. A chunk sums a block of summed rows into float64 partial
// sums of its own for one kept row, and the blocks are added in order.
#pragma once
#include "channel_sums.h"
#include "grid.h"
#include "lanes.h"
#include "walk.h"

static inline void add_to_sums(double* sums, const float* x, int64_t n) {
  for (int64_t c = 0; c < n; c++) sums[c] += x[c];
}
static inline double sum_of_row(const float* x, int64_t n) {
  vf s[4] = {};
  int64_t c = 0;
  for (; c + 4 * WIDTH <= n; c += 4 * WIDTH)
    for (int i = 0; i < 4; i++) s[i] += load(x + c + i * WIDTH);
  over_columns(n - c, [&](int64_t j, auto m) { s[0] += m.get(x + c + j); });
  return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

struct SumTo {
  Walk<2> w;
  int kept_axes, summed_axes;  // of the outer three, one bit each
  bool inner_kept;
  int64_t kept_rows, summed_rows;  // products of their sizes
  int64_t piece, pieces;           // the fastest axis in pieces of at most GRAIN
  int64_t blocks;                  // of summed rows (or rows and pieces, if the fastest axis is summed)
  int64_t sums() const { return kept_rows * (inner_kept ? w.size[3] : 1); }
};

static inline SumTo sum_to_plan(const Args& a) {
  const Tensor &x = a.t[0], &y = a.t[1];
  int64_t stride[2][4];
  strides_of(x, stride[0]);
  strides_of(y, stride[1]);
  for (int axis = 0; axis < 4; axis++)
    if (a.i[0] >> axis & 1) stride[1][axis] = 0;
  SumTo p{make_walk<2>(x, x.shape, stride), 0, 0, false, 1, 1, 0, 1, 1};
  p.inner_kept = p.w.step[1][3] != 0;
  for (int axis = 0; axis < 3; axis++) {
    const bool kept = p.w.size[axis] != 1 && p.w.step[1][axis] != 0;
    (kept ? p.kept_axes : p.summed_axes) |= 1 << axis;
    (kept ? p.kept_rows : p.summed_rows) *= p.w.size[axis];
  }
  p.pieces = greater(1, ceil_div(p.w.size[3], GRAIN));
  p.piece = ceil_div(p.w.size[3], p.pieces);
  p.blocks = sum_blocks(size_of(x), size_of(y));
  return p;
}

static inline void sum_rows(const SumTo& p, const float* x, int64_t kept, int64_t piece, int64_t block, double* sums) {
  const int64_t c0 = piece * p.piece, n = lesser(p.piece, p.w.size[3] - c0);
  const int64_t first = share_begin(p.summed_rows, block, p.blocks),
                end = share_begin(p.summed_rows, block + 1, p.blocks);
  const float* base = x + Odometer<2>(p.w, p.kept_axes, kept).offset[0] + c0;
  for (int64_t c = 0; c < n; c++) sums[c] = 0.0;
  Odometer<2> row(p.w, p.summed_axes, first);
  for (int64_t r = first; r < end; r++, row.next()) add_to_sums(sums, base + row.offset[0], n);
}

static inline double sum_segments(const SumTo& p, const float* x, int64_t kept, int64_t block) {
  const int64_t segments = p.summed_rows * p.pieces;
  const int64_t first = share_begin(segments, block, p.blocks), end = share_begin(segments, block + 1, p.blocks);
  const float* base = x + Odometer<2>(p.w, p.kept_axes, kept).offset[0];
  Odometer<2> row(p.w, p.summed_axes, first / p.pieces);
  double sum = 0.0;
  for (int64_t s = first; s < end; s++) {
    const int64_t c0 = s % p.pieces * p.piece;
    sum += sum_of_row(base + row.offset[0] + c0, lesser(p.piece, p.w.size[3] - c0));
    if (s % p.pieces == p.pieces - 1) row.next();
  }
  return sum;
}

static void sum_to(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const bool per_channel = (x.rank == 4 && x.ld && a.i[0] == 13) || (x.rank == 2 && a.i[0] == 1);
  if (per_channel) return channel_sum(a, team);
  const SumTo p = sum_to_plan(a);
  const int64_t cols = p.inner_kept ? p.w.size[3] : 1, pieces = p.inner_kept ? p.pieces : 1;
  double* partial = reinterpret_cast<double*>(a.scratch);  // [blocks][kept_rows][cols]
  for_chunks(team, cols ? p.kept_rows * pieces * p.blocks : 0, [&](int64_t chunk) {
    const int64_t block = chunk % p.blocks, piece = chunk / p.blocks % pieces, kept = chunk / p.blocks / pieces;
    double* sums = partial + (block * p.kept_rows + kept) * cols + piece * p.piece;
    if (p.inner_kept) sum_rows(p, x.f32(), kept, piece, block, sums);
    else *sums = sum_segments(p, x.f32(), kept, block);
  });
  const int64_t per = greater(1, GRAIN / greater(1, cols));
  for_chunks(team, ceil_div(p.kept_rows, per), [&](int64_t chunk) {
    for (int64_t kept = chunk * per; kept < lesser(p.kept_rows, (chunk + 1) * per); kept++) {
      float* to = y.f32() + Odometer<2>(p.w, p.kept_axes, kept).offset[1];
      for (int64_t c = 0; c < cols; c++) {
        double sum = 0.0;
        for (int64_t block = 0; block < p.blocks; block++) sum += partial[(block * p.kept_rows + kept) * cols + c];
        to[c * p.w.step[1][3]] = (float)sum;
      }
    }
  });
}
