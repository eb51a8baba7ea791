// Which warp goes on when, and the control flow of each. Orders are drawn at random, so that what is only right in one is
// found.
#include "test/emulator/Machine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

using namespace vernier::emulator;

static constexpr uint64_t kMostInstructions = 4'000'000'000; ///< of a cluster: a loop that waits for nothing does not end.

Warp::Warp(Block &block, unsigned number, uint32_t threads)
    : block(block), number(number), registers(block.cluster.launch.kernel->registerBytes),
      predicates(block.cluster.launch.kernel->predicates), alive(threads) {}

uint32_t Warp::readPredicate(const Operand &operand) const {
  if (operand.kind == Operand::Predicate)
    return predicates[operand.number];
  return operand.value ? kAll : 0;
}

void Warp::writePredicate(const Operand &operand, uint32_t value, uint32_t mask) {
  if (operand.kind == Operand::Predicate)
    predicates[operand.number] = (predicates[operand.number] & ~mask) | (value & mask);
}

uint64_t Warp::special(const std::string &name, unsigned lane) const {
  const Cluster &cluster = block.cluster;
  unsigned size = unsigned(cluster.blocks.size());
  if (name == "%tid.x")
    return number * kLanes + lane;
  if (name == "%ntid.x")
    return cluster.launch.threads;
  if (name == "%ctaid.x")
    return block.number;
  if (name == "%nctaid.x")
    return cluster.launch.blocks;
  if (name == "%laneid")
    return lane;
  if (name == "%warpid")
    return number;
  if (name == "%cluster_ctarank")
    return block.rank;
  if (name == "%cluster_nctarank")
    return size;
  if (name == "%clusterid.x")
    return block.number / size;
  if (name == "%nclusterid.x")
    return cluster.launch.blocks / size;
  throw Failure("the emulator has no register " + name);
}

void Warp::sleep(uint32_t mask, std::function<std::string()> why) {
  sleeping |= mask;
  sleepingFor = std::move(why);
  sleepingSince = block.cluster.events;
}

std::string Warp::whereabouts() const {
  const std::vector<Instruction> &code = block.cluster.launch.kernel->code;
  std::map<uint32_t, unsigned> counts;
  for (unsigned l = 0; l < kLanes; ++l)
    if (alive >> l & 1)
      ++counts[converged ? place : places[l]];
  std::string text = "block " + std::to_string(block.number) + " warp " + std::to_string(number) + ":";
  for (auto [at, count] : counts)
    text += " " + std::to_string(count) + " threads at " + code[at].text + ";";
  return text + (sleeping ? " waiting for " + sleepingFor() : "");
}

uint32_t Warp::next() {
  if (sleeping && block.cluster.events != sleepingSince)
    sleeping = 0;
  if (stuck || !alive)
    return 0;
  if (converged)
    return sleeping == alive ? 0 : alive;
  const std::vector<Instruction> &code = block.cluster.launch.kernel->code;
  uint32_t left = alive & ~sleeping;
  while (left) {
    uint32_t lowest = ~0u, group = 0;
    for (unsigned l = 0; l < kLanes; ++l)
      if (left >> l & 1)
        lowest = std::min(lowest, places[l]);
    for (unsigned l = 0; l < kLanes; ++l)
      if (left >> l & 1 && places[l] == lowest)
        group |= 1u << l;
    if (group == alive || !code[lowest].together) { // what all execute at once waits for the others
      converged = group == alive;
      place = lowest;
      return group;
    }
    left &= ~group;
  }
  return 0;
}

void Warp::branch(const Instruction &instruction, uint32_t mask, uint32_t taken) {
  uint32_t target = instruction.operands.at(0).number;
  if (converged && (taken == mask || !taken)) {
    place = taken ? target : place + 1;
    return;
  }
  if (converged)
    std::fill(places, places + kLanes, place);
  converged = false;
  for (unsigned l = 0; l < kLanes; ++l)
    if (mask >> l & 1)
      places[l] = taken >> l & 1 ? target : place + 1;
}

void Warp::end(uint32_t threads) {
  alive &= ~threads;
  if (alive)
    return;
  for (const auto &store : stores.started())
    if (store->finish)
      throw Failure("a warp ends before the tiles that it stores were read");
  if (products.committed())
    throw Failure("a warp ends before its products were waited for");
  block.cluster.left();
}

bool Warp::arrive(const Instruction &instruction) {
  if (instruction.has("warp"))
    return true;
  uint32_t id[kLanes], count[kLanes];
  read(instruction.operands.at(0), id);
  Block::Barrier &barrier = block.barriers[id[0] % 16];
  uint32_t expected = (block.cluster.launch.threads + kLanes - 1) / kLanes * kLanes;
  if (instruction.operands.size() > 1) {
    read(instruction.operands[1], count);
    expected = count[0];
  }
  if (!arrivedAt) {
    arrivedAt = barrier.generation;
    barrier.arrived += kLanes;
    if (barrier.arrived > expected)
      throw Failure("more threads at barrier " + std::to_string(id[0]) + " than the " + std::to_string(expected) +
                    " it expects");
    if (barrier.arrived == expected) {
      barrier.arrived = 0, ++barrier.generation;
      block.cluster.happened();
    }
  }
  if (barrier.generation == *arrivedAt)
    return false;
  arrivedAt.reset();
  return true;
}

bool Warp::arriveInCluster(const Instruction &instruction) {
  Cluster &cluster = block.cluster;
  if (instruction.has("arrive")) {
    arrivedInClusterAt = cluster.generation;
    cluster.arrive();
    return true;
  }
  if (!arrivedInClusterAt)
    throw Failure("a wait for the cluster without an arrival");
  if (cluster.generation == *arrivedInClusterAt)
    return false;
  arrivedInClusterAt.reset();
  return true;
}

void Warp::execute(const Instruction &instruction, uint32_t mask) {
  uint32_t active = mask;
  if (instruction.guard >= 0)
    active &= instruction.guardNegated ? ~predicates[size_t(instruction.guard)] : predicates[size_t(instruction.guard)];
  const std::string &name = instruction.opcode[0];
  if (instruction.run) {
    if (active)
      instruction.run(*this, instruction, active);
  } else if (name == "bra") {
    branch(instruction, mask, active);
    return;
  } else if (name == "ret" || name == "exit") {
    end(active);
  } else if (name == "bar" || name == "barrier") {
    stuck = !(instruction.has("cluster") ? arriveInCluster(instruction) : arrive(instruction));
    if (stuck)
      return;
  } else if (name == "griddepcontrol" && instruction.has("wait"))
    waited |= active;
  if (converged)
    ++place;
  else
    for (unsigned l = 0; l < kLanes; ++l)
      places[l] += mask >> l & 1;
}

unsigned Warp::run(unsigned most) {
  const std::vector<Instruction> &code = block.cluster.launch.kernel->code;
  unsigned count = 0;
  if (stuck) { // looks whether the barrier has been completed
    stuck = false;
    execute(code[place], alive);
    if (stuck)
      return 0;
    count = 1;
  }
  for (; count < most; ++count) {
    uint32_t mask = next();
    if (!mask)
      break;
    const Instruction &instruction = code.at(place);
    try {
      execute(instruction, mask);
    } catch (const Failure &failure) {
      throw Failure(block.cluster.launch.kernel->name + ", block " + std::to_string(block.number) + ", warp " +
                    std::to_string(number) + ", " + instruction.text + ": " + failure.what());
    }
    if (stuck)
      break;
  }
  return count;
}

Block::Block(Cluster &cluster, unsigned number, unsigned rank)
    : cluster(cluster), number(number), rank(rank), memory(kSharedBegin + cluster.launch.sharedBytes),
      writers(memory.size() / kGranule + 1) {
  std::mt19937 noise(number + unsigned(cluster.launch.seed)); // what nobody wrote is anything
  for (char &byte : memory)
    byte = char(noise());
  for (unsigned first = 0; first < cluster.launch.threads; first += kLanes) {
    unsigned threads = std::min(kLanes, cluster.launch.threads - first);
    warps.push_back(std::make_unique<Warp>(*this, first / kLanes, threads == kLanes ? kAll : (1u << threads) - 1));
  }
}

Cluster::Cluster(const Launch &launch, unsigned first) : launch(launch), random(launch.seed + first) {
  for (unsigned rank = 0; rank < launch.kernel->cluster; ++rank) {
    blocks.push_back(std::make_unique<Block>(*this, first + rank, rank));
    live += unsigned(blocks.back()->warps.size());
  }
}

std::shared_ptr<Pending> Cluster::later(std::function<void()> finish) {
  pending.push_back(std::make_shared<Pending>(Pending{std::move(finish)}));
  return pending.back();
}

void Cluster::finish(Pending &operation) {
  if (auto finish = std::exchange(operation.finish, nullptr))
    finish();
}

void Cluster::finishOne() {
  size_t which = random() % pending.size();
  std::shared_ptr<Pending> chosen = pending[which];
  pending.erase(pending.begin() + long(which));
  finish(*chosen);
}

void Cluster::arrive() {
  if (++arrived == live)
    arrived = 0, ++generation, happened();
}

void Cluster::left() {
  if (--live && arrived == live)
    arrived = 0, ++generation, happened();
}

std::string Cluster::whereabouts() const {
  std::string text;
  for (const auto &block : blocks)
    for (const auto &warp : block->warps)
      if (!warp->done())
        text += "\n  " + warp->whereabouts();
  return text;
}

void Cluster::run() {
  std::vector<Warp *> warps;
  for (auto &block : blocks)
    for (auto &warp : block->warps)
      warps.push_back(warp.get());
  uint64_t executed = 0;
  while (true) {
    std::erase_if(warps, [](Warp *warp) { return warp->done(); });
    if (warps.empty())
      break;
    std::shuffle(warps.begin(), warps.end(), random);
    uint64_t before = executed + events;
    for (Warp *warp : warps) {
      executed += warp->run(1 + unsigned(random() % 512));
      if (!pending.empty() && random() % 4 == 0)
        finishOne();
    }
    if (executed > kMostInstructions)
      throw Failure(launch.kernel->name + ": does not end:" + whereabouts());
    if (executed + events == before) {
      if (pending.empty())
        throw Failure(launch.kernel->name + ": all threads wait:" + whereabouts());
      finishOne();
    }
  }
  while (!pending.empty())
    finishOne();
}

void vernier::emulator::run(const Launch &launch) {
  const Kernel &kernel = *launch.kernel;
  if (launch.threads > kernel.mostThreads || launch.blocks % kernel.cluster)
    throw Failure(kernel.name + ": cannot launch " + std::to_string(launch.blocks) + " blocks of " +
                  std::to_string(launch.threads) + " threads where the kernel has clusters of " +
                  std::to_string(kernel.cluster) + " and at most " + std::to_string(kernel.mostThreads) + " threads");
  // Clusters know nothing of one another: some at a time, in any order.
  std::atomic<unsigned> next = 0;
  std::mutex guard;
  std::string failure;
  auto work = [&] {
    for (unsigned first; (first = kernel.cluster * next++) < launch.blocks;) {
      try {
        Cluster(launch, first).run();
      } catch (const Failure &raised) {
        std::lock_guard<std::mutex> lock(guard);
        failure = raised.what();
        next = launch.blocks;
      }
    }
  };
  std::vector<std::thread> others(std::min(std::thread::hardware_concurrency(), launch.blocks / kernel.cluster) - 1);
  for (std::thread &other : others)
    other = std::thread(work);
  work();
  for (std::thread &other : others)
    other.join();
  if (!failure.empty())
    throw Failure(failure);
}
