// The part of the CUDA driver's interface that vernier's runtime uses, over the emulator. Launches have ended when they return.
#include "runtime/cuda/Driver.h"
#include "test/emulator/Machine.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

using namespace vernier::emulator;
namespace cuda = vernier::runtime::cuda;

namespace {
constexpr int kInvalid = 1, kNoMemory = 2, kNoDevice = 101, kBadModule = 218, kNotFound = 500, kFailed = 719;
constexpr int kSharedBytes = 227 * 1024;

struct LoadedModule {
  std::map<std::string, std::shared_ptr<const Kernel>> kernels;
};

thread_local std::string lastFailure;
thread_local void *currentContext;
char context; ///< the only one; its address is its handle.

uint64_t fromEnvironment(const char *name, uint64_t otherwise) {
  const char *given = std::getenv(name);
  return given ? std::stoull(given) : otherwise;
}

void *allocate(size_t bytes) {
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (memory) {
    std::memset(memory, 0xdd, bytes); // what nobody wrote looks wrong
    allocations().add(reinterpret_cast<uint64_t>(memory), bytes);
  }
  return memory;
}

int release(uint64_t address) {
  allocations().remove(address);
  std::free(reinterpret_cast<void *>(address)); // NOLINT(performance-no-int-to-ptr)
  return 0;
}
} // namespace

#define VERNIER_EXPORT extern "C" __attribute__((visibility("default")))

VERNIER_EXPORT int cuInit(unsigned) { return 0; }
VERNIER_EXPORT int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
VERNIER_EXPORT int cuGetErrorName(int, const char **name) { return *name = "EMULATOR_ERROR", 0; }
VERNIER_EXPORT int cuGetErrorString(int code, const char **text) {
  static thread_local std::string kept;
  kept = lastFailure.empty() ? "error " + std::to_string(code) : lastFailure;
  return *text = kept.c_str(), 0;
}

VERNIER_EXPORT int cuDeviceGetCount(int *count) { return *count = 1, 0; }
VERNIER_EXPORT int cuDeviceGet(int *device, int number) { return *device = number, number ? kNoDevice : 0; }
VERNIER_EXPORT int cuDeviceGetName(char *name, int length, int) {
  return std::snprintf(name, size_t(length), "emulated sm_90a") < 0;
}
VERNIER_EXPORT int cuDeviceGetAttribute(int *value, int attribute, int) {
  switch (attribute) {
  case cuda::kMajor:
    return *value = 9, 0;
  case cuda::kMinor:
    return *value = 0, 0;
  case cuda::kSharedBytesOptIn:
    return *value = kSharedBytes, 0;
  case cuda::kMultiprocessors: // few, so that blocks have several tasks
    return *value = int(fromEnvironment("VERNIER_EMULATOR_MULTIPROCESSORS", 4)), 0;
  default:
    return kInvalid;
  }
}
VERNIER_EXPORT int cuDevicePrimaryCtxRetain(void **made, int) { return *made = &context, 0; }
VERNIER_EXPORT int cuCtxGetCurrent(void **current) { return *current = currentContext, 0; }
VERNIER_EXPORT int cuCtxSetCurrent(void *wanted) { return currentContext = wanted, 0; }
VERNIER_EXPORT int cuCtxGetDevice(int *device) { return *device = 0, 0; }

VERNIER_EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
  const char *text = static_cast<const char *>(image);
  if (std::strncmp(text, "\177ELF", 4) == 0) {
    lastFailure = "the emulator runs PTX, not machine code: set VERNIER_PTXAS to nothing";
    return kBadModule;
  }
  try {
    *module = new LoadedModule{parse(text)};
    return 0;
  } catch (const std::exception &failure) {
    lastFailure = failure.what();
    return kBadModule;
  }
}
VERNIER_EXPORT int cuModuleUnload(void *module) {
  delete static_cast<LoadedModule *>(module);
  return 0;
}
VERNIER_EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) {
  auto &kernels = static_cast<LoadedModule *>(module)->kernels;
  auto found = kernels.find(name);
  if (found == kernels.end())
    return kNotFound;
  *function = const_cast<Kernel *>(found->second.get());
  return 0;
}
VERNIER_EXPORT int cuFuncSetAttribute(void *, int, int value) { return value > kSharedBytes ? kInvalid : 0; }
VERNIER_EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t) { return *blocks = 1, 0; }

VERNIER_EXPORT int cuLaunchKernelEx(const cuda::LaunchConfig *config, void *function, void **parameters, void **) {
  static std::atomic<uint64_t> launches = 0;
  const Kernel &kernel = *static_cast<Kernel *>(function);
  Launch launch;
  launch.kernel = &kernel;
  launch.blocks = config->blocks[0], launch.threads = config->threads[0], launch.sharedBytes = config->sharedBytes;
  launch.seed = fromEnvironment("VERNIER_EMULATOR_SEED", 0) + 1'000'003 * launches++;
  launch.parameters.resize(kernel.parameterBytes);
  for (size_t p = 0; p < kernel.parameters.size(); ++p)
    std::memcpy(launch.parameters.data() + kernel.parameters[p].offset, parameters[p], kernel.parameters[p].bytes);
  if (!launch.blocks || launch.sharedBytes > unsigned(kSharedBytes))
    return kInvalid;
  try {
    run(launch);
    return 0;
  } catch (const std::exception &failure) {
    lastFailure = failure.what();
    return kFailed;
  }
}

VERNIER_EXPORT int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  *address = reinterpret_cast<uint64_t>(allocate(bytes));
  return *address ? 0 : kNoMemory;
}
VERNIER_EXPORT int cuMemFree_v2(uint64_t address) { return release(address); }
VERNIER_EXPORT int cuMemPoolCreate(void **pool, const void *) { return *pool = &context, 0; }
VERNIER_EXPORT int cuMemPoolDestroy(void *) { return 0; }
VERNIER_EXPORT int cuMemPoolSetAttribute(void *, int, void *) { return 0; }
VERNIER_EXPORT int cuMemAllocFromPoolAsync(uint64_t *address, size_t bytes, void *, void *) {
  return cuMemAlloc_v2(address, bytes);
}
VERNIER_EXPORT int cuMemFreeAsync(uint64_t address, void *) { return release(address); }
VERNIER_EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
  std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes); // NOLINT(performance-no-int-to-ptr)
  return 0;
}

VERNIER_EXPORT int cuStreamCreate(void **stream, unsigned) { return *stream = &context, 0; }
VERNIER_EXPORT int cuStreamDestroy_v2(void *) { return 0; }
VERNIER_EXPORT int cuStreamSynchronize(void *) { return 0; }
VERNIER_EXPORT int cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
VERNIER_EXPORT int cuEventCreate(void **event, unsigned) { return *event = &context, 0; }
VERNIER_EXPORT int cuEventDestroy_v2(void *) { return 0; }
VERNIER_EXPORT int cuEventRecord(void *, void *) { return 0; }

VERNIER_EXPORT int cuTensorMapEncodeTiled(void *made, int element, uint32_t rank, void *address, const uint64_t *sizes,
                                          const uint64_t *strides, const uint32_t *box, const uint32_t *, int, int swizzle, int,
                                          int) {
  uint32_t bytes = element == cuda::kMapBytes ? 1 : element == cuda::kMapFloat32 ? 4 : 2;
  auto at = reinterpret_cast<uint64_t>(address);
  if (rank != 2 || at % 16 || strides[0] % 16 || box[0] > 256 || box[1] > 256 || !sizes[0] || !sizes[1] ||
      (swizzle && (swizzle != cuda::kMapSwizzle128 || box[0] * bytes != 128)))
    return kInvalid;
  TensorMap map{at, {sizes[0], sizes[1]}, strides[0], {box[0], box[1]}, bytes, uint32_t(swizzle != 0)};
  std::memset(made, 0, 128);
  std::memcpy(made, &map, sizeof(map));
  return 0;
}
