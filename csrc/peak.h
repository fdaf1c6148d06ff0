// What one thread can multiply and add: independent chains of whole-vector FMAs, nothing loaded or stored. Twelve
// chains cover two pipes of latency 4 and leave registers for the factors.
static float fma_peak(int64_t rounds) {
  vf x[FMA_CHAINS];
  const vf a = set1(0.999f), b = set1(1e-3f);
  for (int64_t i = 0; i < FMA_CHAINS; i++) x[i] = set1(float(i));
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int64_t i = 0; i < FMA_CHAINS; i++) x[i] = x[i] * a + b;
  }
  vf sum = x[0];
  for (int64_t i = 1; i < FMA_CHAINS; i++) sum += x[i];
  float lanes[WIDTH];
  store(lanes, sum);
  return lanes[0];
}
