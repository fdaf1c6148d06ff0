// Arithmetic on sizes, included inside the namespace of an instruction set as all kernel headers are.
#pragma once

static inline int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }
