// A stream beside the caller's, and what each waits for of the other.
#ifndef VERNIER_RUNTIME_CUDA_SIDESTREAM_H
#define VERNIER_RUNTIME_CUDA_SIDESTREAM_H

#include "runtime/cuda/Driver.h"

#include <memory>
#include <mutex>

namespace vernier::runtime::cuda {

/// A stream of its own on a device, for work that goes on beside kernels. Safe from several threads.
class SideStream {
public:
  static Result<std::unique_ptr<SideStream>> make(int device);
  ~SideStream();
  SideStream(const SideStream &) = delete;

  Stream own() const { return stream; }
  /// Lets what is put into this stream from now on wait for all that another holds now.
  Status follow(Stream other);
  /// Lets what is put into another stream from now on wait for all that this one holds now.
  Status join(Stream other);
  Status describe(Code code) const;

  const int device;
  const CurrentDevice::Primary primary;

private:
  SideStream(int device, const CurrentDevice::Primary &primary) : device(device), primary(primary) {}
  /// `waiting` waits for what `other` holds now.
  Status order(Stream waiting, Event event, Stream other);

  std::mutex guard; ///< of the events, which are recorded and waited for at once.
  Stream stream = nullptr;
  Event followed = nullptr, joined = nullptr;
};

} // namespace vernier::runtime::cuda

#endif
