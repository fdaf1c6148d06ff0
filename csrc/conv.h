// Convolution forward and dX: the packed implicit GEMM. Rows are output pixels, columns output channels, depth
// (r, s, c).
//
//      panels of wp (filters.h)              a chunk of work, run by one thread:
//        ______________                        for each block of `rows` pixels:
//   kc  |__|__|__|__|__|  panel: kc x NR         for each kc of the depth:
//       |__|__|__|__|__|  in L1                    im2col the block, rows x kc, into L2 (im2col.h)
//                                                  for each panel of the chunk:
//    rows x kc   rows x columns                      for each MR rows: the register tile (gemm.h)
//    [ block ]   [ y          ]                  bias and activation ride on the last kc
//
// A 1x1 convolution of stride 1 reads its rows in x as they lie. dX is the same loop over dy with the weights flipped
// and the channels swapped; with a stride it is sh * sw such loops, one a phase, each writing every sh-th row and sw-th
// column of dx (filters.h says which taps a phase has), so that no zero is ever multiplied.
//
// Roofline: the FMA peak; for 1x1 layers of 64 channels nearly the memory's. Reached on ResNet-50's stride-1 layers,
// batch 8, packing of the filters included (geometric mean, fraction of the FMA peak; AMD EPYC Zen 3, 2 threads of
// AVX2, warm buffers): forward 0.76, dX 0.77. On maps that stay in L2, one thread: 1x1 0.94, 3x3 0.90.
#pragma once
// clang-format off: each needs those before it.
#include "im2col.h"
#include "filters.h"
#include "moments.h"
#include "scratch_other.h"
// clang-format on

// Chunks of a small problem: with these, 16 threads still share it evenly. Large ones have up to four times as many.
static const int64_t WANTED_CHUNKS = 16;
// Below 2^19 multiply-adds (10 us of one AVX2 core) a chunk is not worth its share of the fork.
static const double CHUNK_MACS = 1 << 19;
// Fewer columns would not pay for packing the rows, which costs as much as 3 columns; fewer rows not for fetching the
// panels from L3.
static const int64_t LEAST_COLUMNS = 128, LEAST_ROWS = 96;

static inline int64_t wanted_chunks(double macs) { return clamp(int64_t(macs / CHUNK_MACS), 1, WANTED_CHUNKS); }

// How a product of M rows is cut; a function of the problem and the block sizes alone.
struct Cut {
  int64_t rows, kc, lda;           // of a packed block
  int64_t chunk_rows, row_chunks;  // a chunk is several blocks of rows
  int64_t chunk_panels, panel_chunks;
};

static Cut cut_product(int64_t units, int64_t M, int64_t columns, int64_t depth, bool packed, const Blocking& b) {
  const int64_t panels = ceil_div(columns, b.nr), wanted = wanted_chunks(double(units) * M * columns * depth);
  Cut cut{};
  int64_t blocks = most((M + b.mc / 2) / b.mc, 1);  // rather one and a half times mc than two halves
  cut.panel_chunks = clamp(ceil_div(wanted, units * blocks), 1, packed ? most(columns / LEAST_COLUMNS, 1) : panels);
  cut.chunk_panels = ceil_div(panels, cut.panel_chunks);
  cut.panel_chunks = ceil_div(panels, cut.chunk_panels);
  blocks = clamp(ceil_div(wanted, units * cut.panel_chunks), blocks, most(M / LEAST_ROWS, blocks));
  cut.rows = round_up(ceil_div(M, blocks), b.mr);
  blocks = cut.rows ? ceil_div(M, cut.rows) : 0;
  cut.chunk_rows = cut.rows * most(units * blocks * cut.panel_chunks / (4 * WANTED_CHUNKS), 1);
  cut.row_chunks = cut.rows ? ceil_div(M, cut.chunk_rows) : 0;
  const int64_t steps = most(ceil_div(depth, b.kc), 1);
  cut.kc = round_up(ceil_div(depth, steps), 16);
  cut.lda = cut.kc + ROW_SLACK;  // also keeps rows off one another's L1 sets where kc is a power of two
  return cut;
}

static inline int64_t block_bytes(const Cut& cut) { return round_up(cut.rows * (cut.lda * 4 + 8), 64); }

// One convolution of the loop, and where its output pixels lie: (n, oh, ow) at row y0 + oh * gh, column x0 + ow * gw.
struct Job {
  Map in;
  const float* wp;
  int64_t panel;  // floats from one panel to the next
  int64_t depth, columns;
  float* y;
  int64_t ld, YH, YW, y0, x0, gh, gw;
  const float* bias;
  int64_t activation;
};

static inline bool in_place(const Map& m) {
  return m.KH * m.KW == 1 && m.sh == 1 && m.sw == 1 && m.top == 0 && m.left == 0 && m.OH == m.H && m.OW == m.W;
}

// Where the output pixels of a block lie, in floats from y.
static void place_rows(const Job& job, int64_t first, int64_t count, int64_t* rows) {
  const Map& m = job.in;
  int64_t ow = first % m.OW, oh = first / m.OW % m.OH, n = first / m.OW / m.OH;
  for (int64_t i = 0; i < count; i++) {
    rows[i] = ((n * job.YH + job.y0 + oh * job.gh) * job.YW + job.x0 + ow * job.gw) * job.ld;
    if (++ow == m.OW) {
      ow = 0;
      if (++oh == m.OH) oh = 0, n++;
    }
  }
}

static void conv_block(const Job& job, const Cut& cut, int64_t first, int64_t count, int64_t panel0, int64_t panel1,
                       float* block, int64_t* rows) {
  const bool direct = in_place(job.in);
  place_rows(job, first, count, rows);
  int64_t k0 = 0;
  do {  // once also where no tap reaches: dx is zero there
    const int64_t k1 = least(k0 + cut.kc, job.depth);
    if (!direct) im2col(job.in, first, count, k0, k1, block, cut.lda);
    const float* a = direct ? job.in.x + first * job.in.ld + k0 : block;
    const bool last = k1 == job.depth;
    for (int64_t p = panel0; p < panel1; p++) {
      const int64_t column = p * NR, cols = least(job.columns - column, NR);
      Tile t{};
      t.a = a, t.lda = direct ? job.in.ld : cut.lda;
      t.b = job.wp + p * job.panel + k0 * NR, t.ldb = NR;
      t.runs = 1, t.depth = k1 - k0;
      t.c = job.y + column, t.rows = rows, t.cols = cols;
      t.bias = last && job.bias ? job.bias + column : nullptr;
      t.add = k0 > 0, t.relu = last && job.activation == RELU;
      multiply_panel(t, count);
      if (last && job.activation > RELU) activate_rows(job.y + column, rows, count, cols, job.activation);
    }
    k0 = k1;
  } while (k0 < job.depth);
}

static void conv_chunk(const Job& job, const Cut& cut, int64_t row_chunk, int64_t panel_chunk, char* scratch) {
  const int64_t M = job.in.N * job.in.OH * job.in.OW;
  const int64_t begin = row_chunk * cut.chunk_rows, end = least(begin + cut.chunk_rows, M);
  const int64_t panel0 = panel_chunk * cut.chunk_panels;
  const int64_t panel1 = least(panel0 + cut.chunk_panels, (job.columns + NR - 1) / NR);
  float* block = reinterpret_cast<float*>(scratch);
  int64_t* rows = reinterpret_cast<int64_t*>(block + cut.rows * cut.lda);
  for (int64_t first = begin; first < end; first += cut.rows)
    conv_block(job, cut, first, least(cut.rows, end - first), panel0, panel1, block, rows);
}

// ---- forward

static Map forward_map(const Tensor& x, const Tensor& y, const int64_t* kernel,
                       int64_t C) {  // kernel stride padding dilation
  return {x.f32(),   x.ld,      C,         x.shape[0], x.shape[2], x.shape[3], y.shape[2], y.shape[3],
          kernel[0], kernel[1], kernel[2], kernel[3],  kernel[8],  kernel[9],  kernel[4],  kernel[6]};
}

// ---- dX

// Rows (or columns) of dx that share their residue u = i + pad modulo the stride, from row `first` on, as a stride-1
// convolution of dy: row first + t * stride takes dy rows t + begin + j * step for its tap number j of `taps`.
struct Phase {
  int64_t first, count, taps, before, begin, step;
};

static Phase phase_of(int64_t first, int64_t size, int64_t K, int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t u = first + pad, residue = u % stride;
  Phase p{first,
          ceil_div(size - first, stride),
          phase_taps(K, stride, dilation, residue),
          taps_before(K, stride, dilation, residue),
          0,
          1};
  int64_t last = -1, previous = -1;
  for (int64_t r = 0; r < K; r++)
    if (r * dilation % stride == residue) previous = last, last = r;
  if (last >= 0) p.begin = (u - last * dilation) / stride;  // exact: the residues are equal
  if (previous >= 0) p.step = (last - previous) * dilation / stride;
  return p;
}

// Everything about a conv2d_dx_gemm: parameters in_channels, size, kernel, stride, padding, dilation, groups.
struct Gradient {
  const Args& a;
  int64_t C, H, W, KH, KW, sh, sw, top, left, dh, dw, G, OG;  // C is of one group
  int64_t down, across;                                       // phases that have rows, columns
  explicit Gradient(const Args& args)
      : a(args), C(a.i[0] / a.i[13]), H(a.i[1]), W(a.i[2]), KH(a.i[3]), KW(a.i[4]), sh(a.i[5]), sw(a.i[6]), top(a.i[7]),
        left(a.i[9]), dh(a.i[11]), dw(a.i[12]), G(a.i[13]), OG(a.t[0].shape[1] / G), down(sh < H ? sh : H),
        across(sw < W ? sw : W) {}

  Job job(int64_t phase) const {
    const Tensor &dy = a.t[0], &dx = a.t[2];
    const Phase v = phase_of(phase / across, H, KH, sh, top, dh), h = phase_of(phase % across, W, KW, sw, left, dw);
    const int64_t place = v.before * KW + v.taps * h.before;
    const Map in = {dy.f32(), dy.ld,  OG, dy.shape[0], dy.shape[2], dy.shape[3], v.count,  h.count,
                    v.taps,   h.taps, 1,  1,           v.step,      h.step,      -v.begin, -h.begin};
    return {in,
            a.t[1].f32() + place * OG * NR,
            KH * KW * OG * NR,
            v.taps * h.taps * OG,
            C,
            dx.f32(),
            dx.ld,
            H,
            W,
            v.first,
            h.first,
            sh,
            sw,
            nullptr,
            NONE};
  }
  int64_t phases() const { return down * across; }
};

#include "across.h"
#include "depthwise.h"

static Cut forward_cut(const Args& a, const Blocking& b) {
  const Tensor &x = a.t[0], &y = a.t[4];
  const int64_t G = a.i[11], C = x.shape[1] / G, M = y.shape[0] * y.shape[2] * y.shape[3];
  const Map m = forward_map(x, y, a.i + 1, C);
  return cut_product(G, M, a.i[0] / G, m.KH * m.KW * C, !in_place(m), b);
}

// The phases differ by a row and a tap at most; they are cut as the largest is.
static Cut gradient_cut(const Gradient& g, const Blocking& b) {
  const int64_t M = g.a.t[0].shape[0] * ceil_div(g.H, g.sh) * ceil_div(g.W, g.sw);
  const int64_t depth = ceil_div(g.KH, g.sh) * ceil_div(g.KW, g.sw) * g.OG;
  return cut_product(g.G * g.phases(), M, g.C, depth, g.KH * g.KW > 1, b);
}

// y and its moments, as batch_moments takes them.
static inline Args moments_args(const Args& a) { return {a.t + 4, nullptr, nullptr, a.scratch, 4}; }

static int64_t conv2d_gemm_scratch(const Args& a, int threads, const Blocking& b) {
  const int64_t G = a.i[11], moments = a.i[13] ? batch_moments_scratch(moments_args(a), threads, b) : 0;
  if (is_depthwise(G, a.t[0].shape[1], a.i[0])) return most(depthwise_bytes(G, a.i[1] * a.i[2]), moments);
  return most(threads * block_bytes(forward_cut(a, b)), moments);
}

// y = activation(y + r)
static void add_residual(const Tensor& y, const Tensor& r, int64_t activation, Team& team) {
  const Grid g = grid_over(y, r);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++) {
      float* to = y.f32() + row * g.pitch(y);
      const float* from = r.f32() + row * g.pitch(r);
      over_columns(g.length(row), [&](int64_t c, auto m) {
        const vf v = m.get(to + c) + m.get(from + c);
        m.put(to + c, activation == RELU      ? max(vf{}, v)
                      : activation == TANH    ? vtanh(v)
                      : activation == SIGMOID ? vsigmoid(v)
                                              : v);
      });
    }
  });
}

static void multiply_filters(const Args& a, int64_t activation, Team& team);

static void conv2d_gemm(const Args& a, Team& team) {
  const Tensor &r = a.t[3], &y = a.t[4];
  multiply_filters(a, r ? int64_t(NONE) : a.i[12], team);
  if (r) add_residual(y, r, a.i[12], team);
  if (a.i[13]) batch_moments(moments_args(a), team);
}

static void multiply_filters(const Args& a, int64_t activation, Team& team) {
  const Tensor &x = a.t[0], &wp = a.t[1], &b = a.t[2], &y = a.t[4];
  const int64_t O = a.i[0], G = a.i[11], C = x.shape[1] / G, OG = O / G, depth = a.i[1] * a.i[2] * C;
  const int64_t panel = depth * NR, panels = ceil_div(OG, NR);
  const Map in = forward_map(x, y, a.i + 1, C);
  const Job whole = {in,         wp.f32(), panel, depth, OG, y.f32(), y.ld,   y.shape[2],
                     y.shape[3], 0,        0,     1,     1,  b.f32(), activation};
  if (is_depthwise(G, x.shape[1], O)) return depthwise(whole, G, a.scratch, team);
  if (G == 1 && few_columns(in.N, in.KH * in.KW, C, O) && taps_adjoin(in)) {
    const AcrossCut cut = cut_across(whole);
    return for_chunks(team, cut.groups * cut.bands, [&](int64_t chunk) { across_chunk(whole, cut, chunk); });
  }
  const Cut cut = forward_cut(a, BLOCKING);
  char* scratch = a.scratch + team.thread * block_bytes(cut);
  for_chunks(team, G * cut.row_chunks * cut.panel_chunks, [&](int64_t chunk) {
    const int64_t panel_chunk = chunk % cut.panel_chunks, rest = chunk / cut.panel_chunks;
    const int64_t group = rest / cut.row_chunks;
    Job job = whole;
    job.in.x += group * C;
    job.wp += group * panels * panel;
    job.y += group * OG;
    if (job.bias) job.bias += group * OG;
    conv_chunk(job, cut, rest % cut.row_chunks, panel_chunk, scratch);
  });
}

static int64_t conv2d_dx_gemm_scratch(const Args& a, int threads, const Blocking& b) {
  const Gradient g(a);
  if (is_depthwise(g.G, g.C * g.G, g.OG * g.G)) return depthwise_bytes(g.G, g.KH * g.KW);
  return threads * block_bytes(gradient_cut(g, b));
}

static void conv2d_dx_gemm(const Args& a, Team& team) {
  const Gradient g(a);
  if (is_depthwise(g.G, g.C * g.G, g.OG * g.G)) return depthwise_dx(g, a.scratch, team);
  // The taps of a phase are dilation / gcd(dilation, stride) apart in dy.
  const bool adjoin = g.G == 1 && g.a.t[0].ld == g.OG && g.sw % g.dw == 0;
  if (adjoin && few_columns(g.a.t[0].shape[0], g.KH * g.KW, g.OG, g.C)) {
    const AcrossCut cut = cut_across(g.job(0));
    const int64_t per_phase = cut.groups * cut.bands;
    return for_chunks(team, g.phases() * per_phase,
                      [&](int64_t chunk) { across_chunk(g.job(chunk / per_phase), cut, chunk % per_phase); });
  }
  const Cut cut = gradient_cut(g, BLOCKING);
  const int64_t panels = ceil_div(g.C, NR), per_phase = g.G * cut.row_chunks * cut.panel_chunks;
  char* scratch = a.scratch + team.thread * block_bytes(cut);
  for_chunks(team, g.phases() * per_phase, [&](int64_t chunk) {
    Job job = g.job(chunk / per_phase);
    const int64_t panel_chunk = chunk % cut.panel_chunks, rest = chunk % per_phase / cut.panel_chunks;
    const int64_t group = rest / cut.row_chunks;
    job.in.x += group * g.OG;
    job.wp += group * panels * job.panel;
    job.y += group * g.C;
    conv_chunk(job, cut, rest % cut.row_chunks, panel_chunk, scratch);
  });
}
