#include "runtime/ThreadPool.h"

#include <atomic>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace vernier::runtime;

static bool coversOnce(int64_t count) {
  std::vector<std::atomic<int>> seen(count);
  parallelFor(count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      ++seen[i];
  });
  for (auto &n : seen)
    if (n != 1)
      return false;
  return true;
}

TEST(ThreadPool, EveryTaskRunsOnce) {
  for (int64_t count : {0, 1, 2, 3, 17, 1000, 100003})
    EXPECT_TRUE(coversOnce(count)) << count;
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j)
        good += coversOnce(500);
    });
  for (auto &thread : threads)
    thread.join();
  EXPECT_EQ(good, 400);
}

TEST(ThreadPool, WorksAfterFork) {
  EXPECT_TRUE(coversOnce(100));
  pid_t child = fork();
  if (child == 0)
    _exit(coversOnce(100) ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
