// Copies that run beside kernels.
#ifndef VERNIER_RUNTIME_CUDA_COURIER_H
#define VERNIER_RUNTIME_CUDA_COURIER_H

#include "runtime/cuda/SideStream.h"

namespace vernier::runtime::cuda {

/// Copies of one device, in a stream of their own: copy engines then work while kernels do, and over a link to a peer they do
/// not hold up the stores of the multiprocessors. In order among themselves; safe from several threads.
class Courier {
public:
  static Result<std::unique_ptr<Courier>> make(int device);

  SideStream &side() { return *stream; }
  /// Copies `bytes` when all that `after` holds now is done. The target may be a peer's memory that is mapped here.
  Status copy(Pointer to, Pointer from, size_t bytes, Stream after);

private:
  explicit Courier(std::unique_ptr<SideStream> stream) : stream(std::move(stream)) {}

  std::unique_ptr<SideStream> stream;
};

} // namespace vernier::runtime::cuda

#endif
