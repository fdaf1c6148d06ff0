#include "transfer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace striate {
namespace {

constexpr int64_t CHUNK_BYTES = 1 << 16;
constexpr int64_t TILE = 64;     // along the source: four lines, enough for the prefetcher to follow every plane
constexpr int64_t LANES = 16;    // along the destination: 64 of its lines at a time stay in L1
constexpr int64_t PIECE = 4096;  // elements of a long run copied at once

struct Axis {
  int64_t size, from, to;  // strides in bytes
};

// The copy as four loops: two outer ones, then `across` (the axis along which the source runs) and `along` (the
// destination). A unit is a tile of `across` by all of `along`, or a piece of `along` where both run along it.
struct Plan {
  Axis outer[2], across, along;
  int64_t bytes;  // of an element
  bool runs;      // `along` is contiguous on both sides
  int64_t units, tiles;
};

int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// Axes of more than one element, by falling stride of the destination, neighbours joined where both sides allow.
int joined_axes(const Strided& from, const Strided& to, Axis* axes) {
  int n = 0;
  for (int32_t i = 0; i < from.rank; i++)
    if (from.shape[i] != 1) axes[n++] = {from.shape[i], from.strides[i], to.strides[i]};
  for (int i = 1; i < n; i++)
    for (int j = i; j > 0 && std::llabs(axes[j].to) > std::llabs(axes[j - 1].to); j--) std::swap(axes[j], axes[j - 1]);
  int kept = 0;
  for (int i = 0; i < n; i++) {
    Axis* last = kept ? &axes[kept - 1] : nullptr;
    const Axis& a = axes[i];
    if (last && last->from == a.size * a.from && last->to == a.size * a.to) *last = {last->size * a.size, a.from, a.to};
    else axes[kept++] = a;
  }
  return kept;
}

Plan plan_of(const Strided& from, const Strided& to) {
  const int64_t bytes = item_bytes(from.dtype);
  Axis axes[4];
  int n = joined_axes(from, to, axes);
  Plan plan{{{1, 0, 0}, {1, 0, 0}}, {1, 0, 0}, {1, bytes, bytes}, bytes, false, 0, 0};
  if (n) plan.along = axes[--n];
  plan.runs = plan.along.from == bytes && plan.along.to == bytes;
  if (n) {  // the axis with the smallest stride of the source goes across
    int best = n - 1;
    for (int i = 0; i < n; i++)
      if (std::llabs(axes[i].from) < std::llabs(axes[best].from)) best = i;
    plan.across = axes[best];
    for (int i = best; i < n - 1; i++) axes[i] = axes[i + 1];
    n--;
  }
  for (int i = 0; i < n; i++) plan.outer[i] = axes[i];
  plan.tiles = plan.runs ? plan.across.size * up(plan.along.size, PIECE) : up(plan.across.size, TILE);
  plan.units = plan.outer[0].size * plan.outer[1].size * plan.tiles;
  if (plan.along.size == 0 || plan.across.size == 0) plan.units = 0;
  return plan;
}

template <class T>
void copy_one(char* to, const char* from) {
  memcpy(to, from, sizeof(T));  // the user's array may be misaligned
}

// A few channels from as many planes, pixel by pixel.
template <class T, int C>
void copy_few(const char* from, char* to, const Plan& p, int64_t across) {
  for (int64_t i = 0; i < across; i++)
    for (int j = 0; j < C; j++)
      copy_one<T>(to + i * p.across.to + j * p.along.to, from + i * int64_t(sizeof(T)) + j * p.along.from);
}

template <class T>
void copy_tile(const char* from, char* to, const Plan& p, int64_t across) {
  const bool dense = p.across.from == int64_t(sizeof(T));
  if (dense && p.along.size == 2) return copy_few<T, 2>(from, to, p, across);
  if (dense && p.along.size == 3) return copy_few<T, 3>(from, to, p, across);
  if (dense && p.along.size == 4) return copy_few<T, 4>(from, to, p, across);
  for (int64_t lane = 0; lane < p.along.size; lane += LANES)
    for (int64_t j = lane; j < std::min(p.along.size, lane + LANES); j++) {
      const char* source = from + j * p.along.from;
      char* target = to + j * p.along.to;
      if (dense)
        for (int64_t i = 0; i < across; i++) copy_one<T>(target + i * p.across.to, source + i * int64_t(sizeof(T)));
      else
        for (int64_t i = 0; i < across; i++) copy_one<T>(target + i * p.across.to, source + i * p.across.from);
    }
}

void copy_unit(const Plan& p, const char* from, char* to, int64_t unit) {
  const int64_t outer = unit / p.tiles, tile = unit % p.tiles;
  const int64_t i0 = outer / p.outer[1].size, i1 = outer % p.outer[1].size;
  from += i0 * p.outer[0].from + i1 * p.outer[1].from;
  to += i0 * p.outer[0].to + i1 * p.outer[1].to;
  if (p.runs) {
    const int64_t pieces = up(p.along.size, PIECE), row = tile / pieces, start = tile % pieces * PIECE;
    const int64_t length = std::min(PIECE, p.along.size - start) * p.bytes;
    memcpy(to + row * p.across.to + start * p.bytes, from + row * p.across.from + start * p.bytes, size_t(length));
    return;
  }
  const int64_t start = tile * TILE, across = std::min(TILE, p.across.size - start);
  from += start * p.across.from;
  to += start * p.across.to;
  switch (p.bytes) {
    case 1: return copy_tile<uint8_t>(from, to, p, across);
    case 2: return copy_tile<uint16_t>(from, to, p, across);
    case 4: return copy_tile<uint32_t>(from, to, p, across);
    default: return copy_tile<uint64_t>(from, to, p, across);
  }
}

int64_t bytes_of(const Strided& a) {
  int64_t count = item_bytes(a.dtype);
  for (int32_t i = 0; i < a.rank; i++) count *= a.shape[i];
  return count;
}

}  // namespace

int64_t item_bytes(int32_t dtype) { return dtype == F32 ? 4 : dtype == U8 ? 1 : dtype == U16 ? 2 : 8; }

const char* dtype_name(int32_t dtype) {
  return dtype == F32 ? "float32" : dtype == U8 ? "uint8" : dtype == U16 ? "uint16" : "int64";
}

int64_t count_of(const Tensor& t) { return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3]; }

Strided as_contiguous(const Tensor& t, char* data) {
  Strided s{data, t.rank, t.dtype, {1, 1, 1, 1}, {0, 0, 0, 0}};
  int64_t stride = item_bytes(t.dtype);
  for (int32_t i = t.rank - 1; i >= 0; i--) {
    s.shape[i] = t.shape[i];
    s.strides[i] = stride;
    stride *= t.shape[i];
  }
  return s;
}

Strided as_strided(const Tensor& t) {
  Strided s = as_contiguous(t, t.data);
  const int64_t item = item_bytes(t.dtype), pixel = t.ld * item;
  if (t.ld && t.rank == 2) s.strides[0] = pixel;
  if (t.ld && t.rank == 4) {
    s.strides[1] = item;
    s.strides[3] = pixel;
    s.strides[2] = pixel * t.shape[3];
    s.strides[0] = s.strides[2] * t.shape[2];
  }
  return s;
}

void transfer(const Strided& from, const Strided& to, Team& team) {
  const Plan plan = plan_of(from, to);
  const int64_t chunks = std::min(plan.units, up(bytes_of(from), CHUNK_BYTES));
  for_chunks(team, chunks, [&](int64_t chunk) {
    const int64_t end = plan.units * (chunk + 1) / chunks;
    for (int64_t unit = plan.units * chunk / chunks; unit < end; unit++) copy_unit(plan, from.data, to.data, unit);
  });
}

bool worth_sharing(const Strided& array) { return bytes_of(array) > CHUNK_BYTES; }

void transfer_alone(const Strided& from, const Strided& to) {
  const Plan plan = plan_of(from, to);
  for (int64_t unit = 0; unit < plan.units; unit++) copy_unit(plan, from.data, to.data, unit);
}

}  // namespace striate
