// The part of NCCL's interface that vernier's runtime uses, between threads of one process: messages are there when a group
// ends.
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {
constexpr int kInvalidArgument = 4, kRemoteError = 6;

struct Id {
  char bytes[128];
};

/// What the ranks of one communicator share.
struct Room {
  std::mutex guard;
  std::condition_variable changed;
  int joined = 0;
  bool abandoned = false; ///< a rank has given up.
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> messages;
};

struct Communicator {
  std::shared_ptr<Room> room;
  int ranks, rank;
  std::string lastError;
};

struct Operation {
  Communicator *communicator;
  bool sends;
  int peer;
  void *memory;
  size_t bytes;
};

std::mutex guard;
std::map<std::string, std::shared_ptr<Room>> rooms;
thread_local std::vector<Operation> group;

int perform(const Operation &operation) {
  Communicator &me = *operation.communicator;
  Room &room = *me.room;
  std::unique_lock<std::mutex> lock(room.guard);
  if (operation.sends) {
    auto *begin = static_cast<const char *>(operation.memory);
    room.messages[{me.rank, operation.peer}].emplace_back(begin, begin + operation.bytes);
    room.changed.notify_all();
    return 0;
  }
  auto &queue = room.messages[{operation.peer, me.rank}];
  room.changed.wait(lock, [&] { return room.abandoned || !queue.empty(); });
  if (queue.empty()) {
    me.lastError = "rank " + std::to_string(operation.peer) + " is gone";
    return kRemoteError;
  }
  std::vector<char> message = std::move(queue.front());
  queue.pop_front();
  if (message.size() != operation.bytes) {
    me.lastError = "expected " + std::to_string(operation.bytes) + " bytes, but " + std::to_string(message.size()) + " came";
    return kInvalidArgument;
  }
  std::memcpy(operation.memory, message.data(), message.size());
  return 0;
}
} // namespace

#define VERNIER_EXPORT extern "C" __attribute__((visibility("default")))

VERNIER_EXPORT int ncclGetVersion(int *version) { return *version = 22800, 0; }
VERNIER_EXPORT int ncclGetUniqueId(Id *id) {
  static uint64_t drawn = 0;
  std::lock_guard<std::mutex> lock(guard);
  std::memset(id->bytes, 0, sizeof id->bytes);
  std::memcpy(id->bytes, &++drawn, sizeof drawn);
  return 0;
}
VERNIER_EXPORT const char *ncclGetErrorString(int code) {
  return code == kRemoteError ? "remote process exited" : "invalid argument";
}
VERNIER_EXPORT const char *ncclGetLastError(void *communicator) {
  return static_cast<Communicator *>(communicator)->lastError.c_str();
}
VERNIER_EXPORT int ncclCommInitRank(void **made, int ranks, Id id, int rank) {
  std::shared_ptr<Room> room;
  {
    std::lock_guard<std::mutex> lock(guard);
    auto &known = rooms[std::string(id.bytes, sizeof id.bytes)];
    known = known ? known : std::make_shared<Room>();
    room = known;
  }
  std::unique_lock<std::mutex> lock(room->guard);
  ++room->joined;
  room->changed.notify_all();
  room->changed.wait(lock, [&] { return room->joined == ranks; });
  *made = new Communicator{room, ranks, rank, ""};
  return 0;
}
VERNIER_EXPORT int ncclCommDestroy(void *communicator) {
  delete static_cast<Communicator *>(communicator);
  return 0;
}
VERNIER_EXPORT int ncclCommAbort(void *communicator) {
  auto *mine = static_cast<Communicator *>(communicator);
  {
    std::lock_guard<std::mutex> lock(mine->room->guard);
    mine->room->abandoned = true;
    mine->room->changed.notify_all();
  }
  return ncclCommDestroy(communicator);
}
VERNIER_EXPORT int ncclCommGetAsyncError(void *communicator, int *state) {
  auto *mine = static_cast<Communicator *>(communicator);
  std::lock_guard<std::mutex> lock(mine->room->guard);
  return *state = mine->room->abandoned ? kRemoteError : 0, 0;
}
VERNIER_EXPORT int ncclGroupStart() { return group.clear(), 0; }
VERNIER_EXPORT int ncclGroupEnd() {
  std::vector<Operation> all = std::move(group);
  group.clear();
  int result = 0;
  for (bool sends : {true, false})
    for (const Operation &operation : all)
      if (operation.sends == sends && !result)
        result = perform(operation);
  return result;
}
VERNIER_EXPORT int ncclSend(const void *memory, size_t count, int, int peer, void *communicator, void *) {
  group.push_back({static_cast<Communicator *>(communicator), true, peer, const_cast<void *>(memory), count});
  return 0;
}
VERNIER_EXPORT int ncclRecv(void *memory, size_t count, int, int peer, void *communicator, void *) {
  group.push_back({static_cast<Communicator *>(communicator), false, peer, memory, count});
  return 0;
}
