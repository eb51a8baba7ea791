// Loads and stores of threads, with the checks that hardware makes and some that it does not.
#include "test/emulator/Machine.h"

#include <bit>
#include <mutex>

using namespace vernier::emulator;

namespace {
std::mutex guard;

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
} // namespace

void Allocations::add(uint64_t address, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(guard);
  known[address] = bytes;
}

void Allocations::remove(uint64_t address) {
  std::lock_guard<std::mutex> lock(guard);
  known.erase(address);
}

bool Allocations::holds(uint64_t address, uint64_t bytes) const {
  std::lock_guard<std::mutex> lock(guard);
  auto after = known.upper_bound(address);
  if (after == known.begin())
    return false;
  --after;
  return address + bytes <= after->first + after->second;
}

Allocations &vernier::emulator::allocations() {
  static Allocations all;
  return all;
}

char *Block::shared(uint64_t address, uint32_t bytes, uint32_t align) {
  if (address >> kRankShift != rank)
    throw Failure("shared memory at " + hex(address) + ", of another block (" + std::to_string(address >> kRankShift) + ")");
  return sharedAnywhere(address, bytes, align);
}

char *Block::sharedAnywhere(uint64_t address, uint32_t bytes, uint32_t align) {
  uint64_t of = address >> kRankShift, offset = offsetOf(address);
  if (of >= cluster.blocks.size() || offset < kSharedBegin || offset + bytes > cluster.blocks[of]->memory.size())
    throw Failure("shared memory at " + hex(address) + " (" + std::to_string(bytes) + " bytes) is outside of " +
                  std::to_string(memory.size() - kSharedBegin) + " bytes");
  if (offset % align)
    throw Failure("shared memory at " + hex(address) + " is not aligned to " + std::to_string(align));
  return cluster.blocks[of]->memory.data() + offset;
}

void Block::wroteShared(Warp &warp, uint64_t address, uint32_t bytes) {
  uint32_t offset = offsetOf(address);
  for (uint32_t granule = offset / kGranule; granule <= (offset + bytes - 1) / kGranule; ++granule) {
    if (writers[granule] == warp.number + 1)
      continue;
    writers[granule] = warp.number + 1;
    warp.unfenced.push_back(granule);
  }
}

void Block::checkFenced(uint64_t address, uint32_t bytes) const {
  uint32_t offset = offsetOf(address);
  for (uint32_t granule = offset / kGranule; granule <= (offset + bytes - 1) / kGranule; ++granule)
    if (uint32_t writer = writers[granule])
      throw Failure("the asynchronous proxy reads shared memory at " + hex(granule * kGranule) + ", which warp " +
                    std::to_string(writer - 1) + " wrote without a fence.proxy.async after it");
}

namespace {
enum class Space { Global, Shared, Parameter };

uint32_t sizeOf(const std::string &type) { return uint32_t(std::stoul(type.substr(type.find_first_of("0123456789")))) / 8; }

/// Where a thread's access begins in this process.
char *resolve(Warp &warp, Space space, uint64_t address, uint32_t bytes, uint32_t lane) {
  if (space == Space::Shared)
    return warp.block.shared(address, bytes, bytes);
  const Launch &launch = warp.block.cluster.launch;
  if (space == Space::Parameter) {
    if (address + bytes > launch.parameters.size())
      throw Failure("a parameter at " + std::to_string(address) + " is outside of " + std::to_string(launch.parameters.size()));
    return const_cast<char *>(launch.parameters.data()) + address;
  }
  if (address % bytes)
    throw Failure("global memory at " + hex(address) + " is not aligned to " + std::to_string(bytes));
  if (!allocations().holds(address, bytes))
    throw Failure("global memory at " + hex(address) + " (" + std::to_string(bytes) + " bytes) is not allocated");
  if (launch.kernel->waits && !(warp.waited >> lane & 1))
    throw Failure("global memory is used before griddepcontrol.wait");
  return reinterpret_cast<char *>(address); // NOLINT(performance-no-int-to-ptr)
}

std::vector<Operand> elements(const Operand &operand) {
  return operand.kind == Operand::Vector ? operand.parts : std::vector<Operand>{operand};
}

/// Of every thread. Parameters are named rather than pointed to.
void addresses(Warp &warp, const Operand &operand, uint64_t *at) {
  const Operand &base = operand.parts[0];
  if (base.kind == Operand::Parameter)
    std::fill(at, at + kLanes, uint64_t(base.number));
  else if (base.kind == Operand::Shared)
    std::fill(at, at + kLanes, base.value + warp.block.base());
  else
    warp.read(base, at);
  for (unsigned l = 0; l < kLanes; ++l)
    at[l] += uint64_t(operand.offset);
}

std::optional<Space> spaceOf(const Instruction &i) {
  if (i.has("global"))
    return Space::Global;
  if (i.has("shared") || i.has("shared::cta"))
    return Space::Shared;
  return i.has("param") ? std::optional(Space::Parameter) : std::nullopt;
}

void load(Warp &warp, const Instruction &i, uint32_t mask, Space space, const std::string &type) {
  uint32_t size = sizeOf(type);
  std::vector<Operand> targets = elements(i.operands[0]);
  uint64_t at[kLanes], values[4][kLanes] = {};
  addresses(warp, i.operands[1], at);
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(mask >> l & 1))
      continue;
    const char *from = resolve(warp, space, at[l], size * uint32_t(targets.size()), l);
    for (size_t t = 0; t < targets.size(); ++t) {
      std::memcpy(&values[t][l], from + t * size, size);
      if (type[0] == 's' && size < 8 && values[t][l] >> (8 * size - 1))
        values[t][l] |= ~uint64_t(0) << (8 * size);
    }
  }
  for (size_t t = 0; t < targets.size(); ++t)
    warp.write(targets[t], values[t], mask);
}

void store(Warp &warp, const Instruction &i, uint32_t mask, Space space, const std::string &type) {
  uint32_t size = sizeOf(type);
  std::vector<Operand> sources = elements(i.operands[1]);
  uint64_t at[kLanes], values[4][kLanes];
  addresses(warp, i.operands[0], at);
  for (size_t s = 0; s < sources.size(); ++s)
    warp.read(sources[s], values[s]);
  uint32_t bytes = size * uint32_t(sources.size());
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(mask >> l & 1))
      continue;
    char *to = resolve(warp, space, at[l], bytes, l);
    for (size_t s = 0; s < sources.size(); ++s)
      std::memcpy(to + s * size, &values[s][l], size);
    if (space == Space::Shared)
      warp.block.wroteShared(warp, at[l], bytes);
  }
}

/// Eight-by-eight matrices of 16 bits: lane l holds two neighbours of row l / 4; lanes 8 * m .. say where rows of matrix m go.
void storeMatrices(Warp &warp, const Instruction &i, uint32_t) {
  std::vector<Operand> matrices = elements(i.operands[1]);
  bool turned = i.has("trans");
  uint64_t at[kLanes];
  addresses(warp, i.operands[0], at);
  for (size_t m = 0; m < matrices.size(); ++m) {
    uint32_t values[kLanes];
    warp.read(matrices[m], values);
    for (unsigned row = 0; row < 8; ++row) {
      char *to = warp.block.shared(at[8 * m + row], 16, 16);
      for (unsigned column = 0; column < 8; ++column) {
        unsigned r = turned ? column : row, c = turned ? row : column;
        uint16_t element = uint16_t(values[4 * r + c / 2] >> (16 * (c % 2)));
        std::memcpy(to + 2 * column, &element, 2);
      }
      warp.block.wroteShared(warp, at[8 * m + row], 16);
    }
  }
}

void shuffle(Warp &warp, const Instruction &i, uint32_t mask) {
  uint32_t a[kLanes], b[kLanes], c[kLanes], members[kLanes], d[kLanes];
  warp.read(i.operands[1], a);
  warp.read(i.operands[2], b);
  warp.read(i.operands[3], c);
  warp.read(i.operands[4], members);
  for (unsigned l = 0; l < kLanes; ++l) {
    unsigned segment = c[l] >> 8 & 31, clamp = c[l] & 31, low = l & segment, high = low | (clamp & ~segment & 31);
    unsigned from = i.has("bfly")   ? l ^ b[l]
                    : i.has("idx")  ? low | (b[l] & ~segment & 31)
                    : i.has("down") ? l + b[l]
                                    : l - b[l];
    bool inside = i.has("up") ? int(from) >= int(clamp | low) : from <= high;
    d[l] = a[inside ? from & 31 : l];
    if (inside && !(mask >> (from & 31) & 1) && (mask >> l & 1))
      throw Failure("a shuffle reads from thread " + std::to_string(from & 31) + ", which has ended");
  }
  warp.write(i.operands[0], d, mask);
}

/// The manual does not say which thread it is: not the first, in which one might have trusted.
void elect(Warp &warp, const Instruction &i, uint32_t mask) {
  uint32_t members[kLanes];
  warp.read(i.operands[2], members);
  if (members[0] & ~mask)
    throw Failure("a thread is to be elected of some that have ended or are elsewhere");
  uint32_t leader = 31 - uint32_t(std::countl_zero(members[0]));
  warp.writePredicate(i.operands[1], uint32_t(1) << leader, mask);
}
} // namespace

bool vernier::emulator::defineMemory(Instruction &i) {
  const std::string &name = i.opcode[0];
  std::optional<Space> space = spaceOf(i);
  auto copied = [&](uint64_t plus, uint64_t minus) {
    i.run = [=](Warp &warp, const Instruction &i, uint32_t mask) {
      uint64_t a[kLanes];
      warp.read(i.operands[1], a);
      for (uint64_t &address : a)
        address += plus - minus;
      warp.write(i.operands[0], a, mask);
    };
    return true;
  };
  if (name == "ld" && space)
    i.run = [space = *space, type = i.opcode.back()](Warp &w, const Instruction &i, uint32_t m) { load(w, i, m, space, type); };
  else if (name == "st" && space && *space != Space::Parameter)
    i.run = [space = *space, type = i.opcode.back()](Warp &w, const Instruction &i, uint32_t m) {
      store(w, i, m, space, type);
    };
  else if (name == "stmatrix")
    i.run = storeMatrices;
  else if (name == "shfl" && i.has("sync"))
    i.run = shuffle;
  else if (name == "elect")
    i.run = elect;
  else if (name == "cvta" && i.has("param"))
    return copied(kParameterWindow, 0);
  else if (name == "cvta" && (i.has("shared") || i.has("shared::cluster")))
    return i.has("to") ? copied(0, kSharedWindow) : copied(kSharedWindow, 0);
  else if (name == "cvta" && i.has("global"))
    return copied(0, 0);
  else
    return false;
  return true;
}
