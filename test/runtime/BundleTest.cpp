#include "runtime/Bundle.h"

#include "runtime/Cache.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace vernier::runtime;

namespace {
class BundleTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "vernier-bundle-XXXXXX").string();
    folder = mkdtemp(pattern.data());
  }
  void TearDown() override {
    unsetenv("VERNIER_BUNDLES");
    unsetenv("VERNIER_COMPILE");
    fs::remove_all(folder);
  }

  static Artifact artifact(const std::string &name) {
    Artifact made;
    made.name = name;
    made.target = "sm_90a";
    made.code = "cubin of " + name;
    made.ptx = "ptx of " + name;
    return made;
  }
  static std::string key(char fill) { return std::string(64, fill); }

  std::string folder;
};
} // namespace

TEST_F(BundleTest, HoldsWhatWasAdded) {
  ASSERT_TRUE(addToBundle(folder, key('a'), artifact("one")));
  ASSERT_TRUE(addToBundle(folder, key('b'), artifact("two")));
  ASSERT_TRUE(addToBundle(folder, key('b'), artifact("two"))); // again
  auto list = listBundle(folder);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->size(), 2u);
  auto one = openBundle(folder, "one"), two = openBundle(folder, key('b'));
  ASSERT_TRUE(one && two);
  EXPECT_EQ((*one)->code, "cubin of one");
  EXPECT_EQ((*two)->ptx, "ptx of two");
}

TEST_F(BundleTest, SaysWhatIsWrong) {
  EXPECT_NE(openBundle(folder, "one").error().message.find("no bundle in"), std::string::npos);
  ASSERT_TRUE(addToBundle(folder, key('a'), artifact("one")));
  EXPECT_NE(openBundle(folder, "two").error().message.find("has no 'two'; it has: one"), std::string::npos);
  ASSERT_TRUE(addToBundle(folder, key('b'), artifact("one")));
  EXPECT_NE(openBundle(folder, "one").error().message.find("has 2 functions 'one'; give the key of one"), std::string::npos);
  std::ofstream(folder + "/" + key('a') + "/code.cubin") << "other";
  EXPECT_NE(openBundle(folder, key('a')).error().message.find("code.cubin does not match its digest"), std::string::npos);
  std::ofstream(folder + "/manifest.json") << "{";
  EXPECT_NE(listBundle(folder).error().message.find("is damaged or of another version"), std::string::npos);
}

TEST_F(BundleTest, ServesTheCacheAndForbidsCompiling) {
  ASSERT_TRUE(addToBundle(folder, key('a'), artifact("one")));
  setenv("VERNIER_BUNDLES", folder.c_str(), 1);
  setenv("VERNIER_COMPILE", "never", 1);
  Cache cache = Cache::fromEnvironment("", 0);
  int compiled = 0;
  auto compile = [&]() -> Result<Artifact> { return ++compiled, artifact("fresh"); };
  auto hit = cache.get(key('a'), compile);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->outcome, CacheOutcome::Hit);
  EXPECT_EQ(hit->artifact->name, "one");
  auto miss = cache.get(key('c'), compile);
  ASSERT_FALSE(miss);
  EXPECT_NE(miss.error().message.find("VERNIER_COMPILE=never forbids compiling"), std::string::npos);
  EXPECT_EQ(compiled, 0);
}
