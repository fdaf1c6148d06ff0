// The body of every isa_*.cpp: all kernels, compiled for one instruction set inside a namespace of its own. Nothing in
// it may be shared with another instruction set by the linker, so kernels use no standard-library templates, and the
// system's headers come before the namespace.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "table.h"

namespace striate::STRIATE_ISA {
namespace {

constexpr Blocking BLOCKING = {STRIATE_WIDTH, STRIATE_TILE, STRIATE_BLOCKS};

// clang-format off: each needs those before it.
#include "vec.h"
#include "math.h"
#include "gemm.h"
#include "conv.h"
#include "conv_forward.h"
#include "conv_dx.h"
#include "conv_pool.h"
#include "conv_dw.h"
#include "conv_pool_dw.h"
#include "conv_pool_dx.h"
#include "winograd_dw.h"
#include "elementwise.h"
#include "activation.h"
#include "broadcast.h"
#include "sum_to.h"
#include "pool.h"
#include "pool_grad.h"
#include "lp_pool.h"
#include "adaptive_pool.h"
#include "winograd_filters.h"
#include "winograd.h"
#include "norm.h"
#include "norm_act.h"
#include "response_norm.h"
#include "loss.h"
#include "shape.h"
#include "random.h"
#include "optim.h"
#include "linear.h"
#include "linear_dx.h"
#include "linear_dw.h"
#include "rbf.h"
#include "scratch_other.h"
#include "peak.h"
// clang-format on

int64_t no_scratch(const Args&, int, const Blocking&) { return 0; }

constexpr KernelFn FUNCTIONS[] = {
#define KERNEL(name, signature, parameters, scratch) name,
#include "kernels.inc"
#undef KERNEL
};

constexpr ScratchFn SCRATCH[] = {
#define KERNEL(name, signature, parameters, scratch) scratch,
#include "kernels.inc"
#undef KERNEL
};

}  // namespace

extern const Table TABLE;
constexpr Table TABLE = {BLOCKING, FUNCTIONS, SCRATCH, fma_peak};

}  // namespace striate::STRIATE_ISA
