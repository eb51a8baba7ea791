#include "runtime/HostProgram.h"

#include <gtest/gtest.h>

using namespace vernier::runtime;

namespace {
/// Doubles a vector: one task an element. Operands: source, target, begin, end.
struct Memref {
  float *allocated, *aligned;
  int64_t offset, size, stride;
};
void run(void **operands) {
  auto *source = static_cast<Memref *>(operands[0]), *target = static_cast<Memref *>(operands[1]);
  for (int64_t i = *static_cast<int64_t *>(operands[2]); i < *static_cast<int64_t *>(operands[3]); ++i)
    target->aligned[i] = 2 * source->aligned[i];
}
void count(void **operands) { *static_cast<int64_t *>(operands[2]) = static_cast<Memref *>(operands[0])->size; }

SizeExpr rows() {
  SizeTerm term;
  term.argument = 0;
  return {{term}};
}

/// twice(twice(x)), the inner result in a temporary buffer.
HostProgram makeProgram() {
  auto artifact = std::make_shared<Artifact>();
  artifact->name = "four_times";
  artifact->arguments = {{"f32", {rows()}, {0}}};
  artifact->results = {{"f32", {rows()}, {2}}, {"f32", {rows()}, {3}}};
  artifact->buffers = {{BufferSpec::Argument, "f32", {rows()}},
                       {BufferSpec::Temporary, "f32", {rows()}},
                       {BufferSpec::Result, "f32", {rows()}},
                       {BufferSpec::Result, "f32", {rows()}}};
  artifact->copies = {{0, 3}};
  KernelSpec first, second;
  first.buffers = {0, 1};
  second.buffers = {1, 2};
  first.launches = second.launches = {LaunchSpec()};
  artifact->kernels = {first, second};
  return HostProgram(artifact, {{run, count}, {run, count}}, nullptr);
}
} // namespace

TEST(HostProgram, RunsKernelsInOrderThroughTemporaries) {
  HostProgram program = makeProgram();
  for (int64_t size : {0, 1, 1000}) {
    std::vector<float> x(size, 3), y(size), same(size);
    ValueView argument{{size}, {x.data()}};
    ASSERT_TRUE(program.check({argument}));
    EXPECT_EQ(program.resultShapes({argument})[0], Shape{size});
    ASSERT_TRUE(program.run({argument}, {{{size}, {y.data()}}, {{size}, {same.data()}}}));
    EXPECT_EQ(y, std::vector<float>(size, 12));
    EXPECT_EQ(same, x);
  }
}

TEST(HostProgram, SaysWhatIsWrongWithACall) {
  HostProgram program = makeProgram();
  auto message = [&](std::vector<ValueView> arguments) { return program.check(arguments).error().message; };
  EXPECT_EQ(message({}), "expected 1 arguments, but got 0");
  EXPECT_EQ(message({{{2, 2}, {nullptr}}}), "argument 0: expected rank 1, but got 2");
  EXPECT_EQ(message({{{2}, {}}}), "argument 0: expected 1 buffers, but got 0");
}
