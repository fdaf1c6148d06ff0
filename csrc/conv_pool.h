// Forward convolution and the 2x2 maximum behind it: which of two loops computes it.
#pragma once
// clang-format off: each needs those before it.
#include "conv_forward.h"
#include "across_pool.h"
#include "line_pool.h"
// clang-format on

static PoolJob pool_job(const Args& a) {
  const Tensor &x = a.t[0], &b = a.t[2], &y = a.t[3], &index = a.t[4];
  return {forward_map(x, y, a.i + 1, x.shape[1]),
          a.t[1].f32(),
          a.i[0],
          y.f32(),
          reinterpret_cast<uint8_t*>(index.data),
          y.ld,
          index.ld,
          b.f32(),
          a.i[11] == RELU};
}

static int64_t conv2d_gemm_pool_scratch(const Args& a, int threads, const Blocking& b) {
  const PoolJob job = pool_job(a);
  return lanes_are_pixels(job.in, job.columns, b.width) ? pool_lines_scratch(job.in, job.columns, threads, b) : 0;
}

static void conv2d_gemm_pool(const Args& a, Team& team) {
  const PoolJob job = pool_job(a);
  if (lanes_are_pixels(job.in, job.columns, WIDTH)) pool_lines(job, a.scratch, team);
  else pool_images(job, team);
}
