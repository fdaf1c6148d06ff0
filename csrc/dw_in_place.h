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
#include "band.h"

// Beyond, packing is paid for: with more outputs by their number, with more channels it is copying of whole vectors.
// 3x3 of stride 2 on 32x32, batch 128, packed beside in place: 4 -> 16 channels 0.69, 8 -> 16 0.87, 12 -> 24 1.14,
// 8 -> 32 1.12, 16 -> 32 1.17, 24 -> 32 1.34.
static const int64_t IN_PLACE_OUTPUTS = 16, IN_PLACE_CHANNELS = 15;

static inline bool dw_in_place(int64_t G, int64_t O, int64_t C, int64_t taps, int64_t dilation) {
  return G == 1 && taps > 1 && dilation == 1 && O <= IN_PLACE_OUTPUTS && C <= IN_PLACE_CHANNELS;
}

// Floats of a kernel row, and of all of an output's, in whole vectors.
static inline int64_t kernel_run(const Map& m, int64_t width) { return round_up(m.KW * m.C, width); }
static inline int64_t kernel_runs(const Map& m, int64_t width) { return m.KH * kernel_run(m, width); }

static BandCut cut_bands_dw(const Map& m, int64_t O) {
  return cut_bands(m, O, double(m.N) * m.OH * m.OW * O * m.KH * m.KW * m.C);
}

static inline int64_t run_sums(const Map& m, int64_t O, int64_t width) {
  return round_up(O * kernel_runs(m, width), 16);
}
static inline int64_t band_bytes(const Map& m, const BandCut& c, int64_t O, const Blocking& b) {
  return (run_sums(m, O, b.width) + band_floats(c, m.C, b.nr)) * 4 + round_up(O * 8 + c.lines * c.OW * 4, 64);
}

// Adds a band's products to the sums (o, r, s, c): `lines` output lines from dy on, x beginning at `band`.
static void multiply_band(const Map& m, const BandCut& cut, const float* band, const float* dy, int64_t ld,
                          int64_t lines, int64_t O, float* sums, const int64_t* rows, const int32_t* steps) {
  const int64_t line = cut.wide * m.C, run = kernel_run(m, WIDTH), all = kernel_runs(m, WIDTH);
  const bool stacked = run == WIDTH;  // the vectors of a tile are kernel rows
  Tile t{};
  t.lda = ld, t.depth = lines * m.OW, t.steps = steps, t.add = true, t.gap = stacked ? m.dh * line : WIDTH;
  for (int64_t q = 0; q < all; q += t.cols) {
    const int64_t r = q / run, room = stacked ? all - q : run - q % run;
    t.b = band + r * m.dh * line + q % run, t.c = sums + q, t.cols = least(room, NR);
    for (int64_t o = 0; o < O; o += MR) {
      t.a = dy + o, t.rows = rows + o;
      multiply<DEPTH_MAJOR>(least(MR, O - o), t);
    }
  }
}

// Sums (o, r, s, c), a kernel row in whole vectors, as dw (o, c, r, s).
static void write_runs(const Map& m, int64_t O, const float* sums, float* dw) {
  const int64_t taps = m.KH * m.KW, run = kernel_run(m, WIDTH);
  for (int64_t o = 0; o < O; o++)
    for (int64_t r = 0; r < m.KH; r++, sums += run)
      copy_transposed(dw + o * m.C * taps + r * m.KW, taps, sums, m.C, m.KW, m.C);
}

static int64_t dw_in_place_scratch(const Map& m, int64_t O, int threads, const Blocking& b) {
  const BandCut cut = cut_bands_dw(m, O);
  return partial_bytes(cut.splits, O * m.C * m.KH * m.KW) + threads * band_bytes(m, cut, O, b);
}

static void dw_in_place(const Map& m, const Tensor& dy, float* dw, char* scratch, Team& team) {
  const int64_t O = dy.shape[1], total = O * m.C * m.KH * m.KW, all = kernel_runs(m, WIDTH);
  const BandCut cut = cut_bands_dw(m, O);
  float* partial = reinterpret_cast<float*>(scratch);
  float* sums = reinterpret_cast<float*>(scratch + partial_bytes(cut.splits, total) +
                                         team.thread * band_bytes(m, cut, O, BLOCKING));
  float* band = sums + run_sums(m, O, WIDTH);
  int64_t* rows = reinterpret_cast<int64_t*>(band + band_floats(cut, m.C, NR));
  int32_t* steps = reinterpret_cast<int32_t*>(rows + O);
  const auto fill = [&] {
    for (int64_t o = 0; o < O; o++) rows[o] = o * all;
    place_pixels(m, cut, steps);
  };
  for_chunks(team, cut.splits, fill, [&](int64_t split) {
    zero_run(sums, O * all);
    over_bands(m, cut, split, band, [&](int64_t n, int64_t oh, int64_t lines) {
      multiply_band(m, cut, band, dy.f32() + (n * m.OH + oh) * m.OW * dy.ld, dy.ld, lines, O, sums, rows, steps);
    });
    write_runs(m, O, sums, cut.splits > 1 ? partial + split * total : dw);
  });
  if (cut.splits > 1) add_partials(partial, cut.splits, dw, total, team);
}
