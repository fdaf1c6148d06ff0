// The instruction sets this build holds, which of them the machine can run, and the list of kernels with their
// signatures.
#pragma once
#include <string>
#include <vector>

#include "table.h"

namespace striate {

struct Isa {
  const char* name;
  const Table* table;
  bool (*usable)();
};

struct KernelInfo {
  const char *name, *signature, *parameters;
  int32_t tensors;   // 0 where a list takes any number
  int32_t listed;    // tensors beside the list
  int64_t optional;  // bit i: tensor i may be absent
  int32_t integers, floats;
  bool takes(int64_t count) const;  // this many tensors: once, or several times over for a merged call
  bool may_miss(int64_t tensor) const { return tensors && (optional >> (tensor % tensors) & 1); }
};

const std::vector<Isa>& isas();            // all that were built, the fastest last
const Isa& isa_named(const std::string&);  // throws std::invalid_argument
const Isa& default_isa();                  // STRIATE_ISA, else the fastest usable
const std::vector<KernelInfo>& kernels();
int32_t kernel_named(const std::string&);  // index into the tables; throws std::invalid_argument

// Bytes of scratch, computed by baseline code so that it also serves a set this machine cannot run.
int64_t scratch_bytes(const Isa& isa, int32_t kernel, const Args& args, int threads);

}  // namespace striate
