// Barriers in memory, copies of tiles, and fences between them and threads.
#include "test/emulator/Machine.h"

#include <algorithm>

using namespace vernier::emulator;

namespace {
/// What lies in the 64 bits of an mbarrier: arrivals to come in this phase and in each, bytes to come, and which phase.
struct BarrierState {
  int64_t pending, expected, bytes;
  bool phase;

  static BarrierState of(const char *at) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    return {int64_t(word & 0xfffff), int64_t(word >> 20 & 0xfffff), int64_t(word << 1) >> 41, bool(word >> 63)};
  }
  void keep(char *at) const {
    uint64_t word = uint64_t(pending) | uint64_t(expected) << 20 | (uint64_t(bytes) & 0x7fffff) << 40 | uint64_t(phase) << 63;
    std::memcpy(at, &word, 8);
  }
};

void change(Cluster &cluster, char *at, int64_t arrivals, int64_t bytes) {
  BarrierState state = BarrierState::of(at);
  if (!state.expected)
    throw Failure("an mbarrier is used that was not initialised");
  if (state.pending < arrivals)
    throw Failure("more arrivals at an mbarrier than the " + std::to_string(state.expected) + " of a phase");
  state.pending -= arrivals, state.bytes += bytes;
  if (state.bytes < -(1 << 20) || state.bytes > 1 << 20)
    throw Failure("an mbarrier counts more bytes than it can");
  if (!state.pending && !state.bytes) {
    state.phase = !state.phase, state.pending = state.expected;
    cluster.happened();
  }
  state.keep(at);
}

/// Calls with every active thread's address.
template <typename F> void eachAddress(Warp &warp, const Operand &operand, uint32_t mask, F f) {
  uint64_t at[kLanes];
  warp.read(operand.parts[0], at);
  for (unsigned l = 0; l < kLanes; ++l)
    if (mask >> l & 1)
      f(l, at[l] + uint64_t(operand.offset));
}

bool defineBarrier(Instruction &i) {
  const std::string &what = i.opcode[1];
  if (what == "init")
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint32_t count[kLanes];
      warp.read(i.operands[1], count);
      eachAddress(warp, i.operands[0], mask, [&](unsigned l, uint64_t at) {
        BarrierState{count[l], count[l], 0, false}.keep(warp.block.shared(at, 8, 8));
      });
    };
  else if (what == "inval")
    i.run = [](Warp &, const Instruction &, uint32_t) {};
  else if (what == "arrive")
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      bool expects = i.has("expect_tx");
      uint32_t bytes[kLanes] = {};
      uint64_t phases[kLanes] = {};
      if (expects)
        warp.read(i.operands[2], bytes);
      eachAddress(warp, i.operands[1], mask, [&](unsigned l, uint64_t at) {
        char *barrier = warp.block.sharedAnywhere(at, 8, 8);
        phases[l] = BarrierState::of(barrier).phase;
        change(warp.block.cluster, barrier, 1, bytes[l]);
      });
      warp.write(i.operands[0], phases, mask);
    };
  else if ((what == "try_wait" || what == "test_wait") && i.has("parity"))
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint32_t parity[kLanes], done = 0;
      std::function<std::string()> why;
      warp.read(i.operands[2], parity);
      eachAddress(warp, i.operands[1], mask, [&](unsigned l, uint64_t at) {
        BarrierState state = BarrierState::of(warp.block.shared(at, 8, 8));
        bool came = state.phase != bool(parity[l] & 1);
        bool odd = parity[l] & 1;
        done |= uint32_t(came) << l;
        if (!came)
          why = [&warp, at, odd] {
            BarrierState state = BarrierState::of(warp.block.shared(at, 8, 8));
            return "phase " + std::to_string(odd) + " of the mbarrier at " + std::to_string(at - warp.block.base()) +
                   ", which is in phase " + std::to_string(state.phase) + ": " + std::to_string(state.pending) + " of " +
                   std::to_string(state.expected) + " arrivals and " + std::to_string(state.bytes) + " bytes to come";
          };
      });
      warp.writePredicate(i.operands[0], done, mask);
      if (i.opcode[1] == "try_wait" && mask & ~done)
        warp.sleep(mask & ~done, why);
    };
  else
    return false;
  return true;
}

/// A tile of a matrix in memory, and of shared memory.
struct Tile {
  TensorMap map;
  int64_t column, row;
  uint32_t bytes() const { return map.box[0] * map.box[1] * map.elementBytes; }
};

Tile tileOf(Warp &warp, const Operand &operand, unsigned lane) {
  uint64_t at[kLanes];
  int32_t column[kLanes], row[kLanes];
  warp.read(operand.parts[0], at);
  warp.read(operand.parts[1].parts.at(0), column);
  warp.read(operand.parts[1].parts.at(1), row);
  uint64_t offset = at[lane] - kParameterWindow;
  const std::vector<char> &parameters = warp.block.cluster.launch.parameters;
  if (at[lane] < kParameterWindow || offset + sizeof(TensorMap) > parameters.size())
    throw Failure("a tensor map that is not a parameter");
  Tile tile{{}, column[lane], row[lane]};
  std::memcpy(&tile.map, parameters.data() + offset, sizeof(TensorMap));
  return tile;
}

/// Calls with 16 bytes at a time: where they lie in shared memory, and in global memory how many of them there are.
template <typename F> void eachPiece(const Tile &tile, uint32_t offset, F f) {
  const TensorMap &map = tile.map;
  uint32_t width = map.box[0] * map.elementBytes;
  int64_t wide = int64_t(map.sizes[0] * map.elementBytes);
  if (offset % (map.swizzled ? 1024 : 128))
    throw Failure("a tile in shared memory at " + std::to_string(offset) + " is not aligned");
  for (uint32_t r = 0; r < map.box[1]; ++r)
    for (uint32_t c = 0; c < width; c += 16) {
      uint32_t to = offset + r * width + c;
      to ^= map.swizzled ? to >> 3 & 0x70 : 0;
      int64_t row = tile.row + r, begin = tile.column * map.elementBytes + c;
      bool outside = row < 0 || row >= int64_t(map.sizes[1]) || begin < 0;
      int64_t bytes = outside ? 0 : std::clamp<int64_t>(wide - begin, 0, 16);
      f(to, map.address + uint64_t(row) * map.stride + uint64_t(begin), bytes);
    }
}

char *global(uint64_t address, int64_t bytes) {
  if (!allocations().holds(address, uint64_t(bytes)))
    throw Failure("a tile reaches global memory that is not allocated");
  return reinterpret_cast<char *>(address); // NOLINT(performance-no-int-to-ptr)
}

void waitedFor(Warp &warp, unsigned lane) {
  if (warp.block.cluster.launch.kernel->waits && !(warp.waited >> lane & 1))
    throw Failure("a tile is moved before griddepcontrol.wait");
}

void fetch(Warp &warp, const Instruction &i, uint32_t mask) {
  bool multicast = i.has("multicast::cluster");
  uint16_t ranks[kLanes];
  uint64_t barriers[kLanes];
  if (multicast)
    warp.read(i.operands[3], ranks);
  warp.read(i.operands[2].parts[0], barriers);
  eachAddress(warp, i.operands[0], mask, [&](unsigned l, uint64_t at) {
    waitedFor(warp, l);
    Cluster &cluster = warp.block.cluster;
    Tile tile = tileOf(warp, i.operands[1], l);
    uint32_t to = Block::offsetOf(at), barrier = Block::offsetOf(barriers[l] + uint64_t(i.operands[2].offset));
    for (unsigned rank = 0; rank < cluster.blocks.size(); ++rank) {
      if (multicast ? !(ranks[l] >> rank & 1) : rank != at >> Block::kRankShift)
        continue;
      Block &target = *cluster.blocks[rank];
      target.shared(target.base() + to, tile.bytes(), 1);
      cluster.later([&cluster, &target, tile, to, barrier] {
        eachPiece(tile, to, [&](uint32_t offset, uint64_t from, int64_t bytes) {
          std::memset(target.memory.data() + offset, 0, 16);
          if (bytes)
            std::memcpy(target.memory.data() + offset, global(from, bytes), size_t(bytes));
        });
        change(cluster, target.shared(target.base() + barrier, 8, 8), 0, -int64_t(tile.bytes()));
      });
    }
  });
}

void keep(Warp &warp, const Instruction &i, uint32_t mask) {
  eachAddress(warp, i.operands[1], mask, [&](unsigned l, uint64_t at) {
    waitedFor(warp, l);
    Block &block = warp.block;
    Tile tile = tileOf(warp, i.operands[0], l);
    uint32_t offset = uint32_t(at) - block.base();
    block.shared(at, tile.bytes(), 1);
    block.checkFenced(at, tile.bytes());
    warp.stores.add(block.cluster.later([&block, tile, offset] {
      eachPiece(tile, offset, [&](uint32_t from, uint64_t to, int64_t bytes) {
        if (bytes)
          std::memcpy(global(to, bytes), block.memory.data() + from, size_t(bytes));
      });
    }));
  });
}

bool defineBulk(Instruction &i) {
  auto nothing = [](Warp &, const Instruction &, uint32_t) {};
  if (i.has("prefetch"))
    i.run = nothing;
  else if (i.has("commit_group"))
    i.run = [](Warp &warp, const Instruction &, uint32_t) { warp.stores.commit(); };
  else if (i.has("wait_group"))
    i.run = [](Warp &warp, const Instruction &i, uint32_t) {
      for (const auto &store : warp.stores.waitedFor(size_t(i.operands[0].value)))
        Cluster::finish(*store);
    };
  else if (i.has("tensor") && i.has("2d") && i.has("bulk_group"))
    i.run = keep;
  else if (i.has("tensor") && i.has("2d") && i.has("mbarrier::complete_tx::bytes"))
    i.run = fetch;
  else
    return false;
  return true;
}
} // namespace

bool vernier::emulator::defineAsynchronous(Instruction &i) {
  const std::string &name = i.opcode[0];
  if (name == "mbarrier")
    return defineBarrier(i);
  if (name == "cp" && i.has("bulk"))
    return defineBulk(i);
  if (name == "fence" && i.has("proxy") && i.has("async"))
    i.run = [](Warp &warp, const Instruction &, uint32_t) {
      for (uint32_t granule : warp.unfenced)
        if (warp.block.writers[granule] == warp.number + 1)
          warp.block.writers[granule] = 0;
      warp.unfenced.clear();
    };
  else if (name == "fence" || name == "membar")
    i.run = [](Warp &, const Instruction &, uint32_t) {};
  else if (name == "mapa")
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint64_t at[kLanes];
      uint32_t rank[kLanes];
      warp.read(i.operands[1], at);
      warp.read(i.operands[2], rank);
      for (unsigned l = 0; l < kLanes; ++l)
        at[l] = Block::offsetOf(at[l]) | uint64_t(rank[l]) << Block::kRankShift;
      warp.write(i.operands[0], at, mask);
    };
  else
    return false;
  return true;
}
