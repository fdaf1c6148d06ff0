// A convolution and the 2x2 maximum behind it, without overlap, as across_pool.h and line_pool.h compute it.
#pragma once
#include "pool.h"

static const int64_t WINDOW = 4;  // pixels

// What there is to do, and where results go.
struct PoolJob {
  Map in;  // OH, OW of y
  const float* wp;
  int64_t columns;
  float* y;
  uint8_t* index;  // or nullptr
  int64_t ld, index_ld;
  const float* bias;
  bool relu;
};
