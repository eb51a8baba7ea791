// Which of a kernel's launches run in a call: sizes are known there, and with them how many waves each would take.
#ifndef VERNIER_RUNTIME_LAUNCHCHOICE_H
#define VERNIER_RUNTIME_LAUNCHCHOICE_H

#include "runtime/Program.h"

namespace vernier::runtime {

/// How many tasks a kernel has in a call.
int64_t tasksOf(const LaunchSpec &launch, const ValueRef *arguments);

/// Nanoseconds of a launch with so many tasks where so many of them run at a time.
int64_t estimate(const LaunchSpec &launch, int64_t tasks, int64_t atOnce);

/// One launch of a kernel: all of it, or some of the rows that several share out (KernelSpec::rowsOf).
struct LaunchPart {
  size_t launch = 0;
  int64_t firstRow = 0, rows = 0;
};

/// The cheapest way to run a kernel where so many tasks of each launch run at a time: one launch, or tiles of one for as many
/// rows as occupy the GPU again and again, and those of another for the rows that are left. Returns how many.
size_t planLaunches(const KernelSpec &kernel, const ValueRef *arguments, const int64_t *atOnce, LaunchPart (&parts)[2]);

} // namespace vernier::runtime

#endif
