#include "runtime/Artifact.h"

#include <gtest/gtest.h>

using namespace vernier::runtime;

static SizeTerm dimension(int argument, unsigned dim) {
  SizeTerm term;
  term.argument = argument;
  term.dim = dim;
  return term;
}

TEST(Artifact, SizesAreEvaluated) {
  std::vector<Shape> shapes{{300, 64}, {5}};
  SizeTerm padded = dimension(0, 0);
  padded.roundUps = {128};
  EXPECT_EQ(evaluate({{padded}}, shapes), 384);
  SizeTerm blocks = dimension(0, 0);
  blocks.divisor = 128;
  EXPECT_EQ(evaluate({{blocks}}, shapes), 3);
  blocks.roundDown = true;
  SizeTerm minusOne;
  minusOne.constant = -1;
  EXPECT_EQ(evaluate({{blocks, dimension(1, 0), minusOne}}, shapes), 2 + 5 - 1);
}

TEST(Artifact, SurvivesJson) {
  Artifact artifact;
  artifact.name = "f";
  artifact.target = "host";
  artifact.arguments.push_back({"f32", {{{dimension(0, 0)}}}, {0}});
  artifact.buffers.push_back({BufferSpec::Argument, "f32", {{{dimension(0, 0)}}}});
  CheckSpec check;
  check.kind = CheckSpec::Offsets;
  check.argument = 0;
  artifact.checks.push_back(check);
  KernelSpec kernel;
  kernel.name = "k";
  kernel.reasons = {"because \"so\""};
  artifact.kernels.push_back(kernel);
  Artifact copy = fromJson(toJson(artifact));
  EXPECT_EQ(toJson(copy), toJson(artifact));
  EXPECT_EQ(copy.kernels[0].reasons[0], "because \"so\"");
  EXPECT_EQ(copy.checks[0].kind, CheckSpec::Offsets);
}

TEST(Artifact, OtherTextIsNoArtifact) {
  for (const char *text : {"", "{", "[]", "{\"abi\": 0}", "{\"abi\": 1}"})
    EXPECT_TRUE(fromJson(text).name.empty()) << text;
}

TEST(Artifact, ElementBytes) {
  EXPECT_EQ(elementBytes("f32"), 4u);
  EXPECT_EQ(elementBytes("bf16"), 2u);
  EXPECT_EQ(elementBytes("i8"), 1u);
  EXPECT_EQ(elementBytes("i64"), 8u);
}
