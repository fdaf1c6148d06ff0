// A band of a map: the lines of x under some output lines, copied into L1 with their padding, so that whoever walks it
// meets no edge.
#pragma once
#include "im2col.h"

// Bytes of x and dy in a band: with the sums of a tile they stay in an L1 of 32 KiB.
static const int64_t BAND_BYTES = 24576;

// How the output lines of all images are cut: into bands, and bands into chunks of work.
struct BandCut {
  int64_t OW, lines, bands, splits;  // columns, output lines of a band, bands of an image, chunks
  int64_t high, wide;                // lines and columns of x under a band, padding included
};

static BandCut cut_bands(const Map& m, int64_t O, double macs) {
  BandCut cut{};
  cut.OW = m.OW;
  cut.wide = (m.OW - 1) * m.sw + (m.KW - 1) * m.dw + 1;
  cut.lines = clamp(BAND_BYTES / 4 / (m.sh * cut.wide * m.C + m.OW * O), 1, m.OH);
  cut.bands = ceil_div(m.OH, cut.lines);
  cut.lines = ceil_div(m.OH, cut.bands);
  cut.bands = ceil_div(m.OH, cut.lines);
  cut.high = (cut.lines - 1) * m.sh + (m.KH - 1) * m.dh + 1;
  cut.splits = clamp(m.N * cut.bands, 1, wanted_chunks(macs));
  return cut;
}

// Vectors that begin on a float of the band, or a line's last one, may end so much behind it.
static inline int64_t band_floats(const BandCut& cut, int64_t C, int64_t nr) {
  return round_up(cut.high * cut.wide * C + nr, 16);
}

// The lines of x under a band, from line ih of image n on.
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

// Copies the bands of a chunk one after the other and calls body(n, first output line, lines).
template <class F>
static inline void over_bands(const Map& m, const BandCut& cut, int64_t split, float* band, F&& body) {
  const int64_t bands = m.N * cut.bands;
  for (int64_t i = bands * split / cut.splits; i < bands * (split + 1) / cut.splits; i++) {
    const int64_t n = i / cut.bands, oh = i % cut.bands * cut.lines;
    copy_band(m, cut, n, oh * m.sh - m.top, band);
    body(n, oh, least(cut.lines, m.OH - oh));
  }
}

// The output line, counted over all images, that a chunk's bands end before.
static inline int64_t end_of_bands(const Map& m, const BandCut& cut, int64_t split) {
  const int64_t end = m.N * cut.bands * (split + 1) / cut.splits;
  return end / cut.bands * m.OH + end % cut.bands * cut.lines;
}

// Where in a band the first tap of each of its output pixels lies.
static inline void place_pixels(const Map& m, const BandCut& cut, int32_t* steps) {
  for (int64_t p = 0; p < cut.lines * m.OW; p++)
    steps[p] = int32_t((p / m.OW * m.sh * cut.wide + p % m.OW * m.sw) * m.C);
}

// A 2x2 maximum behind the convolution m, without overlap: together they see x as a convolution of twice the stride
// does, whose kernel covers what the four pixels of a window see. OH and OW are already those of the pooled map.
static inline Map pooled_map(Map m) {
  m.KH = (m.KH - 1) * m.dh + 1 + m.sh, m.KW = (m.KW - 1) * m.dw + 1 + m.sw;
  m.sh *= 2, m.sw *= 2, m.dh = m.dw = 1;
  return m;
}
