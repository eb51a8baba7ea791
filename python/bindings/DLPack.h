// What is used of DLPack's C exchange interface (version 1): how a library's arrays are seen without a call of Python.
#ifndef VERNIER_PYTHON_BINDINGS_DLPACK_H
#define VERNIER_PYTHON_BINDINGS_DLPACK_H

#include <cstdint>

namespace vernier::python::dlpack {

inline constexpr int32_t kCuda = 2;
inline constexpr uint32_t kMajor = 1;

struct Device {
  int32_t type, index;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
/// `strides` counts elements; null for row-major arrays.
struct Tensor {
  void *data;
  Device device;
  int32_t rank;
  DataType type;
  int64_t *shape, *strides;
  uint64_t byteOffset;
};
struct Version {
  uint32_t major, minor;
};
/// What the capsule "dlpack_exchange_api" points to, an attribute __dlpack_c_exchange_api__ of the array's type.
struct ExchangeApi {
  Version version;
  const ExchangeApi *previous; ///< of an older major version.
  void *allocate;
  void *managedFromObject;
  void *objectFromManaged;
  int (*viewOfObject)(void *object, Tensor *view); ///< 0, or -1 with a Python error; the object owns what is viewed.
  int (*currentStream)(int32_t deviceType, int32_t device, void **stream);
};

} // namespace vernier::python::dlpack

#endif
