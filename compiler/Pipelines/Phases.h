// The phases of compilation: the one table behind --from, --until, dump names, `ir(phase)` and the docs.
#ifndef VERNIER_COMPILER_PIPELINES_PHASES_H
#define VERNIER_COMPILER_PIPELINES_PHASES_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>

namespace mlir {
class OpPassManager;
}

namespace vernier {

struct PipelineOptions {
  int64_t maxKernels = 0; ///< refuse to form more kernels than this; 0: any number.
};

struct Phase {
  llvm::StringRef name;
  llvm::StringRef description;
  llvm::StringRef suffix; ///< of a dumped file.
  /// Adds the passes that lead to this phase from the one before; null for the first.
  void (*build)(mlir::OpPassManager &, const PipelineOptions &);
};

/// All phases, in order.
llvm::ArrayRef<Phase> phases();

/// Position of a phase in the table.
std::optional<unsigned> findPhase(llvm::StringRef name);

/// "input, fused, ...", for messages.
std::string phaseNames();

} // namespace vernier

#endif
