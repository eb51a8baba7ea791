#include "runtime/Cache.h"

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace vernier::runtime;

namespace {
class CacheTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "vernier-cache-XXXXXX").string();
    base = mkdtemp(pattern.data());
    folder = base + "/cache";
  }
  void TearDown() override {
    std::error_code error;
    fs::permissions(folder, fs::perms::owner_all, error);
    fs::remove_all(base, error);
  }

  static std::string key(char fill) { return std::string(64, fill); }

  Result<Cached> get(char fill, int *compiled = nullptr, int64_t cap = 1 << 30, size_t bytes = 1000) {
    Cache cache(folder, cap);
    return cache.get(key(fill), [&]() -> Result<Artifact> {
      if (compiled)
        ++*compiled;
      Artifact artifact;
      artifact.name = std::string("artifact-") + fill;
      artifact.code = std::string(bytes, fill);
      return artifact;
    });
  }

  std::string base, folder;
};
} // namespace

TEST_F(CacheTest, SecondRequestIsAHit) {
  int compiled = 0;
  auto first = get('a', &compiled), second = get('a', &compiled);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->outcome, CacheOutcome::Compiled);
  EXPECT_EQ(second->outcome, CacheOutcome::Hit);
  EXPECT_EQ(second->artifact->code, std::string(1000, 'a'));
  EXPECT_EQ(compiled, 1);
}

TEST_F(CacheTest, DamageIsFoundSetAsideAndRepaired) {
  for (const char *file : {"meta.json", "code.o"}) {
    for (int kind = 0; kind < 3; ++kind) {
      ASSERT_TRUE(get('a'));
      std::string path = folder + "/" + key('a') + "/" + file;
      if (kind == 0)
        fs::resize_file(path, fs::file_size(path) / 2);
      else if (kind == 1)
        fs::remove(path);
      else
        std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(20).put('!');
      int compiled = 0;
      auto result = get('a', &compiled);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(compiled, 1) << file << " " << kind;
      EXPECT_NE(result->note.find("set aside"), std::string::npos);
      EXPECT_EQ(get('a')->outcome, CacheOutcome::Hit);
    }
  }
}

TEST_F(CacheTest, AFolderThatOthersMayWriteToIsRefused) {
  fs::create_directories(folder);
  chmod(folder.c_str(), 0777);
  auto result = get('a');
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("can be written to by others"), std::string::npos);
}

TEST_F(CacheTest, AFolderThatCannotBeMadeOnlyCostsTheStore) {
  std::ofstream(base + "/file") << "x";
  folder = base + "/file/cache";
  int compiled = 0;
  auto result = get('a', &compiled);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->outcome, CacheOutcome::Unstored);
  EXPECT_EQ(result->artifact->name, "artifact-a");
  EXPECT_FALSE(result->note.empty());
}

TEST_F(CacheTest, AReadOnlyFolderStillServesAndNeverFails) {
  ASSERT_TRUE(get('a'));
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_EQ(get('a')->outcome, CacheOutcome::Hit);
  auto other = get('b');
  ASSERT_TRUE(other);
  EXPECT_EQ(other->artifact->name, "artifact-b"); // root may write all the same
}

TEST_F(CacheTest, AFullDiskCostsTheStoreAndLeavesNoRest) {
  // A limit on the size of files stands in for the end of the disk: writes fail half-way in the same place.
  pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    auto result = get('a', nullptr, 1 << 30, 100000);
    bool good = result && result->outcome == CacheOutcome::Unstored && result->artifact->code.size() == 100000 &&
                result->note.find("cannot write") != std::string::npos;
    _exit(good ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (const auto &entry : fs::directory_iterator(folder))
    EXPECT_FALSE(entry.is_directory()) << entry.path();
  EXPECT_EQ(get('a')->outcome, CacheOutcome::Compiled);
}

TEST_F(CacheTest, TheLeastRecentlyUsedGoFirst) {
  ASSERT_TRUE(get('a') && get('b') && get('c'));
  // 'a' is used again and is then younger than 'b'.
  auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (char fill : {'a', 'b', 'c'})
    fs::last_write_time(folder + "/" + key(fill), old);
  ASSERT_EQ(get('a')->outcome, CacheOutcome::Hit);
  ASSERT_TRUE(get('d', nullptr, 4500));
  EXPECT_TRUE(fs::exists(folder + "/" + key('a')));
  EXPECT_TRUE(fs::exists(folder + "/" + key('d')));
  EXPECT_FALSE(fs::exists(folder + "/" + key('b')) && fs::exists(folder + "/" + key('c')));
}

TEST_F(CacheTest, OneCompilationForAKeyAcrossProcessesAndThreads) {
  auto *count = static_cast<std::atomic<int> *>(
      mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  new (count) std::atomic<int>(0);
  auto work = [&] {
    Cache cache(folder);
    auto result = cache.get(key('a'), [&]() -> Result<Artifact> {
      ++*count;
      usleep(100000);
      Artifact artifact;
      artifact.name = "shared";
      artifact.code = "code";
      return artifact;
    });
    return result && (*result).artifact->name == "shared";
  };
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    pid_t child = fork();
    if (child == 0) {
      std::atomic<bool> good{true};
      std::thread other([&] { good = work() && good; });
      good = work() && good;
      other.join();
      _exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(*count, 1);
  munmap(count, sizeof(*count));
}

TEST_F(CacheTest, AKilledCompilerLeavesTheKeyFree) {
  pid_t child = fork();
  if (child == 0) {
    Cache cache(folder);
    (void)cache.get(key('a'), []() -> Result<Artifact> {
      raise(SIGKILL);
      return Artifact{};
    });
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(get('a')->outcome, CacheOutcome::Compiled);
}

TEST_F(CacheTest, AFailedCompilationIsNotStored) {
  Cache cache(folder);
  auto failed = cache.get(key('a'), []() -> Result<Artifact> { return Error{"no"}; });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "no");
  EXPECT_EQ(get('a')->outcome, CacheOutcome::Compiled);
}
