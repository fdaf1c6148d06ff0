// The checks a program passes once, when it is built: after them no call can leave its blocks.
#include <stdexcept>

#include "program.h"

namespace striate {

void check_signature(const KernelInfo& info, const Tensor* tensors, int64_t count, int64_t integers, int64_t floats,
                     const std::string& who) {
  if (!info.takes(count))
    throw std::invalid_argument(who + ": needs the tensors '" + info.signature + "', got " + std::to_string(count));
  for (int64_t i = 0; i < count; i++)
    if (!tensors[i] && !info.may_miss(i))
      throw std::invalid_argument(who + ": tensor " + std::to_string(i) + " of '" + info.signature + "' is missing");
  if (integers != info.integers || floats != info.floats)
    throw std::invalid_argument(who + ": needs the parameters '" + info.parameters + "', got " +
                                std::to_string(integers) + " integers and " + std::to_string(floats) + " floats");
}

int64_t tensor_bytes(const Tensor& t, const std::string& who) {
  if (t.rank < 0 || t.rank > 4 || t.dtype < F32 || t.dtype > I64)
    throw std::invalid_argument(who + ": rank must be 0 to 4 and dtype 0 to 3, got " + std::to_string(t.rank) +
                                " and " + std::to_string(t.dtype));
  int64_t count = 1;
  bool fits = true, empty = false;
  for (int64_t size : t.shape) {
    if (size < 0) throw std::invalid_argument(who + ": sizes must not be negative, got " + std::to_string(size));
    empty = empty || size == 0;
    fits = fits && !__builtin_mul_overflow(count, size ? size : 1, &count);
  }
  const bool strided = t.ld != 0 && (t.rank == 2 || t.rank == 4);
  if (t.ld < 0 || (strided && t.ld < cols_of(t)))
    throw std::invalid_argument(who + ": the stride between rows must be at least " + std::to_string(cols_of(t)) +
                                ", got " + std::to_string(t.ld));
  if (empty) return 0;
  if (strided && fits) {
    fits = !__builtin_mul_overflow(rows_of(t) - 1, t.ld, &count);
    fits = fits && !__builtin_add_overflow(count, cols_of(t), &count);
  }
  if (!fits || __builtin_mul_overflow(count, item_bytes(t.dtype), &count))
    throw std::invalid_argument(who + ": the tensor is larger than memory can be");
  return count;
}

namespace {

void check_range(const std::vector<int64_t>& blocks, int32_t block, int64_t offset, int64_t bytes, int64_t align,
                 const std::string& who) {
  if (block < 0 || size_t(block) >= blocks.size())
    throw std::invalid_argument(who + ": there are " + std::to_string(blocks.size()) + " blocks, got block " +
                                std::to_string(block));
  if (offset < 0 || bytes < 0 || offset > blocks[block] || bytes > blocks[block] - offset)
    throw std::invalid_argument(who + ": must lie within block " + std::to_string(block) + " of " +
                                std::to_string(blocks[block]) + " bytes, got " + std::to_string(bytes) +
                                " bytes at offset " + std::to_string(offset));
  if (offset % align)
    throw std::invalid_argument(who + ": the offset must be a multiple of " + std::to_string(align) + ", got " +
                                std::to_string(offset));
}

}  // namespace

void check_placed(const std::vector<int64_t>& blocks, const Placed& placed, const std::string& who) {
  const int64_t bytes = tensor_bytes(placed.tensor, who);
  check_range(blocks, placed.block, placed.offset, bytes, item_bytes(placed.tensor.dtype), who);
}

void check_call(const std::vector<int64_t>& blocks, const CallSpec& spec, const Isa& isa, int32_t threads,
                const std::string& who) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < spec.tensors.size(); i++) {
    const Placed& placed = spec.tensors[i];
    tensors.push_back(placed.tensor);
    tensors.back().data = nullptr;
    if (placed.block < 0) continue;
    check_placed(blocks, placed, who + ": tensor " + std::to_string(i));
    tensors.back().data = reinterpret_cast<char*>(64);  // scratch functions only ask whether it is there
  }
  if (spec.callback) {
    const int64_t inputs = spec.integers.empty() ? -1 : spec.integers[0];
    if (inputs < 0 || inputs > int64_t(tensors.size()))
      throw std::invalid_argument(who + ": needs the number of inputs as its integer");
    for (const Tensor& tensor : tensors)
      if (!tensor) throw std::invalid_argument(who + ": no tensor of a callback may be missing");
    return;
  }
  const int32_t kernel = kernel_named(spec.kernel);
  check_signature(kernels()[kernel], tensors.data(), int64_t(tensors.size()), int64_t(spec.integers.size()),
                  int64_t(spec.floats.size()), who);
  const Args args{tensors.data(), spec.integers.data(), spec.floats.data(), nullptr, int32_t(tensors.size())};
  const int64_t needed = scratch_bytes(isa, kernel, args, threads);
  if (needed > spec.scratch_bytes)
    throw std::invalid_argument(who + ": needs " + std::to_string(needed) + " bytes of scratch, got " +
                                std::to_string(spec.scratch_bytes));
  if (needed || spec.scratch_bytes)
    check_range(blocks, spec.scratch_block, spec.scratch_offset, spec.scratch_bytes, 64, who + ": scratch");
}

}  // namespace striate
