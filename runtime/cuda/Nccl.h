// NCCL, found when it is first needed: nothing here is linked against it.
#ifndef VERNIER_RUNTIME_CUDA_NCCL_H
#define VERNIER_RUNTIME_CUDA_NCCL_H

#include "runtime/cuda/Driver.h"

namespace vernier::runtime::cuda {

// NCCL's ABI, as far as it is used.
struct NcclCommunicatorImpl;
using NcclCommunicator = NcclCommunicatorImpl *;
struct NcclId {
  char bytes[128];
};
inline constexpr int kNcclBytes = 1;      ///< of data types.
inline constexpr int kNcclInProgress = 7; ///< of results; 0 is success.

struct Nccl {
  int (*getVersion)(int *);
  int (*getUniqueId)(NcclId *);
  const char *(*getErrorString)(int);
  const char *(*getLastError)(NcclCommunicator);
  int (*commInitRank)(NcclCommunicator *, int ranks, NcclId, int rank);
  int (*commDestroy)(NcclCommunicator);
  int (*commAbort)(NcclCommunicator);
  int (*commGetAsyncError)(NcclCommunicator, int *);
  int (*groupStart)();
  int (*groupEnd)();
  int (*send)(const void *, size_t count, int type, int peer, NcclCommunicator, Stream);
  int (*receive)(void *, size_t count, int type, int peer, NcclCommunicator, Stream);
};

/// The library of this process (PyTorch brings one), of this machine, or of VERNIER_NCCL; or why there is none.
Result<const Nccl *> nccl();

} // namespace vernier::runtime::cuda

#endif
