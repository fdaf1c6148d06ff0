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
#include "norm_sums.h"
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
  int64_t group;  // panels that each row meets in turn
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
  cut.group = most(int64_t(b.kc) * b.nc / (cut.kc * b.nr), 1);
  cut.lda = cut.kc + ROW_SLACK;  // also keeps rows off one another's L1 sets where kc is a power of two
  return cut;
}

// A packed block, and where its rows lie in y and in r.
static inline int64_t block_bytes(const Cut& cut) { return round_up(cut.rows * (cut.lda * 4 + 16), 64); }

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
  const float* r;  // added to y before the activation, or nullptr; r_ld floats a pixel
  int64_t r_ld;
  ConvMoments moments;  // of y; forward only, where the rows of a block adjoin
  int64_t channel;      // of y, that columns begin with
  NormGradient norm;    // whose gradient y is; only where the rows of a block adjoin, too
};

static inline bool in_place(const Map& m) {
  return m.KH * m.KW == 1 && m.sh == 1 && m.sw == 1 && m.top == 0 && m.left == 0 && m.OH == m.H && m.OW == m.W;
}

// Where the output pixels of a block lie, in floats from y, or from r with its ld.
static void place_rows(const Job& job, int64_t ld, int64_t first, int64_t count, int64_t* rows) {
  const Map& m = job.in;
  int64_t ow = first % m.OW, oh = first / m.OW % m.OH, n = first / m.OW / m.OH;
  for (int64_t i = 0; i < count; i++) {
    rows[i] = ((n * job.YH + job.y0 + oh * job.gh) * job.YW + job.x0 + ow * job.gw) * ld;
    if (++ow == m.OW) {
      ow = 0;
      if (++oh == m.OH) oh = 0, n++;
    }
  }
}

// A block: `count` rows, the first of them row `before` of its chunk.
struct Block {
  int64_t first, count, chunk, before;
  int64_t next;  // the first row of the block behind it, or -1
  float* packed;
  int64_t *rows, *r_rows;
};

// The part of x that is read in place next: the next kc of the depth, or the first of the next block.
static inline NextRows next_rows(const Job& job, const Cut& cut, const Block& block, int64_t k1, int64_t panels) {
  const bool deeper = k1 < job.depth;
  if (!in_place(job.in) || (!deeper && block.next < 0)) return {};
  const int64_t first = deeper ? block.first : block.next, k0 = deeper ? k1 : 0;
  const int64_t rows = least(block.count, job.in.N * job.in.OH * job.in.OW - first);
  return next_rows(job.in.x + first * job.in.ld + k0, job.in.ld, least(cut.kc, job.depth - k0), rows,
                   panels * ceil_div(block.count, MR));
}

// What is done to a panel that has just been completed.
static inline void finish_panel(const Job& job, const Block& k, int64_t column, int64_t cols) {
  float* c = job.y + column;
  if (is_curve(job.activation)) activate_rows(c, k.rows, k.count, cols, job.activation);
  if (job.moments)
    job.moments.add(k.chunk, k.before, c + k.first * job.ld, job.ld, k.count, job.channel + column, cols);
}

// Columns that are masked together, once their panels are complete: in whole lines of the norm's maps.
static const int64_t MASKED_COLUMNS = 256;

// The columns of a block that are masked next, and what they are met with, asked for while they are computed.
struct Masking {
  int64_t begin, end;
  NextRows x, y;
};

static inline void begin_masking(const Job& job, const Block& k, int64_t column, int64_t limit, Masking& m) {
  m.begin = column, m.end = least(column + MASKED_COLUMNS, limit);
  const NormGradient& n = job.norm;
  const int64_t tiles = ceil_div(m.end - m.begin, NR) * ceil_div(k.count, MR);
  m.x = next_rows(n.x + k.first * n.x_ld + column, n.x_ld, m.end - m.begin, k.count, tiles);
  if (n.mask == BY_Y) m.y = next_rows(n.y + k.first * n.y_ld + column, n.y_ld, m.end - m.begin, k.count, tiles);
  if (n.mask == BY_Y) m.x.others = &m.y;
}

static inline void end_masking(const Job& job, const Block& k, const Masking& m) {
  mask_rows(job.norm, k.chunk, k.before == 0, job.y + k.first * job.ld + m.begin, job.ld, k.first, k.count, m.begin,
            m.end - m.begin);
}

static void conv_block(const Job& job, const Cut& cut, const Block& block, int64_t panel0, int64_t panel1) {
  const bool direct = in_place(job.in);
  int64_t k0 = 0;
  do {  // once also where no tap reaches: dx is zero there
    const int64_t k1 = least(k0 + cut.kc, job.depth);
    if (!direct) im2col(job.in, block.first, block.count, k0, k1, block.packed, cut.lda);
    const bool last = k1 == job.depth;
    Tile t{};
    t.a = direct ? job.in.x + block.first * job.in.ld + k0 : block.packed, t.lda = direct ? job.in.ld : cut.lda;
    t.runs = 1, t.depth = k1 - k0, t.rows = block.rows, t.r_rows = block.r_rows;
    t.add = k0 > 0, t.relu = last && is_ramp(job.activation), t.top = top_of(job.activation);
    NextRows next = next_rows(job, cut, block, k1, panel1 - panel0);
    const bool masks = last && job.norm;
    Masking masking{};
    if (masks) next.others = &masking.x;
    for (int64_t p = panel0, n; p < panel1; p += n) {
      const int64_t column = p * NR;
      if (masks && column >= masking.end) begin_masking(job, block, column, least(panel1 * NR, job.columns), masking);
      const int64_t end = masks ? ceil_div(masking.end, NR) : panel1, whole = least(end, job.columns / NR) - p;
      n = clamp(whole, 1, cut.group);
      t.b = job.wp + p * job.panel + k0 * NR, t.c = job.y + column, t.cols = least(job.columns - column, NR);
      t.bias = last && job.bias ? job.bias + column : nullptr;
      t.r = last && job.r ? job.r + column : nullptr;
      multiply_panels(t, block.count, n, job.panel, &next);
      for (int64_t i = 0; last && i < n; i++) finish_panel(job, block, column + i * NR, t.cols);
      if (masks && (p + n) * NR >= masking.end) end_masking(job, block, masking);
    }
    k0 = k1;
  } while (k0 < job.depth);
}

static void conv_chunk(const Job& job, const Cut& cut, int64_t row_chunk, int64_t panel_chunk, int64_t stride,
                       char* scratch) {
  const int64_t M = job.in.N * job.in.OH * job.in.OW;
  const int64_t begin = row_chunk * cut.chunk_rows, end = least(begin + cut.chunk_rows, M);
  const int64_t panel0 = panel_chunk * cut.chunk_panels;
  const int64_t panel1 = least(panel0 + cut.chunk_panels, ceil_div(job.columns, NR));
  Block block{};
  block.packed = reinterpret_cast<float*>(scratch), block.chunk = row_chunk;
  block.rows = reinterpret_cast<int64_t*>(block.packed + cut.rows * cut.lda);
  block.r_rows = job.r && job.r_ld != job.ld ? block.rows + cut.rows : block.rows;
  for (int64_t first = begin; first < end; first += cut.rows) {
    block.first = first, block.count = least(cut.rows, end - first), block.before = first - begin;
    const int64_t next = first + cut.rows < end ? first + cut.rows : begin + stride * cut.chunk_rows;
    block.next = next < M && next >= 0 ? next : -1;
    place_rows(job, job.ld, first, block.count, block.rows);
    if (block.r_rows != block.rows) place_rows(job, job.r_ld, first, block.count, block.r_rows);
    conv_block(job, cut, block, panel0, panel1);
  }
}
