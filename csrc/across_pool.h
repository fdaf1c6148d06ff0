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
#include "pool.h"
// clang-format on

static const int64_t WINDOW = 4;  // pixels

// What a chunk goes through, and where its results go.
struct PoolJob {
  Map in;  // OH, OW of y
  const float* wp;
  int64_t columns;
  int64_t count, apart;  // windows that are taken together, and the pixels of y from one to the next
  float* y;
  uint8_t* index;  // or nullptr
  int64_t ld, index_ld;
  const float* bias;
  bool relu;
};

// The maximum of each window, and its place; tiles, one for each of the window's pixels, lie behind one another.
static inline void pool_windows(const PoolJob& job, const float* tiles, int64_t pixel, int64_t column, int64_t cols) {
  for (int64_t i = 0; i < job.count; i++, pixel += job.apart)
    over_columns(cols, [&](int64_t c, auto m) {
      Maximum most{set1(-__builtin_inff()), vi{}};
      for (int64_t q = 0; q < WINDOW; q++) most.meet(load(tiles + (q * NARROW_MR + i) * NR + c), int32_t(q));
      m.put(job.y + pixel * job.ld + column + c, most.value);
      if (job.index) put_index(job.index + pixel * job.index_ld + column + c, most.at, m);
    });
}

// Lines [begin, end) of y, one panel.
static void pool_panel(const PoolJob& job, int64_t panel, int64_t begin, int64_t end) {
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
        across_pixel(m, lines[q / 2], 2 * ow + q % 2, job.bias ? bias : nullptr, job.count, t);
      }
      pool_windows(job, tiles, oh * m.OW + ow, column, cols);
    }
  }
}

static void pool_images(const Map& in, const PoolJob& whole, Team& team) {
  const AcrossCut cut = cut_across(in.N, in.OH, whole.columns, BLOCKING);
  for_chunks(team, cut.chunks(), [&](int64_t chunk) {
    const int64_t group = chunk / cut.bands, band = chunk % cut.bands, n = cut.images(group, in.N);
    PoolJob job = whole;
    job.count = cut.images(group + 1, in.N) - n, job.apart = in.OH * in.OW;
    job.in.x += n * in.H * in.W * in.ld;
    job.y += n * job.apart * job.ld;
    if (job.index) job.index += n * job.apart * job.index_ld;
    for (int64_t panel = 0; panel < ceil_div(job.columns, NR); panel++)
      pool_panel(job, panel, cut.line(band, in.OH), cut.line(band + 1, in.OH));
  });
}

#include "line_pool.h"

static PoolJob pool_job(const Args& a) {
  const Tensor &x = a.t[0], &b = a.t[2], &y = a.t[3], &index = a.t[4];
  return {forward_map(x, y, a.i + 1, x.shape[1]),
          a.t[1].f32(),
          a.i[0],
          0,
          0,
          y.f32(),
          reinterpret_cast<uint8_t*>(index.data),
          y.ld,
          index.ld,
          b.f32(),
          a.i[11] == RELU};
}

static int64_t conv2d_gemm_pool_scratch(const Args& a, int threads, const Blocking& b) {
  const PoolJob job = pool_job(a);
  return lanes_are_pixels(job.in, job.columns, b.width) ? pool_lines_scratch(job.in, job.columns, threads, b) : 0;
}

static void conv2d_gemm_pool(const Args& a, Team& team) {
  const PoolJob job = pool_job(a);
  if (lanes_are_pixels(job.in, job.columns, WIDTH)) pool_lines(job, a.scratch, team);
  else pool_images(job.in, job, team);
}
