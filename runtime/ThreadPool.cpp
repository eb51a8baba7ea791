#include "runtime/ThreadPool.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <thread>
#include <vector>

using namespace vernier::runtime;

namespace {
/// One parallelFor: pieces are taken in order by whoever is free.
struct Job {
  const std::function<void(int64_t, int64_t)> *body;
  int64_t count, piece;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;

  void work() {
    while (true) {
      int64_t begin = next.fetch_add(piece);
      if (begin >= count)
        return;
      int64_t end = std::min(begin + piece, count);
      (*body)(begin, end);
      if (done.fetch_add(end - begin) + (end - begin) == count) {
        std::lock_guard lock(mutex);
        finished.notify_all();
      }
    }
  }
};

class Pool {
public:
  explicit Pool(int helpers) {
    for (int i = 0; i < helpers; ++i)
      std::thread([this] { run(); }).detach();
  }
  void post(const std::shared_ptr<Job> &job, int copies) {
    {
      std::lock_guard lock(mutex);
      for (int i = 0; i < copies; ++i)
        queue.push_back(job);
    }
    wake.notify_all();
  }

private:
  void run() {
    while (true) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return !queue.empty(); });
        job = std::move(queue.front());
        queue.pop_front();
      }
      job->work();
    }
  }
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::shared_ptr<Job>> queue;
};
} // namespace

int vernier::runtime::numThreads() {
  static const int threads = [] {
    if (const char *text = std::getenv("VERNIER_NUM_THREADS"))
      if (long number = std::strtol(text, nullptr, 10); number > 0 && number < 4096)
        return int(number);
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
      return std::max(1, CPU_COUNT(&set));
    return std::max(1, int(std::thread::hardware_concurrency()));
  }();
  return threads;
}

/// Threads do not survive fork, so a child starts a pool of its own; a lock that another thread of the parent held at
/// that moment would never be released in it. Pools are never destroyed: their threads may still be waiting when the
/// process ends.
static std::mutex &poolMutex() {
  static auto *mutex = new std::mutex;
  return *mutex;
}
static Pool *currentPool = nullptr;

static void afterForkInChild() {
  new (&poolMutex()) std::mutex; // in the place of one that may be held for ever
  currentPool = nullptr;
}

static Pool &pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, afterForkInChild);
  (void)registered;
  std::lock_guard lock(poolMutex());
  if (!currentPool)
    currentPool = new Pool(numThreads() - 1);
  return *currentPool;
}

void vernier::runtime::parallelFor(int64_t count, const std::function<void(int64_t, int64_t)> &body) {
  if (count <= 0)
    return;
  int threads = int(std::min<int64_t>(numThreads(), count));
  if (threads == 1)
    return body(0, count);
  auto job = std::make_shared<Job>();
  job->body = &body;
  job->count = count;
  job->piece = std::max<int64_t>(1, count / (threads * 8));
  pool().post(job, threads - 1);
  job->work();
  std::unique_lock lock(job->mutex);
  job->finished.wait(lock, [&] { return job->done.load() == count; });
}
