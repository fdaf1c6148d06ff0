// A linear layer's dW and its update in one pass: the gradient exists in L1 only, a register tile at a time. What
// remains for memory is reading and writing w and the optimiser's slots; a gradient of its own would be written, read
// and kept too.
//
//            x: N images x some columns        for each strip of MR outputs:
//            [ . . . . . . . . . . . . . ]       MR x NR at a time: sums over the images (gemm.h), while w and slots
//   dy:  . . [ tile of dw, L1 ] . . . . ]        of the tile are on their way
//   N x MR                                       w, slots: updated tile by tile
//
// The bits are those of conv2d_dw and the update behind it: the same ranges of images in the same order (cut_dw), the
// same formula (optim.h).
//
// Roofline: the memory's, 16 bytes a weight with momentum, which is 33 ms for VGG-16's 25088 -> 4096 where reading and
// writing two streams reaches 49 GB/s (2 threads, AMD EPYC Zen 3). Reached there with 16 images, on a machine at work:
// 73 ms (23 GB/s), against 108 for conv2d_dw and sgd.
#pragma once
#include "optim.h"

// Outputs of a chunk: its columns of x are packed once for so many. Floats of x that stay in L2, and columns for few
// images: runs of 8 KiB in each row of w, which the hardware sees coming (2 KiB took 1.3 times as long while rows were
// updated whole).
static const int64_t UPDATE_OUTPUTS = 96, UPDATE_IMAGES = 65536, UPDATE_COLUMNS = 2048, UPDATE_LEAST_COLUMNS = 64;

struct UpdateCut {
  CutDw sums;  // of conv2d_dw: ranges and blocks of images
  int64_t columns, column_chunks, output_chunks;
  int64_t panel;  // floats of a panel of dy
};

static UpdateCut cut_update(int64_t N, int64_t O, int64_t C, const Blocking& b) {
  UpdateCut cut{};
  cut.sums = cut_dw(1, O, C, 1, N, b);
  const int64_t fit = clamp(UPDATE_IMAGES / most(N, 1), UPDATE_LEAST_COLUMNS, UPDATE_COLUMNS);
  cut.column_chunks = ceil_div(C, fit);
  cut.columns = round_up(ceil_div(C, cut.column_chunks), b.nr);
  cut.column_chunks = ceil_div(C, cut.columns);
  cut.output_chunks = ceil_div(O, UPDATE_OUTPUTS);
  cut.panel = odd_lines(N * b.mr + ROW_SLACK);
  return cut;
}

// A thread's scratch: x and dy as panels.
static inline int64_t update_bytes(const UpdateCut& cut, int64_t N, const Blocking& b) {
  return round_up((N * cut.columns + ceil_div(UPDATE_OUTPUTS, b.mr) * cut.panel) * 4, 64);
}

// The outputs of one register tile.
struct DwStrip {
  const float *x, *dy;  // x (column / NR, image, NR); dy (image, MR)
  int64_t images, outputs, columns;
};

// Sums over images begin .. end - 1 for the columns from c on, in blocks of P, into rows of NR.
static void sum_columns(const DwStrip& s, int64_t P, int64_t c, int64_t begin, int64_t end, float* to,
                        const int64_t* rows) {
  Tile t{};
  t.ldb = NR, t.c = to, t.rows = rows, t.cols = s.columns - c > WIDTH ? NR : WIDTH;
  for (int64_t n = begin; n < end; n += P) {
    t.depth = least(P, end - n), t.add = n > begin;
    t.a = s.dy + n * MR, t.b = s.x + c * s.images + n * NR;
    multiply<PANELS>(s.outputs, t);
  }
}

// w and slots of the strip, from element `at` on in rows of C.
template <class Optimiser>
static void update_strip(const DwStrip& s, const CutDw& cut, int64_t at, int64_t C, const int64_t* rows,
                         const Optimiser& optimiser) {
  alignas(64) float dw[MR * NR] = {}, part[MR * NR] = {};
  for (int64_t c = 0; c < s.columns; c += NR) {
    for (int64_t o = 0; o < s.outputs; o++) optimiser.fetch(at + o * C + c);
    sum_columns(s, cut.P, c, 0, least(cut.pixels, s.images), dw, rows);
    for (int64_t n = cut.pixels; n < s.images; n += cut.pixels) {
      sum_columns(s, cut.P, c, n, least(n + cut.pixels, s.images), part, rows);
      for (int64_t i = 0; i < s.outputs * NR; i += WIDTH) store(dw + i, load(dw + i) + load(part + i));
    }
    for (int64_t o = 0; o < s.outputs; o++) optimiser.update(at + o * C + c, least(NR, s.columns - c), dw + o * NR);
  }
}

template <class Optimiser>
static void linear_dw_update(const Tensor& x, const Tensor& dy, char* scratch, Team& team, const Optimiser& optimiser) {
  const int64_t N = x.shape[0], C = x.shape[1], O = dy.shape[1];
  const UpdateCut cut = cut_update(N, O, C, BLOCKING);
  const float* end = N ? dy.f32() + (N - 1) * dy.ld + O : nullptr;
  float* block = reinterpret_cast<float*>(scratch + team.thread * update_bytes(cut, N, BLOCKING));
  float* panels = block + N * cut.columns;
  int64_t rows[MR];
  DwStrip s{};
  for (int64_t o = 0; o < MR; o++) rows[o] = o * NR;
  s.x = block, s.images = N;
  for_chunks(team, cut.output_chunks * cut.column_chunks, [&](int64_t chunk) {
    const int64_t o = chunk / cut.column_chunks * UPDATE_OUTPUTS, c = chunk % cut.column_chunks * cut.columns;
    const int64_t outputs = least(UPDATE_OUTPUTS, O - o);
    s.columns = least(cut.columns, C - c);
    copy_panels(x.f32() + c, x.ld, N, s.columns, block);
    if (N) pack_dy(dy.f32() + o, dy.ld, N, outputs, end, panels, cut.panel);
    for (int64_t i = 0; i < outputs; i += MR) {
      s.dy = panels + i / MR * cut.panel, s.outputs = least(MR, outputs - i);
      update_strip(s, cut.sums, (o + i) * C + c, C, rows, optimiser);
    }
  });
}

static int64_t linear_dw_update_scratch(const Args& a, int threads, const Blocking& b) {
  const int64_t N = a.t[0].shape[0];
  return threads * update_bytes(cut_update(N, a.t[1].shape[1], a.t[0].shape[1], b), N, b);
}

static void linear_dw_sgd(const Args& a, Team& team) {
  linear_dw_update(a.t[0], a.t[1], a.scratch, team, Sgd(a, a.t[2], a.t[3], a.t[4], a.t[5], a.t[6]));
}

static void linear_dw_adam(const Args& a, Team& team) {
  linear_dw_update(a.t[0], a.t[1], a.scratch, team, Adam(a, a.t + 2, a.t + 7));
}
