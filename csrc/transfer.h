// Copies between the user's arrays, of any strides, and tensors in the program's memory.
#pragma once
#include "kernels.h"

namespace striate {

// An array as its owner holds it: logical axes, strides in bytes (negative and zero too).
struct Strided {
  char* data;
  int32_t rank, dtype;
  int64_t shape[4], strides[4];
};

int64_t item_bytes(int32_t dtype);
const char* dtype_name(int32_t dtype);
int64_t count_of(const Tensor& t);                   // elements
Strided as_strided(const Tensor& t);                 // the logical axes of a tensor's memory
Strided as_contiguous(const Tensor& t, char* data);  // row-major over the logical axes

// Same shape and dtype on both sides; called by all threads of a team.
void transfer(const Strided& from, const Strided& to, Team& team);
void transfer_alone(const Strided& from, const Strided& to);
bool worth_sharing(const Strided& array);  // more than one chunk

}  // namespace striate
