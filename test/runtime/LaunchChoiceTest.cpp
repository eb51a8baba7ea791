#include "runtime/LaunchChoice.h"

#include <gtest/gtest.h>

using namespace vernier::runtime;

/// Of `rows` by 512: tiles so high and wide, tasks of as many pieces.
static LaunchSpec tilesOf(int64_t high, int64_t wide, int pieces, int64_t cost, int64_t pieceCost) {
  SizeTerm rows, cols, each;
  rows.argument = 0, rows.divisor = high, cols.constant = 512 / wide, each.constant = pieces;
  LaunchSpec launch;
  launch.tasks = {{{rows}}, {{cols}}, {{each}}};
  launch.pieces = pieces, launch.cost = cost, launch.pieceCost = pieceCost;
  return launch;
}

TEST(LaunchChoice, WavesOfTilesCostAndTheLastOneIsSharedOut) {
  LaunchSpec launch = tilesOf(256, 128, /*pieces=*/2, 10, 6);
  EXPECT_EQ(estimate(launch, 0, 4), 0);
  EXPECT_EQ(estimate(launch, 2 * 2, 4), 6);  // 2 tiles: 4 pieces at once
  EXPECT_EQ(estimate(launch, 2 * 3, 4), 10); // their pieces would not fit
  EXPECT_EQ(estimate(launch, 2 * 4, 4), 10);
  EXPECT_EQ(estimate(launch, 2 * 6, 4), 16);
}

static KernelSpec kernelOfTiles(int rowsOf) {
  KernelSpec kernel;
  kernel.launches = {tilesOf(256, 128, 2, 10'000, 6'000), tilesOf(128, 64, 1, 4'000, 4'000), tilesOf(128, 32, 1, 3'000, 3'000)};
  kernel.rowsOf = rowsOf;
  return kernel;
}

TEST(LaunchChoice, ACallTakesTheLaunchThatIsCheapestForItsRows) {
  KernelSpec kernel = kernelOfTiles(-1);
  int64_t atOnce[] = {16, 16, 16};
  auto chosen = [&](int64_t rows) {
    ValueRef argument(&rows, nullptr);
    LaunchPart parts[2];
    EXPECT_EQ(planLaunches(kernel, &argument, atOnce, parts), 1u);
    return parts[0].launch;
  };
  EXPECT_EQ(chosen(0), 0u); // nothing to do: the first of them
  EXPECT_EQ(chosen(1), 2u);
  EXPECT_EQ(chosen(128), 2u); // 16 tiles of 32 columns
  EXPECT_EQ(chosen(256), 1u); // twice as many would be two waves
  EXPECT_EQ(chosen(4096), 0u);
}

TEST(LaunchChoice, RowsBeyondWholeWavesHaveALaunchOfTheirOwnWhereThatIsCheaper) {
  KernelSpec kernel = kernelOfTiles(0);
  int64_t atOnce[] = {16, 16, 16};
  LaunchPart parts[2];
  auto count = [&](int64_t rows) {
    ValueRef argument(&rows, nullptr);
    return planLaunches(kernel, &argument, atOnce, parts);
  };
  // 16 tiles are 1024 rows; of 10 more rows, one wave of the smallest.
  ASSERT_EQ(count(3 * 1024 + 10), 1u); // three waves and pieces: 36, or 30, 3 and 3 for another launch
  EXPECT_EQ(parts[0].launch, 0u);
  kernel.launches[2].cost = kernel.launches[2].pieceCost = 2'000;
  ASSERT_EQ(count(3 * 1024 + 10), 2u);
  EXPECT_EQ(parts[0].launch, 0u);
  EXPECT_EQ(parts[0].rows, 3 * 1024);
  EXPECT_EQ(parts[1].launch, 2u);
  EXPECT_EQ(parts[1].firstRow, 3 * 1024);
  EXPECT_EQ(parts[1].rows, 10);
  EXPECT_EQ(count(3 * 1024), 1u);
  EXPECT_EQ(count(0), 1u);
  for (LaunchSpec &launch : kernel.launches)
    launch.tasks[1].terms[0].constant = 0; // no columns
  EXPECT_EQ(count(3 * 1024 + 10), 1u);
}
