// Exchanges over NCCL, beside kernels.
#ifndef VERNIER_RUNTIME_CUDA_COMMUNICATOR_H
#define VERNIER_RUNTIME_CUDA_COMMUNICATOR_H

#include "runtime/cuda/Nccl.h"
#include "runtime/cuda/SideStream.h"

#include <vector>

namespace vernier::runtime::cuda {

/// One rank's end of an NCCL communicator: messages go in a stream of its own, so that kernels make the next part while one is
/// on its way. All ranks make the same exchanges in the same order, from one thread each.
class Communicator {
public:
  /// What all ranks of a communicator are made with: one rank draws it and tells the others.
  static Result<std::string> uniqueId();
  /// Collective. `id`: from uniqueId, of any rank.
  static Result<std::unique_ptr<Communicator>> make(int device, int ranks, int rank, const std::string &id);
  ~Communicator();
  Communicator(const Communicator &) = delete;

  /// Some bytes that go to another rank or come from it.
  struct Message {
    int peer;
    Pointer memory;
    size_t bytes;
  };
  /// Collective. Sends and receives when all that `after` holds now is done: between two ranks, messages arrive in the order in
  /// which they are sent, each as long as it is expected to be.
  Status exchange(const std::vector<Message> &sent, const std::vector<Message> &received, Stream after);
  /// Why no more can be exchanged: a peer has died or gone. Asks NCCL, and does not wait.
  Status failure() const;
  SideStream &side() { return *stream; }

private:
  Communicator(const Nccl &api, std::unique_ptr<SideStream> stream, int ranks, int rank)
      : api(api), stream(std::move(stream)), ranks(ranks), rank(rank) {}
  Status describe(int code) const;

  const Nccl &api;
  std::unique_ptr<SideStream> stream;
  int ranks, rank;
  NcclCommunicator communicator = nullptr;
};

} // namespace vernier::runtime::cuda

#endif
