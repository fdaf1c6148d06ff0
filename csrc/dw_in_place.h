// dW of few channels: the columns of the product are read in the image as it lies.
//
// A kernel row of a pixel, KW * C floats, is what a few vectors loaded from the image hold; so instead of packing rows
// of KH * KW * C floats (im2col.h, as long as the whole product for 6 outputs) a band of output lines and the lines of
// x it sees are walked pixel by pixel, once for each tile of 6 outputs and two vectors of columns:
//
//     dy: a pixel's outputs (broadcast)      x: [ . (s,c) (s,c) (s,c) . . ]   line r of the kernel under the pixel
//                                               |------ vector ------|
//
// x is copied, padded with zeros, into a band of its own in L1. Where a kernel row fills no more than one vector, the
// vectors of a tile belong to neighbouring lines. Lanes behind the kernel row are summed too and never looked at.
// Chunks are ranges of bands over all images; their partial sums are added in their order. LeNet-5, batch 256, one
// thread of an AMD EPYC Zen 3, against packing: conv1 1.2 ms (3.5), conv2 1.5 (2.0: 84 % of the FMA peak).
#pragma once

// Beyond, packing is paid for: with more outputs by their number, with more channels it is copying of whole vectors.
static const int64_t IN_PLACE_OUTPUTS = 32, IN_PLACE_CHANNELS = 31;
// Bytes of x and dy in a band: with the sums of a tile they stay in an L1 of 32 KiB.
static const int64_t BAND_BYTES = 24576;

struct BandCut {
  int64_t OW, lines, bands, splits;  // columns, output lines of a band, bands of an image, chunks
  int64_t high, wide;                // lines and columns of x under a band, padding included
  int64_t run, ldq;                  // floats of a kernel row in whole vectors, of all its KH rows
};

static inline bool dw_in_place(int64_t G, int64_t O, int64_t C, int64_t taps, int64_t dilation) {
  return G == 1 && taps > 1 && dilation == 1 && O <= IN_PLACE_OUTPUTS && C <= IN_PLACE_CHANNELS;
}

static BandCut cut_bands(const Map& m, int64_t O, int64_t width) {
  BandCut cut{};
  cut.OW = m.OW;
  cut.wide = (m.OW - 1) * m.sw + m.KW;
  cut.lines = clamp(BAND_BYTES / 4 / (m.sh * cut.wide * m.C + m.OW * O), 1, m.OH);
  cut.bands = ceil_div(m.OH, cut.lines);
  cut.lines = ceil_div(m.OH, cut.bands);
  cut.bands = ceil_div(m.OH, cut.lines);
  cut.high = (cut.lines - 1) * m.sh + (m.KH - 1) * m.dh + 1;
  cut.splits = clamp(m.N * cut.bands, 1, wanted_chunks(double(m.N) * m.OH * m.OW * O * m.KH * m.KW * m.C));
  cut.run = round_up(m.KW * m.C, width);
  cut.ldq = m.KH * cut.run;
  return cut;
}

static inline int64_t band_sums(const BandCut& c, int64_t O) { return round_up(O * c.ldq, 16); }
static inline int64_t band_floats(const BandCut& c, int64_t C, int64_t nr) {
  return round_up(c.high * c.wide * C + nr, 16);
}
static inline int64_t band_bytes(const BandCut& c, int64_t O, int64_t C, int64_t nr) {
  return (band_sums(c, O) + band_floats(c, C, nr)) * 4 + round_up(O * 8 + c.lines * c.OW * 4, 64);
}

// The lines of x under a band, from line ih on.
static void copy_band(const Map& m, const BandCut& cut, int64_t n, int64_t ih, float* to) {
  const int64_t begin = clamp(m.left, 0, cut.wide), end = clamp(m.W + m.left, begin, cut.wide);
  for (int64_t h = 0; h < cut.high; h++, ih++, to += cut.wide * m.C) {
    const bool inside = ih >= 0 && ih < m.H;
    const float* from = m.x + ((n * m.H + ih) * m.W + begin - m.left) * m.ld;
    zero_run(to, inside ? begin * m.C : cut.wide * m.C);
    if (!inside) continue;
    if (m.ld == m.C) copy_run(to + begin * m.C, from, (end - begin) * m.C);
    else copy_runs(to + begin * m.C, m.C, from, m.ld, end - begin, m.C);
    zero_run(to + end * m.C, (cut.wide - end) * m.C);
  }
}

// Adds a band's products to the sums (o, r, s, c): `lines` output lines from dy on, x beginning at `band`.
static void multiply_band(const Map& m, const BandCut& cut, const float* band, const float* dy, int64_t ld,
                          int64_t lines, int64_t O, float* sums, const int64_t* rows, const int32_t* steps) {
  const int64_t line = cut.wide * m.C;
  const bool stacked = cut.run == WIDTH;  // the vectors of a tile are kernel rows
  Tile t{};
  t.lda = ld, t.depth = lines * m.OW, t.steps = steps, t.add = true, t.gap = stacked ? m.dh * line : WIDTH;
  for (int64_t q = 0; q < cut.ldq; q += t.cols) {
    const int64_t r = q / cut.run, room = stacked ? cut.ldq - q : cut.run - q % cut.run;
    t.b = band + r * m.dh * line + q % cut.run, t.c = sums + q, t.cols = least(room, NR);
    for (int64_t o = 0; o < O; o += MR) {
      t.a = dy + o, t.rows = rows + o;
      multiply<DEPTH_MAJOR>(least(MR, O - o), t);
    }
  }
}

static int64_t dw_in_place_scratch(const Map& m, int64_t O, int threads, const Blocking& b) {
  const BandCut cut = cut_bands(m, O, b.width);
  return partial_bytes(cut.splits, O * m.C * m.KH * m.KW) + threads * band_bytes(cut, O, m.C, b.nr);
}

static void dw_in_place(const Map& m, const Tensor& dy, float* dw, char* scratch, Team& team) {
  const int64_t O = dy.shape[1], taps = m.KH * m.KW, total = O * m.C * taps;
  const BandCut cut = cut_bands(m, O, WIDTH);
  float* partial = reinterpret_cast<float*>(scratch);
  float* sums =
      reinterpret_cast<float*>(scratch + partial_bytes(cut.splits, total) + team.thread * band_bytes(cut, O, m.C, NR));
  float* band = sums + band_sums(cut, O);
  int64_t* rows = reinterpret_cast<int64_t*>(band + band_floats(cut, m.C, NR));
  int32_t* steps = reinterpret_cast<int32_t*>(rows + O);
  const auto fill = [&] {
    for (int64_t o = 0; o < O; o++) rows[o] = o * cut.ldq;
    for (int64_t p = 0; p < cut.lines * m.OW; p++)
      steps[p] = int32_t((p / m.OW * m.sh * cut.wide + p % m.OW * m.sw) * m.C);
  };
  for_chunks(team, cut.splits, fill, [&](int64_t split) {
    zero_run(sums, O * cut.ldq);
    const int64_t bands = m.N * cut.bands;
    for (int64_t i = bands * split / cut.splits; i < bands * (split + 1) / cut.splits; i++) {
      const int64_t n = i / cut.bands, oh = i % cut.bands * cut.lines;
      copy_band(m, cut, n, oh * m.sh - m.top, band);
      multiply_band(m, cut, band, dy.f32() + (n * m.OH + oh) * m.OW * dy.ld, dy.ld, least(cut.lines, m.OH - oh), O,
                    sums, rows, steps);
    }
    float* to = cut.splits > 1 ? partial + split * total : dw;
    for (int64_t o = 0; o < O; o++)
      for (int64_t r = 0; r < m.KH; r++)
        copy_transposed(to + o * m.C * taps + r * m.KW, taps, sums + rows[o] + r * cut.run, m.C, m.KW, m.C);
  });
  if (cut.splits > 1) add_partials(partial, cut.splits, dw, total, team);
}
