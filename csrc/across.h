// Convolutions of few output channels: the rows of a tile are one output pixel of several images.
//
// Packing a row (im2col.h) costs as much as 3 columns of the product, which is nothing beside 64 columns and most of
// the time beside 6. Across images the rows lie at equal distances as they are, all have the same taps inside the map,
// and those taps are KH runs of KW * C neighbours in memory: nothing is packed, and no zero of the padding is
// multiplied (half of the work of a 5x5 dX on a 10x10 map).
//
//     x: image 0 [ . . a a a . ]  image 1 [ . . a a a . ]  ...      a: the runs of one output pixel
//
// LeNet-5's layers take it. Batch 256, one thread of an AMD EPYC Zen 3, against packing: conv1 forward 1.5 ms (4.1),
// conv2 forward 1.3 (1.9: 95 % of the FMA peak), conv2 dX 2.1 (7.0).
#pragma once

// With more columns than these the packed loop is as quick; with more depth a panel no longer stays in L1.
static const int64_t ACROSS_COLUMNS = 64, ACROSS_DEPTH = 512;
// Fewer images leave too few running sums.
static const int64_t LEAST_IMAGES = 4;

static inline bool few_columns(int64_t N, int64_t taps, int64_t C, int64_t columns) {
  return N >= LEAST_IMAGES && taps > 1 && taps * C <= ACROSS_DEPTH && columns <= ACROSS_COLUMNS;
}
static inline bool taps_adjoin(const Map& m) { return m.dw == 1 && m.ld == m.C; }

// Chunks are groups of images times bands of output lines.
struct AcrossCut {
  int64_t groups, bands;
  // The images of group g are images(g) .. images(g + 1) - 1: as equal as can be.
  int64_t images(int64_t g, int64_t N) const { return N * g / groups; }
  int64_t line(int64_t band, int64_t OH) const { return OH * band / bands; }
  int64_t chunks() const { return groups * bands; }
  int64_t pixels(int64_t chunk, const Map& m) const {
    const int64_t group = chunk / bands, band = chunk % bands;
    return (images(group + 1, m.N) - images(group, m.N)) * (line(band + 1, m.OH) - line(band, m.OH)) * m.OW;
  }
};

static AcrossCut cut_across(int64_t N, int64_t OH, int64_t columns, const Blocking& b) {
  const int64_t groups = ceil_div(N, tallest_tile(columns, b));
  return {groups, clamp(ceil_div(WANTED_CHUNKS, most(groups, 1)), 1, OH)};
}

// The taps that reach one output line: how many rows of the kernel, the first of them in x, of image 0, and in a panel.
struct AcrossLine {
  const float *x, *b;
  int64_t rows;
};

static inline AcrossLine across_line(const Map& m, const float* x, const float* b, int64_t oh) {
  const int64_t ih = oh * m.sh - m.top;
  const Reach down(ih, m.KH, m.dh, m.H);
  return {x + (ih + down.begin * m.dh) * m.W * m.ld, b + down.begin * m.KW * m.C * NR, down.end - down.begin};
}

// One output pixel of `count` images, where the taps of a row do not adjoin: a row of the kernel at a time.
static void across_rows(const Map& m, const AcrossLine& line, int64_t ow, const float* bias, int64_t count, Tile t) {
  const int64_t iw = ow * m.sw - m.left, rows = most(line.rows, 1);
  const Reach across(iw, m.KW, m.dw, m.W);
  const bool relu = t.relu;
  t.depth = m.C, t.run_a = m.dw * m.ld, t.run_b = m.C * NR, t.runs = line.rows ? across.end - across.begin : 0;
  t.a = line.x + (iw + across.begin * m.dw) * m.ld, t.b = line.b + across.begin * t.run_b;
  for (int64_t r = 0; r < rows; r++, t.a += m.dh * m.W * m.ld, t.b += m.KW * m.C * NR) {
    t.add = r > 0, t.bias = r + 1 == rows ? bias : nullptr, t.relu = relu && r + 1 == rows;
    multiply<ROW_MAJOR>(count, t);
  }
}

// One output pixel of `count` images, at t.c.
static inline void across_pixel(const Map& m, const AcrossLine& line, int64_t ow, const float* bias, int64_t count,
                                Tile& t) {
  if (!taps_adjoin(m)) return across_rows(m, line, ow, bias, count, t);
  const int64_t iw = ow * m.sw - m.left;
  const Reach across(iw, m.KW, 1, m.W);
  t.a = line.x + (iw + across.begin) * m.ld, t.b = line.b + across.begin * m.C * NR;
  t.runs = line.rows, t.run_a = m.dh * m.W * m.ld, t.run_b = m.KW * m.C * NR;
  t.depth = (across.end - across.begin) * m.C, t.bias = bias;
  multiply<ROW_MAJOR>(count, t);
}

// The lines of `count` images that a chunk has written, an image's behind one another.
static void across_moments(const Job& job, int64_t chunk, const float* y, int64_t count, int64_t oh, int64_t lines,
                           int64_t column, int64_t cols) {
  const int64_t pixels = lines * job.YW;
  for (int64_t i = 0; i < count; i++)
    job.moments.add(chunk, i * pixels, y + (i * job.YH + oh) * job.YW * job.ld, job.ld, pixels, column, cols);
}

static void across_chunk(const Job& job, const AcrossCut& cut, int64_t chunk) {
  const Map& m = job.in;
  const int64_t group = chunk / cut.bands, band = chunk % cut.bands, n = cut.images(group, m.N);
  const int64_t count = cut.images(group + 1, m.N) - n, image = job.YH * job.YW;
  const int64_t begin = cut.line(band, m.OH), end = cut.line(band + 1, m.OH);
  int64_t rows[NARROW_MR], r_rows[NARROW_MR];
  for (int64_t i = 0; i < count; i++) rows[i] = i * image * job.ld, r_rows[i] = i * image * job.r_ld;
  Tile t{};
  t.lda = m.H * m.W * m.ld, t.rows = rows, t.r_rows = r_rows, t.relu = is_ramp(job.activation);
  t.top = top_of(job.activation);
  for (int64_t column = 0; column < job.columns; column += NR) {
    const float *b = job.wp + column / NR * job.panel, *bias = job.bias ? job.bias + column : nullptr;
    float* y = job.y + n * image * job.ld + column;
    t.cols = least(job.columns - column, NR);
    for (int64_t oh = begin; oh < end; oh++) {
      const AcrossLine line = across_line(m, m.x + n * m.H * m.W * m.ld, b, oh);
      int64_t pixel = (job.y0 + oh * job.gh) * job.YW + job.x0;
      for (int64_t ow = 0; ow < m.OW; ow++, pixel += job.gw) {
        t.c = y + pixel * job.ld, t.r = job.r ? job.r + (n * image + pixel) * job.r_ld + column : nullptr;
        across_pixel(m, line, ow, bias, count, t);
        if (is_curve(job.activation)) activate_rows(t.c, t.rows, count, t.cols, job.activation);
      }
    }
    if (job.moments) across_moments(job, chunk, y, count, begin, end - begin, column, t.cols);
  }
}
