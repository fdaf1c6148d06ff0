// What one instruction set brings: its tables follow the order of kernels.inc.
#pragma once
#include "kernels.h"

namespace striate {

struct Table {
  Blocking blocking;
  const KernelFn* functions;
  const ScratchFn* scratch;
  float (*fma_peak)(int64_t rounds);  // FMA_CHAINS vectors of multiply-adds a round
};
constexpr int64_t FMA_CHAINS = 12;

}  // namespace striate
