#include "runtime/LaunchChoice.h"

#include <algorithm>

using namespace vernier::runtime;

int64_t vernier::runtime::tasksOf(const LaunchSpec &launch, const ValueRef *arguments) {
  int64_t tasks = 1;
  for (const SizeExpr &factor : launch.tasks)
    tasks *= std::max<int64_t>(0, evaluate(factor, arguments));
  return tasks;
}

int64_t vernier::runtime::estimate(const LaunchSpec &launch, int64_t tasks, int64_t atOnce) {
  int64_t wholes = tasks / launch.pieces, waves = wholes / atOnce, rest = wholes % atOnce;
  int64_t last = rest == 0 ? 0 : rest * launch.pieces <= atOnce ? launch.pieceCost : launch.cost;
  return waves * launch.cost + last;
}

size_t vernier::runtime::planLaunches(const KernelSpec &kernel, const ValueRef *arguments, const int64_t *atOnce,
                                      LaunchPart (&parts)[2]) {
  // That a launch begins where another ends costs a few microseconds.
  constexpr int64_t another = 3000;
  const std::vector<LaunchSpec> &launches = kernel.launches;
  int64_t rows = kernel.rowsOf < 0 ? 0 : arguments[kernel.rowsOf].shape[0], least = 0;
  parts[0] = {0, 0, rows};
  if (launches.size() < 2)
    return 1;
  for (size_t i = 0; i < launches.size(); ++i)
    if (int64_t cost = estimate(launches[i], tasksOf(launches[i], arguments), atOnce[i]); i == 0 || cost < least)
      parts[0].launch = i, least = cost;
  if (rows == 0)
    return 1;
  /// Tasks of so many rows, as multiples of those of all.
  auto tasksOfRows = [&](const LaunchSpec &launch, int64_t some) {
    int64_t tile = launch.tasks[0].terms[0].divisor, all = (rows + tile - 1) / tile;
    return tasksOf(launch, arguments) / all * ((some + tile - 1) / tile);
  };
  size_t count = 1;
  for (size_t i = 0; i < launches.size(); ++i) {
    int64_t tile = launches[i].tasks[0].terms[0].divisor;
    int64_t across = tasksOfRows(launches[i], tile) / launches[i].pieces;
    if (across == 0) // no columns
      return 1;
    int64_t waves = tasksOf(launches[i], arguments) / launches[i].pieces / atOnce[i];
    int64_t first = waves * atOnce[i] / across * tile, left = rows - first;
    if (first == 0 || left <= 0)
      continue;
    int64_t begun = another + estimate(launches[i], tasksOfRows(launches[i], first), atOnce[i]);
    for (size_t j = 0; j < launches.size(); ++j)
      if (int64_t cost = begun + estimate(launches[j], tasksOfRows(launches[j], left), atOnce[j]); cost < least) {
        parts[0] = {i, 0, first}, parts[1] = {j, first, left};
        least = cost, count = 2;
      }
  }
  return count;
}
