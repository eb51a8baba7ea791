// Independent tasks over threads.
#ifndef VERNIER_RUNTIME_THREADPOOL_H
#define VERNIER_RUNTIME_THREADPOOL_H

#include <cstdint>
#include <functional>

namespace vernier::runtime {

/// Runs body(begin, end) over pieces of [0, count), on the calling thread and the pool's, and returns when all are
/// done. Safe from several threads at once, and after fork. `VERNIER_NUM_THREADS` sets the number of threads; without
/// it, the number of processors that this process may use.
void parallelFor(int64_t count, const std::function<void(int64_t, int64_t)> &body);

/// Threads that parallelFor uses.
int numThreads();

} // namespace vernier::runtime

#endif
