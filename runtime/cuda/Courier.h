// Copies that run beside kernels.
#ifndef VERNIER_RUNTIME_CUDA_COURIER_H
#define VERNIER_RUNTIME_CUDA_COURIER_H

#include "runtime/cuda/Driver.h"

#include <memory>
#include <mutex>

namespace vernier::runtime::cuda {

/// Copies of one device, in a stream of their own: copy engines then work while kernels do, and over a link to a peer they do
/// not hold up the stores of the multiprocessors. In order among themselves; safe from several threads.
class Courier {
public:
  static Result<std::unique_ptr<Courier>> make(int device);
  ~Courier();
  Courier(const Courier &) = delete;

  /// The stream of the copies, for what has its place among them.
  Stream own() const { return stream; }
  /// Lets copies from now on wait for all that a stream holds now.
  Status follow(Stream stream);
  /// Copies `bytes` when all that `after` holds now is done. The target may be a peer's memory that is mapped here.
  Status copy(Pointer to, Pointer from, size_t bytes, Stream after);
  /// Lets what is put into a stream from now on wait for all copies.
  Status join(Stream stream);

private:
  Courier(int device, const Driver &api, Context context) : device(device), api(api), context(context) {}
  Status describe(Code code) const;

  int device;
  const Driver &api;
  Context context;
  std::mutex guard; ///< of the events, which are recorded and waited for at once.
  Stream stream = nullptr;
  Event before = nullptr, after = nullptr;
};

} // namespace vernier::runtime::cuda

#endif
