// Winograd dW for kernels of K x K, stride 1: dw = G^T [ sum over tiles of (B^T x B) * (A dy A^T) ] G, elementwise in
// the middle, where a tile is TILE x TILE pixels of dy and the patch of x that its taps see. T = TILE + K - 1; B^T is
// the forward pass's. TILE = 4 and K = 3: 36 multiplications do the work of 144.
//
//   for each slab of tiles, some MB:                                 v, z: lines [point][block of NR channels][tile]
//     v, z: its patches of x, tiles of dy, transformed (winograd_dw_tiles.h)
//     u: for each of the T * T points the matrix product z^T v (winograd_dw_sums.h)
//   at the end: dw, transformed back from u
//
// What lies where decides the order of work:
//   RANGES  few channels, u <= 160 KB: few operations per byte of v and z, more than L3 delivers. A chunk is a range of
//           slabs in L2, with a u of its own; these are added up in their order at the end.
//   POINTS  slabs in L3 are shared; a chunk of the second phase is a point and some outputs, so z stays in L2 and v is
//           read once.
//   BLOCKS  few tiles, one slab, and a u of 8 MB and more, which would go to memory and back: a chunk is all points of
//           64 x 64 channels, and dw is written from its u, which stays in L2.
//
// Roofline: the FMA peak; v and z take (C + O) / (C O) of the time of the products and (T / TILE)^2 times their maps.
// Reached (AMD EPYC Zen 3, 2 threads of AVX2, peak 226 GFLOP/s; operations of the definition, so more than the peak is
// possible): VGG-16's layers, batch 4, 330 to 576 GFLOP/s, 2.7 to 4 times conv2d_dw; ResNet-50's, batch 8, 290 to 540,
// 2.5 to 3.4 times; ResNet-20's, batch 128, 255 to 420, 2.0 to 3.5 times. The products alone: 75 to 90 % of the peak.
#pragma once
#include "winograd_dw_sums.h"

// Bytes of v and z of a slab that is shared (L3, of which neighbours have their part: 4 MB were the fastest of 2 to 32
// MB on an EPYC Zen 3 with 32 MB), or a thread's own (three eighths of L2, which is also to take what the next is made
// from).
static const int64_t SLAB_BYTES = 4 << 20;
static inline int64_t own_slab_bytes(const Blocking& b) { return b.l2 / 8 * 3; }
static const int64_t LEAST_SLAB = 192, LEAST_OWN_SLAB = 32;             // tiles: the depth of the products
static const int64_t RANGES_BYTES = 160 << 10, BLOCKS_BYTES = 8 << 20;  // of u: up to, from
static const int64_t MOST_RANGES = 16;
static const int64_t BLOCKS_TILES = 128;  // up to; with 196 tiles POINTS is faster by 10 %, with 32 slower by 30 %
// Tiles of a chunk of transforms; outputs of a chunk of POINTS, channels a side of BLOCKS; outputs of the last phase.
static const int64_t CHUNK_TILES = 32, POINT_OUTPUTS = 128, BLOCK_SIDE = 64, WRITE_OUTPUTS = 8;

struct WinogradDwCut {
  enum Mode { RANGES, POINTS, BLOCKS } mode;
  int64_t points, tiles;
  int64_t c_blocks, o_blocks;      // of NR channels
  int64_t slab, slabs;             // tiles of a slab
  int64_t ranges;                  // of slabs; 0: they are shared
  int64_t c_side, o_side;          // blocks of channels and outputs of one u
  int64_t v_step, z_step, u_step;  // floats from one point to the next

  int64_t u_floats() const { return points * u_step; }
  int64_t slab_floats() const { return points * (v_step + z_step); }
  int64_t all_u_floats(int threads) const {
    return (mode == RANGES ? ranges : mode == BLOCKS ? threads : 1) * u_floats();
  }
};

// The longest side of which `blocks` are made as evenly as it goes.
static inline int64_t even_side(int64_t blocks, int64_t longest) {
  return ceil_div(blocks, most(ceil_div(blocks, most(longest, 1)), 1));
}

static Tiling tiling_of(const Args& a) {
  const int64_t* dy = a.t[1].shape;
  return Tiling(dy[0], dy[2], dy[3], a.i[1]);
}

static WinogradDwCut cut_winograd_dw(const Args& a, const Blocking& b) {  // parameters kernel tile padding
  const int64_t *x = a.t[0].shape, *dy = a.t[1].shape, T = a.i[0] + a.i[1] - 1, nr = b.nr;
  WinogradDwCut cut{};
  cut.points = T * T, cut.tiles = tiling_of(a).tiles();
  cut.c_blocks = ceil_div(x[1], nr), cut.o_blocks = ceil_div(dy[1], nr);
  const int64_t tile_bytes = cut.points * (round_up(x[1], b.width) + round_up(dy[1], b.width)) * 4;
  const int64_t u_bytes = cut.points * cut.c_blocks * cut.o_blocks * nr * nr * 4;
  const bool few_tiles = cut.tiles <= BLOCKS_TILES && u_bytes >= BLOCKS_BYTES;
  cut.mode = u_bytes <= RANGES_BYTES ? cut.RANGES : few_tiles ? cut.BLOCKS : cut.POINTS;
  cut.slab = cut.mode == cut.RANGES ? most(own_slab_bytes(b) / tile_bytes, LEAST_OWN_SLAB)
                                    : most(SLAB_BYTES / tile_bytes, LEAST_SLAB);
  cut.slabs = ceil_div(cut.tiles, cut.slab);
  cut.slab = ceil_div(cut.tiles, most(cut.slabs, 1));
  cut.ranges = cut.mode == cut.RANGES ? least(cut.slabs, MOST_RANGES) : 0;
  cut.c_side = cut.mode == cut.BLOCKS ? even_side(cut.c_blocks, BLOCK_SIDE / nr) : cut.c_blocks;
  cut.o_side = cut.mode == cut.BLOCKS ? even_side(cut.o_blocks, BLOCK_SIDE / nr) : cut.o_blocks;
  cut.v_step = odd_lines(cut.c_blocks * cut.slab * nr), cut.z_step = odd_lines(cut.o_blocks * cut.slab * nr);
  cut.u_step = odd_lines(cut.c_side * cut.o_side * nr * nr);
  return cut;
}

struct WinogradDwJob {
  const WinogradDwCut& cut;
  Tiling tiling;
  Patches x, dy;
  Slab slab;
  float *u, *dw;

  Sums all_sums() const { return {u, cut.u_step, cut.o_blocks, 0, cut.o_blocks, 0, cut.c_blocks}; }
};

// Tiles begin .. end - 1 of the slab whose first tile is `first`.
template <int K, int TILE>
static void transform_tiles(const WinogradDwJob& job, int64_t first, int64_t begin, int64_t end) {
  const int T = K + TILE - 1;
  const Slab& slab = job.slab;
  for (int64_t t = begin, count; t < end; t += count) {
    const Place p = job.tiling.at(t);
    const int64_t at = (t - first) * NR;
    count = least(least(TILE_STRIP, job.tiling.across - p.across), end - t);
    const Strip strip = {p.image, p.down, p.across, count};
    transform_strip<InputPass<T>, TILE>(job.x, strip, slab.block, slab.v_step, slab.v + at);
    transform_strip<GradientPass<TILE, T>, TILE>(job.dy, strip, slab.block, slab.z_step, slab.z + at);
  }
}

// What a slab is made from, but for a patch's halo, to be asked for during all points of the one before; of slabs that
// there are not, nothing.
static NextSlab slab_ahead(const WinogradDwJob& job, int64_t slab) {
  const WinogradDwCut& cut = job.cut;
  const auto lines = [&](const Patches& p) {
    Ahead ahead(job.tiling, p.H, p.W, job.tiling.M, slab * cut.slab, cut.slab);
    ahead.add(p.x, p.ld, p.C);
    ahead.spread(cut.points * cut.c_blocks * ceil_div(job.dy.C, MR));
    return ahead;
  };
  return {lines(job.x), lines(job.dy)};
}

// The slab from tile `first` on, transformed by all threads; says how many tiles it holds.
template <int K, int TILE>
static void transform_slab(WinogradDwJob& job, int64_t first, Team& team) {
  const int64_t end = least(first + job.cut.slab, job.cut.tiles);
  job.slab.tiles = end - first;
  for_chunks(team, ceil_div(end - first, CHUNK_TILES), [&](int64_t chunk) {
    const int64_t begin = first + chunk * CHUNK_TILES;
    transform_tiles<K, TILE>(job, first, begin, least(begin + CHUNK_TILES, end));
  });
}

// dw of the outputs o0 .. o1 - 1 and all channels of `sums`.
template <int K, int TILE>
static void write_outputs(const WinogradDwJob& job, const Sums& sums, int64_t partials, int64_t o0, int64_t o1) {
  for (int64_t c = sums.c0; c < sums.c1; c++)
    for (int64_t o = o0; o < o1; o++)
      write_winograd_dw<K, K + TILE - 1>(sums, partials, job.cut.u_floats(), job.x.C, o, c, job.dw);
}

template <int K, int TILE>
static void write_all(const WinogradDwJob& job, Team& team) {
  const int64_t O = job.dy.C, c_blocks = job.cut.c_blocks;
  for_chunks(team, c_blocks * ceil_div(O, WRITE_OUTPUTS), [&](int64_t chunk) {
    Sums sums = job.all_sums();
    const int64_t begin = chunk / c_blocks * WRITE_OUTPUTS, c = chunk % c_blocks;
    sums.u = sums.at(0, 0, c), sums.c0 = c, sums.c1 = c + 1;
    write_outputs<K, TILE>(job, sums, most(job.cut.ranges, 1), begin, least(begin + WRITE_OUTPUTS, O));
  });
}

template <int K, int TILE>
static void sum_ranges(const WinogradDwJob& whole, Team& team) {
  const WinogradDwCut& cut = whole.cut;
  for_chunks(team, cut.ranges, [&](int64_t range) {
    WinogradDwJob job = whole;
    job.u += range * cut.u_floats();
    const int64_t begin = cut.slabs * range / cut.ranges, end = cut.slabs * (range + 1) / cut.ranges;
    const int64_t likeliest = range + team.stride();  // the thread's next range
    const int64_t behind = likeliest < 0 ? -1 : cut.slabs * likeliest / cut.ranges;
    for (int64_t s = begin; s < end; s++) {
      const int64_t first = s * cut.slab;
      job.slab.tiles = least(cut.slab, cut.tiles - first);
      transform_tiles<K, TILE>(job, first, first, first + job.slab.tiles);
      NextSlab next = slab_ahead(job, s + 1 < end ? s + 1 : behind);
      for (int64_t point = 0; point < cut.points; point++)
        sum_point(job.slab, job.all_sums(), job.x.C, job.dy.C, point, s > begin, false, &next);
    }
  });
  write_all<K, TILE>(whole, team);
}

template <int K, int TILE>
static void sum_points(WinogradDwJob job, Team& team) {
  const WinogradDwCut& cut = job.cut;
  const int64_t side = even_side(cut.o_blocks, POINT_OUTPUTS / NR), chunks = ceil_div(cut.o_blocks, side);
  for (int64_t first = 0; first < cut.tiles; first += cut.slab) {
    transform_slab<K, TILE>(job, first, team);
    for_chunks(team, cut.points * chunks, [&](int64_t chunk) {
      const int64_t o = chunk % chunks * side;
      Sums sums = job.all_sums();
      sums.u = sums.at(0, o, 0), sums.o0 = o, sums.o1 = least(o + side, cut.o_blocks);
      sum_point(job.slab, sums, job.x.C, job.dy.C, chunk / chunks, first > 0, false);
    });
  }
  write_all<K, TILE>(job, team);
}

template <int K, int TILE>
static void sum_blocks(WinogradDwJob job, Team& team) {
  const WinogradDwCut& cut = job.cut;
  const int64_t o_chunks = ceil_div(cut.o_blocks, cut.o_side), c_chunks = ceil_div(cut.c_blocks, cut.c_side);
  transform_slab<K, TILE>(job, 0, team);
  for_chunks(team, o_chunks * c_chunks, [&](int64_t chunk) {
    const int64_t o = chunk % o_chunks * cut.o_side, c = chunk / o_chunks * cut.c_side;
    const Sums sums = {
        job.u + team.thread * cut.u_floats(), cut.u_step, cut.o_side, o, least(o + cut.o_side, cut.o_blocks), c,
        least(c + cut.c_side, cut.c_blocks)};
    for (int64_t point = 0; point < cut.points; point++)
      sum_point(job.slab, sums, job.x.C, job.dy.C, point, false, point + 1 < cut.points);
    write_outputs<K, TILE>(job, sums, 1, sums.o0 * NR, least(sums.o1 * NR, job.dy.C));
  });
}

template <int K, int TILE>
static void winograd_dw(const WinogradDwJob& job, Team& team) {
  if (job.cut.mode == job.cut.RANGES) sum_ranges<K, TILE>(job, team);
  else if (job.cut.mode == job.cut.POINTS) sum_points<K, TILE>(job, team);
  else sum_blocks<K, TILE>(job, team);
}

static int64_t conv2d_dw_winograd_scratch(const Args& a, int threads, const Blocking& b) {
  const WinogradDwCut cut = cut_winograd_dw(a, b);
  return (cut.all_u_floats(threads) + (cut.ranges ? threads : 1) * cut.slab_floats()) * 4;
}

static void conv2d_dw_winograd(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dy = a.t[1], &dw = a.t[2];
  const int64_t K = a.i[0], tile = a.i[1];
  const WinogradDwCut cut = cut_winograd_dw(a, BLOCKING);
  if (cut.tiles == 0)
    return for_chunks(team, 1, [&](int64_t) { __builtin_memset(dw.data, 0, dy.shape[1] * x.shape[1] * K * K * 4); });
  float* u = reinterpret_cast<float*>(a.scratch);
  float* v = u + cut.all_u_floats(team.threads) + (cut.ranges ? team.thread * cut.slab_floats() : 0);
  const WinogradDwJob job = {cut,
                             tiling_of(a),
                             {x.f32(), x.ld, x.shape[1], x.shape[2], x.shape[3], a.i[2], a.i[4]},
                             {dy.f32(), dy.ld, dy.shape[1], dy.shape[2], dy.shape[3], 0, 0},
                             {v, v + cut.points * cut.v_step, cut.v_step, cut.z_step, cut.slab * NR, 0},
                             u,
                             dw.f32()};
  if (K == 3 && tile == 2) winograd_dw<3, 2>(job, team);
  else if (K == 3 && tile == 3) winograd_dw<3, 3>(job, team);
  else if (K == 3) winograd_dw<3, 4>(job, team);
  else if (tile == 2) winograd_dw<5, 2>(job, team);
  else winograd_dw<5, 4>(job, team);
}
