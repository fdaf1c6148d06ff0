// Linear layers straight from the weights (O, C) as they lie: y = act(x w^T + b). No packed copy of w: it would be
// written, read and kept besides, where these layers do little but read w once.
//
//   up to 4 images: dot products              more: y^T = w x^T, w in the place of rows, x in that of panels
//      x: N images                                 x: C x 16 images, packed first (as large as a few rows of w)
//      [ k k k k k k k k | . . ]                 k | . . . . . . . . |
//   w  [ k k k k k k k k | . . ]  3 rows of     w  v . . . . . . . . |
//   .  [ k k k k k k k k | . . ]  w meet all    [ k k k ... [ tile ] |  6 rows of w, 2048 of the depth at a time,
//   .  [ k k k k k k k k | . . ]  images          ...                   as gemm.h has them; y^T is turned in the end
//
// A dot product's lanes are added when the depth is done, WIDTH outputs at a time, by a transposition.
//
// Roofline: the memory's up to 16 images, the FMA peak behind. Reached by 2 threads of AVX2 (AMD EPYC Zen 3, on which
// reading four streams a thread gives 33 GB/s and the FMA peak is 226 GFLOP/s), as GB/s of w; in brackets the product
// with panels packed beforehand (medians of 5 to 9, AlexNet's 9216 -> 4096 and VGG-16's 25088 -> 4096):
//
//   images          1         4         8         16
//   9216 -> 4096    45 (28)   35 (23)   24 (18)   18 (13), 146 GFLOP/s
//   25088 -> 4096   29 (23)   28 (22)   23 (17)   16 (11), 130 GFLOP/s
#pragma once
#include "lanes.h"

static const int DOT_ROWS = 3, DOT_IMAGES = 4;
// Outputs of a chunk: x comes from L2 or L3 once for so many.
static const int64_t LINEAR_OUTPUTS = 48;
// Depth of a block: rows of w are read in runs of 8 KiB, which the hardware sees coming (1 KiB: 10 % slower), and
// 16 images stay in L2. A running sum takes LINEAR_RUN products before it is added to the others, which keeps the
// rounding error of 25088 that of some hundred; in a dot product each of WIDTH lanes takes so many.
static const int64_t LINEAR_DEPTH = 2048, LINEAR_RUN = 256;
// Floats of the next rows to ask for before the hardware sees them coming.
static const int64_t LINEAR_AHEAD = 64;
// Depth of x that one chunk packs.
static const int64_t LINEAR_PACK = 512;

struct LinearCut {
  int64_t output_chunks, panels, panel_chunks, chunk_panels;  // panels of NR images, 0 for dot products
};

static LinearCut cut_linear(int64_t N, int64_t O, int64_t C, const Blocking& b) {
  LinearCut cut{ceil_div(O, LINEAR_OUTPUTS), 0, 1, 0};
  if (N <= DOT_IMAGES) return cut;
  cut.panels = ceil_div(N, b.nr);
  cut.panel_chunks = clamp(wanted_chunks(double(N) * O * C) / cut.output_chunks, 1, cut.panels);
  cut.chunk_panels = ceil_div(cut.panels, cut.panel_chunks);
  cut.panel_chunks = ceil_div(cut.panels, cut.chunk_panels);
  return cut;
}

// Floats of y^T, or of the lanes of dot products, that a thread holds.
static inline int64_t linear_sums(const LinearCut& cut, int64_t N, const Blocking& b) {
  return LINEAR_OUTPUTS * (cut.panels ? cut.chunk_panels * b.nr : N * b.width);
}

// ---- up to DOT_IMAGES images

struct DotTile {
  const float *w, *x;
  int64_t ldw, ldx, depth;
  float* sums;  // vectors (image, output); images `pitch` floats apart
  int64_t pitch;
  bool add;
};

template <int ROWS, int IMAGES, class Access>
static inline __attribute__((always_inline)) void dot_step(const DotTile& t, int64_t k, Access m,
                                                           vf (&sum)[ROWS][IMAGES]) {
  vf x[IMAGES];
#pragma GCC unroll 4
  for (int n = 0; n < IMAGES; n++) x[n] = m.get(t.x + n * t.ldx + k);
#pragma GCC unroll 3
  for (int o = 0; o < ROWS; o++) {
    const vf w = m.get(t.w + o * t.ldw + k);
#pragma GCC unroll 4
    for (int n = 0; n < IMAGES; n++) sum[o][n] += w * x[n];
  }
}

template <int ROWS, int IMAGES>
static __attribute__((noinline)) void dot_tile(DotTile t) {
  vf sum[ROWS][IMAGES] = {};
  int64_t k = 0;
  for (; k + 2 * WIDTH <= t.depth; k += 2 * WIDTH) {
    dot_step<ROWS, IMAGES>(t, k, Whole{}, sum);
    dot_step<ROWS, IMAGES>(t, k + WIDTH, Whole{}, sum);
  }
  for (; k < t.depth; k += WIDTH) dot_step<ROWS, IMAGES>(t, k, Part{least(WIDTH, t.depth - k)}, sum);
#pragma GCC unroll 3
  for (int o = 0; o < ROWS; o++)
#pragma GCC unroll 4
    for (int n = 0; n < IMAGES; n++) {
      float* to = t.sums + n * t.pitch + o * WIDTH;
      store(to, t.add ? load(to) + sum[o][n] : sum[o][n]);
    }
}

template <int ROWS, int IMAGES>
static inline void dot(int64_t rows, int64_t images, const DotTile& t) {
  if constexpr (IMAGES > 1)
    if (images < IMAGES) return dot<ROWS, IMAGES - 1>(rows, images, t);
  if constexpr (ROWS > 1)
    if (rows < ROWS) return dot<ROWS - 1, IMAGES>(rows, images, t);
  dot_tile<ROWS, IMAGES>(t);
}

// The lanes of WIDTH neighbouring outputs added.
static inline vf add_lanes(const float* sums, int64_t count) {
  vf v[WIDTH];
  for (int64_t i = 0; i < WIDTH; i++) v[i] = i < count ? load(sums + i * WIDTH) : vf{};
  transpose(v);
  for (int step = 1; step < WIDTH; step *= 2)
    for (int i = 0; i < WIDTH; i += 2 * step) v[i] += v[i + step];
  return v[0];
}

static void dot_rows(DotTile t, int64_t outputs, int64_t images, float* y, int64_t ld) {
  const DotTile all = t;
  for (int64_t o = 0; o < outputs; o += DOT_ROWS)
    for (int64_t k = 0; k < all.depth; k += LINEAR_RUN * WIDTH) {
      t.w = all.w + o * t.ldw + k, t.x = all.x + k, t.sums = all.sums + o * WIDTH;
      t.depth = least(LINEAR_RUN * WIDTH, all.depth - k), t.add = k > 0;
      dot<DOT_ROWS, DOT_IMAGES>(least(DOT_ROWS, outputs - o), images, t);
    }
  for (int64_t n = 0; n < images; n++)
    for (int64_t o = 0; o < outputs; o += WIDTH) {
      const int64_t count = least(WIDTH, outputs - o);
      store_part(y + n * ld + o, add_lanes(all.sums + n * t.pitch + o * WIDTH, count), count);
    }
}

// ---- more images

// x as panels (panel, depth, NR); lanes behind the last image are summed too and never looked at.
static void pack_images(const Tensor& x, int64_t C, const LinearCut& cut, float* to, Team& team) {
  const int64_t pieces = ceil_div(C, LINEAR_PACK), N = x.shape[0];
  for_chunks(team, cut.panels * pieces, [&](int64_t chunk) {
    const int64_t n = chunk / pieces * NR, k = chunk % pieces * LINEAR_PACK;
    copy_transposed(to + n * C + k * NR, NR, x.f32() + n * x.ld + k, x.ld, least(NR, N - n), least(LINEAR_PACK, C - k));
  });
}

// Depth begin .. end - 1 of a tile. Never the taller tiles of multiply(): 12 rows whose distance is a power of two
// fight for the 8 ways of L1.
static void multiply_runs(Tile t, int64_t rows, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; k += t.depth, t.a += t.depth, t.b += t.depth * NR) {
    t.depth = least(LINEAR_RUN, end - k), t.add = k > 0;
    if (t.cols <= WIDTH) multiply_rows<MR, 1, ROW_MAJOR>(rows, t);
    else multiply_rows<MR, NV, ROW_MAJOR>(rows, t);
  }
}

// y^T of `outputs` rows of w and `images` images, whose panels begin at xp, into sums (output, image).
static void panel_rows(const float* w, int64_t C, const float* xp, int64_t outputs, int64_t images, float* sums,
                       int64_t pitch) {
  int64_t rows[LINEAR_OUTPUTS];
  for (int64_t o = 0; o < outputs; o++) rows[o] = o * pitch;
  Tile t{};
  t.lda = C, t.runs = 1;
  for (int64_t k = 0; k < C; k += LINEAR_DEPTH)
    for (int64_t n = 0; n < images; n += NR)
      for (int64_t o = 0, count; o < outputs; o += count) {
        count = tile_rows(outputs - o, MR);
        t.a = w + o * C + k, t.b = xp + n * C + k * NR, t.c = sums + n, t.rows = rows + o;
        t.cols = least(NR, images - n);
        for (int64_t i = o + count; i < least(o + count + MR, outputs); i++)
          prefetch(w + i * C + k, least(LINEAR_AHEAD, C - k));
        multiply_runs(t, count, k, least(k + LINEAR_DEPTH, C));
      }
}

// ---- both

static void finish_linear(const float* bias, int64_t activation, float* y, int64_t outputs) {
  if (!bias && activation == NONE) return;
  over_columns(outputs, [&](int64_t o, auto m) {
    const vf v = m.get(y + o);
    m.put(y + o, activated(bias ? v + m.get(bias + o) : v, activation));
  });
}

static inline int64_t packed_images(const LinearCut& cut, int64_t C, const Blocking& b) {
  return round_up(cut.panels * C * b.nr * 4, 64);
}

static LinearCut cut_linear(const Args& a, const Blocking& b) {
  return cut_linear(a.t[0].shape[0], a.t[1].shape[0], a.t[1].shape[1], b);
}

static int64_t linear_rows_scratch(const Args& a, int threads, const Blocking& b) {
  const LinearCut cut = cut_linear(a, b);
  return packed_images(cut, a.t[1].shape[1], b) + threads * linear_sums(cut, a.t[0].shape[0], b) * 4;
}

static void linear_rows(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &w = a.t[1], &b = a.t[2], &y = a.t[3];
  const int64_t N = x.shape[0], O = w.shape[0], C = w.shape[1];
  const LinearCut cut = cut_linear(a, BLOCKING);
  const float* xp = reinterpret_cast<float*>(a.scratch);
  float* sums = reinterpret_cast<float*>(a.scratch + packed_images(cut, C, BLOCKING)) +
                team.thread * linear_sums(cut, N, BLOCKING);
  if (cut.panels) pack_images(x, C, cut, reinterpret_cast<float*>(a.scratch), team);
  for_chunks(team, N ? cut.output_chunks * cut.panel_chunks : 0, [&](int64_t chunk) {
    const int64_t o = chunk / cut.panel_chunks * LINEAR_OUTPUTS, outputs = least(LINEAR_OUTPUTS, O - o);
    const int64_t pitch = cut.chunk_panels * NR, n = chunk % cut.panel_chunks * pitch;
    const int64_t images = cut.panels ? least(pitch, N - n) : N;
    float* to = y.f32() + n * y.ld + o;
    if (cut.panels) {
      panel_rows(w.f32() + o * C, C, xp + n * C, outputs, images, sums, pitch);
      copy_transposed(to, y.ld, sums, pitch, outputs, images);
    } else {
      dot_rows({w.f32() + o * C, x.f32(), C, x.ld, C, sums, LINEAR_OUTPUTS * WIDTH, false}, outputs, N, to, y.ld);
    }
    for (int64_t i = 0; i < images; i++) finish_linear(b ? b.f32() + o : nullptr, a.i[0], to + i * y.ld, outputs);
  });
}
