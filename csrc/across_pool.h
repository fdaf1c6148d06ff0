// A convolution of few output channels and the 2x2 maximum behind it, as LeNet-5 has them: the loop of across.h, a
// window of pooling at a time.
//
//     x: `count` images --> 4 tiles, count x columns, the 4 pixels of a window --> their maximum --> y, index
//                           in L1
//
// The map before pooling never exists: 4.8 MB of LeNet-5's first layer, batch 256, are neither written nor read. The
// tiles have all NR columns (or one vector), so nothing but y needs partial stores.
#pragma once
// clang-format off: each needs those before it.
#include "across.h"
#include "pool_job.h"
// clang-format on

// The maximum of one window for each of `count` images, and its place; tiles lie behind one another.
static inline void pool_window(const PoolJob& job, int64_t count, const float* tiles, int64_t pixel, int64_t column,
                               int64_t cols) {
  for (int64_t i = 0; i < count; i++, pixel += job.in.OH * job.in.OW)
    over_columns(cols, [&](int64_t c, auto m) {
      Maximum most{set1(-__builtin_inff()), vi{}};
      for (int64_t q = 0; q < WINDOW; q++) most.meet(load(tiles + (q * NARROW_MR + i) * NR + c), int32_t(q));
      m.put(job.y + pixel * job.ld + column + c, most.value);
      if (job.index) put_index(job.index + pixel * job.index_ld + column + c, most.at, m);
    });
}

// Lines [begin, end) of y, one panel; the job begins with the first of `count` images.
static void pool_panel(const PoolJob& job, int64_t count, int64_t panel, int64_t begin, int64_t end) {
  const Map& m = job.in;
  const int64_t column = panel * NR, cols = least(job.columns - column, NR), depth = m.KH * m.KW * m.C;
  float tiles[WINDOW * NARROW_MR * NR], bias[NR] = {};
  int64_t rows[NARROW_MR];
  for (int64_t i = 0; i < NARROW_MR; i++) rows[i] = i * NR;
  if (job.bias) copy_run(bias, job.bias + column, cols);
  Tile t{};
  t.lda = m.H * m.W * m.ld, t.rows = rows, t.relu = job.relu, t.cols = cols <= WIDTH ? WIDTH : NR;
  const float* b = job.wp + panel * depth * NR;
  for (int64_t oh = begin; oh < end; oh++) {
    const AcrossLine lines[2] = {across_line(m, m.x, b, 2 * oh), across_line(m, m.x, b, 2 * oh + 1)};
    for (int64_t ow = 0; ow < m.OW; ow++) {
      for (int64_t q = 0; q < WINDOW; q++) {
        t.c = tiles + q * NARROW_MR * NR;
        across_pixel(m, lines[q / 2], 2 * ow + q % 2, job.bias ? bias : nullptr, count, t);
      }
      pool_window(job, count, tiles, oh * m.OW + ow, column, cols);
    }
  }
}

static void pool_images(const PoolJob& whole, Team& team) {
  const Map& m = whole.in;
  const AcrossCut cut = cut_across(m.N, m.OH, whole.columns, BLOCKING);
  for_chunks(team, cut.chunks(), [&](int64_t chunk) {
    const int64_t group = chunk / cut.bands, band = chunk % cut.bands, n = cut.images(group, m.N);
    const int64_t first = n * m.OH * m.OW, count = cut.images(group + 1, m.N) - n;
    PoolJob job = whole;
    job.in.x += n * m.H * m.W * m.ld, job.y += first * job.ld;
    if (job.index) job.index += first * job.index_ld;
    for (int64_t panel = 0; panel < ceil_div(job.columns, NR); panel++)
      pool_panel(job, count, panel, cut.line(band, m.OH), cut.line(band + 1, m.OH));
  });
}
