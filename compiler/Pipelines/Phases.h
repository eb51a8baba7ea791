// The phases of compilation: the one table behind --from, --until, dump names, `ir(phase)` and the docs.
#ifndef VERNIER_COMPILER_PIPELINES_PHASES_H
#define VERNIER_COMPILER_PIPELINES_PHASES_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>

namespace mlir {
class OpPassManager;
}

namespace vernier {

/// What code is made for.
enum class Target { Host, SM90a };
std::optional<Target> findTarget(llvm::StringRef name);
/// "host, sm_90a", for messages.
std::string targetNames();

struct PipelineOptions {
  Target target = Target::Host;
  int64_t maxKernels = 0; ///< refuse to form more kernels than this; 0: any number.
  bool fuse = true;       ///< false: a kernel for every operation.
};

struct Phase {
  llvm::StringRef name;
  llvm::StringRef description;
  llvm::StringRef suffix; ///< of a dumped file.
  /// Adds the passes that lead to this phase from the target's phase before; null for the first, and for those that are
  /// text rather than IR.
  void (*build)(mlir::OpPassManager &, const PipelineOptions &);
  bool onHost, onGpu;
  bool isText() const { return !build && name != "input"; }
};

/// Every phase of every target, in order.
llvm::ArrayRef<Phase> phases();
/// Those of one target.
llvm::SmallVector<Phase> phases(Target target);

/// Position of a phase among a target's.
std::optional<unsigned> findPhase(Target target, llvm::StringRef name);

/// "input, fused, ...", for messages.
std::string phaseNames(Target target);

} // namespace vernier

#endif
