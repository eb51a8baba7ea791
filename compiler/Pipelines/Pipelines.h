// The passes that lead to each phase.
#ifndef VERNIER_COMPILER_PIPELINES_PIPELINES_H
#define VERNIER_COMPILER_PIPELINES_PIPELINES_H

#include "compiler/Pipelines/Phases.h"

namespace vernier {
void buildFused(mlir::OpPassManager &manager, const PipelineOptions &options);
// Host.
void buildLoops(mlir::OpPassManager &manager, const PipelineOptions &options);
void buildLLVM(mlir::OpPassManager &manager, const PipelineOptions &options);
// sm_90a.
void buildTiled(mlir::OpPassManager &manager, const PipelineOptions &options);
void buildScheduled(mlir::OpPassManager &manager, const PipelineOptions &options);
void buildNVVM(mlir::OpPassManager &manager, const PipelineOptions &options);
} // namespace vernier

#endif
