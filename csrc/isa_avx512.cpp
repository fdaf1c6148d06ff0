// The kernels for x86-64 with AVX-512 (F, BW, DQ, VL): sixteen floats a vector. Built a second time with AVX2's flags
// where STRIATE_EMULATE_WIDTH16 is asked for: the same code path, slow, testable on a machine without AVX-512.
#if defined(STRIATE_EMULATED)
#define STRIATE_ISA avx512_emulated
#else
#define STRIATE_ISA avx512
#endif
#define STRIATE_WIDTH 16
#define STRIATE_TILE 12, 32  // 24 of 32 registers accumulate
// These processors have an L2 of 1 MiB or more (Xeon since 2017, Zen 4), which feeds the register tile as fast as L1
// does: of a depth of 512, 256 columns of panels stay there while rows of x come once, and y is written line behind
// line. ResNet-50, batch 8, on a Xeon of 2023 with 2 MiB: inference took 0.94 of the time that one panel of a depth of
// 256 for all rows took. A depth of 1024 is no faster, and its sums are long: 5.5e-7 of rounding where 5e-7 is allowed.
#define STRIATE_BLOCKS 96, 512, 256, 1 << 20
#include "isa.h"
