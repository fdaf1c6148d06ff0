// The kernels for x86-64 with AVX-512 (F, BW, DQ, VL): sixteen floats a vector. Built a second time with AVX2's flags
// where STRIATE_EMULATE_WIDTH16 is asked for: the same code path, slow, testable on a machine without AVX-512.
#if defined(STRIATE_EMULATED)
#define STRIATE_ISA avx512_emulated
#else
#define STRIATE_ISA avx512
#endif
#define STRIATE_WIDTH 16
#define STRIATE_TILE 12, 32  // 24 of 32 registers accumulate
#include "isa.h"
