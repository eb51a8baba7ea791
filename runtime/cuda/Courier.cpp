#include "runtime/cuda/Courier.h"

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

Result<std::unique_ptr<Courier>> Courier::make(int device) {
  Result<std::unique_ptr<SideStream>> side = SideStream::make(device);
  if (!side)
    return side.error();
  return std::unique_ptr<Courier>(new Courier(std::move(*side)));
}

Status Courier::copy(Pointer to, Pointer from, size_t bytes, Stream kernels) {
  if (!bytes)
    return {};
  if (Status status = stream->follow(kernels); !status)
    return status;
  CurrentDevice current(stream->primary);
  return stream->describe(stream->primary.api.memcpyDtoDAsync(to, from, bytes, stream->own()));
}
