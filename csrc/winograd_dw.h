// Winograd dW for kernels of K x K, stride 1: dw = G^T [ sum over tiles of (B^T x B) * (A dy A^T) ] G, elementwise in
// the middle, where a tile is TILE x TILE pixels of dy and the patch of x that its taps see. T = TILE + K - 1; B^T is
// the forward pass's. TILE = 4 and K = 3: 36 multiplications do the work of 144.
//
//   for each slab of tiles:
//     v, z: all patches and tiles of the slab, transformed (winograd_dw_tiles.h), in L3
//     for each of the T * T points, a matrix product whose depth is the tiles:
//
//                 v: tiles x NR channels          the register tile of gemm.h, its sums added to u once a slab or
//               k  | . . . . . . . .              every TILE_DEPTH tiles: that many products are summed before they
//    z: outputs v  . . . . . . . .                meet others, which keeps the rounding error of long sums small
//    x tiles  . .  [ u              ]
//   at the end: dw from u, once
//
// A large problem is two phases a slab: chunks of tiles, then chunks of (point, outputs, channels). Where u is small
// (up to about 32 x 32 channels) the slab of a thread lies in L2 instead and chunks are ranges of slabs with sums of
// their own, added in their order at the end: few channels mean few operations per byte, more than L3 delivers.
//
// Roofline: the FMA peak; v and z take (C + O) / (C O) of the time of the products and the memory of (T / TILE)^2 maps.
#pragma once
#include "winograd_dw_tiles.h"

// Tiles that a register tile sums: NR channels and NR outputs of 192 tiles are 24 KiB of L1 with AVX2.
static const int64_t TILE_DEPTH = 3072 / NR;
// Bytes of v and z of a slab, shared (L3) or a thread's own (half of L2), and of the u of which chunks have their own.
static const int64_t SLAB_BYTES = 16 << 20, OWN_SLAB_BYTES = 256 << 10, OWN_SUM_BYTES = 160 << 10;
static const int64_t LEAST_SLAB = 192, LEAST_OWN_SLAB = 32, MOST_SPLITS = 16;
// Tiles of a chunk of transforms; outputs of a chunk of products, whose z stay in L2, and of a chunk of the last phase.
static const int64_t CHUNK_TILES = 32, PRODUCT_OUTPUTS = 128, WRITE_OUTPUTS = 8;

template <int K, int T>
struct FilterGradientPass {  // G^T
  static constexpr int ROWS = K, COLUMNS = T;
  static constexpr Pass<K, T> pass = make_pass(transposed(filter_matrix<T, K>()));
};

struct DepthSteps {
  int32_t at[TILE_DEPTH];
  constexpr DepthSteps() : at{} {
    for (int i = 0; i < TILE_DEPTH; i++) at[i] = i * NR;
  }
};
static constexpr DepthSteps DEPTH_STEPS;

struct WinogradDwCut {
  int64_t points, down, across, tiles;  // of an image: rows and columns of tiles
  int64_t c_blocks, o_blocks;           // of NR channels
  int64_t slab, slabs;                  // tiles of a slab
  int64_t splits;                       // chunks with sums of their own; 0: the slabs are shared
  int64_t v_step, z_step, u_step;       // floats from one point to the next
  int64_t chunk_blocks, o_chunks;       // blocks of outputs of a chunk of products

  int64_t slab_floats() const { return points * (v_step + z_step); }
  int64_t partials() const { return most(splits, 1); }
};

static WinogradDwCut cut_winograd_dw(const Args& a, const Blocking& b) {  // parameters kernel tile padding
  const int64_t *x = a.t[0].shape, *dy = a.t[1].shape, tile = a.i[1], T = a.i[0] + tile - 1, nr = b.nr;
  WinogradDwCut cut{};
  cut.points = T * T;
  cut.down = ceil_div(dy[2], tile), cut.across = ceil_div(dy[3], tile), cut.tiles = dy[0] * cut.down * cut.across;
  cut.c_blocks = ceil_div(x[1], nr), cut.o_blocks = ceil_div(dy[1], nr);
  cut.u_step = odd_lines(cut.c_blocks * cut.o_blocks * nr * nr);
  const int64_t tile_bytes = cut.points * (cut.c_blocks + cut.o_blocks) * nr * 4;
  const bool own = cut.points * cut.u_step * 4 <= OWN_SUM_BYTES;
  cut.slab = own ? most(OWN_SLAB_BYTES / tile_bytes, LEAST_OWN_SLAB) : most(SLAB_BYTES / tile_bytes, LEAST_SLAB);
  cut.slabs = ceil_div(cut.tiles, cut.slab);
  cut.slab = ceil_div(cut.tiles, most(cut.slabs, 1));
  cut.splits = own ? clamp(cut.slabs, 1, MOST_SPLITS) : 0;
  cut.v_step = odd_lines(cut.c_blocks * cut.slab * nr), cut.z_step = odd_lines(cut.o_blocks * cut.slab * nr);
  cut.o_chunks = ceil_div(cut.o_blocks * nr, PRODUCT_OUTPUTS);
  cut.chunk_blocks = ceil_div(cut.o_blocks, cut.o_chunks);
  cut.o_chunks = ceil_div(cut.o_blocks, cut.chunk_blocks);
  return cut;
}

struct WinogradDwJob {
  const WinogradDwCut& cut;
  Patches x, dy;
  float *v, *z, *u;
};

// Tiles begin .. end - 1 of the slab whose first tile is `first`.
template <int K, int TILE>
static void transform_tiles(const WinogradDwJob& job, int64_t first, int64_t begin, int64_t end) {
  const int T = K + TILE - 1;
  const WinogradDwCut& cut = job.cut;
  for (int64_t t = begin, count; t < end; t += count) {
    const int64_t across = t % cut.across, down = t / cut.across;
    count = least(least(TILE_STRIP, cut.across - across), end - t);
    const Strip strip = {down / cut.down, down % cut.down, across, count};
    const int64_t at = (t - first) * NR, block = cut.slab * NR;
    transform_strip<InputPass<T>, TILE>(job.x, strip, block, cut.v_step, job.v + at);
    transform_strip<GradientPass<TILE, T>, TILE>(job.dy, strip, block, cut.z_step, job.z + at);
  }
}

// One block of outputs times one of channels, `depth` tiles deep; u is [o][c], a row for each output.
static inline void multiply_block(const float* z, int64_t outputs, Tile t) {
  int64_t rows[NR];
  for (int64_t i = 0; i < NR; i++) rows[i] = i * NR;
  for (int64_t o = 0, n; o < outputs; o += n) {
    n = tile_rows(outputs - o, MR);
    t.a = z + o, t.rows = rows + o;
    multiply<DEPTH_MAJOR>(n, t);
  }
}

// The products of `count` tiles at one point: all channels, blocks o0 .. o1 - 1 of outputs.
static void multiply_point(const WinogradDwJob& job, int64_t point, int64_t o0, int64_t o1, int64_t count, bool add) {
  const WinogradDwCut& cut = job.cut;
  const int64_t depth = ceil_div(count, ceil_div(count, TILE_DEPTH)), block = cut.slab * NR;
  Tile t{};
  t.lda = NR, t.steps = DEPTH_STEPS.at, t.gap = WIDTH;
  for (int64_t first = 0; first < count; first += depth) {
    const float *v = job.v + point * cut.v_step + first * NR, *z = job.z + point * cut.z_step + first * NR;
    t.depth = least(depth, count - first), t.add = add || first > 0;
    for (int64_t c = 0; c < cut.c_blocks; c++)
      for (int64_t o = o0; o < o1; o++) {
        t.b = v + c * block, t.cols = job.x.C - c * NR <= WIDTH ? WIDTH : NR;
        t.c = job.u + point * cut.u_step + (c * cut.o_blocks + o) * NR * NR;
        multiply_block(z + o * block, least(NR, job.dy.C - o * NR), t);
      }
  }
}

// dw of one output and one block of channels.
template <int K, int T>
static void write_winograd_dw(const WinogradDwJob& job, int64_t o, int64_t c, float* dw) {
  typedef FilterGradientPass<K, T> X;
  const WinogradDwCut& cut = job.cut;
  const int64_t C = job.x.C, cols = least(NR, C - c * NR);
  const float* u = job.u + (c * cut.o_blocks * NR + o) * NR;
  alignas(64) float taps[K * K * NR];
  for (int64_t v = 0; v < cols; v += WIDTH) {
    vf half[K][T];
    for (int j = 0; j < T; j++) {
      vf x[T], y[K];
      for (int i = 0; i < T; i++) {
        const float* from = u + (i * T + j) * cut.u_step + v;
        x[i] = load(from);
        for (int64_t s = 1; s < cut.partials(); s++) x[i] += load(from + s * cut.points * cut.u_step);
      }
      apply<X>(x, y);
      for (int r = 0; r < K; r++) half[r][j] = y[r];
    }
    for (int r = 0; r < K; r++) {
      vf y[K];
      apply<X>(half[r], y);
      for (int s = 0; s < K; s++) store(taps + (r * K + s) * NR + v, y[s]);
    }
  }
  copy_transposed(dw + (o * C + c * NR) * K * K, K * K, taps, NR, K * K, cols);
}

template <int K, int TILE>
static void sum_own_slabs(WinogradDwJob job, int64_t split) {
  const WinogradDwCut& cut = job.cut;
  job.u += split * cut.points * cut.u_step;
  const int64_t begin = cut.slabs * split / cut.splits, end = cut.slabs * (split + 1) / cut.splits;
  for (int64_t s = begin; s < end; s++) {
    const int64_t first = s * cut.slab, last = least(first + cut.slab, cut.tiles);
    transform_tiles<K, TILE>(job, first, first, last);
    for (int64_t point = 0; point < cut.points; point++)
      multiply_point(job, point, 0, cut.o_blocks, last - first, s > begin);
  }
}

template <int K, int TILE>
static void sum_shared_slabs(const WinogradDwJob& job, Team& team) {
  const WinogradDwCut& cut = job.cut;
  for (int64_t first = 0; first < cut.tiles; first += cut.slab) {
    const int64_t end = least(first + cut.slab, cut.tiles);
    for_chunks(team, ceil_div(end - first, CHUNK_TILES), [&](int64_t chunk) {
      const int64_t begin = first + chunk * CHUNK_TILES;
      transform_tiles<K, TILE>(job, first, begin, least(begin + CHUNK_TILES, end));
    });
    for_chunks(team, cut.points * cut.o_chunks, [&](int64_t chunk) {
      const int64_t o = chunk % cut.o_chunks * cut.chunk_blocks;
      multiply_point(job, chunk / cut.o_chunks, o, least(o + cut.chunk_blocks, cut.o_blocks), end - first, first > 0);
    });
  }
}

template <int K, int TILE>
static void winograd_dw(const WinogradDwJob& job, float* dw, Team& team) {
  const WinogradDwCut& cut = job.cut;
  const int64_t O = job.dy.C;
  if (cut.splits) for_chunks(team, cut.splits, [&](int64_t split) { sum_own_slabs<K, TILE>(job, split); });
  else sum_shared_slabs<K, TILE>(job, team);
  for_chunks(team, cut.c_blocks * ceil_div(O, WRITE_OUTPUTS), [&](int64_t chunk) {
    const int64_t begin = chunk / cut.c_blocks * WRITE_OUTPUTS;
    for (int64_t o = begin; o < least(begin + WRITE_OUTPUTS, O); o++)
      write_winograd_dw<K, K + TILE - 1>(job, o, chunk % cut.c_blocks, dw);
  });
}

static int64_t conv2d_dw_winograd_scratch(const Args& a, int threads, const Blocking& b) {
  const WinogradDwCut cut = cut_winograd_dw(a, b);
  return ((cut.splits ? threads : 1) * cut.slab_floats() + cut.partials() * cut.points * cut.u_step) * 4;
}

static void conv2d_dw_winograd(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dy = a.t[1], &dw = a.t[2];
  const int64_t K = a.i[0], tile = a.i[1];
  const WinogradDwCut cut = cut_winograd_dw(a, BLOCKING);
  if (cut.tiles == 0)
    return for_chunks(team, 1, [&](int64_t) { __builtin_memset(dw.data, 0, dy.shape[1] * x.shape[1] * K * K * 4); });
  float* u = reinterpret_cast<float*>(a.scratch);
  float* v = u + cut.partials() * cut.points * cut.u_step + (cut.splits ? team.thread * cut.slab_floats() : 0);
  const WinogradDwJob job = {cut,
                             {x.f32(), x.ld, x.shape[1], x.shape[2], x.shape[3], a.i[2], a.i[4]},
                             {dy.f32(), dy.ld, dy.shape[1], dy.shape[2], dy.shape[3], 0, 0},
                             v,
                             v + cut.points * cut.v_step,
                             u};
  if (K == 3 && tile == 2) winograd_dw<3, 2>(job, dw.f32(), team);
  else if (K == 3 && tile == 3) winograd_dw<3, 3>(job, dw.f32(), team);
  else if (K == 3) winograd_dw<3, 4>(job, dw.f32(), team);
  else if (tile == 2) winograd_dw<5, 2>(job, dw.f32(), team);
  else winograd_dw<5, 4>(job, dw.f32(), team);
}
