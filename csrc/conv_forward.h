// Forward convolution: the loop of conv.h, or where it suits better those of across.h and narrow_groups.h. The residual
// and the moments of y are taken along.
#pragma once
// clang-format off: each needs those before it.
#include "across.h"
#include "narrow_groups.h"
// clang-format on

static Map forward_map(const Tensor& x, const Tensor& y, const int64_t* kernel,
                       int64_t C) {  // kernel stride padding dilation
  return {x.f32(),   x.ld,      C,         x.shape[0], x.shape[2], x.shape[3], y.shape[2], y.shape[3],
          kernel[0], kernel[1], kernel[2], kernel[3],  kernel[8],  kernel[9],  kernel[4],  kernel[6]};
}

// Everything about a conv2d_gemm: parameters out_channels, kernel, stride, padding, dilation, groups, activation,
// moments. The scratch of its threads or of all comes first, then the chunks' moments.
struct Forward {
  const Args& a;
  int64_t O, G, C, taps;  // C is of one group
  Map in;
  explicit Forward(const Args& args)
      : a(args), O(a.i[0]), G(a.i[11]), C(a.t[0].shape[1] / G), taps(a.i[1] * a.i[2]),
        in(forward_map(a.t[0], a.t[4], a.i + 1, C)) {}
  int64_t pixels() const { return in.N * in.OH * in.OW; }
  bool narrow(const Blocking& b) const { return has_narrow_groups(G, C * G, O, b.width); }
  bool few() const { return G == 1 && few_columns(in.N, taps, C, O); }
  bool across() const { return few() && taps_adjoin(in); }
  Cut cut(const Blocking& b) const { return cut_product(G, pixels(), O / G, taps * C, !in_place(in), b); }
  AcrossCut cut_lines(const Blocking& b) const { return cut_across(in.N, in.OH, O, b); }
  // Scratch: the threads' own, then the moments of chunks. By the shapes alone: x has no pitch yet when the planner
  // asks.
  int64_t work_bytes(int threads, const Blocking& b) const {
    return narrow(b) ? narrow_groups_bytes(O, taps * C) : threads * block_bytes(cut(b));
  }
  int64_t chunks_at_most(const Blocking& b) const {
    return narrow(b) ? line_chunks(in.N * in.OH) : most(cut(b).row_chunks, few() ? cut_lines(b).chunks() : 0);
  }

  Job job(const ConvMoments& moments) const {
    const Tensor &b = a.t[2], &r = a.t[3], &y = a.t[4];
    Job j{};
    j.in = in, j.wp = a.t[1].f32(), j.depth = taps * C, j.panel = j.depth * NR, j.columns = O / G;
    j.y = y.f32(), j.ld = y.ld, j.YH = in.OH, j.YW = in.OW, j.gh = 1, j.gw = 1;
    j.bias = b.f32(), j.activation = a.i[12], j.r = r.f32(), j.r_ld = r.ld, j.moments = moments;
    return j;
  }
  Job group(Job j, int64_t g) const {
    j.in.x += g * C, j.wp += g * ceil_div(j.columns, NR) * j.panel, j.y += g * j.columns, j.channel = g * j.columns;
    if (j.bias) j.bias += g * j.columns;
    if (j.r) j.r += g * j.columns;
    return j;
  }
};

static int64_t conv2d_gemm_scratch(const Args& a, int threads, const Blocking& b) {
  const Forward f(a);
  return f.work_bytes(threads, b) + conv_moments_bytes(a.i[13], f.chunks_at_most(b), f.O);
}

static void multiply_lines(const Forward& f, const Job& job, Team& team) {
  const AcrossCut cut = f.cut_lines(BLOCKING);
  for_chunks(team, cut.chunks(), [&](int64_t chunk) { across_chunk(job, cut, chunk); });
  if (job.moments)
    finish_moments(job.moments, cut.chunks(), [&](int64_t chunk) { return cut.pixels(chunk, f.in); }, f.a.t + 5, team);
}

static void multiply_blocks(const Forward& f, const Job& whole, Team& team) {
  const Cut cut = f.cut(BLOCKING);
  char* scratch = f.a.scratch + team.thread * block_bytes(cut);
  for_chunks(team, f.G * cut.row_chunks * cut.panel_chunks, [&](int64_t chunk) {
    const int64_t panel_chunk = chunk % cut.panel_chunks, rest = chunk / cut.panel_chunks;
    conv_chunk(f.group(whole, rest / cut.row_chunks), cut, rest % cut.row_chunks, panel_chunk, team.stride(), scratch);
  });
  const auto rows = [&](int64_t chunk) { return least(f.pixels() - chunk * cut.chunk_rows, cut.chunk_rows); };
  if (whole.moments) finish_moments(whole.moments, cut.row_chunks, rows, f.a.t + 5, team);
}

static void conv2d_gemm(const Args& a, Team& team) {
  const Forward f(a);
  char* behind = a.scratch + f.work_bytes(team.threads, BLOCKING);
  const Job job = f.job({reinterpret_cast<double*>(behind), a.i[13] ? f.O : 0});
  if (f.narrow(BLOCKING)) multiply_groups(job, f.O, a.scratch, a.t + 5, team);
  else if (f.across()) multiply_lines(f, job, team);
  else multiply_blocks(f, job, team);
}
