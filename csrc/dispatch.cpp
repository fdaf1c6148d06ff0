#include "dispatch.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace striate {

namespace baseline {
extern const Table TABLE;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Table TABLE;
}
namespace avx512 {
extern const Table TABLE;
}
#if defined(STRIATE_EMULATE_WIDTH16)
namespace avx512_emulated {
extern const Table TABLE;
}
#endif
#endif

namespace {

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

KernelInfo parse(const char* name, const char* signature, const char* parameters) {
  KernelInfo info{name, signature, parameters, 0, 0, 0, 0, 0};
  bool list = false;
  std::istringstream tensors(signature);
  for (std::string word; tensors >> word;) {
    if (word == "->") continue;
    if (word.back() == '*') list = true;
    else info.listed++;
    if (word.back() == '?') info.optional |= int64_t(1) << info.tensors;
    info.tensors++;
  }
  if (list) info.tensors = 0;
  std::istringstream numbers(parameters);
  for (std::string word; numbers >> word;) {
    const std::string count = word.substr(word.find(':') + 1);
    if (count == "f") info.floats++;
    else info.integers += std::atoi(count.c_str());
  }
  return info;
}

std::string names_of(const std::vector<Isa>& list) {
  std::string names;
  for (const Isa& isa : list)
    if (isa.usable()) names += (names.empty() ? "" : ", ") + std::string(isa.name);
  return names;
}

}  // namespace

bool KernelInfo::takes(int64_t count) const {
  return tensors ? count >= tensors && count % tensors == 0 : count > listed;
}

const std::vector<Isa>& isas() {
  static const std::vector<Isa> list = {
      {"baseline", &baseline::TABLE, always},
#if defined(__x86_64__)
#if defined(STRIATE_EMULATE_WIDTH16)
      {"avx512_emulated", &avx512_emulated::TABLE, has_avx2},
#endif
      {"avx2", &avx2::TABLE, has_avx2},
      {"avx512", &avx512::TABLE, has_avx512},
#endif
  };
  return list;
}

const Isa& isa_named(const std::string& name) {
  for (const Isa& isa : isas())
    if (name == isa.name) return isa;
  throw std::invalid_argument("isa: no instruction set named '" + name + "'; this machine runs " + names_of(isas()));
}

const Isa& default_isa() {
  const char* asked = std::getenv("STRIATE_ISA");
  if (asked && *asked) {
    const Isa& isa = isa_named(asked);
    if (isa.usable()) return isa;
    throw std::invalid_argument(std::string("isa: STRIATE_ISA is '") + asked +
                                "', which this machine cannot run; it runs " + names_of(isas()));
  }
  const Isa* best = &isas().front();
  for (const Isa& isa : isas())
    if (isa.usable()) best = &isa;
  return *best;
}

const std::vector<KernelInfo>& kernels() {
  static const std::vector<KernelInfo> list = {
#define KERNEL(name, signature, parameters, scratch) parse(#name, signature, parameters),
#include "kernels.inc"
#undef KERNEL
  };
  return list;
}

int32_t kernel_named(const std::string& name) {
  const std::vector<KernelInfo>& list = kernels();
  for (size_t i = 0; i < list.size(); i++)
    if (name == list[i].name) return int32_t(i);
  throw std::invalid_argument("kernels: no kernel named '" + name + "'");
}

int64_t scratch_bytes(const Isa& isa, int32_t kernel, const Args& args, int threads) {
  return baseline::TABLE.scratch[kernel](args, threads, isa.table->blocking);
}

}  // namespace striate
