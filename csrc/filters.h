// Weights on their way to the matrix product: panels (groups * ceil(columns / NR), depth, NR), each row of a panel the
// NR columns of one step of the depth, zeros behind the last column.
//
//   forward   column o, depth (r, s, c)
//   dX        column c, depth (phase, r, s, o): taps by the phase of the stride they serve (conv.h), within a phase
//             from the last tap to the first, so that dX correlates dy with them as the forward pass does x
//
// Bound by memory: a transposition of whole vectors, every line written once. Reached at 512x512x3x3, one thread of an
// AMD EPYC Zen 3: forward 14 GB/s of weights, dX 10, where copying reaches 19.
#pragma once

#if STRIATE_WIDTH == 4
#define STRIATE_ZIP_LOW 0, 4, 1, 5
#define STRIATE_ZIP_HIGH 2, 6, 3, 7
#elif STRIATE_WIDTH == 8
#define STRIATE_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define STRIATE_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define STRIATE_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define STRIATE_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
// The lanes of a and b in turn: their lower halves, their upper halves.
static inline vf zip_low(vf a, vf b) { return STRIATE_SHUFFLE(a, b, STRIATE_ZIP_LOW); }
static inline vf zip_high(vf a, vf b) { return STRIATE_SHUFFLE(a, b, STRIATE_ZIP_HIGH); }
#undef STRIATE_ZIP_LOW
#undef STRIATE_ZIP_HIGH

// Transposes WIDTH vectors in registers: log2(WIDTH) rounds of zipping a vector with the one half a square away.
static inline void transpose(vf (&v)[WIDTH]) {
#pragma GCC unroll 4
  for (int round = 1; round < WIDTH; round *= 2) {
    vf out[WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH / 2; i++) {
      out[2 * i] = zip_low(v[i], v[i + WIDTH / 2]);
      out[2 * i + 1] = zip_high(v[i], v[i + WIDTH / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++) v[i] = out[i];
  }
}

// A square of floats, transposed: rows `ld` apart, of which `rows` and `cols` exist; the others read as zeros.
static inline void load_transposed(vf (&v)[WIDTH], const float* from, int64_t ld, int64_t rows, int64_t cols) {
  if (rows >= WIDTH && cols >= WIDTH) {
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; i++) v[i] = load(from + i * ld);
  } else {
    for (int i = 0; i < WIDTH; i++) v[i] = i < rows ? load_part(from + i * ld, least(cols, WIDTH)) : vf{};
  }
  transpose(v);
}

// Rows of a square below which they are moved one float at a time.
static const int64_t LEAST_SQUARE = WIDTH / 2;

// to[j * ldt + i] = from[i * ldf + j] for i < rows, j < cols.
static void copy_transposed(float* to, int64_t ldt, const float* from, int64_t ldf, int64_t rows, int64_t cols) {
  for (int64_t j = 0; j < cols; j += WIDTH) {
    const int64_t count = least(WIDTH, cols - j);
    int64_t i = 0;
    for (; rows - i >= LEAST_SQUARE; i += least(WIDTH, rows - i)) {
      vf v[WIDTH];
      load_transposed(v, from + i * ldf + j, ldf, rows - i, count);
      for (int64_t k = 0; k < count; k++) store_part(to + (j + k) * ldt + i, v[k], least(WIDTH, rows - i));
    }
    for (; i < rows; i++)
      for (int64_t k = 0; k < count; k++) to[(j + k) * ldt + i] = from[i * ldf + j + k];
  }
}

// ---- phases of a strided dX
// Input row ih, counted from the padding's edge (u = ih + top), is reached by tap r from output row oh = (u - r d) / s
// if s divides u - r d. So the taps with r d = u (mod s) serve the rows of phase u mod s and no others: every tap is in
// one phase, and within a phase they are evenly spaced.

// How many of the taps 0..K-1 belong to the phase.
static inline int64_t phase_taps(int64_t K, int64_t stride, int64_t dilation, int64_t phase) {
  int64_t count = 0;
  for (int64_t r = 0; r < K; r++) count += r * dilation % stride == phase;
  return count;
}

// How many belong to phases before it.
static inline int64_t taps_before(int64_t K, int64_t stride, int64_t dilation, int64_t phase) {
  int64_t count = 0;
  for (int64_t r = 0; r < K; r++) count += r * dilation % stride < phase;
  return count;
}

// How many of the same phase come behind tap r: its place, since a phase is ordered from the last tap to the first.
static inline int64_t place_in_phase(int64_t K, int64_t stride, int64_t dilation, int64_t r) {
  int64_t count = 0;
  for (int64_t q = r + 1; q < K; q++) count += q * dilation % stride == r * dilation % stride;
  return count;
}

struct Filters {
  const float* w;
  int64_t O, C, KH, KW;  // of one group
  int64_t sh, sw, dh, dw, panels;

  int64_t taps() const { return KH * KW; }
  // Place of tap t in the depth of a dX panel.
  int64_t dx_place(int64_t t) const {
    const int64_t r = t / KW, s = t % KW, a = r * dh % sh, b = s * dw % sw;
    return taps_before(KH, sh, dh, a) * KW + phase_taps(KH, sh, dh, a) * taps_before(KW, sw, dw, b) +
           place_in_phase(KH, sh, dh, r) * phase_taps(KW, sw, dw, b) + place_in_phase(KW, sw, dw, s);
  }
};

// Work of a chunk: enough floats to be worth handing out.
static const int64_t PACK_CHUNK = 16384;

// Floats, rows: how far ahead of the transposition w is asked for (512x512x3x3: 14 GB/s, without it 8).
static const int64_t AHEAD = 64, ROWS_AHEAD = 4;

static inline void prefetch(const float* from, int64_t floats) {
  for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(from + i);
}

// Channels c0 .. c1 - 1 of the panel's columns o0 .. , a line of 16 floats of each row of w at a time: rows often lie a
// multiple of 4 KiB apart, where L1 cannot hold more than eight lines.
static void pack_forward(const Filters& f, const float* w, int64_t o0, int64_t c0, int64_t c1, float* panel) {
  const int64_t taps = f.taps(), row = f.C * taps, end = c1 * taps;
  int64_t c = c0, t = 0;  // of the line's first float
  for (int64_t line = c0 * taps; line < end; line += 16) {
    for (int64_t i = 0; i < NR; i++) __builtin_prefetch(w + (o0 + i) * row + line + AHEAD);
    int64_t channel = c, tap = t;
    for (int64_t lane = 0; lane < NR; lane += WIDTH) {
      channel = c, tap = t;
      for (int64_t q = line; q < least(line + 16, end); q += WIDTH) {
        vf v[WIDTH];
        load_transposed(v, w + (o0 + lane) * row + q, row, f.O - o0 - lane, end - q);
        for (int64_t k = 0; k < least(WIDTH, end - q); k++) {
          store(panel + (tap * f.C + channel) * NR + lane, v[k]);
          if (++tap == taps) tap = 0, channel++;
        }
      }
    }
    c = channel, t = tap;
  }
}

// NR columns of which n exist, zeros behind them.
static inline void copy_padded(float* to, const float* from, int64_t n) {
  for (int64_t j = 0; j < NR; j += WIDTH)
    store(to + j, n - j >= WIDTH ? load(from + j) : load_part(from + j, most(n - j, 0)));
}

// Outputs o0 .. o1 - 1 of the panel's columns c0 ..; place[t] is that of tap t in the depth.
static void pack_dx(const Filters& f, const float* w, int64_t c0, int64_t o0, int64_t o1, const int64_t* place,
                    float* panel) {
  const int64_t taps = f.taps(), depth = f.O * NR, columns = least(f.C - c0, NR);
  for (int64_t o = o0; o < o1; o++) {
    const float* from = w + (o * f.C + c0) * taps;
    float* to = panel + o * NR;
    prefetch(from + ROWS_AHEAD * f.C * taps, columns * taps);
    if (taps == 1) {
      copy_padded(to, from, columns);
      continue;
    }
    int64_t t = 0;
    for (; taps - t >= LEAST_SQUARE; t += least(WIDTH, taps - t)) {
      vf v[NV][WIDTH];
      for (int64_t j = 0; j < NV; j++)
        load_transposed(v[j], from + j * WIDTH * taps + t, taps, columns - j * WIDTH, taps - t);
      for (int64_t k = 0; k < least(WIDTH, taps - t); k++)
        for (int64_t j = 0; j < NV; j++) store(to + place[t + k] * depth + j * WIDTH, v[j][k]);
    }
    for (; t < taps; t++) {
      float* line = to + place[t] * depth;
      for (int64_t i = 0; i < NR; i++) line[i] = i < columns ? from[i * taps + t] : 0.0f;
    }
  }
}

static Filters filters_of(const Args& a) {
  const int64_t* w = a.t[0].shape;
  const int64_t G = a.i[0], columns = a.i[1] ? w[1] : w[0] / G;
  return {a.t[0].f32(), w[0] / G, w[1], w[2], w[3], a.i[2], a.i[3], a.i[4], a.i[5], ceil_div(columns, NR)};
}

static int64_t pack_filters_scratch(const Args& a, int threads, const Blocking&) {
  return a.i[1] ? threads * a.t[0].shape[2] * a.t[0].shape[3] * 8 : 0;
}

static void pack_filters(const Args& a, Team& team) {
  const Filters f = filters_of(a);
  const bool for_dx = a.i[1];
  const int64_t G = a.i[0], taps = f.taps(), depth = taps * (for_dx ? f.O : f.C), along = for_dx ? f.O : f.C;
  const int64_t pieces = clamp(depth * NR / PACK_CHUNK, 1, along), piece = ceil_div(along, pieces);
  int64_t* place = reinterpret_cast<int64_t*>(a.scratch) + team.thread * taps;
  const auto fill = [&] {
    for (int64_t t = 0; t < (for_dx ? taps : 0); t++) place[t] = f.dx_place(t);
  };
  for_chunks(team, G * f.panels * pieces, fill, [&](int64_t chunk) {
    const int64_t panel = chunk / pieces, begin = chunk % pieces * piece, end = least(begin + piece, along);
    const int64_t group = panel / f.panels, column = panel % f.panels * NR;
    const float* w = f.w + group * f.O * f.C * taps;
    float* to = a.t[1].f32() + panel * depth * NR;
    if (for_dx) pack_dx(f, w, column, begin, end, place, to);
    else pack_forward(f, w, column, begin, end, to);
  });
}

// w2[o][c][r][s] = w[o][c][KH-1-r][KW-1-s]: the true convolution's kernel.
static void flip(const Args& a, Team& team) {
  const int64_t* shape = a.t[0].shape;
  const int64_t taps = shape[2] * shape[3], inputs = shape[1] * taps;
  for_chunks(team, shape[0], [&](int64_t o) {
    for (int64_t i = o * inputs; i < (o + 1) * inputs; i += taps)
      for (int64_t t = 0; t < taps; t++) a.t[1].f32()[i + t] = a.t[0].f32()[i + taps - 1 - t];
  });
}

// The weights and bias that do at once what a convolution and the batch norm behind it do: with
// scale = gamma / sqrt(var + eps), w2 = w * scale and b2 = (b - mean) * scale + beta, in float64.
static void fold_norm(const Args& a, Team& team) {
  const Tensor &w = a.t[0], &b = a.t[1], &mean = a.t[2], &var = a.t[3], &gamma = a.t[4], &beta = a.t[5];
  const int64_t inputs = w.shape[1] * w.shape[2] * w.shape[3];
  for_chunks(team, w.shape[0], [&](int64_t o) {
    const double scale = (gamma ? gamma.f32()[o] : 1.0) / __builtin_sqrt(double(var.f32()[o]) + a.f[0]);
    const double bias = (b ? b.f32()[o] : 0.0) - mean.f32()[o];
    for (int64_t i = o * inputs; i < (o + 1) * inputs; i++) a.t[6].f32()[i] = float(w.f32()[i] * scale);
    a.t[7].f32()[o] = float(bias * scale + (beta ? beta.f32()[o] : 0.0));
  });
}
