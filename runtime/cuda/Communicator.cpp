#include "runtime/cuda/Communicator.h"

#include <cstring>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

Result<std::string> Communicator::uniqueId() {
  Result<const Nccl *> api = nccl();
  if (!api)
    return api.error();
  NcclId id;
  if (int code = (*api)->getUniqueId(&id))
    return Error{std::string("NCCL gives no unique id: ") + (*api)->getErrorString(code)};
  return std::string(id.bytes, sizeof id.bytes);
}

Result<std::unique_ptr<Communicator>> Communicator::make(int device, int ranks, int rank, const std::string &id) {
  NcclId bytes;
  if (id.size() != sizeof bytes.bytes)
    return Error{"expected a unique id of " + std::to_string(sizeof bytes.bytes) + " bytes, but got " +
                 std::to_string(id.size())};
  if (rank < 0 || rank >= ranks)
    return Error{"expected a rank below " + std::to_string(ranks) + ", but got " + std::to_string(rank)};
  std::memcpy(bytes.bytes, id.data(), id.size());
  Result<const Nccl *> api = nccl();
  if (!api)
    return api.error();
  Result<std::unique_ptr<SideStream>> side = SideStream::make(device);
  if (!side)
    return side.error();
  std::unique_ptr<Communicator> made(new Communicator(**api, std::move(*side), ranks, rank));
  CurrentDevice current(made->stream->primary);
  if (Status status = made->describe((*api)->commInitRank(&made->communicator, ranks, bytes, rank)); !status)
    return status.error();
  return made;
}

Communicator::~Communicator() {
  if (!communicator)
    return;
  CurrentDevice current(stream->primary);
  // Where a peer is gone, orderly goodbyes would wait for it.
  failure() ? api.commDestroy(communicator) : api.commAbort(communicator);
}

Status Communicator::describe(int code) const {
  if (!code || code == kNcclInProgress)
    return {};
  const char *detail = api.getLastError(communicator);
  return Error{"rank " + std::to_string(rank) + " of " + std::to_string(ranks) + ": NCCL: " + api.getErrorString(code) +
               (detail && *detail ? std::string(" (") + detail + ")" : "")};
}

Status Communicator::failure() const {
  int state = 0;
  if (Status status = describe(api.commGetAsyncError(communicator, &state)); !status)
    return status;
  return describe(state);
}

Status Communicator::exchange(const std::vector<Message> &sent, const std::vector<Message> &received, Stream after) {
  for (const auto *messages : {&sent, &received})
    for (const Message &message : *messages)
      if (message.peer < 0 || message.peer >= ranks)
        return Error{"expected a peer below " + std::to_string(ranks) + ", but got " + std::to_string(message.peer)};
  if (Status status = failure(); !status)
    return status;
  if (Status status = stream->follow(after); !status)
    return status;
  CurrentDevice current(stream->primary);
  int code = api.groupStart();
  // NOLINTBEGIN(performance-no-int-to-ptr): the driver's addresses are integers
  for (const Message &message : sent)
    if (message.bytes && !code)
      code = api.send(reinterpret_cast<const void *>(message.memory), message.bytes, kNcclBytes, message.peer, communicator,
                      stream->own());
  for (const Message &message : received)
    if (message.bytes && !code)
      code = api.receive(reinterpret_cast<void *>(message.memory), message.bytes, kNcclBytes, message.peer, communicator,
                         stream->own());
  // NOLINTEND(performance-no-int-to-ptr)
  int ended = api.groupEnd(); // also where something failed: a group must not stay open
  return describe(code ? code : ended);
}
