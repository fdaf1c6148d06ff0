// Packing of output pixels into rows of a block: row p holds the floats that output pixel p is computed from, in the
// order (r, s, c), zeros where the kernel reaches over the border. Only as many rows and as much depth as fit into L2
// exist at a time; stride, padding and dilation are dealt with here and nowhere else.
//
// Where taps are neighbours in memory (dilation 1, no gap between pixels) a kernel row is one contiguous run of KW * C
// floats: 7 runs of 21 for a 7x7 kernel over RGB, not 49 of 3.
#pragma once

// A convolution as seen from its input. dX is one too, from dy to dx; there the padding may be negative.
struct Map {
  const float* x;  // of one group
  int64_t ld, C, N, H, W, OH, OW, KH, KW;
  int64_t sh, sw, dh, dw, top, left;
};

// The taps of an axis that fall inside: those j with 0 <= i + j * step < size.
struct Reach {
  int64_t begin, end;
  Reach(int64_t i, int64_t taps, int64_t step, int64_t size)
      : begin(clamp(ceil_div(-i, step), 0, taps)), end(clamp(ceil_div(size - i, step), begin, taps)) {}
};

// Floats behind the end of a packed row that im2col may overwrite, rounding up to whole vectors.
static const int64_t ROW_SLACK = 16;

static inline void copy_run(float* to, const float* from, int64_t n) {
  int64_t j = 0;
  for (; j + WIDTH <= n; j += WIDTH) store(to + j, load(from + j));
  if (j < n) store(to + j, load_part(from + j, n - j));
}

static inline void zero_run(float* to, int64_t n) {
  for (int64_t j = 0; j < n; j += WIDTH) store(to + j, vf{});
}

// n floats of each of `count` pixels, `step` apart.
static inline void copy_runs(float* to, int64_t lda, const float* from, int64_t step, int64_t count, int64_t n) {
  if (n == WIDTH)
    for (int64_t p = 0; p < count; p++) store(to + p * lda, load(from + p * step));
  else if (n < WIDTH)
    for (int64_t p = 0; p < count; p++) store(to + p * lda, load_part(from + p * step, n));
  else
    for (int64_t p = 0; p < count; p++) copy_run(to + p * lda, from + p * step, n);
}

// A run of `taps` neighbouring pixels from column iw on of which some may lie beyond the map: floats [low, high) of it.
static inline void edge_run(const Map& m, const float* line, int64_t iw, int64_t taps, int64_t low, int64_t high,
                            float* to) {
  const int64_t begin = clamp(clamp(-iw, 0, taps) * m.C, low, high);
  const int64_t end = clamp(clamp(m.W - iw, 0, taps) * m.C, begin, high);
  zero_run(to, begin - low);
  copy_run(to + begin - low, line + iw * m.ld + begin, end - begin);
  zero_run(to + end - low, high - end);
}

// Floats [low, high) of the run of each of `count` neighbouring output pixels; the first one's run begins at column iw.
static void im2col_runs(const Map& m, const float* line, int64_t iw, int64_t taps, int64_t low, int64_t high,
                        int64_t count, float* to, int64_t lda) {
  const int64_t begin = clamp(ceil_div(-iw, m.sw), 0, count);  // pixels [begin, end) lie inside with all their taps
  const int64_t room = m.W - taps - iw;
  const int64_t end = room < 0 ? begin : clamp(room / m.sw + 1, begin, count);
  for (int64_t p = 0; p < begin; p++) edge_run(m, line, iw + p * m.sw, taps, low, high, to + p * lda);
  copy_runs(to + begin * lda, lda, line + (iw + begin * m.sw) * m.ld + low, m.sw * m.ld, end - begin, high - low);
  for (int64_t p = end; p < count; p++) edge_run(m, line, iw + p * m.sw, taps, low, high, to + p * lda);
}

// Depth [k0, k1) of `count` neighbouring pixels of one output row.
static void im2col_line(const Map& m, int64_t n, int64_t oh, int64_t ow, int64_t count, int64_t k0, int64_t k1,
                        float* to, int64_t lda) {
  if (k0 >= k1) return;  // a phase of dX may have no taps
  const int64_t taps = m.dw == 1 && m.ld == m.C ? m.KW : 1, run = taps * m.C;
  for (int64_t first = k0 / run * run; first < k1; first += run) {
    const int64_t tap = first / m.C, r = tap / m.KW, s = tap % m.KW;
    const int64_t low = most(k0 - first, 0), high = least(k1 - first, run);
    const int64_t ih = oh * m.sh + r * m.dh - m.top, iw = ow * m.sw + s * m.dw - m.left;
    float* run_to = to + first + low - k0;
    if (ih < 0 || ih >= m.H)
      for (int64_t p = 0; p < count; p++) zero_run(run_to + p * lda, high - low);
    else im2col_runs(m, m.x + (n * m.H + ih) * m.W * m.ld, iw, taps, low, high, count, run_to, lda);
  }
}

// Depth [k0, k1) of the output pixels first .. first + count - 1, counted over all images.
static void im2col(const Map& m, int64_t first, int64_t count, int64_t k0, int64_t k1, float* to, int64_t lda) {
  for (int64_t n; count > 0; count -= n, first += n, to += n * lda) {
    const int64_t line = first / m.OW, ow = first % m.OW;
    n = least(count, m.OW - ow);
    im2col_line(m, line / m.OH, line % m.OH, ow, n, k0, k1, to, lda);
  }
}
