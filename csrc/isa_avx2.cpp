// The kernels for x86-64 with AVX2 and FMA: eight floats a vector.
#define STRIATE_ISA avx2
#define STRIATE_WIDTH 8
#define STRIATE_TILE 6, 16  // 12 of 16 registers accumulate
#include "isa.h"
