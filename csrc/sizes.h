// Arithmetic on sizes, included inside the namespace of an instruction set as all kernel headers are.
#pragma once

static inline int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

// Floats of a cache line, and at least so many as an odd number of lines: what lies that far apart falls into different
// sets of L1.
static const int LINE = 16;
static inline int64_t odd_lines(int64_t floats) { return (ceil_div(floats, LINE) | 1) * LINE; }
