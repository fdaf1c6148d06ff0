// dX of a convolution, as the loop of conv.h: dy correlated with the flipped weights, one such product for each phase
// of the stride, so that no zero is ever multiplied. What another branch sends to the same map, r, is added.
#pragma once
// clang-format off: each needs those before it.
#include "across.h"
#include "narrow_groups.h"
// clang-format on

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
    const Tensor &dy = a.t[0], &r = a.t[2], &dx = a.t[3];
    const Phase v = phase_of(phase / across, H, KH, sh, top, dh), h = phase_of(phase % across, W, KW, sw, left, dw);
    const int64_t place = v.before * KW + v.taps * h.before;
    const Map in = {dy.f32(), dy.ld,  OG, dy.shape[0], dy.shape[2], dy.shape[3], v.count,  h.count,
                    v.taps,   h.taps, 1,  1,           v.step,      h.step,      -v.begin, -h.begin};
    Job j{};
    j.in = in, j.wp = a.t[1].f32() + place * OG * NR, j.panel = KH * KW * OG * NR;
    j.depth = v.taps * h.taps * OG, j.columns = C;
    j.y = dx.f32(), j.ld = dx.ld, j.YH = H, j.YW = W;
    j.r = r.f32(), j.r_ld = r.ld;
    j.y0 = v.first, j.x0 = h.first, j.gh = sh, j.gw = sw;
    return j;
  }
  int64_t phases() const { return down * across; }
  bool narrow(const Blocking& b) const { return has_narrow_groups(G, OG * G, C * G, b.width); }
};

// The phases differ by a row and a tap at most; they are cut as the largest is.
static Cut gradient_cut(const Gradient& g, const Blocking& b) {
  const int64_t M = g.a.t[0].shape[0] * ceil_div(g.H, g.sh) * ceil_div(g.W, g.sw);
  const int64_t depth = ceil_div(g.KH, g.sh) * ceil_div(g.KW, g.sw) * g.OG;
  return cut_product(g.G * g.phases(), M, g.C, depth, g.KH * g.KW > 1, b);
}

static void groups_dx(const Gradient& g, char* scratch, Team& team) {
  float* w = reinterpret_cast<float*>(scratch);
  const int64_t C = g.C * g.G, lines = g.a.t[0].shape[0] * ceil_div(g.H, g.sh);
  const GroupLine compute_line = group_line_of(g.OG);
  spread_weights(g.a.t[1].f32(), g.KH * g.KW * g.OG, C, g.C, w, team);
  for_chunks(team, g.phases() * lines, [&](int64_t chunk) {
    const Job job = g.job(chunk / lines);
    const int64_t place = (job.wp - g.a.t[1].f32()) / NR, line = chunk % lines;
    if (line < job.in.N * job.in.OH) compute_line(job, w + place * C, C, line);
  });
}

static int64_t conv2d_dx_gemm_scratch(const Args& a, int threads, const Blocking& b) {
  const Gradient g(a);
  if (g.narrow(b)) return narrow_groups_bytes(g.C * g.G, g.KH * g.KW * g.OG);
  return threads * block_bytes(gradient_cut(g, b));
}

static void conv2d_dx_gemm(const Args& a, Team& team) {
  const Gradient g(a);
  if (g.narrow(BLOCKING)) return groups_dx(g, a.scratch, team);
  // The taps of a phase are dilation / gcd(dilation, stride) apart in dy.
  const bool adjoin = g.G == 1 && g.a.t[0].ld == g.OG && g.sw % g.dw == 0;
  if (adjoin && few_columns(g.a.t[0].shape[0], g.KH * g.KW, g.OG, g.C)) {
    const AcrossCut cut = cut_across(g.a.t[0].shape[0], g.job(0).in.OH, g.C, BLOCKING);
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
    if (job.r) job.r += group * g.C;
    conv_chunk(job, cut, rest % cut.row_chunks, panel_chunk, team.stride(), scratch);
  });
}

// ---- of a 1x1 kernel of stride 1, into a batch norm's gradient: the tensors of norm_sums.h, parameter activation

static Cut point_cut(const Args& a, const Blocking& b) {
  return cut_product(1, rows_of(a.t[0]), a.t[9].shape[1], a.t[0].shape[1], false, b);
}

static int64_t conv2d_dx_gemm_sums_scratch(const Args& a, int threads, const Blocking& b) {
  const Cut cut = point_cut(a, b);
  return threads * block_bytes(cut) + norm_gradient_bytes(a, cut.row_chunks);
}

static void conv2d_dx_gemm_sums(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &r = a.t[2], &dz = a.t[9];
  const int64_t O = dy.shape[1], H = dy.shape[2], W = dy.shape[3];
  const Cut cut = point_cut(a, BLOCKING);
  Job job{};
  job.in = {dy.f32(), dy.ld, O, dy.shape[0], H, W, H, W, 1, 1, 1, 1, 1, 1, 0, 0};
  job.wp = a.t[1].f32(), job.depth = O, job.panel = O * NR, job.columns = dz.shape[1];
  job.y = dz.f32(), job.ld = dz.ld, job.YH = H, job.YW = W, job.gh = job.gw = 1;
  job.r = r.f32(), job.r_ld = r.ld;
  job.norm = norm_gradient(a, a.i[0], a.scratch + team.threads * block_bytes(cut), team);
  char* scratch = a.scratch + team.thread * block_bytes(cut);
  for_chunks(team, cut.row_chunks * cut.panel_chunks, [&](int64_t chunk) {
    conv_chunk(job, cut, chunk / cut.panel_chunks, chunk % cut.panel_chunks, team.stride(), scratch);
  });
  finish_sums(a, job.norm, cut.row_chunks, team);
}
