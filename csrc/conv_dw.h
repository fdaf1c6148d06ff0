// Convolution dW: dw[o][c][r][s] = sum over output pixels p of dy[p][o] * x[input pixel of (p, r, s)][c], a matrix
// product whose depth is the pixels.
//
//   for each block of P pixels:             q = (r, s, c): taps * some channels
//     pack dy: panels P x MR, into L2       o [ . . . . . . . . . . ]  sums: O x Q of the chunk, in L2,
//     for each 64 columns q:                  [ . . [tile ] . . . . ]  added to once a block
//       im2col x: P x 64, into L2             [ . . . . . . . . . . ]
//       for each NR of them, in L1:
//         for each MR outputs o: the register tile, P deep; the next columns of x and rows of dy are asked for
//   at the end: transpose (r, s, c) to (c, r, s); all taps of a channel are in one chunk, so whole lines of dw are
//   written
//
// Chunks are blocks of outputs times blocks of channels; where those are few, also ranges of pixels, whose partial sums
// are added in their order by a second phase. A tile sums at most P products before it is added to the others, which
// also keeps the rounding error of sums over 10^5 pixels that of sums over a few hundred.
//
// Roofline: the FMA peak; both operands are packed and fetched, which costs 15 %. Reached on ResNet-50's stride-1
// layers, batch 8 (geometric mean, fraction of the FMA peak; AMD EPYC Zen 3, 2 threads of AVX2, warm buffers, a machine
// at work, three runs, two steps a turn): 0.59 to 0.61, where forward, one step a turn, reached 0.60 to 0.67.
#pragma once

// Pixels of a block: 256 * NR * 4 bytes of x are 16 KiB of L1 with AVX2.
static const int64_t BLOCK_PIXELS = 256;
// Columns of x packed at a time. All of a chunk, and they push its sums and dy out of L2; 32, and each visit of a pixel
// brings only two lines (2 and 4 % slower).
static const int64_t BLOCK_COLUMNS = 64;
// What an L2 of 512 KiB takes, more of a larger one: outputs and columns of a chunk (x is packed O / 128 times, dy
// Q / 288 times); pixels of a block of a 1x1 kernel, beside what is asked for ahead.
static inline int64_t chunk_outputs(const Blocking& b) { return b.l2 >> 12; }
static inline int64_t chunk_columns(const Blocking& b) { return 288 * (b.l2 >> 12) / 128; }
static inline int64_t point_pixels(const Blocking& b) { return least(b.l2 >> 12, BLOCK_PIXELS); }
// Ranges of pixels: of 2048 their partial sums cost 2 % of the work, of 512 up to 8 %.
static const int64_t LONG_SPLIT = 2048, SHORT_SPLIT = 512;
static const int64_t SUM_CHUNK = 8192;  // floats

struct CutDw {
  int64_t outputs, output_chunks, channels, channel_chunks, splits, pixels;  // of a chunk; pixels of a split
  int64_t P, ldx;               // pixels of a block, the stride of its rows of x
  int64_t panel, panels;        // floats of a panel of dy, of all of them
  int64_t padded_outputs, ldq;  // rows of the sums in whole tiles, their stride
  int64_t total;                // floats of dw
};

static inline int64_t dw_sums(const CutDw& c) { return c.padded_outputs * c.ldq; }
static inline int64_t dw_rows(const CutDw& c) { return c.P * c.ldx; }
static inline int64_t dw_bytes(const CutDw& c) {
  return round_up((dw_sums(c) + dw_rows(c) + c.panels) * 4 + c.padded_outputs * 8, 64);
}
static inline int64_t partial_bytes(int64_t splits, int64_t total) {
  return splits > 1 ? round_up(splits * total * 4, 64) : 0;
}

static CutDw cut_dw(int64_t G, int64_t O, int64_t C, int64_t taps, int64_t pixels, const Blocking& b) {
  const int64_t wanted = wanted_chunks(double(G) * O * C * taps * pixels);
  CutDw cut{};
  cut.output_chunks = ceil_div(O, chunk_outputs(b));
  cut.channel_chunks = ceil_div(C, most(chunk_columns(b) / taps / b.width * b.width, least(b.width, C)));
  // Too few chunks: long ranges of pixels first, then smaller blocks of outputs, then shorter ranges.
  const int64_t others = G * cut.channel_chunks;
  cut.splits = clamp(wanted / (others * cut.output_chunks), 1, most(pixels / LONG_SPLIT, 1));
  cut.output_chunks =
      clamp(wanted / (others * cut.splits), cut.output_chunks, most(O / (chunk_outputs(b) / 2), cut.output_chunks));
  cut.splits = clamp(wanted / (others * cut.output_chunks), cut.splits, most(pixels / SHORT_SPLIT, cut.splits));
  cut.outputs = ceil_div(O, cut.output_chunks);
  cut.output_chunks = ceil_div(O, cut.outputs);
  cut.channels = least(C, round_up(ceil_div(C, cut.channel_chunks), b.width));
  cut.channel_chunks = ceil_div(C, cut.channels);
  cut.pixels = ceil_div(pixels, cut.splits);
  const int64_t block = taps == 1 ? point_pixels(b) : BLOCK_PIXELS;
  cut.P = most(ceil_div(cut.pixels, most(ceil_div(cut.pixels, block), 1)), 1);
  cut.ldq = round_up(taps * cut.channels, b.nr);
  cut.ldx = odd_lines(least(cut.ldq, BLOCK_COLUMNS) + ROW_SLACK);
  cut.padded_outputs = round_up(cut.outputs, b.mr);
  cut.panel = odd_lines(cut.P * b.mr + ROW_SLACK);
  cut.panels = cut.padded_outputs / b.mr * cut.panel;
  cut.total = G * O * C * taps;
  return cut;
}

// Pixels of `tiles` neighbouring panels at a time: a line of dy is read once, and few lines are written to by turns.
// What the last vector of a pixel writes too much is written again by the next pixel, or lies behind the panel.
template <int TILES>
static void pack_tiles(const float* dy, int64_t ld, int64_t count, int64_t tiles, float* to, int64_t panel) {
  if constexpr (TILES > 1)
    if (tiles < TILES) return pack_tiles<TILES - 1>(dy, ld, count, tiles, to, panel);
  for (int64_t p = 0; p < count; p++, dy += ld, to += MR)
#pragma GCC unroll 8
    for (int j = 0; j < TILES; j++)
#pragma GCC unroll 2
      for (int i = 0; i < MR; i += WIDTH) store(to + j * panel + i, load(dy + j * MR + i));
}

// dy of `count` pixels as panels [tile][pixel][MR], `panel` floats apart; whole vectors but where they would reach
// behind the end of dy.
static void pack_dy(const float* dy, int64_t ld, int64_t count, int64_t outputs, const float* end, float* to,
                    int64_t panel) {
  const int64_t tiles = ceil_div(outputs, MR), read = (tiles - 1) * MR + round_up(MR, WIDTH), strip = 8;
  int64_t whole = count;
  while (whole > 0 && end - dy < (whole - 1) * ld + read) whole--;
  for (int64_t i = 0; i < tiles; i += strip)
    pack_tiles<strip>(dy + i * MR, ld, whole, tiles - i, to + i * panel, panel);
  for (int64_t p = whole; p < count; p++)
    for (int64_t o = 0; o < outputs; o++) to[o / MR * panel + p * MR + o % MR] = dy[p * ld + o];
}

// One chunk's operands: the input channels and outputs it covers, and its scratch.
struct JobDw {
  Map in;
  const float *dy, *end;
  int64_t ld, outputs;
  float *sums, *x, *panels;
  int64_t* rows;
};

// Columns begin .. end - 1, which x holds.
static void multiply_dw(const JobDw& job, const CutDw& cut, Tile t, const float* x, int64_t begin, int64_t end,
                        NextRows& next) {
  const int64_t tiles = job.outputs / MR, rest = job.outputs % MR;
  for (int64_t q = begin; q < end; q += NR) {
    t.a = job.panels, t.rows = job.rows;
    t.b = x + q - begin, t.c = job.sums + q, t.cols = end - q <= WIDTH ? WIDTH : NR;
    multiply<PANELS>(MR, t, {tiles, cut.panel, 1, 0, &next});
    t.a += tiles * cut.panel, t.rows += tiles * MR;
    if (rest) multiply<PANELS>(rest, t, {1, 0, 1, 0, &next});
  }
}

// What comes behind columns .. end - 1 of a block of x that is read in place: its next columns, or of the next block
// the first.
static inline NextRows next_columns(const Map& in, int64_t first, int64_t count, int64_t left, int64_t end,
                                    int64_t tiles) {
  if (!in_place(in)) return {};
  const float* x = in.x + first * in.ld;
  if (end < in.C) return next_rows(x + end, in.ld, least(BLOCK_COLUMNS, in.C - end), count, tiles);
  return next_rows(x + count * in.ld, in.ld, least(BLOCK_COLUMNS, in.C), left, tiles);
}

// Whole vectors of x need no copy where a strided row costs a tile of 16 floats a vector nothing: 1.2 times as fast as
// packed first. With 8 the rows of a block fight for L1.
static inline bool reads_in_place(const Map& in) { return STRIATE_WIDTH == 16 && in_place(in) && in.C % WIDTH == 0; }

// Sums of pixels begin .. end - 1; zeros where there are none.
static void sum_dw(const JobDw& job, const CutDw& cut, int64_t begin, int64_t end) {
  const int64_t Q = job.in.KH * job.in.KW * job.in.C, tiles = ceil_div(job.outputs, MR);
  for (int64_t o = 0; o < cut.padded_outputs; o++) job.rows[o] = o * cut.ldq;
  if (begin >= end) zero_run(job.sums, cut.padded_outputs * cut.ldq);
  const bool direct = reads_in_place(job.in);
  Tile t{};
  t.ldb = direct ? job.in.ld : cut.ldx;
  for (int64_t first = begin; first < end; first += cut.P) {
    const int64_t count = least(cut.P, end - first), next = first + count, left = least(cut.P, end - next);
    t.depth = count, t.add = first > begin;
    pack_dy(job.dy + first * job.ld, job.ld, count, job.outputs, job.end, job.panels, cut.panel);
    NextRows dy = next_rows(job.dy + next * job.ld, job.ld, job.outputs, left, ceil_div(Q, NR) * tiles);
    for (int64_t q = 0; q < Q; q += BLOCK_COLUMNS) {
      const int64_t q1 = least(q + BLOCK_COLUMNS, Q);
      const float* columns = direct ? job.in.x + first * job.in.ld + q : job.x;
      if (!direct) im2col(job.in, first, count, q, q1, job.x, cut.ldx);
      NextRows x = next_columns(job.in, first, count, left, q1, ceil_div(q1 - q, NR) * tiles);
      x.others = &dy;
      multiply_dw(job, cut, t, columns, q, q1, x);
    }
  }
}

static inline void copy_exactly(float* to, const float* from, int64_t n) {
  int64_t j = 0;
  for (; j + WIDTH <= n; j += WIDTH) store(to + j, load(from + j));
  if (j < n) store_part(to + j, load_part(from + j, n - j), n - j);
}

// A block of sums (o, r, s, c) to its place in dw (o, c, r, s), where rows are `inputs` apart.
static void write_dw(const JobDw& job, float* dw, int64_t inputs) {
  const int64_t taps = job.in.KH * job.in.KW, C = job.in.C;
  for (int64_t o = 0; o < job.outputs; o++) {
    float* to = dw + o * inputs;
    const float* from = job.sums + job.rows[o];
    if (taps > 1) copy_transposed(to, taps, from, C, taps, C);
    else copy_exactly(to, from, C);
  }
}

// The partial sums of all ranges of pixels, added in their order.
static void add_partials(const float* partial, int64_t splits, float* dw, int64_t total, Team& team) {
  for_chunks(team, ceil_div(total, SUM_CHUNK), [&](int64_t chunk) {
    const int64_t end = least((chunk + 1) * SUM_CHUNK, total);
    for (int64_t i = chunk * SUM_CHUNK; i < end; i += WIDTH) {
      const int64_t n = least(WIDTH, end - i);
      vf sum = load_part(partial + i, n);
      for (int64_t s = 1; s < splits; s++) sum += load_part(partial + s * total + i, n);
      store_part(dw + i, sum, n);
    }
  });
}

#include "depthwise_dw.h"
#include "dw_in_place.h"

static CutDw cut_dw(const Args& a, const Blocking& b) {  // parameters kernel stride padding dilation groups
  const Tensor &x = a.t[0], &dy = a.t[1];
  const int64_t G = a.i[10];
  return cut_dw(G, dy.shape[1] / G, x.shape[1] / G, a.i[0] * a.i[1], dy.shape[0] * dy.shape[2] * dy.shape[3], b);
}

static inline bool dw_in_place(const Args& a) {
  return dw_in_place(a.i[10], a.t[1].shape[1], a.t[0].shape[1], a.i[0] * a.i[1], a.i[9]);
}

static int64_t conv2d_dw_scratch(const Args& a, int threads, const Blocking& b) {
  if (is_depthwise(a.i[10], a.t[0].shape[1], a.t[1].shape[1])) return depthwise_dw_scratch(a, threads, b);
  if (dw_in_place(a))
    return dw_in_place_scratch(forward_map(a.t[0], a.t[1], a.i, a.t[0].shape[1]), a.t[1].shape[1], threads, b);
  const CutDw cut = cut_dw(a, b);
  return partial_bytes(cut.splits, cut.total) + threads * dw_bytes(cut);
}

static void conv2d_dw(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dy = a.t[1], &dw = a.t[2];
  const int64_t G = a.i[10], C = x.shape[1] / G, O = dy.shape[1] / G, pixels = rows_of(dy);
  if (is_depthwise(G, x.shape[1], dy.shape[1])) return depthwise_dw(a, team);
  const Map in = forward_map(x, dy, a.i, C);
  if (dw_in_place(a)) return dw_in_place(in, dy, dw.f32(), a.scratch, team);
  const CutDw cut = cut_dw(a, BLOCKING);
  float* partial = reinterpret_cast<float*>(a.scratch);
  float* sums =
      reinterpret_cast<float*>(a.scratch + partial_bytes(cut.splits, cut.total) + team.thread * dw_bytes(cut));
  float* block = sums + dw_sums(cut);
  float* panels = block + dw_rows(cut);
  int64_t* rows = reinterpret_cast<int64_t*>(panels + cut.panels);
  for_chunks(team, G * cut.splits * cut.output_chunks * cut.channel_chunks, [&](int64_t chunk) {
    const int64_t o = chunk % cut.output_chunks * cut.outputs, rest = chunk / cut.output_chunks;
    const int64_t c = rest % cut.channel_chunks * cut.channels, split = rest / cut.channel_chunks % cut.splits;
    const int64_t group = rest / cut.channel_chunks / cut.splits;
    JobDw job = {in,
                 dy.f32() + group * O + o,
                 dy.f32() + (pixels - 1) * dy.ld + O * G,
                 dy.ld,
                 least(cut.outputs, O - o),
                 sums,
                 block,
                 panels,
                 rows};
    job.in.x += group * C + c;
    job.in.C = least(cut.channels, C - c);
    sum_dw(job, cut, split * cut.pixels, least((split + 1) * cut.pixels, pixels));
    float* to = cut.splits > 1 ? partial + split * cut.total : dw.f32();
    write_dw(job, to + ((group * O + o) * C + c) * in.KH * in.KW, C * in.KH * in.KW);
  });
  if (cut.splits > 1) add_partials(partial, cut.splits, dw.f32(), cut.total, team);
}
