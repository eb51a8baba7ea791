// What executes a kernel: memory, warps, blocks, and the cluster they belong to.
#ifndef VERNIER_TEST_EMULATOR_MACHINE_H
#define VERNIER_TEST_EMULATOR_MACHINE_H

#include "test/emulator/Ptx.h"

#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <random>

namespace vernier::emulator {

inline constexpr unsigned kLanes = 32;
inline constexpr uint32_t kAll = ~0u;

// Generic addresses: of shared memory and parameters beside those of the host.
inline constexpr uint64_t kSharedWindow = uint64_t(1) << 60, kParameterWindow = uint64_t(1) << 61;

/// A tensor map as this driver encodes it, in the 128 bytes that the caller gives.
struct TensorMap {
  uint64_t address, sizes[2], stride;
  uint32_t box[2], elementBytes, swizzled;
};

/// Device memory: addresses are the host's.
class Allocations {
public:
  void add(uint64_t address, uint64_t bytes);
  void remove(uint64_t address);
  bool holds(uint64_t address, uint64_t bytes) const;

private:
  std::map<uint64_t, uint64_t> known; ///< where each begins, and its bytes.
};
Allocations &allocations();

struct Launch {
  const Kernel *kernel = nullptr;
  unsigned blocks = 1, threads = 1, sharedBytes = 0;
  std::vector<char> parameters;
  uint64_t seed = 0;
};

class Block;
class Cluster;

/// An operation that the hardware finishes on its own, later.
struct Pending {
  std::function<void()> finish;
};

/// What a thread has started, in the groups that it committed.
template <typename T> class Groups {
public:
  void add(T started) { all.push_back(std::move(started)); }
  void commit() { ends.push_back(all.size()); }
  /// Takes out what all groups but the last few hold. What was not committed is not waited for.
  std::vector<T> waitedFor(size_t spared) {
    if (ends.size() <= spared)
      return {};
    size_t count = ends[ends.size() - spared - 1];
    std::vector<T> taken(std::make_move_iterator(all.begin()), std::make_move_iterator(all.begin() + long(count)));
    all.erase(all.begin(), all.begin() + long(count));
    ends.erase(ends.begin(), ends.end() - long(spared));
    for (size_t &end : ends)
      end -= count;
    return taken;
  }
  const std::vector<T> &started() const { return all; }
  bool committed() const { return !ends.empty(); }

private:
  std::vector<T> all;
  std::vector<size_t> ends; ///< of each group.
};

/// 16 bytes of shared memory that a product has read.
struct ReadPiece {
  uint32_t offset;
  std::array<char, 16> bytes;
};

/// 32 threads. Each has its place in the program; those at the same place go on together.
class Warp {
public:
  Warp(Block &block, unsigned number, uint32_t threads);

  /// Executes up to some instructions. The number of them: 0 where it waits for something to happen elsewhere.
  unsigned run(unsigned most);
  bool done() const { return !alive; }

  template <typename T> void read(const Operand &operand, T *lanes) const;
  template <typename T> void write(const Operand &operand, const T *lanes, uint32_t mask);
  uint32_t readPredicate(const Operand &operand) const;
  void writePredicate(const Operand &operand, uint32_t value, uint32_t mask);
  uint64_t special(const std::string &name, unsigned lane) const;

  /// Threads of a mask find that what they wait for has not come.
  void sleep(uint32_t mask, std::function<std::string()> why);
  std::string whereabouts() const; ///< of its threads, for messages.

  Block &block;
  unsigned number;                         ///< in its block.
  uint32_t waited = 0;                     ///< threads that have waited for the launch before.
  std::vector<uint32_t> unfenced;          ///< granules of shared memory that it wrote and the asynchronous proxy may not see.
  Groups<std::shared_ptr<Pending>> stores; ///< of tiles.
  Groups<ReadPiece> products;              ///< what they have read.

private:
  /// The threads that go on next, all at `place`; none where all wait.
  uint32_t next();
  void execute(const Instruction &instruction, uint32_t mask);
  void branch(const Instruction &instruction, uint32_t mask, uint32_t taken);
  void end(uint32_t threads);
  bool arrive(const Instruction &instruction);
  bool arriveInCluster(const Instruction &instruction);

  std::vector<char> registers;
  std::vector<uint32_t> predicates;
  uint32_t alive, sleeping = 0;
  uint64_t sleepingSince = 0; ///< events of the cluster.
  std::function<std::string()> sleepingFor;
  bool converged = true; ///< all that are alive are at `place`; else `places` says where.
  bool stuck = false;    ///< at a barrier that is not complete.
  uint32_t place = 0, places[kLanes] = {};
  std::optional<uint64_t> arrivedAt, arrivedInClusterAt; ///< generations of the barriers that it waits for.
};

/// Threads that share memory.
class Block {
public:
  Block(Cluster &cluster, unsigned number, unsigned rank);

  static constexpr uint32_t kGranule = 16;
  static constexpr unsigned kRankShift = 24;

  /// Shared memory at an address of this cluster (rank, offset), checked.
  char *shared(uint64_t address, uint32_t bytes, uint32_t align);
  /// Of any block of the cluster.
  char *sharedAnywhere(uint64_t address, uint32_t bytes, uint32_t align);
  void wroteShared(Warp &warp, uint64_t address, uint32_t bytes);
  /// The asynchronous proxy reads what was written by threads: they must have fenced.
  void checkFenced(uint64_t address, uint32_t bytes) const;
  uint32_t base() const { return rank << kRankShift; }
  static uint32_t offsetOf(uint64_t address) { return uint32_t(address) & ((1u << kRankShift) - 1); } ///< in its block.

  Cluster &cluster;
  unsigned number, rank; ///< in the grid, in the cluster.
  std::vector<char> memory;
  std::vector<uint32_t> writers; ///< of granules: warp + 1, until it fences.
  struct Barrier {
    uint32_t arrived = 0;
    uint64_t generation = 0;
  } barriers[16];
  std::vector<std::unique_ptr<Warp>> warps;
};

/// Blocks that run at the same time and may reach one another's shared memory.
class Cluster {
public:
  Cluster(const Launch &launch, unsigned first);
  /// Runs all warps in some order, until all are done. Throws Failure.
  void run();

  /// Something that the hardware does when it pleases, at the latest when it is waited for.
  std::shared_ptr<Pending> later(std::function<void()> finish);
  static void finish(Pending &operation);
  void happened() { ++events; } ///< who waits looks again.
  void arrive();                ///< of a warp, at the cluster's barrier.
  void left();                  ///< a warp has ended.

  const Launch &launch;
  std::vector<std::unique_ptr<Block>> blocks;
  uint64_t events = 0, generation = 0; ///< of its barrier.

private:
  void finishOne();
  std::string whereabouts() const;

  std::mt19937_64 random;
  unsigned arrived = 0, live = 0; ///< warps.
  std::deque<std::shared_ptr<Pending>> pending;
};

/// All clusters, one after the other. Throws Failure.
void run(const Launch &launch);

template <typename T> void Warp::read(const Operand &operand, T *lanes) const {
  if (operand.kind == Operand::Register) {
    const char *at = registers.data() + operand.number;
    for (unsigned i = 0; i < kLanes; ++i)
      if (operand.wide)
        std::memcpy(&lanes[i], at + 8 * i, sizeof(T));
      else if constexpr (sizeof(T) <= 4)
        std::memcpy(&lanes[i], at + 4 * i, sizeof(T));
      else {
        uint64_t value = 0;
        std::memcpy(&value, at + 4 * i, 4);
        std::memcpy(&lanes[i], &value, sizeof(T));
      }
    return;
  }
  for (unsigned i = 0; i < kLanes; ++i) {
    uint64_t value = operand.kind == Operand::Special ? special(operand.name, i) : operand.value;
    std::memcpy(&lanes[i], &value, sizeof(T));
  }
}

template <typename T> void Warp::write(const Operand &operand, const T *lanes, uint32_t mask) {
  if (operand.kind == Operand::Sink)
    return;
  char *at = registers.data() + operand.number;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(mask >> i & 1))
      continue;
    uint64_t value = 0;
    std::memcpy(&value, &lanes[i], sizeof(T));
    std::memcpy(at + (operand.wide ? 8 : 4) * i, &value, operand.wide ? 8 : 4);
  }
}

} // namespace vernier::emulator

#endif
