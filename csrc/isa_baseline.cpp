// The kernels for any machine the compiler targets: four floats a vector (SSE2 on x86-64, NEON on aarch64).
#define STRIATE_ISA baseline
#define STRIATE_WIDTH 4
#if defined(__aarch64__)
#define STRIATE_TILE 6, 16  // 24 of 32 registers accumulate
#else
#define STRIATE_TILE 6, 8  // 12 of 16 registers accumulate
#endif
#define STRIATE_BLOCKS 96, 256, 16, 512 << 10  // as with AVX2
#include "isa.h"
