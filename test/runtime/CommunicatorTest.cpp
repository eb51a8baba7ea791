// Copies and exchanges beside kernels, over the emulated driver and NCCL.
#include "runtime/cuda/Communicator.h"
#include "runtime/cuda/Courier.h"

#include <cstring>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

namespace {
/// The runtime finds these under the names of the real ones.
struct Emulation : testing::Environment {
  void SetUp() override {
    ASSERT_TRUE(dlopen(VERNIER_EMULATED_DRIVER, RTLD_NOW | RTLD_LOCAL)) << dlerror();
    setenv("VERNIER_NCCL", VERNIER_EMULATED_NCCL, 1);
  }
};
const auto *const environment = testing::AddGlobalTestEnvironment(new Emulation);

Pointer at(std::vector<char> &bytes) { return reinterpret_cast<Pointer>(bytes.data()); }

/// Runs every rank of a communicator in a thread.
template <typename Body> void onRanks(int ranks, Body body) {
  Result<std::string> id = Communicator::uniqueId();
  ASSERT_TRUE(id);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      auto communicator = Communicator::make(0, ranks, rank, *id);
      ASSERT_TRUE(communicator) << communicator.error().message;
      body(rank, *communicator);
    });
  for (std::thread &thread : threads)
    thread.join();
}
} // namespace

TEST(Courier, CopiesAndIsJoined) {
  auto courier = Courier::make(0);
  ASSERT_TRUE(courier);
  std::vector<char> from(100), to(100, 1);
  std::iota(from.begin(), from.end(), 0);
  EXPECT_TRUE((*courier)->copy(at(to), at(from), from.size(), nullptr));
  EXPECT_TRUE((*courier)->side().join(nullptr));
  EXPECT_EQ(to, from);
  EXPECT_TRUE((*courier)->copy(0, 0, 0, nullptr)); // nothing is copied
  EXPECT_FALSE(Courier::make(4096));
}

TEST(Communicator, BringsUnevenMessagesInOrder) {
  constexpr int ranks = 3;
  onRanks(ranks, [](int rank, std::unique_ptr<Communicator> &communicator) {
    // To every other rank two messages, the second of them empty from rank 1.
    auto size = [](int from, int to, int number) { return number && from == 1 ? 0 : size_t(1 + 7 * from + 3 * to + number); };
    std::vector<std::vector<char>> kept;
    std::vector<Communicator::Message> sent, received;
    auto add = [&](std::vector<Communicator::Message> &list, int peer, size_t bytes, char value) {
      kept.emplace_back(bytes, value);
      list.push_back({peer, at(kept.back()), bytes});
    };
    kept.reserve(100);
    for (int number = 0; number < 2; ++number)
      for (int peer = 0; peer < ranks; ++peer)
        if (peer != rank) {
          add(sent, peer, size(rank, peer, number), char(10 * rank + number));
          add(received, peer, size(peer, rank, number), char(-1));
        }
    Status status = communicator->exchange(sent, received, nullptr);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_TRUE(communicator->side().join(nullptr));
    for (size_t i = 0; i < received.size(); ++i) {
      char value = char(10 * received[i].peer + int(i) / (ranks - 1));
      std::vector<char> expected(received[i].bytes, value);
      EXPECT_EQ(0, std::memcmp(expected.data(), reinterpret_cast<const char *>(received[i].memory), expected.size()));
    }
  });
}

TEST(Communicator, SaysWhoIsGone) {
  onRanks(2, [](int rank, std::unique_ptr<Communicator> &communicator) {
    std::vector<char> bytes(8);
    if (rank == 1) { // a message of another length than the peer expects, and then an end
      EXPECT_TRUE(communicator->exchange({{0, at(bytes), 4}}, {}, nullptr));
      return;
    }
    Status status = communicator->exchange({}, {{1, at(bytes), 8}}, nullptr);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "rank 0 of 2: NCCL: invalid argument (expected 8 bytes, but 4 came)");
    EXPECT_TRUE(communicator->failure());
  });
}

TEST(Communicator, RefusesWhatIsNoRank) {
  Result<std::string> id = Communicator::uniqueId();
  ASSERT_TRUE(id);
  EXPECT_EQ(Communicator::make(0, 2, 2, *id).error().message, "expected a rank below 2, but got 2");
  EXPECT_EQ(Communicator::make(0, 2, 0, "short").error().message, "expected a unique id of 128 bytes, but got 5");
  onRanks(1, [](int, std::unique_ptr<Communicator> &communicator) {
    Status status = communicator->exchange({{1, 0, 1}}, {}, nullptr);
    EXPECT_EQ(status.error().message, "expected a peer below 1, but got 1");
  });
}
