// The CUDA driver, found when it is first needed: nothing here is linked against it.
#ifndef VERNIER_RUNTIME_CUDA_DRIVER_H
#define VERNIER_RUNTIME_CUDA_DRIVER_H

#include "runtime/Result.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace vernier::runtime::cuda {

// The driver's ABI, as far as it is used.
using Code = int; ///< CUresult; 0 is success.
using DeviceId = int;
using Pointer = uint64_t;
struct ContextImpl;
struct ModuleImpl;
struct FunctionImpl;
struct StreamImpl;
struct EventImpl;
using Context = ContextImpl *;
using Module = ModuleImpl *;
using Function = FunctionImpl *;
using Stream = StreamImpl *;
using Event = EventImpl *;
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

/// Where a memory pool's allocations lie; what the driver leaves open is 0.
struct MemoryPoolProperties {
  int allocation = 1; ///< ordinary memory
  int handles = 0;
  int place = 1; ///< of a device
  int device = 0;
  void *security = nullptr;
  size_t most = 0;
  unsigned short usage = 0;
  unsigned char reserved[54] = {};
};
using MemoryPool = void *;

struct LaunchAttribute {
  int id;
  alignas(8) int value[16];
};
struct LaunchConfig {
  unsigned blocks[3] = {1, 1, 1}, threads[3] = {1, 1, 1}, sharedBytes = 0;
  Stream stream = nullptr;
  LaunchAttribute *attributes = nullptr;
  unsigned attributeCount = 0;
};

// Attributes of devices, functions, memory pools, streams, events and launches, by the driver's numbers.
inline constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76, kSharedBytesOptIn = 97;
inline constexpr int kFunctionSharedBytes = 8;
inline constexpr int kPoolReleaseThreshold = 4;
inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2;
inline constexpr int kProgrammaticStreamSerialization = 6; ///< of a launch: it may begin while the kernel before it ends.
// Of tensor maps.
inline constexpr int kMapBytes = 0, kMapFloat16 = 6, kMapFloat32 = 7, kMapBFloat16 = 9, kMapSwizzle128 = 3, kMapPromote256 = 3;

struct Driver {
  Code (*init)(unsigned);
  Code (*driverGetVersion)(int *);
  Code (*getErrorName)(Code, const char **);
  Code (*getErrorString)(Code, const char **);
  Code (*deviceGetCount)(int *);
  Code (*deviceGet)(DeviceId *, int);
  Code (*deviceGetAttribute)(int *, int, DeviceId);
  Code (*deviceGetName)(char *, int, DeviceId);
  Code (*devicePrimaryCtxRetain)(Context *, DeviceId);
  Code (*ctxGetCurrent)(Context *);
  Code (*ctxSetCurrent)(Context);
  Code (*ctxGetDevice)(DeviceId *);
  Code (*moduleLoadDataEx)(Module *, const void *, unsigned, int *, void **);
  Code (*moduleUnload)(Module);
  Code (*moduleGetFunction)(Function *, Module, const char *);
  Code (*funcSetAttribute)(Function, int, int);
  Code (*occupancy)(int *, Function, int, size_t);
  Code (*launchKernelEx)(const LaunchConfig *, Function, void **, void **);
  Code (*memPoolCreate)(MemoryPool *, const MemoryPoolProperties *);
  Code (*memPoolDestroy)(MemoryPool);
  Code (*memPoolSetAttribute)(MemoryPool, int, void *);
  Code (*memAllocFromPoolAsync)(Pointer *, size_t, MemoryPool, Stream);
  Code (*memFreeAsync)(Pointer, Stream);
  Code (*memcpyDtoDAsync)(Pointer, Pointer, size_t, Stream);
  Code (*streamCreate)(Stream *, unsigned);
  Code (*streamDestroy)(Stream);
  Code (*streamSynchronize)(Stream);
  Code (*streamWaitEvent)(Stream, Event, unsigned);
  Code (*eventCreate)(Event *, unsigned);
  Code (*eventDestroy)(Event);
  Code (*eventRecord)(Event, Stream);
  Code (*tensorMapEncodeTiled)(TensorMap *, int element, uint32_t rank, void *address, const uint64_t *sizes,
                               const uint64_t *strides, const uint32_t *box, const uint32_t *elementStrides, int interleave,
                               int swizzle, int promotion, int outside);

  /// "CUDA_ERROR_INVALID_VALUE: invalid argument".
  std::string describe(Code code) const;
};

/// The driver of this machine, initialised, or why there is none.
Result<const Driver *> driver();

/// The primary context of a device, made current for the calling thread until the object goes.
class CurrentDevice {
public:
  struct Primary {
    const Driver &api;
    Context context;
  };
  static Result<Primary> primary(int device);
  explicit CurrentDevice(const Primary &primary) : CurrentDevice(primary.api, primary.context) {}
  CurrentDevice(const Driver &api, Context wanted) : api(api) {
    api.ctxGetCurrent(&before);
    if (before != wanted) {
      api.ctxSetCurrent(wanted);
      changed = true;
    }
  }
  ~CurrentDevice() {
    if (changed)
      api.ctxSetCurrent(before);
  }
  CurrentDevice(const CurrentDevice &) = delete;

private:
  const Driver &api;
  Context before = nullptr;
  bool changed = false;
};

/// The pool of a device's temporaries. It keeps up to a GiB between calls: returned to the system at every
/// synchronisation, as the default pool's memory is, temporaries would be mapped anew after it, which takes longer than
/// kernels.
Result<MemoryPool> temporaryPool(int device);

/// Waits for a stream of a device.
Status synchronize(int device, Stream stream);

} // namespace vernier::runtime::cuda

#endif
