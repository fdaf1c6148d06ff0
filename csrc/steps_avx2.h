// The loops of steps.h for tiles of two of AVX2's vectors and up to 6 rows, by hand: 12 sums, two vectors of b and one
// of a, and never a register to or from the stack.
//
// GCC 12 finds these loops too while nothing else stands in their function, but a function a tile costs 75 cycles
// beside the 450 of a depth of 64; with the loop over tiles and their ends around it two sums spill. A core that shares
// its front end with another machine's thread (as those of a cloud do) decodes 18 operations in the time of a step's 12
// multiply-adds, so every other operation is paid for. Two threads of an AMD EPYC Zen 3, maps in L2, GFLOP/s by medians
// at a depth of 16, 64 and 256: compiled 89, 143, 162; by hand 136, 164, 171; multiply-adds alone 218.
#pragma once

// clang-format off: an instruction a line.
// ymm12 and ymm13 hold b. What stands beyond ROWS the assembler leaves out.
#define STRIATE_B(b) "vmovups 0+" b ", %%ymm12\n\tvmovups 32+" b ", %%ymm13\n\t"
#define STRIATE_ROW(i, a)                           \
  ".if %c[rows] > " #i "\n\t"                       \
  "vbroadcastss " a ", %%ymm14\n\t"                 \
  "vfmadd231ps %%ymm12, %%ymm14, %[s" #i "]\n\t"    \
  "vfmadd231ps %%ymm13, %%ymm14, %[t" #i "]\n\t"    \
  ".endif\n\t"
#define STRIATE_CLEAR(i)                                        \
  ".if %c[rows] > " #i "\n\t"                                   \
  "vxorps %[s" #i "], %[s" #i "], %[s" #i "]\n\t"               \
  "vxorps %[t" #i "], %[t" #i "], %[t" #i "]\n\t"               \
  ".endif\n\t"
// clang-format on
#define STRIATE_STEP(b, a0, a1, a2, a3, a4, a5) \
  STRIATE_B(b)                                  \
  STRIATE_ROW(0, a0) STRIATE_ROW(1, a1) STRIATE_ROW(2, a2) STRIATE_ROW(3, a3) STRIATE_ROW(4, a4) STRIATE_ROW(5, a5)
#define STRIATE_CLEAR_ALL \
  STRIATE_CLEAR(0) STRIATE_CLEAR(1) STRIATE_CLEAR(2) STRIATE_CLEAR(3) STRIATE_CLEAR(4) STRIATE_CLEAR(5)
#define STRIATE_SUMS                                                                                          \
  [s0] "=&x"(s[0]), [t0] "=&x"(s[1]), [s1] "=&x"(s[2]), [t1] "=&x"(s[3]), [s2] "=&x"(s[4]), [t2] "=&x"(s[5]), \
      [s3] "=&x"(s[6]), [t3] "=&x"(s[7]), [s4] "=&x"(s[8]), [t4] "=&x"(s[9]), [s5] "=&x"(s[10]), [t5] "=&x"(s[11])
#define STRIATE_CLOBBERS "memory", "cc", "xmm12", "xmm13", "xmm14"

template <int ROWS>
static inline __attribute__((always_inline)) void take_sums(const vf (&s)[12], vf (&sum)[ROWS][2]) {
#pragma GCC unroll 12
  for (int i = 0; i < 2 * ROWS; i++) sum[i / 2][i % 2] = s[i];
}

// Rows 0..2 from a, 3..5 from d = a + 3 lda.
#define STRIATE_ROWS_STEP(k)                                                                            \
  STRIATE_STEP("64*" #k "(%[b])", "4*" #k "(%[a])", "4*" #k "(%[a],%[lda])", "4*" #k "(%[a],%[lda],2)", \
               "4*" #k "(%[d])", "4*" #k "(%[d],%[lda])", "4*" #k "(%[d],%[lda],2)")

template <int ROWS>
static inline __attribute__((always_inline)) void row_sums(const float* a, int64_t lda, const float* b, Runs runs,
                                                           vf (&sum)[ROWS][2]) {
  vf s[12];
  const float* d = a + 3 * lda;
  int64_t k;
  __asm__(STRIATE_CLEAR_ALL
          "test %[runs], %[runs]\n\t"
          "jle 6f\n"
          "1:\n\t"
          "mov %[rest], %[k]\n\t"
          "test %[k], %[k]\n\t"
          "jz 3f\n"
          "2:\n\t" STRIATE_ROWS_STEP(0)
          "add $4, %[a]\n\t"
          "add $4, %[d]\n\t"
          "add $64, %[b]\n\t"
          "sub $1, %[k]\n\t"
          "jnz 2b\n"
          "3:\n\t"
          "mov %[turns], %[k]\n\t"
          "test %[k], %[k]\n\t"
          "jz 5f\n\t"
          ".p2align 5\n"
          "4:\n\t" STRIATE_ROWS_STEP(0) STRIATE_ROWS_STEP(1) STRIATE_ROWS_STEP(2) STRIATE_ROWS_STEP(3)
          "add $16, %[a]\n\t"
          "add $16, %[d]\n\t"
          "add $256, %[b]\n\t"
          "sub $1, %[k]\n\t"
          "jnz 4b\n"
          "5:\n\t"
          "add %[ja], %[a]\n\t"
          "add %[ja], %[d]\n\t"
          "add %[jb], %[b]\n\t"
          "sub $1, %[runs]\n\t"
          "jnz 1b\n"
          "6:\n\t"
          : STRIATE_SUMS, [a] "+&r"(a), [d] "+&r"(d), [b] "+&r"(b), [runs] "+&r"(runs.runs), [k] "=&r"(k)
          : [lda] "r"(4 * lda), [rest] "rm"(runs.depth % 4), [turns] "rm"(runs.depth / 4),
            [ja] "rm"(4 * (runs.a_apart - runs.depth)), [jb] "rm"(4 * (runs.b_apart - runs.depth * NR)), [rows] "i"(ROWS)
          : STRIATE_CLOBBERS);
  take_sums(s, sum);
}

// b of step 3 from d = b + 3 ldb.
#define STRIATE_COLUMNS_STEP(k, b)                                                               \
  STRIATE_STEP(b, "%c[next]*" #k "(%[a])", "%c[next]*" #k "+4(%[a])", "%c[next]*" #k "+8(%[a])", \
               "%c[next]*" #k "+12(%[a])", "%c[next]*" #k "+16(%[a])", "%c[next]*" #k "+20(%[a])")

template <int NEXT, int ROWS>
static inline __attribute__((always_inline)) void column_sums(const float* a, const float* b, int64_t ldb,
                                                              int64_t depth, vf (&sum)[ROWS][2]) {
  vf s[12];
  int64_t k = depth % 4;
  const float* d;
  __asm__(STRIATE_CLEAR_ALL
          "test %[k], %[k]\n\t"
          "jz 3f\n"
          "2:\n\t" STRIATE_COLUMNS_STEP(0, "0(%[b])")
          "add $%c[next], %[a]\n\t"
          "add %[ldb], %[b]\n\t"
          "sub $1, %[k]\n\t"
          "jnz 2b\n"
          "3:\n\t"
          "mov %[turns], %[k]\n\t"
          "lea (%[ldb],%[ldb],2), %[d]\n\t"
          "add %[b], %[d]\n\t"
          "test %[k], %[k]\n\t"
          "jz 5f\n\t"
          ".p2align 5\n"
          "4:\n\t" STRIATE_COLUMNS_STEP(0, "0(%[b])") STRIATE_COLUMNS_STEP(1, "0(%[b],%[ldb])")
          STRIATE_COLUMNS_STEP(2, "0(%[b],%[ldb],2)") STRIATE_COLUMNS_STEP(3, "0(%[d])")
          "add $4*%c[next], %[a]\n\t"
          "lea (%[b],%[ldb],4), %[b]\n\t"
          "lea (%[d],%[ldb],4), %[d]\n\t"
          "sub $1, %[k]\n\t"
          "jnz 4b\n"
          "5:\n\t"
          : STRIATE_SUMS, [a] "+&r"(a), [b] "+&r"(b), [k] "+&r"(k), [d] "=&r"(d)
          : [ldb] "r"(4 * ldb), [turns] "rm"(depth / 4), [next] "i"(4 * NEXT), [rows] "i"(ROWS)
          : STRIATE_CLOBBERS);
  take_sums(s, sum);
}

#define STRIATE_LINES_STEP(k)                                                                                        \
  STRIATE_STEP("64*" #k "(%[b])", "4*" #k "(%[a])", "4*" #k "+64(%[a])", "4*" #k "+128(%[a])", "4*" #k "+192(%[a])", \
               "4*" #k "+256(%[a])", "4*" #k "+320(%[a])")

template <bool WHOLE, int ROWS>
static inline __attribute__((always_inline)) void line_sums(const float* a, const float* b, const float* next,
                                                            int64_t depth, vf (&sum)[ROWS][2]) {
  static_assert(PREFETCHED == 3 && LINE == 16 && MR == 6, "as the loop has it");
  if constexpr (!WHOLE) return line_sums<false, ROWS, 2>(a, b, next, depth, sum);
  vf s[12];
  int64_t lines = depth / LINE, k;
  __asm__(STRIATE_CLEAR_ALL
          "test %[lines], %[lines]\n\t"
          "jz 3f\n"
          "1:\n\t"
          "prefetcht1 (%[next])\n\t"
          "prefetcht1 64(%[next])\n\t"
          "prefetcht1 128(%[next])\n\t"
          "add $192, %[next]\n\t"
          "mov $4, %[k]\n\t"
          ".p2align 5\n"
          "2:\n\t" STRIATE_LINES_STEP(0) STRIATE_LINES_STEP(1) STRIATE_LINES_STEP(2) STRIATE_LINES_STEP(3)
          "add $16, %[a]\n\t"
          "add $256, %[b]\n\t"
          "sub $1, %[k]\n\t"
          "jnz 2b\n\t"
          "add $320, %[a]\n\t"
          "sub $1, %[lines]\n\t"
          "jnz 1b\n"
          "3:\n\t"
          : STRIATE_SUMS, [a] "+&r"(a), [b] "+&r"(b), [next] "+&r"(next), [lines] "+&r"(lines), [k] "=&r"(k)
          : [rows] "i"(ROWS)
          : STRIATE_CLOBBERS);
  take_sums(s, sum);
}

#undef STRIATE_B
#undef STRIATE_ROW
#undef STRIATE_STEP
#undef STRIATE_CLEAR
#undef STRIATE_CLEAR_ALL
#undef STRIATE_SUMS
#undef STRIATE_CLOBBERS
#undef STRIATE_ROWS_STEP
#undef STRIATE_COLUMNS_STEP
#undef STRIATE_LINES_STEP
