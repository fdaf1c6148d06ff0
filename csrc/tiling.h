// A map seen as tiles of M x M pixels, in the order of its pixels, and what such tiles will soon meet in memory.
#pragma once
#include "lanes.h"

struct Place {
  int64_t image, down, across;  // of a tile
};

struct Tiling {
  int64_t N, OH, OW, M, down, across;  // tiles of an image
  Tiling(int64_t images, int64_t height, int64_t width, int64_t m)
      : N(images), OH(height), OW(width), M(m), down(ceil_div(height, m)), across(ceil_div(width, m)) {}
  int64_t tiles() const { return N * down * across; }
  Place at(int64_t tile) const { return {tile / across / down, tile / across % down, tile % across}; }
  void next(Place& p) const {
    if (++p.across < across) return;
    p.across = 0;
    if (++p.down == down) p.down = 0, p.image++;
  }
  // Outputs of the tiles before this one.
  int64_t pixels_before(int64_t tile) const {
    const Place p = at(tile);
    const int64_t row = p.down * M;
    return (p.image * OH + row) * OW + p.across * M * least(M, OH - row);
  }
};

// Asks, pixel by pixel, for the lines of maps where `side` x `side` pixels lie under each of some tiles. Loads and
// stores that come in bursts wait for memory: a few tens of lines can be under way. Asked for evenly while a core
// multiplies what its caches hold, they wait in its L2. (gemm.h's NextRows does so for the rows of a matrix.)
class Ahead {
  struct Lines {
    const float* first;  // the first channel, of pixel 0
    int64_t ld, channels;
  };
  const Tiling* tiling;
  int64_t H, W, side, tile, end;
  Lines maps[4];                                           // at most: an output, its residual, a norm's x and y
  int64_t count = 0, each = 0;                             // maps; pixels to ask for at a time
  int64_t run = 0, row = 0, rows = 0, top = 0, width = 0;  // tiles side by side: their rows, first pixel, pixels a row
  int64_t pixel = 0, left = 0;                             // the next one, of so many in its row

  // Tiles that reach over the map's end have fewer rows and columns there, or none.
  bool next_row() {
    while (++row >= rows) {
      tile += run;
      if (tile >= end) return false;
      const Place p = tiling->at(tile);
      run = least(end - tile, tiling->across - p.across), width = least(run * side, W - p.across * side);
      row = -1, rows = width > 0 ? least(side, H - p.down * side) : 0;
      top = (p.image * H + p.down * side) * W + p.across * side;
    }
    pixel = top + row * W, left = width;
    return true;
  }

 public:
  // Of maps of H x W pixels, `tiles` tiles from `first` on, as far as there are any.
  Ahead(const Tiling& t, int64_t map_height, int64_t map_width, int64_t tile_side, int64_t first, int64_t tiles)
      : tiling(&t), H(map_height), W(map_width), side(tile_side), tile(clamp(first, 0, t.tiles())),
        end(clamp(first + tiles, tile, t.tiles())) {}

  void add(const float* map, int64_t ld, int64_t channels) { maps[count++] = {map, ld, channels}; }

  // All of them within `times` calls of ask().
  void spread(int64_t times) { each = ceil_div((end - tile) * side * side, most(times, 1)); }

  // (GCC drops a call of what does nothing but ask.)
  inline __attribute__((always_inline)) void ask() {
    for (int64_t n = each; n > 0; n--, pixel++, left--) {
      if (left == 0 && !next_row()) return;
      for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < maps[i].channels; c += LINE)
          __builtin_prefetch(maps[i].first + pixel * maps[i].ld + c, 0, 2);
    }
  }
};
