// A GPU artifact, loaded: checks a call and launches its kernels.
#ifndef VERNIER_RUNTIME_CUDA_DEVICEPROGRAM_H
#define VERNIER_RUNTIME_CUDA_DEVICEPROGRAM_H

#include "runtime/LaunchChoice.h"
#include "runtime/cuda/Driver.h"

#include <atomic>
#include <mutex>

namespace vernier::runtime::cuda {

/// Safe from several threads, on several devices. Code is loaded once for each device, when it is first needed there.
class DeviceProgram : public Program {
public:
  explicit DeviceProgram(std::shared_ptr<const Artifact> artifact);
  ~DeviceProgram();

  /// Launches every kernel on a stream of a device and does not wait. All buffers are memory that the device can reach.
  /// Nothing is allocated on the host for up to 64 buffers; temporaries of the artifact are allocated and freed in stream
  /// order. May be captured in a graph.
  ///
  /// Fails when a buffer is not aligned to 16 bytes, when a result overlaps an argument or another result, or when the driver
  /// refuses. Offsets and indices stay on the device: they are kept within bounds there.
  ///
  /// `arguments` and `results` have as many entries as the artifact says, with shapes that passed checkShapes().
  Status run(const ValueRef *arguments, const ValueRef *results, int device, Stream stream) const;

  /// Loads the code on a device now rather than with the first call.
  Status load(int device) const;

private:
  struct Loaded;
  Result<const Loaded *> loadedOn(int device) const;
  Result<const Loaded *> makeLoaded(int device) const;
  /// One launch of kernel `k`; `data`: where buffers lie.
  Status launch(const Loaded &loaded, size_t k, size_t which, const ValueRef *arguments, void **data, Stream stream) const;
  /// The same for some rows (KernelSpec::rowsOf).
  Status launchRows(const Loaded &loaded, size_t k, const LaunchPart &part, const ValueRef *arguments, void **data,
                    Stream stream) const;

  mutable std::mutex guard;
  mutable std::atomic<const Loaded *> onDevice[16] = {};
};

} // namespace vernier::runtime::cuda

#endif
