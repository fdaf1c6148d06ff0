// dX of a linear layer straight from the weights (O, C) as they lie: dx = dy w, the rows of w as the depth of the
// product.
//
//                   columns of a chunk: 2 KiB of each row      for each block of 64 rows of w:
//        64 rows    [ . . | . . | . . | . . ]                    copy it into panels of NR columns, in L2
//        of w       [ . . | . . | . . | . . ]                    for each panel, in L1:
//      [ dy     ]   [ dx: images x columns, L2 ]                   for each MR images: the register tile (gemm.h)
//                                                               the next block is on its way from memory meanwhile
//
// Read where they lie, NR columns of rows whose distance is a power of two would share one set of L1. The copy costs a
// load and a store beside N multiply-adds, and never leaves L2; packing all of w first would read and write it twice.
// 4096 -> 1024 and 25088 -> 512 outputs, 16 images, one thread of an AMD EPYC Zen 3 at work: 2.8 and 11.5 ms, against
// 5.6 and 21.2 for packing and product. Loading rows of w into registers and adding to all images' sums in L1
// was slower still: w came with the latency of memory.
#pragma once

static const int64_t DX_ROWS = 64, DX_COLUMNS = 512, DX_LEAST_COLUMNS = 128;
static const int64_t DX_SUMS = 32768;  // floats of a chunk's dx: 128 KiB of L2, beside as much of w

struct LinearDxCut {
  int64_t columns, chunks;
};

static LinearDxCut cut_linear_dx(int64_t N, int64_t O, int64_t C, const Blocking& b) {
  const int64_t fit = clamp(DX_SUMS / most(N, 1), DX_LEAST_COLUMNS, DX_COLUMNS);
  const int64_t wanted = clamp(wanted_chunks(double(N) * O * C), 1, ceil_div(C, DX_LEAST_COLUMNS));
  LinearDxCut cut{round_up(ceil_div(C, most(ceil_div(C, fit), wanted)), b.nr), 0};
  cut.chunks = ceil_div(C, cut.columns);
  return cut;
}

static const int64_t DX_LDA = DX_ROWS + ROW_SLACK;  // of dy's block: rows off one another's L1 sets

static inline int64_t linear_dx_floats(const LinearDxCut& cut, int64_t N) {
  return N * (cut.columns + DX_LDA) + DX_ROWS * cut.columns;
}
static inline int64_t linear_dx_bytes(const LinearDxCut& cut, int64_t N) {
  return round_up(linear_dx_floats(cut, N) * 4 + N * 8, 64);
}

// `rows` rows of w, `columns` of each, as panels (panel, row, NR).
static void copy_panels(const float* w, int64_t ld, int64_t rows, int64_t columns, float* to) {
  for (int64_t o = 0; o < rows; o++)
    for (int64_t c = 0; c < columns; c += NR) copy_padded(to + (c / NR * rows + o) * NR, w + o * ld + c, columns - c);
}

// The depth of one block: `rows` outputs, whose dy is at t.a.
static void multiply_dx(Tile t, const float* panels, float* sums, int64_t N, int64_t columns, const int64_t* places,
                        NextRows next) {
  const float* a = t.a;
  for (int64_t c = 0; c < columns; c += NR, panels += t.depth * NR) {
    t.a = a, t.b = panels, t.c = sums + c, t.rows = places, t.cols = NR;
    multiply_panels(t, N, 1, 0, &next);
  }
}

static LinearDxCut cut_linear_dx(const Args& a, const Blocking& b) {
  return cut_linear_dx(a.t[0].shape[0], a.t[1].shape[0], a.t[1].shape[1], b);
}

static int64_t linear_dx_rows_scratch(const Args& a, int threads, const Blocking& b) {
  return threads * linear_dx_bytes(cut_linear_dx(a, b), a.t[0].shape[0]);
}

static void linear_dx_rows(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &w = a.t[1], &dx = a.t[2];
  const int64_t N = dy.shape[0], O = w.shape[0], C = w.shape[1];
  const LinearDxCut cut = cut_linear_dx(a, BLOCKING);
  float* sums = reinterpret_cast<float*>(a.scratch + team.thread * linear_dx_bytes(cut, N));
  float *panels = sums + N * cut.columns, *block = panels + DX_ROWS * cut.columns;
  int64_t* places = reinterpret_cast<int64_t*>(block + N * DX_LDA);
  const auto fill = [&] {
    for (int64_t n = 0; n < N; n++) places[n] = n * cut.columns;
  };
  Tile t{};
  t.a = block, t.lda = DX_LDA, t.runs = 1;
  for_chunks(team, N ? cut.chunks : 0, fill, [&](int64_t chunk) {
    const int64_t c = chunk * cut.columns, columns = least(cut.columns, C - c);
    for (int64_t o = 0; o < O; o += DX_ROWS) {
      const int64_t rows = least(DX_ROWS, O - o), next = least(DX_ROWS, O - o - rows);
      const float* from = w.f32() + o * C + c;
      copy_panels(from, C, rows, columns, panels);
      for (int64_t n = 0; n < N; n++) copy_run(block + n * DX_LDA, dy.f32() + n * dy.ld + o, rows);
      t.depth = rows, t.add = o > 0;
      const int64_t tiles = ceil_div(columns, NR) * ceil_div(N, MR);
      multiply_dx(t, panels, sums, N, columns, places, next_rows(from + rows * C, C, columns, next, tiles));
    }
    for (int64_t n = 0; n < N; n++) copy_exactly(dx.f32() + n * dx.ld + c, sums + n * cut.columns, columns);
  });
}
