// Convolution of stride 1 by Winograd's minimal filtering, F(M x M, K x K): M * M outputs for T * T multiplications a
// channel, T = M + K - 1, where the direct form takes M * M * K * K: 4 times fewer for M = 4, K = 3. dX is the same
// kernel over dy, with filters that are turned around.
//
//   x --B^T--> V[T*T][tiles][C]      for each plane k: M[k] = V[k] u[k], tiles x C by C x 16     --A^T--> y
//              a unit of tiles       u[panel][k][C][NR] streams once a unit;                      bias, r, act,
//                                    M[T*T][tiles][NR] stays in L2                                moments, pool
//
// Nothing of V or M outlives its unit. Where V fits into L2 (few channels), a thread takes a unit through all three
// steps. Where it does not, all threads transform a stage of units into one V, in L3, and share the panels: they meet
// at a panel with neighbouring units, so u comes from memory once a stage.
//
// Roofline: the FMA peak for the products, T * T / (M * M * K * K) of the direct form's; u from memory where there are
// few tiles. Reached with F(4 x 4, 3 x 3), one thread of AVX2, warm (AMD EPYC Zen 3): products 0.94 of the peak. The
// direct form's operations over the peak, where 1 is the limit of any direct kernel: 1.9 at 16 channels, 2.5 at 32, 2.9
// at 64, 3.1 at 128, 3.3 at 256 (56 x 56), 2.9 at 512 (28 x 28), 2.3 (14 x 14: 64 tiles for 38 MB of u).
#pragma once
#include "winograd_output.h"
#include "winograd_tiles.h"

// Tiles of a unit in a stage, at most; bytes of a stage's V in L3.
static const int64_t UNIT_TILES = 48, STAGE_BYTES = 8 << 20;
// Where a thread owns its V: tiles of a unit, at most, and bytes that V and M may take of L2, which also takes what
// the unit and the next will meet.
static inline int64_t own_tiles(const Blocking& b) { return 24 * (b.l2 >> 19); }
static inline int64_t unit_bytes(const Blocking& b) { return b.l2 / 8 * 5; }
// Units from which on chunks of whole units are spread evenly enough; channels a chunk of the transform takes.
static const int64_t MANY_UNITS = 32, TRANSFORM_CHANNELS = 64;

// How the tiles are cut: a function of the problem and the block sizes alone.
struct WinogradCut {
  int64_t tiles, planes;              // T * T
  int64_t unit, units, group;         // tiles of a unit; units of a chunk, where a thread owns its V
  int64_t v_group, v_plane, m_plane;  // floats
  int64_t stage;                      // units of a stage, 0 where a thread owns its V
  int64_t v_floats() const { return planes * v_plane; }
  int64_t m_floats() const { return planes * m_plane; }
  int64_t chunks() const { return stage ? units : ceil_div(units, group); }  // that have moments or sums of their own
  int64_t first_tile(int64_t chunk) const { return least(chunk * (stage ? 1 : group) * unit, tiles); }
  int64_t work_floats(int64_t threads) const { return (stage ? stage : threads) * v_floats() + threads * m_floats(); }
};

static WinogradCut cut_tiles(int64_t tiles, int64_t planes, int64_t C, const Blocking& b) {
  WinogradCut cut{};
  cut.tiles = tiles, cut.planes = planes;
  const int64_t tile_bytes = planes * 4 * (round_up(C, LINE) + b.nr), fits = unit_bytes(b) / tile_bytes / b.mr * b.mr;
  const int64_t own_unit = least(fits, own_tiles(b));
  const bool own = fits >= 2 * b.mr && tiles >= MANY_UNITS * own_unit;
  const int64_t most_tiles = own ? own_unit : UNIT_TILES;
  cut.unit = round_up(ceil_div(tiles, most(ceil_div(tiles, most_tiles), 1)), b.mr);
  cut.units = cut.unit ? ceil_div(tiles, cut.unit) : 0;
  cut.v_group = group_floats(C, b.mr), cut.v_plane = odd_lines(ceil_div(cut.unit, b.mr) * cut.v_group);
  cut.m_plane = odd_lines(cut.unit * b.nr);
  cut.group = own ? ceil_div(cut.units, 4 * WANTED_CHUNKS) : 1;
  if (!own && cut.units) {
    const int64_t stages = ceil_div(cut.units, most(STAGE_BYTES / (4 * cut.v_floats()), 1));
    cut.stage = ceil_div(cut.units, stages);
  }
  return cut;
}

// Everything about a conv2d_winograd: x u b r, then y index mean var unbiased; parameters out_channels, kernel, tile,
// padding, activation, pool, moments. Of a conv2d_winograd_sums, for which x is dy and y is dz: the tensors of
// norm_sums.h, and no pool or moments. Scratch: V and M, then what chunks have summed.
struct Winograd {
  const Args& a;
  int64_t O, C, K, M, T;
  PaddedMap in;
  Tiling tiling;
  explicit Winograd(const Args& args)
      : a(args), O(a.i[0]), C(a.t[0].shape[1]), K(a.i[1]), M(a.i[2]), T(M + K - 1),
        in{a.t[0].f32(), a.t[0].ld, C, a.t[0].shape[2], a.t[0].shape[3], a.i[3], a.i[5]},
        tiling(a.t[0].shape[0], in.H + a.i[3] + a.i[4] - K + 1, in.W + a.i[5] + a.i[6] - K + 1, M) {}
  int64_t panels(const Blocking& b) const { return ceil_div(O, b.nr); }
  WinogradCut cut(const Blocking& b) const { return cut_tiles(tiling.tiles(), T * T, C, b); }
};

// What is taken of the outputs: moments, or a norm's sums, or nothing.
struct Taken {
  ConvMoments moments;
  NormGradient norm;
};

static int64_t conv2d_winograd_scratch(const Args& a, int threads, const Blocking& b) {
  const Winograd w(a);
  const WinogradCut cut = w.cut(b);
  return cut.work_floats(threads) * 4 + conv_moments_bytes(a.i[9], cut.chunks(), w.O);
}

static int64_t conv2d_winograd_sums_scratch(const Args& a, int threads, const Blocking& b) {
  const WinogradCut cut = Winograd(a).cut(b);
  return cut.work_floats(threads) * 4 + norm_gradient_bytes(a, cut.chunks());
}

// Channels of one product: NR columns of 256 stay in L1 (512 of AVX2's would fill it: 15 % slower). Sums of products
// are added to one another, so a long sum loses fewer digits than in one chain.
static const int64_t PRODUCT_DEPTH = 256;

// A product's operands: a[depth / 16][MR][16], b[depth][NR], m[MR][NR]. `next` is what comes after b, from L3 or
// memory: line_sums asks for a few lines of it every 16 steps, so that a unit's groups together fetch it all in time.
struct Product {
  const float *a, *b, *next;
  int64_t depth;
  float* m;
  bool add;                 // to what m holds
  Ahead *outputs, *inputs;  // asked for between the products; inputs may be nullptr
};

template <int ROWS, int VECTORS, bool WHOLE>
STRIATE_TILE_FUNCTION void multiply_group(const Product& p) {
  vf sum[ROWS][VECTORS];
  line_sums<WHOLE>(p.a, p.b, p.next, p.depth, sum);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      float* to = p.m + i * NR + j * WIDTH;
      store(to, p.add ? sum[i][j] + load(to) : sum[i][j]);
    }
}

// `groups` groups of ROWS tiles, which begin `apart` floats of a apart.
template <int ROWS, int VECTORS, bool WHOLE>
static __attribute__((noinline)) void multiply_groups(Product p, int64_t groups, int64_t apart) {
  for (; groups > 0; groups--, p.a += apart, p.m += MR * NR, p.next += PREFETCHED * PRODUCT_DEPTH) {
    p.outputs->ask();
    if (p.inputs) p.inputs->ask();
    multiply_group<ROWS, VECTORS, WHOLE>(p);
  }
}

// The same for a depth of one line and one vector of outputs: b stays in registers while all groups pass.
template <int ROWS>
static __attribute__((noinline)) void multiply_lines(Product p, int64_t groups, int64_t apart) {
  vf b[LINE];
#pragma GCC unroll 16
  for (int k = 0; k < LINE; k++) b[k] = load(p.b + k * NR);
  for (; groups > 0; groups--, p.a += apart, p.m += MR * NR) {
    p.outputs->ask();
    if (p.inputs) p.inputs->ask();
    vf sum[ROWS] = {};
#pragma GCC unroll 16
    for (int k = 0; k < LINE; k++)
#pragma GCC unroll 24
      for (int i = 0; i < ROWS; i++) add_product(sum[i], set1(p.a[i * LINE + k]), b[k]);
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++) store(p.m + i * NR, sum[i]);
  }
}

template <int ROWS, int VECTORS>
static inline void multiply_some(int64_t rows, const Product& p, int64_t groups, int64_t apart) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return multiply_some<ROWS - 1, VECTORS>(rows, p, groups, apart);
  if constexpr (VECTORS == 1 && WIDTH == LINE)  // b and the sums are 28 of AVX-512's 32 registers
    if (p.depth == LINE && !p.add) return multiply_lines<ROWS>(p, groups, apart);
  if (p.depth % LINE == 0) multiply_groups<ROWS, VECTORS, true>(p, groups, apart);
  else multiply_groups<ROWS, VECTORS, false>(p, groups, apart);
}

// A unit's V, and the M of one panel.
struct Unit {
  int64_t first, count;   // tiles
  int64_t chunk, before;  // whose moments or sums they join, and the pixels those hold already
  Planes v;
  float* m;
};

// Products of a unit with one panel.
static int64_t products(const Winograd& w, const WinogradCut& cut, const Unit& unit) {
  return cut.planes * ceil_div(w.C, PRODUCT_DEPTH) * ceil_div(unit.count, MR);
}

static void multiply_unit(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel, Ahead* outputs,
                          Ahead* inputs) {
  const bool narrow = w.O - panel * NR <= WIDTH;
  Product p{};
  p.outputs = outputs, p.inputs = inputs;
  p.b = w.a.t[1].f32() + panel * cut.planes * w.C * NR;
  for (int64_t k = 0; k < cut.planes; k++)
    for (int64_t c = 0; c < w.C; c += p.depth, p.b += p.depth * NR) {
      p.depth = least(PRODUCT_DEPTH, w.C - c), p.add = c > 0, p.next = p.b + p.depth * NR;
      p.a = unit.v.v + k * cut.v_plane + c * MR, p.m = unit.m + k * cut.m_plane;
      for (int64_t left = unit.count, groups; left > 0; left -= groups * MR) {
        groups = most(left / MR, 1);
        if (narrow) multiply_some<MR, 1>(left, p, groups, cut.v_group);
        else multiply_some<MR, NV>(left, p, groups, cut.v_group);
        p.a += groups * cut.v_group, p.m += groups * MR * NR, p.next += groups * PREFETCHED * PRODUCT_DEPTH;
      }
    }
}

// f(number of the tile, tile, number of the vector, memory access) for each vector of channels of a unit's outputs.
template <int M, class F>
static inline void over_outputs(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel, F f) {
  OutputTile t{};
  t.plane = cut.m_plane;
  Place p = w.tiling.at(unit.first);
  for (int64_t i = 0; i < unit.count; i++, w.tiling.next(p)) {
    t.image = p.image, t.h = p.down * M, t.w = p.across * M;
    t.rows = least(M, w.tiling.OH - t.h), t.cols = least(M, w.tiling.OW - t.w);
    over_columns(least(w.O - panel * NR, NR), [&](int64_t j, auto m) {
      t.from = unit.m + i * NR + j, t.channel = panel * NR + j;
      f(i, t, j / WIDTH, m);
    });
  }
}

template <int M, int T>
static void finish_with_moments(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel,
                                const Epilogue& e, const ConvMoments& moments) {
  ChannelSums sums[NV] = {};
  over_outputs<M>(w, cut, unit, panel, [&](int64_t i, const OutputTile& t, int64_t v, auto m) {
    if (i == 0) {
      Nobody nobody;
      put_tile<M, T>(e, t, nobody, m);
      sums[v].centre = mean_of_tile(e, t, m);
    }
    put_tile<M, T>(e, t, sums[v], m);
  });
  const double n = double(w.tiling.pixels_before(unit.first + unit.count) - w.tiling.pixels_before(unit.first));
  for (int64_t j = 0, columns = least(w.O - panel * NR, NR); j < columns; j += WIDTH) {
    double* mean = moments.mean(unit.chunk) + panel * NR + j;
    join_sums(sums[j / WIDTH], n, double(unit.before), mean, mean + moments.C, least(columns - j, WIDTH));
  }
}

template <int M, int T>
static void finish_with_norm(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel,
                             const Epilogue& e, const NormGradient& norm) {
  vf sums[NV][2] = {};  // of each tile's own sums: fewer digits are lost than in one chain
  over_outputs<M>(w, cut, unit, panel, [&](int64_t, const OutputTile& t, int64_t v, auto m) {
    with_sums(norm, t.channel, (t.image * e.YH + t.h) * e.YW + t.w, m, [&](auto own) {
      put_tile<M, T>(e, t, own, m);
      sums[v][0] += own.dz;
      sums[v][1] += own.product;
    });
  });
  for (int64_t j = 0, columns = least(w.O - panel * NR, NR); j < columns; j += WIDTH)
    norm.join(unit.chunk, unit.before == 0, panel * NR + j, sums[j / WIDTH][0], sums[j / WIDTH][1],
              least(columns - j, WIDTH));
}

template <int M, int T>
static void finish_unit(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel, const Epilogue& e,
                        const Taken& taken) {
  if (taken.moments) return finish_with_moments<M, T>(w, cut, unit, panel, e, taken.moments);
  if (taken.norm) return finish_with_norm<M, T>(w, cut, unit, panel, e, taken.norm);
  over_outputs<M>(w, cut, unit, panel, [&](int64_t, const OutputTile& t, int64_t, auto m) {
    Nobody nobody;
    if (e.pool) put_maxima<M, T>(e, t, m);
    else put_tile<M, T>(e, t, nobody, m);
  });
}

// What the outputs of a unit and a panel will meet.
template <int M>
static Ahead outputs_ahead(const Winograd& w, const Unit& unit, int64_t panel, const Epilogue& e,
                           const NormGradient& norm) {
  const int64_t c = panel * NR, channels = least(w.O - c, NR);
  Ahead ahead(w.tiling, e.YH, e.YW, e.pool ? M / 2 : M, unit.first, unit.count);
  ahead.add(e.y + c, e.ld, channels);
  if (e.r) ahead.add(e.r + c, e.r_ld, channels);
  if (norm) ahead.add(norm.x + c, norm.x_ld, channels);
  if (norm && norm.mask == BY_Y) ahead.add(norm.y + c, norm.y_ld, channels);
  return ahead;
}

template <int M, int T>
static void winograd_panel(const Winograd& w, const WinogradCut& cut, const Unit& unit, int64_t panel,
                           const Epilogue& e, const Taken& taken, Ahead* inputs) {
  Ahead outputs = outputs_ahead<M>(w, unit, panel, e, taken.norm);
  outputs.spread(products(w, cut, unit));
  multiply_unit(w, cut, unit, panel, &outputs, inputs);
  finish_unit<M, T>(w, cut, unit, panel, e, taken);
}

static Unit unit_of(const Winograd& w, const WinogradCut& cut, int64_t number, int64_t chunk, float* v, float* m) {
  const int64_t first = number * cut.unit, start = cut.first_tile(chunk);
  return {first,
          least(cut.unit, cut.tiles - first),
          chunk,
          w.tiling.pixels_before(first) - w.tiling.pixels_before(start),
          {v, cut.v_plane, cut.v_group},
          m};
}

// The inputs of a unit, where there is one, but for their halo.
static Ahead inputs_ahead(const Winograd& w, const WinogradCut& cut, int64_t unit) {
  Ahead ahead(w.tiling, w.in.H, w.in.W, w.M, unit * cut.unit, cut.unit);
  ahead.add(w.in.x, w.in.ld, w.C);
  return ahead;
}

// Each thread takes whole units: V in its L2. After its chunk the one of a thread's turn is the likeliest.
template <int M, int T>
static void winograd_units(const Winograd& w, const WinogradCut& cut, const Epilogue& e, const Taken& taken,
                           Team& team) {
  float* v = reinterpret_cast<float*>(w.a.scratch) + team.thread * (cut.v_floats() + cut.m_floats());
  for_chunks(team, cut.chunks(), [&](int64_t chunk) {
    const int64_t end = least((chunk + 1) * cut.group, cut.units);
    for (int64_t number = chunk * cut.group; number < end; number++) {
      const Unit unit = unit_of(w, cut, number, chunk, v, v + cut.v_floats());
      transform_input<T, M>(w.in, w.tiling, unit.first, unit.count, 0, w.C, unit.v);
      const int64_t next = number + 1 < end ? number + 1 : (chunk + team.stride()) * cut.group;
      Ahead inputs = inputs_ahead(w, cut, next);
      if (ASKED) inputs.spread(products(w, cut, unit) * w.panels(BLOCKING));
      for (int64_t p = 0; p < w.panels(BLOCKING); p++) winograd_panel<M, T>(w, cut, unit, p, e, taken, &inputs);
    }
  });
}

// All threads together, a stage at a time: V in L3.
template <int M, int T>
static void winograd_stages(const Winograd& w, const WinogradCut& cut, const Epilogue& e, const Taken& taken,
                            Team& team) {
  float* v = reinterpret_cast<float*>(w.a.scratch);
  float* m = v + cut.stage * cut.v_floats() + team.thread * cut.m_floats();
  const int64_t pieces = ceil_div(w.C, TRANSFORM_CHANNELS);
  const int64_t stages = ceil_div(cut.units, cut.stage);
  for (int64_t i = 0; i < stages; i++) {
    const int64_t first = team.turned(i, stages) * cut.stage;
    const int64_t units = least(cut.stage, cut.units - first);
    const auto unit = [&](int64_t i) { return unit_of(w, cut, first + i, first + i, v + i * cut.v_floats(), m); };
    for_chunks(team, units * pieces, [&](int64_t chunk) {
      const Unit u = unit(chunk / pieces);
      const int64_t c = chunk % pieces * TRANSFORM_CHANNELS;
      transform_input<T, M>(w.in, w.tiling, u.first, u.count, c, least(c + TRANSFORM_CHANNELS, w.C), u.v);
    });
    for_chunks(team, units * w.panels(BLOCKING), [&](int64_t chunk) {
      winograd_panel<M, T>(w, cut, unit(chunk % units), chunk / units, e, taken, nullptr);
    });
  }
}

template <int M, int K>
static void winograd_tiles(const Winograd& w, const WinogradCut& cut, const Epilogue& e, const Taken& taken,
                           Team& team) {
  if (cut.stage) winograd_stages<M, M + K - 1>(w, cut, e, taken, team);
  else winograd_units<M, M + K - 1>(w, cut, e, taken, team);
}

static void winograd_any(const Winograd& w, const WinogradCut& cut, const Epilogue& e, const Taken& taken, Team& team) {
  if (w.K == 5) return (w.M == 2 ? winograd_tiles<2, 5> : winograd_tiles<4, 5>)(w, cut, e, taken, team);
  if (w.M == 2) winograd_tiles<2, 3>(w, cut, e, taken, team);
  else if (w.M == 3) winograd_tiles<3, 3>(w, cut, e, taken, team);
  else if (w.M == 4) winograd_tiles<4, 3>(w, cut, e, taken, team);
  else winograd_tiles<6, 3>(w, cut, e, taken, team);
}

static void conv2d_winograd(const Args& a, Team& team) {
  const Winograd w(a);
  const WinogradCut cut = w.cut(BLOCKING);
  const Tensor &b = a.t[2], &r = a.t[3], &y = a.t[4], &index = a.t[5];
  const Epilogue e = {b.f32(),    r.f32(),  r.ld,       y.f32(),    reinterpret_cast<uint8_t*>(index.data),
                      y.ld,       index.ld, y.shape[2], y.shape[3], a.i[7],
                      a.i[8] != 0};
  double* chunks = reinterpret_cast<double*>(a.scratch + cut.work_floats(team.threads) * 4);
  const Taken taken = {{chunks, a.i[9] ? w.O : 0}, {}};
  winograd_any(w, cut, e, taken, team);
  if (!taken.moments) return;
  const auto pixels = [&](int64_t chunk) {
    return w.tiling.pixels_before(cut.first_tile(chunk + 1)) - w.tiling.pixels_before(cut.first_tile(chunk));
  };
  finish_moments(taken.moments, cut.chunks(), pixels, a.t + 6, team);
}

static void conv2d_winograd_sums(const Args& a, Team& team) {
  const Winograd w(a);
  const WinogradCut cut = w.cut(BLOCKING);
  const Tensor &r = a.t[2], &dz = a.t[9];
  const Epilogue e = {nullptr, r.f32(), r.ld, dz.f32(), nullptr, dz.ld, 0, dz.shape[2], dz.shape[3], NONE, false};
  char* behind = a.scratch + cut.work_floats(team.threads) * 4;
  const Taken taken = {{}, norm_gradient(a, a.i[7], behind, team)};
  winograd_any(w, cut, e, taken, team);
  finish_sums(a, taken.norm, cut.chunks(), team);
}
